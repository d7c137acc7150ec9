package pushapi_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/service"
)

var pages = gapless.Partition{ID: "page", Collection: "page"}

func push(t *testing.T, s gapless.Session, changes ...gapless.Change) (gapless.Receipt, error) {
	t.Helper()
	b := &gapless.Batch{Partition: pages}
	for _, c := range changes {
		b.Append(c)
	}
	return s.Push(t.Context(), b)
}

func page(key, version, data, content string) gapless.Change {
	r := gapless.Record{Key: key, Version: version, Data: []byte(data)}
	if content != "" {
		r.Parts = []gapless.Part{{Name: "master", Type: "text/html", Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}}}
	}
	return gapless.Change{Record: r}
}

// TestConnectorsMeet pushes records through the connector to a server and lists
// them through it again.
func TestConnectorsMeet(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"standard", "legacy"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			i, host, port := newIsland(t)
			ctx := t.Context()
			values := map[string]any{"host": host, "port": port, "name": "wiki", "dialect": dialect}
			d, err := pushapi.Connector().Destination.Open(ctx, values, gapless.Env{Connector: "c"})
			must(t, err)
			s, err := d.Open(ctx, "c", 1)
			must(t, err)
			before, err := s.Status(ctx)
			if err != nil || before.Holds {
				t.Errorf("%+v, %v", before, err)
			}
			unknown := gapless.Change{Op: gapless.OpPatch, Record: gapless.Record{Key: "unknown", Data: []byte(`{"a":"b"}`)}}
			patch := gapless.Change{Op: gapless.OpPatch, Record: gapless.Record{Key: "a/1", Version: "2", Data: []byte(`{"tag":["x","y"]}`)}}
			gone := gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: "gone"}}
			receipt, err := push(t, s, page("a/1", "1", `{"title":"one","n":1}`, "<p>"), page("b", "rev 7", `{}`, ""), page("gone", "", `{}`, ""), gone, unknown, patch)
			if err != nil || len(receipt.Rejected) != 1 || receipt.Rejected[0].Key != "unknown" {
				t.Errorf("%+v, %v", receipt, err)
			}
			checkpoint := gapless.Checkpoint{Partition: "page", Position: "p \\n\xff", Run: "r", Seq: 3, Epoch: 1}
			if receipt, err = s.Sync(ctx, []gapless.Checkpoint{checkpoint}); err != nil || receipt.Serial == 0 {
				t.Errorf("%+v, %v", receipt, err)
			}
			status, err := s.Status(ctx)
			if err != nil || !status.Holds || status.Checkpoints["page"] != checkpoint {
				t.Errorf("%+v, %v", status, err)
			}
			var listed []string
			must(t, s.(gapless.Enumerator).Enumerate(ctx, pages, func(key, version []byte) error {
				listed = append(listed, string(key)+"="+string(version))
				return nil
			}))
			if diff := cmp.Diff([]string{"a/1=2", "b=rev 7"}, listed); diff != "" {
				t.Error(diff)
			}
			held(t, i)
			source, err := pushapi.Connector().Source.Open(ctx, values, gapless.Env{})
			must(t, err)
			if got := read(t, source); got != `page/a/1|2|{"uri":"page/a/1","stamp":"2"} page/b|rev 7|{"uri":"page/b","stamp":"rev 7"}` {
				t.Error(got)
			}
			must(t, source.(gapless.Closer).Close())
			young, err := d.Open(ctx, "c", 2)
			must(t, err)
			if _, err := push(t, s, page("c", "", `{}`, "")); !errors.Is(err, gapless.ErrFenced) {
				t.Error(err)
			}
			i.restart(t)
			if _, err := push(t, young, page("c", "", `{}`, "")); !errors.Is(err, gapless.ErrIncarnation) {
				t.Error(err)
			}
			again, err := d.Open(ctx, "c", 2)
			must(t, err)
			after, err := again.Status(ctx)
			if err != nil || after.Incarnation == before.Incarnation || after.Checkpoints["page"] != checkpoint {
				t.Errorf("%+v, %v", after, err)
			}
			must(t, s.Close(), young.Close(), again.Close())
		})
	}
}

// held looks into the hub behind the server.
func held(t *testing.T, i *island) {
	t.Helper()
	session, err := i.hub.Session(t.Context(), "wiki", 0)
	must(t, err)
	r, err := session.Get(t.Context(), gapless.Partition{ID: "document", Collection: "document"}, "page/a/1")
	must(t, err)
	if len(r.Parts) != 1 || r.Parts[0].Type != "text/html" || r.Version != "2" {
		t.Fatalf("%+v", r)
	}
	if !strings.Contains(string(r.Data), `"title":"one"`) || !strings.Contains(string(r.Data), `"tag":["x","y"]`) {
		t.Errorf("%s", r.Data)
	}
	content, err := r.Parts[0].Open(t.Context())
	must(t, err)
	defer content.Close()
	if text, err := io.ReadAll(content); string(text) != "<p>" || err != nil {
		t.Errorf("%s, %v", text, err)
	}
}

func read(t *testing.T, source gapless.Source) string {
	t.Helper()
	var lines []string
	out := gapless.NewOutput(t.Context(), pages, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Len() {
			lines = append(lines, string(b.Key(i))+"|"+string(b.Version(i))+"|"+string(b.Data(i)))
		}
		return b, nil
	})
	must(t, source.ReadAll(t.Context(), pages, "", out), out.Flush())
	return strings.Join(lines, " ")
}

func TestConnectorByTLS(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	server, err := pushapi.NewServer(pushapi.ServerOptions{Store: service.PushAPIStore(f.hub), Credentials: []pushapi.Credential{{Login: "gapless", Hash: secretHash}}})
	must(t, err)
	secure := httptest.NewTLSServer(server)
	defer secure.Close()
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600), os.WriteFile(filepath.Join(dir, "none.pem"), []byte("x"), 0o600))
	host, port, err := net.SplitHostPort(secure.Listener.Addr().String())
	must(t, err)
	open := func(more map[string]any) error {
		values := map[string]any{"host": host, "port": port, "name": "wiki"}
		maps.Copy(values, more)
		source, err := pushapi.Connector().Source.Open(t.Context(), values, gapless.Env{Dir: dir})
		if err != nil {
			return err
		}
		defer source.(gapless.Closer).Close()
		_, err = source.Describe(t.Context())
		return err
	}
	good := map[string]any{"tls": true, "ca": "ca.pem", "login": "gapless", "password": "secret", "timeout": "10s"}
	must(t, open(good))
	for name, test := range map[string]struct {
		options map[string]any
		want    int
	}{
		"wrong password":  {map[string]any{"tls": true, "ca": "ca.pem", "login": "gapless", "password": "wrong"}, gapless.ExitSource + int(gapless.CauseAuthentication)},
		"no password":     {map[string]any{"tls": true, "ca": "ca.pem", "login": "gapless"}, gapless.ExitUsage},
		"unknown CA file": {map[string]any{"tls": true, "ca": "other.pem"}, gapless.ExitUsage},
		"no certificate":  {map[string]any{"tls": true, "ca": "none.pem"}, gapless.ExitUsage},
		"CA without TLS":  {map[string]any{"ca": "ca.pem"}, gapless.ExitUsage},
		"bad name":        {map[string]any{"name": "a b"}, gapless.ExitUsage},
		"bad port":        {map[string]any{"port": 0}, gapless.ExitUsage},
		"bad dialect":     {map[string]any{"dialect": "old"}, gapless.ExitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if err := open(test.options); gapless.ExitCode(err) != test.want || strings.Contains(err.Error(), "wrong\"") {
				t.Errorf("exit %d, want %d: %v", gapless.ExitCode(err), test.want, err)
			}
		})
	}
}

func TestConnectorIsDocumented(t *testing.T) {
	t.Parallel()
	c := pushapi.Connector()
	if c.Help == "" || c.Example == "" || c.Name != "pushapi" || strings.HasSuffix(c.Summary, ".") {
		t.Errorf("%+v", c)
	}
	for _, o := range append(c.Source.Options, c.Destination.Options...) {
		if len(o.Help) < 10 || !strings.HasSuffix(o.Help, ".") {
			t.Errorf("option %s: help %q", o.Name, o.Help)
		}
	}
}
