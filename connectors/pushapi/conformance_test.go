package pushapi_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// world is one implementation of the Push API to be tested.
type world struct {
	// connect returns a client of the same server for a connector.
	connect func(t *testing.T, connector string) pushapi.PushAPI
	// restart ends the server and starts it again with what was synced.
	restart func(t *testing.T)
	// legacy clients cannot ask what is pushed but not synced, and do not get
	// back every stamp.
	legacy bool
	// late clients take documents and find out later what the server thinks of
	// them, so that refusals come with other calls; what they read is as fresh
	// as ever.
	late bool
}

// conform holds implementations to the contract of [pushapi.PushAPI].
func conform(t *testing.T, build func(t *testing.T) world) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, w world){
		"documents":    testDocuments,
		"updates":      testUpdates,
		"deletes":      testDeletes,
		"enumeration":  testEnumeration,
		"odd names":    testOddNames,
		"checkpoints":  testCheckpoints,
		"order":        testOrder,
		"sessions":     testSessions,
		"restart":      testRestart,
		"searchable":   testSearchable,
		"isolation":    testIsolation,
		"snapshot":     testSnapshot,
		"concurrency":  testConcurrency,
		"long lists":   testLongLists,
		"refusals":     testRefusals,
		"cancellation": testCancellation,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := build(t)
			if w.late && slices.Contains([]string{"updates", "restart", "refusals", "cancellation"}, name) {
				return
			}
			test(t, w)
		})
	}
}

func TestMain(m *testing.M) {
	// bleve's analysis workers live as long as the program.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

func TestFakeConforms(t *testing.T) {
	t.Parallel()
	conform(t, func(*testing.T) world {
		server := pushapi.NewFakeServer()
		return world{
			connect: func(_ *testing.T, connector string) pushapi.PushAPI { return server.Connect(connector) },
			restart: func(*testing.T) { server.Crash() },
		}
	})
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func collect[T any](t *testing.T, sequence iter.Seq2[T, error]) []T {
	t.Helper()
	var list []T
	for value, err := range sequence {
		must(t, err)
		list = append(list, value)
	}
	return list
}

func entries(t *testing.T, api pushapi.PushAPI, root string, mode pushapi.EnumerationMode) []pushapi.SyncedEntry {
	t.Helper()
	list := collect(t, api.EnumerateSyncedEntries(t.Context(), root, mode))
	n, err := api.CountSyncedEntries(t.Context(), root, mode)
	if err != nil || int(n) != len(list) {
		t.Errorf("%d entries, counted %d, %v", len(list), n, err)
	}
	slices.SortFunc(list, func(a, b pushapi.SyncedEntry) int { return strings.Compare(a.URI, b.URI) })
	return list
}

func uris(t *testing.T, api pushapi.PushAPI, root string, mode pushapi.EnumerationMode) string {
	t.Helper()
	var list []string
	for _, entry := range entries(t, api, root, mode) {
		if entry.Folder {
			entry.URI = "[" + entry.URI + "]"
		}
		list = append(list, entry.URI)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func documents(uris ...string) []pushapi.Document {
	var docs []pushapi.Document
	for _, uri := range uris {
		docs = append(docs, pushapi.Document{URI: uri, Stamp: "1", Metas: []pushapi.Meta{{Name: "title", Value: uri}}})
	}
	return docs
}

func testDocuments(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.Ping(ctx))
	doc := pushapi.Document{URI: "space/home", Stamp: "1"}
	doc.AddMeta("tag", "a", "b")
	doc.Parts = []pushapi.Part{
		pushapi.NewPart("", []byte("<p>"), pushapi.Directive{Name: pushapi.DirectiveMimeHint, Value: "text/html"}),
		pushapi.ReaderPart("second", strings.NewReader("bytes"), -1),
	}
	must(t, api.AddDocument(ctx, doc), api.AddDocumentList(ctx, nil))
	status, err := api.DocumentStatus(ctx, "space/home")
	if want := (pushapi.Status{URI: "space/home", Stamp: "1", Exists: true}); err != nil || status != want {
		t.Errorf("%+v, %v", status, err)
	}
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "" {
		t.Errorf("pushed documents are enumerated: %s", got)
	}
	must(t, api.Sync(ctx))
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "space/home" {
		t.Error(got)
	}
	// The last of two documents of one URI counts, in a list as in time.
	must(t, api.AddDocumentList(ctx, []pushapi.Document{{URI: "b", Stamp: "1"}, {URI: "space/home", Stamp: "2"}, {URI: "b", Stamp: "3"}, {URI: "c"}}))
	list, err := api.DocumentStatusList(ctx, []string{"c", "none", "b", "space/home"})
	want := []pushapi.Status{{URI: "c", Exists: true}, {URI: "none"}, {URI: "b", Stamp: "3", Exists: true}, {URI: "space/home", Stamp: "2", Exists: true}}
	if diff := cmp.Diff(want, list); diff != "" || err != nil {
		t.Error(err, diff)
	}
	must(t, api.Close(ctx))
}

func testUpdates(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.AddDocumentList(ctx, documents("a", "b")))
	must(t, api.UpdateDocument(ctx, pushapi.Document{URI: "a", Metas: []pushapi.Meta{{Name: "x", Value: "y"}}}, pushapi.UpdateOptions{Fields: []string{"x"}}))
	must(t, api.UpdateDocumentList(ctx, []pushapi.Document{{URI: "b", Stamp: "2"}}, pushapi.UpdateOptions{}))
	list, err := api.DocumentStatusList(ctx, []string{"a", "b"})
	if err != nil || list[0].Stamp != "1" || list[1].Stamp != "2" {
		t.Errorf("%+v, %v", list, err)
	}
	err = api.UpdateDocumentList(ctx, []pushapi.Document{{URI: "a", Stamp: "9"}, {URI: "none", Stamp: "9"}}, pushapi.UpdateOptions{})
	if e, ok := errors.AsType[*pushapi.Error](err); !ok || !errors.Is(err, pushapi.ErrUnknownDocument) || !strings.Contains(err.Error(), "none") {
		t.Errorf("%+v", e)
	}
	if list, err := api.DocumentStatusList(ctx, []string{"a", "none"}); err != nil || list[0].Stamp != "1" || list[1].Exists {
		t.Errorf("a refused list was applied in part: %+v, %v", list, err)
	}
}

func testDeletes(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	fill := func() {
		must(t, api.DeleteDocumentsRootPath(ctx, "", true))
		must(t, api.AddDocumentList(ctx, documents("a", "a/1", "a/2", "a/b/3", "a/b/c/4", "ab/5", "x:master", "x:masterpart")), api.Sync(ctx))
	}
	for _, test := range []struct {
		name string
		do   func() error
		left string
	}{
		{"one", func() error { return api.DeleteDocument(ctx, "a/1") }, "a a/2 a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"none", func() error { return api.DeleteDocument(ctx, "none") }, "a a/1 a/2 a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"list", func() error { return api.DeleteDocumentList(ctx, []string{"a/1", "none", "a/2", "a/1"}) }, "a a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"no list", func() error { return api.DeleteDocumentList(ctx, nil) }, "a a/1 a/2 a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"folder", func() error { return api.DeleteDocumentsRootPath(ctx, "a", false) }, "a a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"folder with slash", func() error { return api.DeleteDocumentsRootPath(ctx, "a/b/", false) }, "a a/1 a/2 a/b/c/4 ab/5 x:master x:masterpart"},
		{"below folder", func() error { return api.DeleteDocumentsRootPath(ctx, "a", true) }, "a ab/5 x:master x:masterpart"},
		{"no folder", func() error { return api.DeleteDocumentsRootPath(ctx, "none", true) }, "a a/1 a/2 a/b/3 a/b/c/4 ab/5 x:master x:masterpart"},
		{"top", func() error { return api.DeleteDocumentsRootPath(ctx, "", false) }, "a/1 a/2 a/b/3 a/b/c/4 ab/5"},
		{"everything", func() error { return api.DeleteDocumentsRootPath(ctx, "", true) }, ""},
		{"prefix", func() error { return api.DeleteDocumentsWithPrefix(ctx, "x:master") }, "a a/1 a/2 a/b/3 a/b/c/4 ab/5"},
		{"prefix of a folder", func() error { return api.DeleteDocumentsWithPrefix(ctx, "a") }, "x:master x:masterpart"},
	} {
		fill()
		must(t, test.do(), api.Sync(ctx))
		if got := uris(t, api, "", pushapi.RecursiveDocuments); got != test.left {
			t.Errorf("%s: left are %s, want %s", test.name, got, test.left)
		}
	}
	// A delete is pushed, then synced.
	fill()
	must(t, api.DeleteDocument(ctx, "a"))
	if status, err := api.DocumentStatus(ctx, "a"); err != nil || status.Exists {
		t.Errorf("%+v, %v", status, err)
	}
	if got := uris(t, api, "", pushapi.NotRecursiveDocuments); !strings.HasPrefix(got, "a ") {
		t.Errorf("a pushed delete is synced already: %s", got)
	}
}

func testEnumeration(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.AddDocumentList(ctx, documents("a", "a!", "a/1", "a/b/3", "a/b/c/4", "a/d/5", "ab/6", "z")), api.Sync(ctx))
	for _, test := range []struct {
		root string
		mode pushapi.EnumerationMode
		want string
	}{
		{"", pushapi.RecursiveDocuments, "a a! a/1 a/b/3 a/b/c/4 a/d/5 ab/6 z"},
		{"", pushapi.NotRecursiveDocuments, "a a! z"},
		{"", pushapi.NotRecursiveFolders, "[a] [ab]"},
		{"", pushapi.NotRecursiveAll, "[a] [ab] a a! z"},
		{"a", pushapi.RecursiveDocuments, "a/1 a/b/3 a/b/c/4 a/d/5"},
		{"a/", pushapi.RecursiveDocuments, "a/1 a/b/3 a/b/c/4 a/d/5"},
		{"a", pushapi.NotRecursiveDocuments, "a/1"},
		{"a/", pushapi.NotRecursiveFolders, "[a/b] [a/d]"},
		{"a", pushapi.NotRecursiveAll, "[a/b] [a/d] a/1"},
		{"a/b", pushapi.NotRecursiveAll, "[a/b/c] a/b/3"},
		{"a/1", pushapi.NotRecursiveAll, ""},
		{"none", pushapi.RecursiveDocuments, ""},
	} {
		if got := uris(t, api, test.root, test.mode); got != test.want {
			t.Errorf("%q %s: %s, want %s", test.root, test.mode, got, test.want)
		}
	}
	for _, err := range api.EnumerateSyncedEntries(ctx, "", pushapi.RecursiveDocuments) {
		must(t, err)
		break // the client copes with a caller that has seen enough
	}
	must(t, api.Ping(ctx))
}

func testOddNames(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	names := []string{
		"with space", "plus+plus", "100%", "a&b=c;d", "q?x#y", "äöü/日本", "back\\slash", "\"quoted\"", "two\nlines", " lead", "trail ", "http://host:80/p?q=1&r=%20#f",
		"tab\there", strings.Repeat("l", 4096),
	}
	var docs []pushapi.Document
	for i, name := range names {
		doc := pushapi.Document{URI: name, Stamp: fmt.Sprintf("stamp %d of %s", i, names[i%8])}
		doc.AddMeta(strings.NewReplacer("\n", "", "\t", "").Replace(name[:min(len(name), 100)]), name)
		docs = append(docs, doc)
	}
	if !w.legacy {
		docs[0].Stamp, docs[1].Stamp = "two\nlines\r", `back\nslash\\ `
	}
	must(t, api.AddDocumentList(ctx, docs), api.Sync(ctx))
	list, err := api.DocumentStatusList(ctx, names)
	must(t, err)
	found := map[string]string{}
	for _, entry := range entries(t, api, "", pushapi.RecursiveDocuments) {
		found[entry.URI] = entry.Stamp
	}
	for i, doc := range docs {
		if stamp, ok := found[doc.URI]; !ok || stamp != doc.Stamp {
			t.Errorf("%q: stamp %q, %t; want %q", doc.URI, stamp, ok, doc.Stamp)
		}
		if want := (pushapi.Status{URI: doc.URI, Stamp: doc.Stamp, Exists: true}); list[i] != want {
			t.Errorf("%+v, want %+v", list[i], want)
		}
	}
	must(t, api.DeleteDocumentList(ctx, names), api.Sync(ctx))
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "" {
		t.Errorf("left are %q", got)
	}
}

func testCheckpoints(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	get := func(name string, pushed bool) string {
		t.Helper()
		value, set, err := api.GetCheckpoint(ctx, pushapi.CheckpointQuery{Name: name, Pushed: pushed})
		must(t, err)
		if !set {
			return "not set"
		}
		return "=" + value
	}
	if got := get("", false) + get("none", false); got != "not setnot set" {
		t.Error(got)
	}
	_, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{Name: "pages"})
	must(t, err)
	if got := get("pages", false); got != "not set" {
		t.Errorf("a pushed checkpoint is synced: %s", got)
	}
	if !w.legacy {
		if got := get("pages", true); got != "=1" {
			t.Error(got)
		}
		if list := collect(t, api.EnumerateCheckpointsInfo(ctx, pushapi.CheckpointQuery{Pushed: true})); len(list) != 1 {
			t.Error(list)
		}
	}
	if list := collect(t, api.EnumerateCheckpointsInfo(ctx, pushapi.CheckpointQuery{})); len(list) != 0 {
		t.Error(list)
	}
	values := []string{"", "with space", "100%+&=", "äö", "=x", strings.Repeat("v", 5000)}
	if !w.legacy {
		values = append(values, "two\nlines\r\n", `back\nslash\`)
	}
	for i, value := range values {
		_, err := api.SetCheckpoint(ctx, value, pushapi.CheckpointOptions{Name: fmt.Sprintf("name %d/+ü", i)})
		must(t, err)
	}
	_, err = api.SetCheckpoint(ctx, "default", pushapi.CheckpointOptions{Sync: true})
	must(t, err)
	want := map[string]string{"pages": "1", "": "default"}
	for i, value := range values {
		want[fmt.Sprintf("name %d/+ü", i)] = value
		if got := get(fmt.Sprintf("name %d/+ü", i), false); got != "="+value {
			t.Errorf("%q, want %q", got, value)
		}
	}
	got := map[string]string{}
	for _, c := range collect(t, api.EnumerateCheckpointsInfo(ctx, pushapi.CheckpointQuery{})) {
		got[c.Name] = c.Value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	must(t, api.AddDocument(ctx, documents("a")[0]), api.ClearAllCheckpoints(ctx))
	if got := get("pages", false); got != "=1" {
		t.Errorf("clearing is synced already: %s", got)
	}
	must(t, api.Sync(ctx))
	if got := get("pages", false) + uris(t, api, "", pushapi.RecursiveDocuments); got != "not seta" {
		t.Error(got)
	}
}

// testOrder: a saved checkpoint means that all before it is saved.
func testOrder(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.AddDocumentList(ctx, documents("a", "b")), api.DeleteDocument(ctx, "a"))
	first, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{})
	must(t, err)
	must(t, api.AddDocument(ctx, documents("c")[0]))
	second, err := api.SetCheckpoint(ctx, "2", pushapi.CheckpointOptions{Name: "other", Sync: true})
	must(t, err)
	if first == 0 || second <= first {
		t.Errorf("serials %d and %d", first, second)
	}
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "b c" {
		t.Error(got)
	}
	if value, set, err := api.GetCheckpoint(ctx, pushapi.CheckpointQuery{}); err != nil || !set || value != "1" {
		t.Errorf("%q %t %v", value, set, err)
	}
}

func testSessions(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	if err := api.StopPushSession(ctx); !errors.Is(err, pushapi.ErrSessionNotFound) {
		t.Error(err)
	}
	id, err := api.StartPushSession(ctx)
	if err != nil || id == "" {
		t.Fatalf("%q, %v", id, err)
	}
	if _, err := api.StartPushSession(ctx); !errors.Is(err, pushapi.ErrSessionExists) {
		t.Error(err)
	}
	other := w.connect(t, "wiki")
	if again, err := other.StartPushSession(ctx); err != nil || again != id {
		t.Errorf("%q and %q, %v", id, again, err)
	}
	must(t, api.AddDocument(ctx, documents("a")[0]), other.Sync(ctx), api.StopPushSession(ctx), api.Ping(ctx))
	if again, err := api.StartPushSession(ctx); err != nil || again != id {
		t.Errorf("%q and %q, %v", id, again, err)
	}
}

// everyCommand calls each method that sends something, once.
func everyCommand(ctx context.Context, api pushapi.PushAPI, legacy bool) map[string]error {
	doc := documents("x")[0]
	errs := map[string]error{
		"add": api.AddDocument(ctx, doc), "add list": api.AddDocumentList(ctx, []pushapi.Document{doc}),
		"update": api.UpdateDocument(ctx, doc, pushapi.UpdateOptions{}), "update list": api.UpdateDocumentList(ctx, []pushapi.Document{doc}, pushapi.UpdateOptions{}),
		"delete": api.DeleteDocument(ctx, "y"), "delete list": api.DeleteDocumentList(ctx, []string{"y"}),
		"delete path": api.DeleteDocumentsRootPath(ctx, "y", true), "delete prefix": api.DeleteDocumentsWithPrefix(ctx, "y"),
		"clear": api.ClearAllCheckpoints(ctx), "sync": api.Sync(ctx), "trigger": api.TriggerIndexingJob(ctx),
	}
	_, errs["status"] = api.DocumentStatus(ctx, "x")
	_, errs["status list"] = api.DocumentStatusList(ctx, []string{"x"})
	_, errs["set checkpoint"] = api.SetCheckpoint(ctx, "v", pushapi.CheckpointOptions{Sync: true})
	_, _, errs["get checkpoint"] = api.GetCheckpoint(ctx, pushapi.CheckpointQuery{})
	_, errs["count"] = api.CountSyncedEntries(ctx, "", pushapi.RecursiveDocuments)
	_, errs["searchable"] = api.AreDocumentsSearchable(ctx, 0)
	for _, err := range api.EnumerateCheckpointsInfo(ctx, pushapi.CheckpointQuery{}) {
		errs["checkpoints"] = err
	}
	for _, err := range api.EnumerateSyncedEntries(ctx, "", pushapi.RecursiveDocuments) {
		errs["entries"] = err
	}
	if !legacy {
		_, _, errs["checkpoint info"] = api.GetCheckpoint(ctx, pushapi.CheckpointQuery{Pushed: true})
		for _, err := range api.EnumerateCheckpointsInfo(ctx, pushapi.CheckpointQuery{Pushed: true}) {
			errs["stated checkpoints"] = err
		}
	}
	return errs
}

// testRestart: a client with a session learns from every command that the
// server may have lost data; what was synced is there.
func testRestart(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	before, err := api.StartPushSession(ctx)
	must(t, err)
	must(t, api.AddDocument(ctx, documents("synced")[0]))
	serial, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{Sync: true})
	must(t, err)
	must(t, api.AddDocument(ctx, documents("perhaps")[0]))
	_, err = api.SetCheckpoint(ctx, "2", pushapi.CheckpointOptions{})
	must(t, err)
	w.restart(t)
	for name, err := range everyCommand(ctx, api, w.legacy) {
		if !errors.Is(err, pushapi.ErrSessionMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, api.StopPushSession(ctx))
	after, err := api.StartPushSession(ctx)
	if err != nil || after == before {
		t.Errorf("session %s, then %s, %v", before, after, err)
	}
	for name, err := range everyCommand(ctx, api, w.legacy) {
		if err != nil && name != "searchable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, err := api.DocumentStatus(ctx, "synced"); err != nil || !status.Exists {
		t.Errorf("%+v, %v", status, err)
	}
	if next, err := api.SetCheckpoint(ctx, "3", pushapi.CheckpointOptions{}); err != nil || next <= serial {
		t.Errorf("serial %d after %d, %v", next, serial, err)
	}
}

func testSearchable(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.AddDocument(ctx, documents("a")[0]))
	serial, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{})
	must(t, err)
	if answer, err := api.AreDocumentsSearchable(ctx, serial); err != nil || answer != pushapi.SearchableNo {
		t.Errorf("pushed is searchable: %s, %v", answer, err)
	}
	must(t, api.Sync(ctx), api.TriggerIndexingJob(ctx))
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for answer := pushapi.SearchableNo; answer != pushapi.SearchableYes; <-tick.C {
		if answer, err = api.AreDocumentsSearchable(ctx, serial); err != nil {
			t.Fatal(answer, err)
		}
	}
	if answer, err := api.AreDocumentsSearchable(ctx, 1<<63); answer != pushapi.SearchableUnknown || !errors.Is(err, pushapi.ErrUnknownSerial) {
		t.Error(answer, err)
	}
}

func testIsolation(t *testing.T, w world) {
	one, two, ctx := w.connect(t, "one"), w.connect(t, "two"), t.Context()
	if one.SourceName() != "one" {
		t.Error(one.SourceName())
	}
	must(t, one.AddDocumentList(ctx, documents("a", "b")), two.AddDocumentList(ctx, documents("a", "c")))
	for _, api := range []pushapi.PushAPI{one, two} {
		_, err := api.SetCheckpoint(ctx, api.SourceName(), pushapi.CheckpointOptions{Sync: true})
		must(t, err)
	}
	must(t, one.DeleteDocumentsRootPath(ctx, "", true), one.ClearAllCheckpoints(ctx), one.Sync(ctx))
	value, _, err := two.GetCheckpoint(ctx, pushapi.CheckpointQuery{})
	must(t, err)
	if got := uris(t, one, "", pushapi.RecursiveDocuments) + "|" + uris(t, two, "", pushapi.RecursiveDocuments) + "|" + value; got != "|a c|two" {
		t.Error(got)
	}
}

// testSnapshot: what happens during an enumeration does not disturb it.
func testSnapshot(t *testing.T, w world) {
	api, other, ctx := w.connect(t, "wiki"), w.connect(t, "wiki"), t.Context()
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("n", 100), i))
	}
	must(t, api.AddDocumentList(ctx, documents(names...)), api.Sync(ctx))
	var got []string
	for entry, err := range api.EnumerateSyncedEntries(ctx, "", pushapi.RecursiveDocuments) {
		must(t, err)
		if got = append(got, entry.URI); len(got) == 1 {
			must(t, other.DeleteDocumentsRootPath(ctx, "", true), other.AddDocumentList(ctx, documents("zz")), other.Sync(ctx))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("%d entries", len(got))
	}
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "zz" {
		t.Error(got)
	}
}

func testConcurrency(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	_, err := api.StartPushSession(ctx)
	must(t, err)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 10 {
				doc := documents(fmt.Sprintf("w%d/%d", worker, i))[0]
				doc.Parts = []pushapi.Part{pushapi.NewPart("", make([]byte, 1000))}
				if err := api.AddDocument(ctx, doc); err != nil {
					t.Error(err)
				}
				if _, err := api.SetCheckpoint(ctx, fmt.Sprint(i), pushapi.CheckpointOptions{Name: fmt.Sprint(worker), Sync: i%3 == 0}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	must(t, api.Sync(ctx))
	if n, err := api.CountSyncedEntries(ctx, "", pushapi.RecursiveDocuments); err != nil || n != 80 {
		t.Error(n, err)
	}
}

func testLongLists(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	var names []string
	for i := range 2500 {
		names = append(names, fmt.Sprintf("folder %d/document %d", i%7, i))
	}
	must(t, api.AddDocumentList(ctx, documents(names...)), api.Sync(ctx))
	list, err := api.DocumentStatusList(ctx, names)
	if err != nil || len(list) != len(names) || slices.ContainsFunc(list, func(s pushapi.Status) bool { return !s.Exists || s.Stamp != "1" }) {
		t.Errorf("%d statuses, %v", len(list), err)
	}
	must(t, api.DeleteDocumentList(ctx, names[:2400]), api.Sync(ctx))
	if n, err := api.CountSyncedEntries(ctx, "", pushapi.RecursiveDocuments); err != nil || n != 100 {
		t.Error(n, err)
	}
}

// testRefusals: whatever is refused has no effect.
func testRefusals(t *testing.T, w world) {
	api, ctx := w.connect(t, "wiki"), t.Context()
	must(t, api.AddDocument(ctx, documents("keep")[0]))
	broken := documents("broken")[0]
	broken.Parts = []pushapi.Part{{Name: "p", Size: 3, Open: pushapi.NewPart("", []byte("four")).Open}}
	for name, err := range map[string]error{
		"no URI":        api.AddDocumentList(ctx, append(documents("one"), pushapi.Document{})),
		"broken part":   api.AddDocumentList(ctx, append(documents("one"), broken)),
		"no name":       api.AddDocumentList(ctx, []pushapi.Document{{URI: "one", Metas: []pushapi.Meta{{Value: "v"}}}}),
		"empty prefix":  api.DeleteDocumentsWithPrefix(ctx, ""),
		"no URI delete": api.DeleteDocumentList(ctx, []string{"keep", ""}),
	} {
		if _, ok := errors.AsType[*pushapi.Error](err); !ok || !errors.Is(err, pushapi.ErrInvalidParameter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, api.Sync(ctx))
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "keep" {
		t.Error(got)
	}
}

func testCancellation(t *testing.T, w world) {
	api := w.connect(t, "wiki")
	must(t, api.Ping(t.Context()))
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for name, err := range everyCommand(ctx, api, w.legacy) {
		if !errors.Is(err, stop) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
