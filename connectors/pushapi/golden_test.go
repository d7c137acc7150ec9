package pushapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// golden is one exchange of testdata/*.txtar. Every file is one conversation:
// the replies depend on what was sent before. In requests and replies,
// {session} stands for the session id and {serial} for a serial, which every
// server chooses for itself.
type golden struct {
	name string
	// request is what is sent, from the request line on. Content-Length, Host,
	// User-Agent and Accept-Encoding are left out: bodies have the length they
	// have.
	request string
	status  int
	body    string
}

// readGolden reads a conversation. Lines of the files end in LF; requests have
// CRLF, which all of their bodies want, and replies have LF.
func readGolden(t testing.TB, name string) []golden {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var list []golden
	for i := 0; i+1 < len(archive.Files); i += 2 {
		request, reply := archive.Files[i], archive.Files[i+1]
		if reply.Name != "reply" {
			t.Fatalf("%s: %s is no reply", name, reply.Name)
		}
		status, body, _ := strings.Cut(strings.TrimSuffix(string(reply.Data), "\n"), "\n")
		g := golden{name: request.Name, body: body, request: strings.ReplaceAll(string(request.Data), "\n", "\r\n")}
		if g.status, err = strconv.Atoi(status); err != nil {
			t.Fatalf("%s: %s: %v", name, g.name, err)
		}
		list = append(list, g)
	}
	return list
}

const (
	goldenSession = "7340218814920017"
	goldenSerial  = "52907"
)

// fill puts the session id and the serial in.
func fill(text, session, serial string) string {
	return strings.NewReplacer("{session}", session, "{serial}", serial).Replace(text)
}

// theatre is a server that expects a conversation and says its part of it.
type theatre struct {
	t     *testing.T
	mu    sync.Mutex
	lines []golden
}

func (s *theatre) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	if len(s.lines) == 0 {
		s.t.Errorf("an unexpected %s %s", r.Method, r.URL)
		return
	}
	g := s.lines[0]
	s.lines = s.lines[1:]
	if diff := cmp.Diff(fill(g.request, goldenSession, goldenSerial), written(r, body)); diff != "" {
		s.t.Errorf("%s (-golden +sent):\n%s", g.name, diff)
	}
	if g.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
	}
	if escape := r.Header.Get(HeaderEscape); escape != "" {
		w.Header().Set(HeaderEscape, escape)
	}
	w.WriteHeader(g.status)
	_, _ = io.WriteString(w, fill(g.body, goldenSession, goldenSerial))
}

// written returns a request as the golden files have it.
func written(r *http.Request, body []byte) string {
	var b bytes.Buffer
	b.WriteString(r.Method + " " + r.URL.String() + " HTTP/1.1\r\n")
	var names []string
	for name := range r.Header {
		if !slices.Contains([]string{"Content-Length", "User-Agent", "Accept-Encoding"}, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name + ": " + r.Header.Get(name) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.String()
}

// goldenClient returns a client that sends exactly what the files have.
func goldenClient(t *testing.T, address string, dialect Dialect) *HTTPPushAPI {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewHTTP(PAPIV4, u.Hostname(), u.Port(), "wiki", "demo", "reader", "secret", HTTPOptions{
		Dialect:  dialect,
		boundary: func() (string, error) { return "b1", nil },
		sleep:    func(context.Context, time.Duration) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGoldenRequestsParse sees to it that the files hold HTTP.
func TestGoldenRequestsParse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"standard.txtar", "legacy.txtar"} {
		seen := map[Command]bool{}
		for _, g := range readGolden(t, name) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(fill(g.request, goldenSession, goldenSerial))))
			if err != nil {
				t.Fatalf("%s: %s: %v", name, g.name, err)
			}
			command, ok := ParseCommand(strings.TrimPrefix(r.URL.Path, "/papi/4/connectors/wiki/"))
			if !ok || !command.Allows(r.Method) {
				t.Errorf("%s: %s: %s %s", name, g.name, r.Method, r.URL)
			}
			seen[command] = true
		}
		for _, command := range Commands() {
			if !seen[command] && !slices.Contains(notGolden(name), command) {
				t.Errorf("%s has no %s", name, command)
			}
		}
	}
}

// notGolden lists the commands that a conversation lacks: those whose replies
// are no server's to foresee, and those that the older dialect does not have.
func notGolden(name string) []Command {
	list := []Command{CommandChanges, CommandStanding}
	if name == "legacy.txtar" {
		list = append(list, CommandGetCheckpointInfo, CommandStatedCheckpoints, CommandCapabilities)
	}
	return list
}

// TestGoldenClient has the conversations of the files.
func TestGoldenClient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		dialect Dialect
	}{{"standard.txtar", DialectStandard}, {"legacy.txtar", DialectLegacy}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stage := &theatre{t: t, lines: readGolden(t, test.name)}
			server := httptest.NewServer(stage)
			defer server.Close()
			converse(t, goldenClient(t, server.URL, test.dialect), test.dialect == DialectLegacy)
			if len(stage.lines) > 0 {
				t.Errorf("%d exchanges are left, from %s on", len(stage.lines), stage.lines[0].name)
			}
		})
	}
}

// converse says the client's part of a conversation.
func converse(t *testing.T, c *HTTPPushAPI, legacy bool) {
	ctx := t.Context()
	check := func(what string, want any, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%s: %v\n%s", what, err, diff)
		}
	}
	check("ping", nil, nil, c.Ping(ctx))
	if !legacy {
		capabilities, err := c.Capabilities(ctx)
		check("capabilities", 10, len(capabilities), err)
	}
	id, err := c.StartPushSession(ctx)
	check("session", SessionID(goldenSession), id, err)
	home := Document{URI: "space/home", Stamp: "2024-05-01T10:00:00Z", Directives: []Directive{{"lang", "en"}}}
	home.AddMeta("tag", "intro")
	home.AddMeta("title", `Home "quoted" äß`)
	home.AddMeta("tag", "howto")
	home.Parts = []Part{NewPart("", []byte("<p>Hello</p>"), Directive{DirectiveMimeHint, "text/html"}, Directive{DirectiveEncoding, "utf-8"})}
	team := Document{URI: "space/team", Stamp: "rev 7", Directives: []Directive{{DirectiveForcedSlice, "2"}}}
	check("add", nil, nil, c.AddDocumentList(ctx, []Document{home, team, {URI: "space/archive/old & new"}}))
	list, err := c.DocumentStatusList(ctx, []string{"space/home", "space/none", "space/archive/old & new"})
	check("status", []Status{{"space/home", "2024-05-01T10:00:00Z", true}, {"space/none", "", false}, {"space/archive/old & new", "", true}}, list, err)
	n, err := c.CountSyncedEntries(ctx, "", RecursiveDocuments)
	check("count", uint64(0), n, err)
	n, err = c.SetCheckpoint(ctx, "rev-8812", CheckpointOptions{Name: "pages", Sync: true})
	check("checkpoint", uint64(52907), n, err)
	value, set, err := c.GetCheckpoint(ctx, CheckpointQuery{Name: "pages"})
	check("checkpoint", "rev-8812", value, err)
	check("checkpoint", true, set, nil)
	_, set, err = c.GetCheckpoint(ctx, CheckpointQuery{Name: "none"})
	check("no checkpoint", false, set, err)
	_, err = c.SetCheckpoint(ctx, "two\nlines \\", CheckpointOptions{})
	check("checkpoint", nil, nil, err)
	collectCheckpoints := func(query CheckpointQuery) []CheckpointInfo {
		list, err := collect(c.EnumerateCheckpointsInfo(ctx, query))
		check("checkpoints", nil, nil, err)
		return list
	}
	if !legacy {
		value, _, err = c.GetCheckpoint(ctx, CheckpointQuery{Pushed: true})
		check("checkpoint", "two\nlines \\", value, err)
		check("checkpoints", []CheckpointInfo{{"", "two\nlines \\"}, {"pages", "rev-8812"}}, collectCheckpoints(CheckpointQuery{Pushed: true}), nil)
	}
	check("checkpoints", []CheckpointInfo{{"pages", "rev-8812"}}, collectCheckpoints(CheckpointQuery{}), nil)
	entries := func(root string, mode EnumerationMode) []SyncedEntry {
		list, err := collect(c.EnumerateSyncedEntries(ctx, root, mode))
		check("entries", nil, nil, err)
		return list
	}
	archive, one, two := SyncedEntry{URI: "space/archive", Folder: true}, SyncedEntry{URI: home.URI, Stamp: home.Stamp}, SyncedEntry{URI: team.URI, Stamp: team.Stamp}
	check("entries", []SyncedEntry{archive, one, two}, entries("space", NotRecursiveAll), nil)
	check("folders", []SyncedEntry{{URI: "space", Folder: true}}, entries("", NotRecursiveFolders), nil)
	n, err = c.CountSyncedEntries(ctx, "space/", NotRecursiveDocuments)
	check("count", uint64(2), n, err)
	check("entries", []SyncedEntry{{URI: "space/archive/old & new"}, one, two}, entries("", RecursiveDocuments), nil)
	check("update", nil, nil, c.UpdateDocument(ctx, Document{URI: "space/team", Metas: []Meta{{"title", "Team"}}}, UpdateOptions{Fields: []string{"title"}}))
	err = c.UpdateDocument(ctx, Document{URI: "space/none", Stamp: "1"}, UpdateOptions{})
	if e, ok := errors.AsType[*Error](err); !errors.Is(err, ErrUnknownDocument) || !ok || e.Status != 400 || e.Command != CommandUpdate || e.Short != "unknown document" {
		t.Errorf("%+v", err)
	}
	check("sync", nil, nil, c.Sync(ctx))
	check("trigger", nil, nil, c.TriggerIndexingJob(ctx))
	if answer, err := c.AreDocumentsSearchable(ctx, 1<<64-1); answer != SearchableUnknown || !errors.Is(err, ErrUnknownSerial) {
		t.Error(answer, err)
	}
	check("delete", nil, nil, c.DeleteDocumentList(ctx, []string{"space/home", "space/none"}))
	check("delete", nil, nil, c.DeleteDocumentsRootPath(ctx, "space", false))
	check("delete", nil, nil, c.DeleteDocumentsWithPrefix(ctx, "space/arch"))
	check("clear", nil, nil, c.ClearAllCheckpoints(ctx))
	check("sync", nil, nil, c.Sync(ctx))
	n, err = c.CountSyncedEntries(ctx, "", RecursiveDocuments)
	check("count", uint64(0), n, err)
	check("checkpoints", 0, len(collectCheckpoints(CheckpointQuery{})), nil)
	check("stop", nil, nil, c.StopPushSession(ctx))
}

// collect reads an enumeration to its end.
func collect[T any](sequence iter.Seq2[T, error]) ([]T, error) {
	var list []T
	for value, err := range sequence {
		if err != nil {
			return list, err
		}
		list = append(list, value)
	}
	return list, nil
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }
