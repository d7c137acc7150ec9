package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

var sahanaAddress = regexp.MustCompile(`address=(http://\S+/eden)`)

func TestServeSahana(t *testing.T) {
	t.Parallel()
	p := opened(t)
	p.Config.Sahana = config.Sahana{
		Listen: "127.0.0.1:0", Base: "/eden", MaxBody: 1 << 20, Users: map[string]string{"key": carHash},
		Repositories: map[string]map[string]config.SahanaTask{"urn:x:peer": {"org_organisation": {Update: "NEWER", Conflict: "MASTER", Strategy: []string{"create"}}}},
	}
	var log sharedBuffer
	s, err := New(Config{
		Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := sahanaAddress.FindStringSubmatch(log.String())
	if found == nil {
		t.Fatalf("no address in the log: %s", log.String())
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func(method, path, password, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, found[1]+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			r.SetBasicAuth("key", password)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	const push = "/sync/sync.xml?resource=org_organisation&repository=urn:x:peer&strategy=update"
	const one = `<s3xml><resource name="org_organisation" uuid="urn:x:1"><data field="name">One</data></resource></s3xml>`
	for _, tt := range []struct {
		name, password string
		status         int
		want           string
	}{
		{"nobody", "", 401, "Authentication Required"},
		{"wrong password", "wrong", 401, "Authentication Required"},
		{"created by the configured strategy", "secret", 200, `"records":1,"created":`},
		{"not updated by it", "secret", 200, `"records":0,"message":"Operation not permitted`},
	} {
		if status, text := ask("POST", push, tt.password, one); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s", tt.name, status, text)
		}
	}
	h, err := p.Hub(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	record, err := h.Get(t.Context(), "sahana", "org_organisation", "urn:x:1")
	if err != nil || !bytes.HasPrefix(record.Data, []byte(`{"name":"One",`)) {
		t.Errorf("the hub has %s (%v)", record.Data, err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// TestSahanaThatCannotStart covers configurations that the service refuses.
func TestSahanaThatCannotStart(t *testing.T) {
	t.Parallel()
	users := map[string]string{"key": carHash}
	for _, tt := range []struct {
		name string
		c    config.Sahana
		code gapless.Code
	}{
		{"no users", config.Sahana{Listen: "127.0.0.1:0"}, gapless.CodeInvalidOption},
		{"a hash that is none", config.Sahana{Listen: "127.0.0.1:0", Users: map[string]string{"key": "secret"}}, gapless.CodeInvalidOption},
		{"anonymous beyond loopback", config.Sahana{Listen: "0.0.0.0:0", Anonymous: true}, gapless.CodeUnsafeListen},
		{"an unknown strategy", config.Sahana{Listen: "127.0.0.1:0", Users: users, Repositories: map[string]map[string]config.SahanaTask{
			"u": {"org_organisation": {Strategy: []string{"destroy"}}},
		}}, gapless.CodeInvalidOption},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := opened(t)
			p.Config.Sahana = tt.c
			s, err := New(Config{Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 }})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Start(t.Context())
			if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != tt.code {
				t.Errorf("%v", err)
			}
		})
	}
}
