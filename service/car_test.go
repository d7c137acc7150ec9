package service

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/config"
)

// carHash is that of the password "secret", as cheap as there may be.
const carHash = "$2a$04$ZGpvkUGVaJTm4GeHUJnEcuBmthg.qnqGLchdPmevnvj2EiAkUSOHy"

// sharedBuffer is a log that is read while it is written.
type sharedBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *sharedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var carAddress = regexp.MustCompile(`address=(http://\S+/api/car/v2/)`)

// serveCAR starts a daemon with a CAR service and returns where that is.
func serveCAR(t *testing.T, p *Project) (address string, stop func()) {
	t.Helper()
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
	found := carAddress.FindStringSubmatch(log.String())
	if found == nil {
		t.Fatalf("no address in the log: %s", log.String())
	}
	return found[1], func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestServeCAR(t *testing.T) {
	t.Parallel()
	p := opened(t)
	p.Config.CAR = config.CAR{
		Listen: "127.0.0.1:0", MaxBody: 1 << 20,
		Users: map[string]string{"key": carHash}, Tokens: map[string]string{"a": carHash[:len(carHash)-1] + "z", "b": carHash},
	}
	address, stop := serveCAR(t, p)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func(method, path, authorization, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
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
	const basic, wrong = "Basic a2V5OnNlY3JldA==", "Basic a2V5Ondyb25n"
	tests := []struct {
		name, authorization string
		status              int
	}{
		{"nobody", "", 401},
		{"key and password", basic, 200},
		{"key and password again", basic, 200},
		{"wrong password", wrong, 401},
		{"unknown key", "Basic eDpzZWNyZXQ=", 401},
		{"token", "car-token secret", 200},
		{"token again", "car-token secret", 200},
		{"token in capitals", "CAR-Token secret", 200},
		{"wrong token", "car-token wrong", 401},
		{"no token", "car-token", 401},
		{"other scheme", "Bearer secret", 401},
	}
	for _, tt := range tests {
		if status, text := ask("GET", "databases", tt.authorization, ""); status != tt.status {
			t.Errorf("%s: %d %s", tt.name, status, text)
		}
	}
	if status, text := ask("POST", "imports", basic, `{"source":{"_key":"s"},"report":{"_key":"1.5"},"asset":[{"external_id":"1","name":"x"}]}`); status != 200 {
		t.Fatal(status, text)
	}
	if status, _ := ask("POST", "imports", basic, strings.Repeat(" ", 1<<20+1)); status != 413 {
		t.Errorf("a body that is too large: %d", status)
	}
	if status, text := ask("DELETE", "source/s/asset?external_ids="+strings.Repeat("some-long-id,", 10_000), basic, ""); status != 200 {
		t.Errorf("ten thousand ids: %d %s", status, text)
	}
	client.CloseIdleConnections()
	stop()
	address, stop = serveCAR(t, p)
	defer stop()
	if status, text := ask("GET", "asset?external_id=1", basic, ""); status != 200 || !strings.Contains(text, `"id":"s/1"`) {
		t.Errorf("after a restart of the daemon: %d %s", status, text)
	}
}

func TestServeCARNeedsCredentials(t *testing.T) {
	t.Parallel()
	p := opened(t)
	p.Config.CAR = config.CAR{Listen: "0.0.0.0:0"}
	s, err := New(Config{Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); gapless.ExitCode(err) != gapless.ExitUsage {
		t.Errorf("started: %v", err)
	}
	p.Config.CAR = config.CAR{Listen: "127.0.0.1:0", Users: map[string]string{"key": "secret"}}
	if s, err = New(Config{Project: p, Listen: "127.0.0.1:0", Exec: func(context.Context, Request, Streams) int { return 0 }}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Errorf("a password that is no hash: %v", err)
	}
}
