package car

import (
	"context"
	"encoding/pem"
	"errors"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ca.pem": "nothing", "schema.json": `{"key":"u","owner":"o","version":"1","schema":{"vertices":[{"name":"site"}],"edges":[{"end1":"site","end2":"asset"}]}}`,
		"broken.json": `{`, "names.json": `{"key":"u","version":"1","schema":{"vertices":[{"name":"a b"}]}}`, "keyless.json": `{"version":"1","schema":{}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		values map[string]any
		option string // at fault; empty for none
	}{
		{"least", nil, ""},
		{"all", map[string]any{"source": "s", "description": "d", "extension": "schema.json", "page_rows": int64(5), "page_size": "1MiB", "in_flight": int64(2), "approve_shrink": true, "timeout": "5s", "job_timeout": "1m"}, ""},
		{"token instead of key", map[string]any{"key": "", "password": "", "token": "t"}, ""},
		{"no credentials", map[string]any{"key": "", "password": ""}, "key"},
		{"address without version", map[string]any{"url": "https://h/api"}, "url"},
		{"no file of authorities", map[string]any{"ca": "none.pem"}, "ca"},
		{"no authority in it", map[string]any{"ca": "ca.pem"}, "ca"},
		{"no extension", map[string]any{"extension": "none.json"}, "extension"},
		{"broken extension", map[string]any{"extension": "broken.json"}, "extension"},
		{"extension with a name that is none", map[string]any{"extension": "names.json"}, "extension"},
		{"extension without key", map[string]any{"extension": "keyless.json"}, "extension"},
		{"page beyond what services take", map[string]any{"page_size": "9MiB"}, "page_size"},
		{"too many at once", map[string]any{"in_flight": int64(100)}, "in_flight"},
		{"source that is a folder", map[string]any{"source": ".."}, "source"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"url": "https://h/api/car/v2", "key": "k", "password": "p"}
			maps.Copy(values, tt.values)
			_, err := Connector().Destination.Open(t.Context(), values, gapless.Env{Connector: "c", Dir: dir, State: dir})
			fault := ""
			if e, ok := errors.AsType[gapless.OptionError](err); ok {
				fault = e.Option
			}
			if fault != tt.option || (err != nil) != (tt.option != "") || err != nil && gapless.ExitCode(err) != gapless.ExitUsage {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSourceOptions(t *testing.T) {
	t.Parallel()
	base := func(more map[string]any) map[string]any {
		values := map[string]any{"url": "https://h/v2", "token": "t", "source": "s"}
		maps.Copy(values, more)
		return values
	}
	s, err := Connector().Source.Open(t.Context(), base(map[string]any{"fields": map[string]any{"asset": "name, risk"}}), gapless.Env{})
	if err != nil {
		t.Fatal(err)
	}
	o := s.(*Source).opts
	if len(o.Collections) != 44 || o.Collections[0] != "account" || o.Collections[43] != "user_account" || len(o.Fields["asset"]) != 2 || o.Fields["asset"][1] != "risk" {
		t.Errorf("got %+v", o)
	}
	if _, err := Connector().Source.Open(t.Context(), base(map[string]any{"collections": []any{"a-b"}}), gapless.Env{}); err == nil {
		t.Error("a collection of that name was taken")
	}
}

// TestOverTLS imports over HTTPS, with an authority of one's own, as the YAML
// says.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	server := httptest.NewTLSServer(service)
	defer server.Close()
	dir := t.TempDir()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Connector().Destination.Open(t.Context(), map[string]any{"url": server.URL + "/x/api/car/v2", "token": "t", "ca": "ca.pem"}, gapless.Env{Connector: "wiki", Dir: dir, State: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.(*Destination).client.Close()
	s, err := d.Open(t.Context(), "wiki", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if service.sources["wiki"] == nil {
		t.Errorf("the sources are %v", service.sources)
	}
}

// TestKeysOfAModel splits what it joins.
func TestKeysOfAModel(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"1", "a/b", "x|y"} {
		if c, got, ok := SplitModelKey(ModelKey("asset", id)); !ok || c != "asset" || got != id {
			t.Errorf("%q came back as %q %q", id, c, got)
		}
	}
	for _, key := range []string{"", "asset", "asset/", "/1"} {
		if _, _, ok := SplitModelKey(key); ok {
			t.Errorf("%q was taken", key)
		}
	}
}

// TestStopWhileWaiting: a cancelled run does not wait for its imports.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	service.misbehave(answerOnce(always, "GET", "/importstatus", 200, `{"incomplete_imports":["I1","I2","I3","I4"]}`))
	s := openModel(t, service.client(t), 1)
	push(t, s, "+ asset/1 {}")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := s.Sync(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
