package pushapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clientOf returns a client that does not wait between attempts.
func clientOf(t testing.TB, address string, opts HTTPOptions) *HTTPPushAPI {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if opts.sleep == nil {
		opts.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	c, err := NewHTTP(PAPIV4, u.Hostname(), u.Port(), "wiki", "", "", "", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestNewHTTPRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                                         string
		version                                      Version
		host, port, connector, kind, login, password string
		want                                         error
	}{
		{"version", 3, "h", "1", "c", "", "", "", ErrInvalidParameter},
		{"port", 4, "h", "http", "c", "", "", "", ErrInvalidParameter},
		{"port 0", 4, "h", "0", "c", "", "", "", ErrInvalidParameter},
		{"port 65536", 4, "h", "65536", "c", "", "", "", ErrInvalidParameter},
		{"no host", 4, "", "1", "c", "", "", "", ErrInvalidParameter},
		{"host with a path", 4, "h/x", "1", "c", "", "", "", ErrInvalidParameter},
		{"no connector", 4, "h", "1", "", "", "", "", ErrInvalidConnector},
		{"connector with a slash", 4, "h", "1", "a/b", "", "", "", ErrInvalidConnector},
		{"login alone", 4, "h", "1", "c", "", "l", "", ErrInvalidParameter},
		{"password alone", 4, "h", "1", "c", "", "", "p", ErrInvalidParameter},
		{"login with a colon", 4, "h", "1", "c", "", "a:b", "p", ErrInvalidParameter},
		{"type with a line break", 4, "h", "1", "c", "a\nb", "", "", ErrInvalidParameter},
	} {
		if _, err := NewHTTP(test.version, test.host, test.port, test.connector, test.kind, test.login, test.password, HTTPOptions{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	c, err := NewHTTP(PAPIV4, "[::1]", "10002", "wiki", "", "", "", HTTPOptions{})
	if err != nil || c.base.Host != "[::1]:10002" {
		t.Errorf("%v, %v", c.base, err)
	}
}

func TestErrorsByStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body, header string
		status             int
		want               error
	}{
		{"XML", "<error><type>InvalidConnectorNameError</type><message>m</message></error>", "", 400, ErrInvalidConnector},
		{"header", "<error><message>m</message></error>", "SessionMismatchError", 400, ErrSessionMismatch},
		{"no body", "", "", 400, ErrInvalidParameter},
		{"refused", "", "", 401, ErrUnauthorized},
		{"forbidden", "", "", 403, ErrUnauthorized},
		{"verb", "", "", 405, ErrInvalidParameter},
		{"missing", "<html>", "", 404, ErrUnknownError},
		{"large", "", "", 413, ErrTooLarge},
		{"busy", "", "", 429, ErrServerUnavailable},
		{"down", "", "", 503, ErrServerUnavailable},
		{"gateway", "<html>", "", 502, ErrServerUnavailable},
		{"broken", "", "", 500, ErrUnknownError},
		{"redirect", "", "", 302, ErrUnknownError},
		{"future", "<error><type>FutureError</type><message>m</message></error>", "", 400, ErrUnknownError},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := clientOf(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set(HeaderErrorType, test.header)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}), HTTPOptions{Retries: 2})
			err := c.Sync(t.Context())
			e, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, test.want) || e.Status != test.status || e.Command != CommandSync || e.Message == "" {
				t.Fatalf("%+v", err)
			}
			want := int32(1)
			if errors.Is(err, ErrServerUnavailable) || test.status == 500 {
				want = 3
			}
			if calls.Load() != want {
				t.Errorf("%d calls, want %d", calls.Load(), want)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	docs := []Document{{URI: "a", Parts: []Part{NewPart("m", bytes.Repeat([]byte("x"), 100_000))}}}
	for _, test := range []struct {
		name  string
		docs  []Document
		calls int32
		ok    bool
	}{
		{"replayed", docs, 3, true},
		{"read once", []Document{{URI: "a", Parts: []Part{ReaderPart("m", strings.NewReader("x"), -1)}}}, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			var waits []time.Duration
			c := clientOf(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				form, err := ReadForm(r.Header.Get("Content-Type"), r.Body, DefaultLimits(), MemorySpool)
				if err != nil || len(form.Documents) != 1 {
					t.Errorf("%+v, %v", form, err)
				}
				if calls.Add(1) < 3 {
					w.Header().Set("Retry-After", "17")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}), HTTPOptions{sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }})
			err := c.AddDocumentList(t.Context(), test.docs)
			if (err == nil) != test.ok || calls.Load() != test.calls || err != nil && !errors.Is(err, ErrServerUnavailable) {
				t.Errorf("%d calls, %v", calls.Load(), err)
			}
			if test.ok && waits[0] != 17*time.Second {
				t.Error(waits)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = clientOf(t, "http://"+address, HTTPOptions{}).Ping(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrServerUnavailable) || e.Status != 0 || strings.Contains(err.Error(), "/papi/") {
		t.Error(err)
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	c := clientOf(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}), HTTPOptions{})
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-entered; cancel(stop) }()
	if err := c.Sync(ctx); !errors.Is(err, stop) || errors.Is(err, ErrServerUnavailable) {
		t.Error(err)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, string(CommandEnumerate)) {
			_, _ = io.WriteString(w, "D a\n")
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	defer close(hold)
	c := clientOf(t, address, HTTPOptions{Timeout: 300 * time.Millisecond, Retries: -1})
	if err := c.Sync(t.Context()); !errors.Is(err, ErrServerUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	list, err := collect(c.EnumerateSyncedEntries(t.Context(), "", RecursiveDocuments))
	if len(list) != 1 || !errors.Is(err, ErrServerUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(list, err)
	}
}

// TestTornEnumerations: whatever way a reply breaks off, it is no end.
func TestTornEnumerations(t *testing.T) {
	t.Parallel()
	raw := func(t *testing.T, reply string) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				if _, err := http.ReadRequest(newReader(conn)); err == nil {
					_, _ = io.WriteString(conn, reply)
				}
				_ = conn.Close()
			}
		}()
		return "http://" + listener.Addr().String()
	}
	var digest Digest
	_, _ = digest.Write([]byte("D a\nD b\n"))
	chunks := "HTTP/1.1 200 OK\r\nTrailer: X-Push-Api-Digest\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nD a\n\r\n"
	for _, test := range []struct {
		name, reply string
		ok          bool
	}{
		{"complete", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nD a\nD b\n", true},
		{"complete with digest", chunks + "4\r\nD b\n\r\n0\r\nX-Push-Api-Digest: " + digest.String() + "\r\n\r\n", true},
		{"no end of chunks", chunks, false},
		{"half a chunk", chunks + "40\r\nD b\n", false},
		{"wrong digest", chunks + "0\r\nX-Push-Api-Digest: " + digest.String() + "\r\n\r\n", false},
		{"short of its length", "HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\nD a\nD b\n", false},
		{"no length and no chunks", "HTTP/1.0 200 OK\r\n\r\nD a\nD b\n", false},
		{"half a line", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nD a\nD b", false},
		{"no line", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nDavid", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := clientOf(t, raw(t, test.reply), HTTPOptions{Retries: -1})
			list, err := collect(c.EnumerateSyncedEntries(t.Context(), "", RecursiveDocuments))
			if test.ok != (err == nil) || err != nil && !errors.Is(err, ErrServerUnavailable) {
				t.Errorf("%v, %v", list, err)
			}
			if test.ok && !cmp.Equal(list, []SyncedEntry{{URI: "a"}, {URI: "b"}}) {
				t.Error(list)
			}
			if statuses, err := c.DocumentStatusList(t.Context(), []string{"a", "z"}); test.ok != (err == nil) {
				t.Errorf("%v, %v", statuses, err)
			}
		})
	}
}

// TestSplitting sends lists in pieces, smaller ones if the server wants that.
func TestSplitting(t *testing.T) {
	t.Parallel()
	var sizes []int
	var got []string
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var uris []string
		if r.Header.Get("Content-Type") != "" {
			form, err := ReadForm(r.Header.Get("Content-Type"), r.Body, DefaultLimits(), MemorySpool)
			if err != nil {
				t.Error(err)
			}
			for _, d := range form.Documents {
				uris = append(uris, d.URI)
			}
			uris = append(uris, form.Params[ParamURI]...)
		} else {
			uris = r.URL.Query()[ParamURI]
		}
		if strings.HasSuffix(r.URL.Path, string(CommandCapabilities)) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if len(uris) > 3 {
			w.WriteHeader(http.StatusRequestURITooLong)
			return
		}
		sizes, got = append(sizes, len(uris)), append(got, uris...)
		if strings.HasSuffix(r.URL.Path, string(CommandStatus)) {
			for _, uri := range uris {
				_, _ = fmt.Fprintf(w, "D %s s\n", uri)
			}
		}
	})
	var uris []string
	var docs []Document
	for i := range 23 {
		uris = append(uris, fmt.Sprintf("u%02d", i))
		docs = append(docs, Document{URI: uris[i], Parts: []Part{NewPart("m", make([]byte, 1000))}})
	}
	c := clientOf(t, address, HTTPOptions{BatchDocuments: 7, BatchBytes: 5000, ListURIs: 9, ListBytes: 100})
	for name, send := range map[string]func() error{
		"add":    func() error { return c.AddDocumentList(t.Context(), docs) },
		"delete": func() error { return c.DeleteDocumentList(t.Context(), uris) },
		"status": func() error {
			list, err := c.DocumentStatusList(t.Context(), uris)
			if len(list) != len(uris) || list[22] != (Status{"u22", "s", true}) {
				t.Errorf("%+v", list)
			}
			return err
		},
	} {
		sizes, got = nil, nil
		if err := send(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !cmp.Equal(got, uris) {
			t.Errorf("%s: %v in pieces of %v", name, got, sizes)
		}
	}
	if err := c.AddDocumentList(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestDocumentsAreChecked: nothing is sent if anything is wrong.
func TestDocumentsAreChecked(t *testing.T) {
	t.Parallel()
	c := clientOf(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }), HTTPOptions{})
	part := NewPart("p", nil)
	for name, d := range map[string]Document{
		"no URI":               {},
		"long URI":             {URI: strings.Repeat("u", 4097)},
		"URI not UTF-8":        {URI: "\xff"},
		"meta without a name":  {URI: "u", Metas: []Meta{{"", "v"}}},
		"meta of two lines":    {URI: "u", Metas: []Meta{{"a\r\nb", "v"}}},
		"meta not UTF-8":       {URI: "u", Metas: []Meta{{"a", "\xff"}}},
		"two parts of a name":  {URI: "u", Parts: []Part{part, part}},
		"two masters":          {URI: "u", Parts: []Part{NewPart("", nil), NewPart("master", nil)}},
		"part with a colon":    {URI: "u", Parts: []Part{NewPart("a:b", nil)}},
		"part without content": {URI: "u", Parts: []Part{{Name: "a"}}},
	} {
		err := c.AddDocumentList(t.Context(), []Document{{URI: "good"}, d})
		if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrInvalidParameter) || e.Command != CommandAdd {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.DeleteDocumentsWithPrefix(t.Context(), ""); !errors.Is(err, ErrInvalidParameter) {
		t.Error(err)
	}
	if err := c.DeleteDocument(t.Context(), ""); !errors.Is(err, ErrInvalidParameter) {
		t.Error(err)
	}
}

// TestContentsThatFail are the document's fault, not the server's.
func TestContentsThatFail(t *testing.T) {
	t.Parallel()
	broken := errors.New("bad sector")
	for name, part := range map[string]Part{
		"open":    {Name: "m", Size: -1, Open: func(context.Context) (io.ReadCloser, error) { return nil, broken }},
		"read":    ReaderPart("m", io.MultiReader(bytes.NewReader(make([]byte, 200_000)), readerFunc(func([]byte) (int, error) { return 0, broken })), -1),
		"shorter": {Name: "m", Size: 9, Open: NewPart("", []byte("12345678")).Open},
		"longer":  {Name: "m", Size: 7, Open: NewPart("", []byte("12345678")).Open},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var complete atomic.Int32
			c := clientOf(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if _, err := ReadForm(r.Header.Get("Content-Type"), r.Body, DefaultLimits(), MemorySpool); err == nil {
					complete.Add(1)
				}
			}), HTTPOptions{})
			err := c.AddDocument(t.Context(), Document{URI: "doc", Parts: []Part{part}})
			e, ok := errors.AsType[*Error](err)
			if !ok || e.URI != "doc" || errors.Is(err, ErrServerUnavailable) || complete.Load() > 0 {
				t.Errorf("%v, %d complete", err, complete.Load())
			}
			if (name == "open" || name == "read") && !errors.Is(err, broken) {
				t.Error(err)
			}
		})
	}
}

// TestMismatchIsFoundOut: a refusal for no stated reason is a mismatch if the
// server has another session by now.
func TestMismatchIsFoundOut(t *testing.T) {
	t.Parallel()
	var session atomic.Int64
	session.Store(7)
	c := clientOf(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch id := fmt.Sprint(session.Load()); {
		case strings.HasSuffix(r.URL.Path, string(CommandSession)):
			_, _ = io.WriteString(w, id)
		case r.URL.Query().Get(ParamSession) != id, strings.HasSuffix(r.URL.Path, string(CommandClearCheckpoints)):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<error><type>PushAPIException</type><message>no</message></error>")
		}
	}), HTTPOptions{})
	if _, err := c.StartPushSession(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StartPushSession(t.Context()); !errors.Is(err, ErrSessionExists) {
		t.Error(err)
	}
	if err := c.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.ClearAllCheckpoints(t.Context()); errors.Is(err, ErrSessionMismatch) || !errors.Is(err, ErrUnknownError) {
		t.Error(err)
	}
	session.Store(8)
	if err := c.Sync(t.Context()); !errors.Is(err, ErrSessionMismatch) {
		t.Error(err)
	}
	if err := c.StopPushSession(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.StopPushSession(t.Context()); !errors.Is(err, ErrSessionNotFound) {
		t.Error(err)
	}
}

func TestUnreadableReplies(t *testing.T) {
	t.Parallel()
	c := clientOf(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }), HTTPOptions{Retries: -1})
	ctx := t.Context()
	_, session := c.StartPushSession(ctx)
	_, serial := c.SetCheckpoint(ctx, "", CheckpointOptions{})
	_, count := c.CountSyncedEntries(ctx, "", RecursiveDocuments)
	_, searchable := c.AreDocumentsSearchable(ctx, 1)
	for name, err := range map[string]error{"session": session, "serial": serial, "count": count, "searchable": searchable} {
		if !errors.Is(err, ErrUnknownError) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPartsStream(t *testing.T) {
	t.Parallel()
	var most atomic.Int64
	c := clientOf(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || r.ContentLength != -1 && r.ContentLength != n {
			t.Error(n, r.ContentLength, err)
		}
		most.Store(n)
	}), HTTPOptions{})
	const size = 64 << 20
	source := io.LimitReader(readerFunc(func(p []byte) (int, error) { return len(p), nil }), size)
	if err := c.AddDocument(t.Context(), Document{URI: "big", Parts: []Part{ReaderPart("m", source, size)}}); err != nil || most.Load() < size {
		t.Error(most.Load(), err)
	}
}

// TestAmbiguousCommits: a commit that no longer holds after itself is sent once.
func TestAmbiguousCommits(t *testing.T) {
	t.Parallel()
	one, two := &CheckpointInfo{Name: "n", Value: "1"}, &CheckpointInfo{Name: "n", Value: "2"}
	was := &Expectation{Name: "n", Set: true, Value: "1"}
	for name, test := range map[string]struct {
		commit Commit
		calls  int32
	}{
		"changes what it depends on": {Commit{Command: CommandSetCheckpoint, Checkpoint: two, If: was}, 1},
		"sets what is not there":     {Commit{Command: CommandSetCheckpoint, Checkpoint: two, If: &Expectation{Name: "n"}}, 1},
		"leaves it as it is":         {Commit{Command: CommandSetCheckpoint, Checkpoint: one, If: was}, 3},
		"depends on another":         {Commit{Command: CommandSetCheckpoint, Checkpoint: two, If: &Expectation{Name: "m"}}, 3},
		"documents":                  {Commit{Command: CommandAdd, Documents: []Document{{URI: "a"}}, If: was}, 3},
		"read once":                  {Commit{Command: CommandAdd, Documents: []Document{{URI: "a", Parts: []Part{ReaderPart("", strings.NewReader(""), 0)}}}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := clientOf(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
			}), HTTPOptions{Retries: 2})
			if _, err := c.Commit(t.Context(), test.commit); !errors.Is(err, ErrServerUnavailable) || calls.Load() != test.calls {
				t.Errorf("%d calls, want %d; %v", calls.Load(), test.calls, err)
			}
		})
	}
	c := clientOf(t, "http://127.0.0.1:1", HTTPOptions{})
	for name, commit := range map[string]Commit{
		"command":  {Command: CommandSync},
		"document": {Command: CommandAdd, Documents: []Document{{}}},
		"URI":      {Command: CommandDelete, URIs: []string{""}},
	} {
		if _, err := c.Commit(t.Context(), commit); !errors.Is(err, ErrInvalidParameter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, media, body string
		status            int
		dialect           Dialect
		want              int // capabilities; -1 for an error
		calls             int32
	}{
		{"some", "text/plain; charset=utf-8", "escape\nform\n", 200, DialectStandard, 2, 1},
		{"unknown command", "text/xml", "<error/>", 400, DialectStandard, 0, 1},
		{"not found", "text/html", "<html>", 404, DialectStandard, 0, 1},
		{"a page", "text/html", "<html>", 200, DialectStandard, 0, 1},
		{"torn", "text/plain", "escape\nfo", 200, DialectStandard, -1, 2},
		{"down", "text/plain", "", 503, DialectStandard, -1, 2},
		{"refused", "text/plain", "", 401, DialectStandard, -1, 2},
		{"older dialect", "text/plain", "escape\n", 200, DialectLegacy, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := clientOf(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Content-Type", test.media)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}), HTTPOptions{Retries: -1, Dialect: test.dialect})
			for range 2 {
				list, err := c.Capabilities(t.Context())
				if (err != nil) != (test.want < 0) || err == nil && len(list) != test.want {
					t.Errorf("%v, %v", list, err)
				}
			}
			if calls.Load() != test.calls {
				t.Errorf("%d calls, want %d", calls.Load(), test.calls)
			}
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
