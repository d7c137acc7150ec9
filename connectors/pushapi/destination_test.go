package pushapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// extended are the extensions that a session makes use of.
var extended = []Capability{CapabilityForm, CapabilityCommit, CapabilityCondition, CapabilityItems, CapabilityCursor}

// servers are a server that knows the protocol alone, and one with extensions.
func servers() map[string]*FakeServer {
	list := map[string]*FakeServer{"plain": NewFakeServer(), "extended": NewFakeServer()}
	list["extended"].SetCapabilities(extended...)
	return list
}

func destinationOf(server *FakeServer) *destination {
	return &destination{connect: func(connector string) (PushAPI, error) { return server.Connect(connector), nil }}
}

func openSession(t testing.TB, server *FakeServer, epoch uint64) *session {
	t.Helper()
	s, err := destinationOf(server).Open(t.Context(), "c", epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*session)
}

// batchOf returns a batch of partition r; an empty Data deletes.
func batchOf(changes ...gapless.Change) *gapless.Batch {
	b := &gapless.Batch{Partition: gapless.Partition{ID: "r", Collection: "r"}, Origin: "test"}
	for i, c := range changes {
		c.Line = i + 1
		b.Append(c)
	}
	return b
}

func upsert(key, version, data string, parts ...gapless.Part) gapless.Change {
	return gapless.Change{Record: gapless.Record{Key: key, Version: version, Data: []byte(data), Parts: parts}}
}

func rejected(r gapless.Receipt) string {
	var keys []string
	for _, x := range r.Rejected {
		keys = append(keys, x.Key)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func TestRecordsBecomeDocuments(t *testing.T) {
	t.Parallel()
	data := `{"title":"Home \"1\"","n":1.50,"ok":true,"no":null,"tags":["a",2,null,{"x":[1]}],"none":[],"nested":{"a":"b"},` +
		`"$directive:lang":["en","de"],"$$odd":"v","$part:master":{"encoding":"utf-8","x":["1","2"]}}`
	content := gapless.Part{Name: "master", Type: "text/html", Size: 3, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("<p>")), nil
	}}
	b := batchOf(upsert("space/home", "rev 7", data, content))
	b.Partition.Collection = "wiki/pages"
	d, err := documentOf(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := flat{Document: Document{
		URI: "wiki%2Fpages/space/home", Stamp: "rev 7",
		Metas: []Meta{
			{"title", `Home "1"`}, {"n", "1.50"}, {"ok", "true"}, {"tags", "a"}, {"tags", "2"}, {"tags", `{"x":[1]}`}, {"nested", `{"a":"b"}`}, {"$odd", "v"},
		},
		Directives: []Directive{{"lang", "en"}, {"lang", "de"}},
		Parts:      []Part{{Name: "master", Size: 3, Directives: []Directive{{"encoding", "utf-8"}, {"x", "1"}, {"x", "2"}, {"mimeHint", "text/html"}}}},
	}, Contents: []string{"<p>"}}
	if diff := cmp.Diff([]flat{want}, flatten(t, []Document{d})); diff != "" {
		t.Error(diff)
	}
	// What a server makes of a document, a client makes a document of.
	again, err := documentOf(batchOf(upsert("k", "", string(RecordData(nil, &d)))), 0)
	if err != nil || !cmp.Equal(again.Metas, groupMetas(d.Metas)) || !cmp.Equal(again.Directives, d.Directives) {
		t.Errorf("%+v, %v", again, err)
	}
}

// A server puts the name of a part's file into its media type, and a client
// takes it out again.
func TestFilenamesAreInMediaTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		directives []Directive
		media      string
		back       []Directive
	}{
		{"nothing", nil, "", nil},
		{"type", []Directive{{"mimeHint", "text/html"}}, "text/html", []Directive{{"mimeHint", "text/html"}}},
		{"both", []Directive{{"mimeHint", "text/html"}, {"filename", "a b.html"}}, `text/html; name="a b.html"`, []Directive{{"mimeHint", "text/html"}, {"filename", "a b.html"}}},
		{"name", []Directive{{"filename", "Größe.pdf"}}, "application/octet-stream; name*=utf-8''Gr%C3%B6%C3%9Fe.pdf", []Directive{{"filename", "Größe.pdf"}}},
		{"path", []Directive{{"filename", `C:\x "y".docx`}}, `application/octet-stream; name="C:\\x \"y\".docx"`, []Directive{{"filename", `C:\x "y".docx`}}},
		{"long name", []Directive{{"filename", strings.Repeat("x", maxFilename+1)}}, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			media := mediaType(&Part{Directives: tt.directives})
			back := partOf(gapless.Part{Name: "p", Type: media}, nil)
			if media != tt.media || !cmp.Equal(back.Directives, tt.back) {
				t.Errorf("%s, %q, want %s, %q", media, back.Directives, tt.media, tt.back)
			}
		})
	}
}

// groupMetas puts the values of a name where the first one stands.
func groupMetas(metas []Meta) []Meta {
	var list []Meta
	for _, m := range metas {
		if !slices.ContainsFunc(list, func(x Meta) bool { return x.Name == m.Name }) {
			for _, n := range metas {
				if n.Name == m.Name {
					list = append(list, n)
				}
			}
		}
	}
	return list
}

func TestCheckpointsSurviveTheServer(t *testing.T) {
	t.Parallel()
	c := gapless.Checkpoint{Partition: "r/ä", Position: "\xff\\n x", Mark: "m\n", Target: "t", Run: "run", Seq: 1<<64 - 1, Epoch: 7}
	value := encodeCheckpoint(&c)
	if strings.ContainsAny(value, " \\\r\n") {
		t.Errorf("old servers mistake %s", value)
	}
	if got, err := decodeCheckpoint(value); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "{}", value + "x", strings.Replace(value, `"gapless":1`, `"gapless":2`, 1), `{"gapless":1,"other":1}`} {
		if got, err := decodeCheckpoint(bad); err == nil {
			t.Errorf("%s is %+v", bad, got)
		}
	}
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add(encodeCheckpoint(&gapless.Checkpoint{Partition: "p", Position: "x", Run: "r", Seq: 1}))
	f.Add(`{"gapless":1}`)
	f.Fuzz(func(t *testing.T, value string) {
		c, err := decodeCheckpoint(value)
		if err != nil {
			return
		}
		if again, err := decodeCheckpoint(encodeCheckpoint(&c)); err != nil || again != c {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

func TestSession(t *testing.T) {
	t.Parallel()
	for name, server := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := openSession(t, server, 1)
			status, err := s.Status(ctx)
			if err != nil || status.Holds || status.Incarnation == "" || len(status.Checkpoints) > 0 {
				t.Errorf("%+v, %v", status, err)
			}
			patch := upsert("a", "2", `{"y":"new"}`)
			patch.Op = gapless.OpPatch
			gone := gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: "gone"}}
			receipt, err := s.Push(ctx, batchOf(upsert("a", "1", `{"x":"1"}`), upsert("b", "1", `{}`), upsert("gone", "1", `{}`), patch, gone, upsert("b", "2", `{}`)))
			if err != nil || len(receipt.Rejected) > 0 {
				t.Errorf("%+v, %v", receipt, err)
			}
			if status, err := s.Status(ctx); err != nil || status.Holds {
				t.Errorf("holds what is not synced: %+v, %v", status, err)
			}
			c := gapless.Checkpoint{Partition: "r", Position: "p1", Run: "run", Seq: 1, Epoch: 1}
			receipt, err = s.Sync(ctx, []gapless.Checkpoint{c, {Partition: "q", Mark: "m", Run: "run", Seq: 2}})
			if err != nil || receipt.Serial == 0 {
				t.Errorf("%+v, %v", receipt, err)
			}
			status, err = s.Status(ctx)
			if err != nil || !status.Holds || status.Checkpoints["r"] != c || len(status.Checkpoints) != 2 {
				t.Errorf("%+v, %v", status, err)
			}
			doc, _ := server.Document("c", "r/a")
			if diff := cmp.Diff([]Meta{{"x", "1"}, {"y", "new"}}, doc.Metas); diff != "" || doc.Stamp != "2" {
				t.Error(doc.Stamp, diff)
			}
			if got := enumerated(t, s, gapless.Partition{Collection: "r"}); got != "a=2 b=2" {
				t.Error(got)
			}
			if found, err := s.Searchable(ctx, receipt.Serial); found || err != nil {
				t.Error(found, err)
			}
			receipt, err = s.Sync(ctx, []gapless.Checkpoint{c})
			if err != nil {
				t.Error(err)
			}
			if found, err := s.Searchable(ctx, receipt.Serial); !found || err != nil {
				t.Error(found, err)
			}
			if _, err := s.Sync(ctx, nil); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// enumerated returns what a session lists, in order.
func enumerated(t testing.TB, s *session, p gapless.Partition) string {
	t.Helper()
	var list []string
	err := s.Enumerate(t.Context(), p, func(key, version []byte) error {
		list = append(list, string(key)+"="+string(version))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestEnumerateSlices(t *testing.T) {
	t.Parallel()
	for name, server := range servers() {
		ctx := t.Context()
		s := openSession(t, server, 1)
		if _, err := s.Push(ctx, batchOf(upsert("a/1", "", `{}`), upsert("a/b2", "", `{}`), upsert("a/b/3", "", `{}`), upsert("c", "", `{}`))); err != nil {
			t.Fatal(err)
		}
		other := batchOf(upsert("z", "", `{}`))
		other.Partition.Collection = "r/a"
		if _, err := s.Push(ctx, other); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sync(ctx, nil); err != nil {
			t.Fatal(err)
		}
		for p, want := range map[gapless.Partition]string{
			{Collection: "r"}:                "a/1= a/b/3= a/b2= c=",
			{Collection: "r", Prefix: "a/"}:  "a/1= a/b/3= a/b2=",
			{Collection: "r", Prefix: "a/b"}: "a/b/3= a/b2=",
			{Collection: "r", Prefix: "c"}:   "c=",
			{Collection: "r/a"}:              "z=",
			{Collection: "none"}:             "",
		} {
			if got := enumerated(t, s, p); got != want {
				t.Errorf("%s: %+v: %s, want %s", name, p, got, want)
			}
		}
		stop := errors.New("stop")
		if err := s.Enumerate(ctx, gapless.Partition{Collection: "r"}, func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		server.Fail(Fault{Command: CommandEnumerate, Torn: 2})
		if err := s.Enumerate(ctx, gapless.Partition{Collection: "r"}, func(_, _ []byte) error { return nil }); gapless.KindOf(err) != gapless.KindRecoverable {
			t.Errorf("%s: a torn enumeration: %v", name, err)
		}
	}
}

// TestRejections: a document that is refused takes no other with it.
func TestRejections(t *testing.T) {
	t.Parallel()
	broken := gapless.Part{Name: "m", Size: -1, Open: func(context.Context) (io.ReadCloser, error) { return nil, errors.New("bad sector") }}
	var many []gapless.Change
	for i := range 30 {
		many = append(many, upsert(fmt.Sprintf("k%02d", i), "1", `{"a":"b"}`))
	}
	many[3].Parts = []gapless.Part{broken}
	many[7].Data = []byte(`{"":"no name"}`)
	many[8].Data = []byte(`{"a\nb":"line break"}`)
	many[11].Key = strings.Repeat("k", 4096)
	many[12].Version = "\xff"
	lost := upsert("unknown", "", `{"a":"b"}`)
	lost.Op = gapless.OpPatch
	removal := upsert("k01", "", `{"a":null}`)
	removal.Op = gapless.OpPatch
	good := upsert("k02", "2", `{"c":"d"}`)
	good.Op = gapless.OpPatch
	many = append(many, lost, removal, good)
	for name, server := range servers() {
		s := openSession(t, server, 1)
		receipt, err := s.Push(t.Context(), batchOf(many...))
		if err != nil {
			t.Fatal(name, err)
		}
		if got, want := rejected(receipt), "k01 k03 k07 k08 k12 "+strings.Repeat("k", 4096)+" unknown"; got != want {
			t.Errorf("%s: rejected are %s, want %s", name, got, want)
		}
		for _, r := range receipt.Rejected {
			if r.Err == nil || r.Line == 0 || r.Origin != "test" {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if _, err := s.Sync(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if got := strings.Count(enumerated(t, s, gapless.Partition{Collection: "r"}), "="); got != 25 {
			t.Errorf("%s: %d documents", name, got)
		}
		if doc, _ := server.Document("c", "r/k02"); doc.Stamp != "2" {
			t.Errorf("%s: %+v", name, doc)
		}
	}
}

// TestPartsOfTheSourceThatFail: only what is wrong with the record rejects it.
func TestPartsOfTheSourceThatFail(t *testing.T) {
	t.Parallel()
	away := gapless.Because(gapless.CauseUnreachable, errors.New("share is away"))
	part := gapless.Part{Name: "m", Size: -1, Open: func(context.Context) (io.ReadCloser, error) { return nil, away }}
	for name, server := range servers() {
		s := openSession(t, server, 1)
		receipt, err := s.Push(t.Context(), batchOf(upsert("a", "1", `{}`, part)))
		if !errors.Is(err, away) || gapless.KindOf(err) != gapless.KindRecoverable || len(receipt.Rejected) > 0 {
			t.Errorf("%s: %+v, %v", name, receipt, err)
		}
	}
}

// TestServerThatRefusesEverything is not a thousand bad records.
func TestServerThatRefusesEverything(t *testing.T) {
	t.Parallel()
	for name, server := range servers() {
		s := openSession(t, server, 1)
		server.Fail(Fault{Command: CommandAdd, Times: -1, Err: &Error{Type: TypeInvalidParameter, Status: 400, Message: "no licence"}})
		var many []gapless.Change
		for i := range 1000 {
			many = append(many, upsert(fmt.Sprint(i), "1", `{}`))
		}
		if receipt, err := s.Push(t.Context(), batchOf(many...)); err == nil || !strings.Contains(err.Error(), "no licence") {
			t.Errorf("%s: %d rejected, %v", name, len(receipt.Rejected), err)
		}
		if n := len(server.Calls()); n > 200 {
			t.Errorf("%s: %d calls", name, n)
		}
	}
}

func TestFencing(t *testing.T) {
	t.Parallel()
	for name, server := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			reader := openSession(t, server, 0)
			old := openSession(t, server, 3)
			same := openSession(t, server, 3)
			if _, err := same.Push(ctx, batchOf(upsert("a", "1", `{}`))); err != nil {
				t.Error(err)
			}
			young := openSession(t, server, 4)
			before := len(server.Calls())
			_, push := old.Push(ctx, batchOf(upsert("b", "1", `{}`)))
			_, remove := openAnyway(t, server, 3).Push(ctx, batchOf(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: "a"}}))
			_, sync := same.Sync(ctx, []gapless.Checkpoint{{Partition: "r", Run: "old"}})
			_, nothing := openAnyway(t, server, 3).Sync(ctx, nil)
			_, status := same.Status(ctx)
			enumerate := openAnyway(t, server, 3).Enumerate(ctx, gapless.Partition{Collection: "r"}, func(_, _ []byte) error { return nil })
			_, open := destinationOf(server).Open(ctx, "c", 3)
			_, read := reader.Push(ctx, batchOf(upsert("b", "1", `{}`)))
			_, readSync := reader.Sync(ctx, nil)
			for what, err := range map[string]error{
				"push": push, "delete": remove, "sync": sync, "sync nothing": nothing, "status": status, "enumerate": enumerate, "open": open, "read": read, "read sync": readSync,
			} {
				if !errors.Is(err, gapless.ErrFenced) {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, call := range server.Calls()[before:] {
				if !call.Command.Reads() && call.Err == nil {
					t.Errorf("%s %v of a fenced session was accepted", call.Command, call.Args)
				}
			}
			if _, err := young.Push(ctx, batchOf(upsert("c", "1", `{}`))); err != nil {
				t.Error(err)
			}
			if _, err := reader.Status(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// openAnyway is a session whose runner does not know yet that it is fenced.
func openAnyway(t *testing.T, server *FakeServer, epoch uint64) *session {
	t.Helper()
	s := &session{api: server.Connect("c"), epoch: epoch, pushed: true}
	if list, _ := s.api.(Committer).Capabilities(t.Context()); len(list) > 0 {
		s.committer = s.api.(Committer)
	}
	return s
}

// TestFenceIsRestored: an old runner that wrote its epoch at the wrong moment
// is fenced by the next word of the new one.
func TestFenceIsRestored(t *testing.T) {
	t.Parallel()
	server, ctx := NewFakeServer(), t.Context()
	old, young := openSession(t, server, 3), openSession(t, server, 4)
	if _, err := server.Connect("c").SetCheckpoint(ctx, "3", CheckpointOptions{Name: epochName, Sync: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := young.Push(ctx, batchOf(upsert("a", "1", `{}`))); err != nil {
		t.Error(err)
	}
	if _, err := old.Push(ctx, batchOf(upsert("a", "1", `{}`))); !errors.Is(err, gapless.ErrFenced) {
		t.Error(err)
	}
	if _, err := server.Connect("c").SetCheckpoint(ctx, "soon", CheckpointOptions{Name: epochName, Sync: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := destinationOf(server).Open(ctx, "c", 9); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Error(err)
	}
}

func TestIncarnation(t *testing.T) {
	t.Parallel()
	for name, server := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := openSession(t, server, 1)
			before, err := s.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Push(ctx, batchOf(upsert("a", "1", `{}`))); err != nil {
				t.Fatal(err)
			}
			server.Crash()
			for range 2 {
				if _, err := s.Sync(ctx, []gapless.Checkpoint{{Partition: "r", Position: "p"}}); !errors.Is(err, gapless.ErrIncarnation) {
					t.Error(err)
				}
				if _, err := s.Push(ctx, batchOf(upsert("b", "1", `{}`))); !errors.Is(err, gapless.ErrIncarnation) {
					t.Error(err)
				}
			}
			after, err := openSession(t, server, 1).Status(ctx)
			if err != nil || after.Incarnation == before.Incarnation || after.Holds {
				t.Errorf("%+v, then %+v, %v", before, after, err)
			}
		})
	}
}

func TestFailuresAreClassified(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		kind  gapless.Kind
		cause gapless.Cause
	}{
		{&Error{Type: TypeUnavailable}, gapless.KindRecoverable, gapless.CauseUnreachable},
		{&Error{Type: TypeUnauthorized, Status: 401}, gapless.KindRecoverable, gapless.CauseAuthentication},
		{&Error{Type: TypeUnauthorized, Status: 403}, gapless.KindRecoverable, gapless.CauseForbidden},
		{&Error{Type: TypeInvalidConnectorName, Status: 400}, gapless.KindMisconfigured, 0},
		{&Error{Type: TypeInvalidParameter, Status: 400}, gapless.KindRecoverable, gapless.CauseInvalidParameter},
		{&Error{Type: TypeUnknown, Status: 500}, gapless.KindRecoverable, 0},
		{&Error{Type: TypeUnknown}, gapless.KindRecoverable, gapless.CauseUnreadable},
		{errors.New("unheard of"), gapless.KindUnrecoverable, 0},
	} {
		err := classify(test.err)
		f, _ := errors.AsType[*gapless.Failure](err)
		if gapless.KindOf(err) != test.kind || f != nil && f.Cause != test.cause || !errors.Is(err, test.err) {
			t.Errorf("%+v: %v %+v", test.err, gapless.KindOf(err), f)
		}
	}
}

func TestSourceReadsBack(t *testing.T) {
	t.Parallel()
	server, ctx := NewFakeServer(), t.Context()
	api := server.Connect("wiki")
	docs := []Document{{URI: "a", Stamp: "1"}, {URI: "b/c", Stamp: "two\nlines \"x\""}, {URI: "b/d"}}
	if err := errors.Join(api.AddDocumentList(ctx, docs), api.Sync(ctx)); err != nil {
		t.Fatal(err)
	}
	read := func(path string) (string, error) {
		s := &source{api: api, collection: "document", path: path}
		d, err := s.Describe(ctx)
		if err != nil || d.Model != gapless.ModelFull || d.Collections[0] != "document" {
			t.Errorf("%+v, %v", d, err)
		}
		p := gapless.Partition{ID: "document", Collection: "document"}
		var lines []string
		out := gapless.NewOutput(ctx, p, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
			for i := range b.Len() {
				lines = append(lines, fmt.Sprintf("%s|%s|%s", b.Key(i), b.Version(i), b.Data(i)))
			}
			return b, nil
		})
		err = s.ReadAll(ctx, p, "", out)
		if err == nil {
			err = out.Flush()
		}
		return strings.Join(lines, "; "), err
	}
	all := `b/d||{"uri":"b/d","stamp":""}; ` + "b/c|two\nlines \"x\"|" + `{"uri":"b/c","stamp":"two\u000alines \"x\""}; a|1|{"uri":"a","stamp":"1"}`
	if got, err := read(""); got != all || err != nil {
		t.Errorf("%s, %v\nwant %s", got, err, all)
	}
	if got, err := read("b"); !strings.HasPrefix(got, "b/d|") || strings.Count(got, ";") != 1 || err != nil {
		t.Error(got, err)
	}
	s := &source{api: api, collection: "document"}
	if n, bytes, err := s.Estimate(ctx, gapless.Partition{}); n != 3 || bytes != -1 || err != nil {
		t.Error(n, bytes, err)
	}
	if err := s.ReadAll(ctx, gapless.Partition{}, "mark", nil); gapless.KindOf(err) != gapless.KindExpired {
		t.Error(err)
	}
	server.Fail(Fault{Command: CommandEnumerate, Torn: 1})
	if _, err := read(""); gapless.KindOf(err) != gapless.KindRecoverable || !errors.Is(err, ErrServerUnavailable) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
