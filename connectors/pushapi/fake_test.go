package pushapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

func TestFakeCrash(t *testing.T) {
	t.Parallel()
	api, ctx := pushapi.Factory{}.NewFake("wiki"), t.Context()
	server := api.Server()
	must(t, api.AddDocument(ctx, documents("a")[0]), api.Sync(ctx), api.AddDocument(ctx, documents("b")[0]), api.DeleteDocument(ctx, "a"))
	lost, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{})
	must(t, err)
	server.Crash()
	list, err := api.DocumentStatusList(ctx, []string{"a", "b"})
	if err != nil || !list[0].Exists || list[1].Exists {
		t.Errorf("%+v, %v", list, err)
	}
	if _, set, err := api.GetCheckpoint(ctx, pushapi.CheckpointQuery{Pushed: true}); set || err != nil {
		t.Error(set, err)
	}
	must(t, api.AddDocument(ctx, documents("c")[0]), api.Sync(ctx), api.TriggerIndexingJob(ctx))
	if answer, err := api.AreDocumentsSearchable(ctx, lost); answer != pushapi.SearchableUnknown || !errors.Is(err, pushapi.ErrUnknownSerial) {
		t.Errorf("what a crash took is searchable: %s, %v", answer, err)
	}
}

func TestFakeClock(t *testing.T) {
	t.Parallel()
	api, ctx := pushapi.Factory{}.NewFake("wiki"), t.Context()
	server := api.Server()
	server.SetIndexDelay(time.Minute)
	server.SetSyncEvery(time.Hour)
	must(t, api.AddDocument(ctx, documents("a")[0]))
	serial, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{})
	must(t, err)
	searchable := func() pushapi.Searchable {
		t.Helper()
		answer, err := api.AreDocumentsSearchable(ctx, serial)
		must(t, err)
		return answer
	}
	must(t, api.TriggerIndexingJob(ctx)) // nothing is synced yet
	server.Advance(59 * time.Minute)
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "" || searchable() != pushapi.SearchableNo {
		t.Error(got)
	}
	server.Advance(time.Minute)
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "a" || searchable() != pushapi.SearchableNo {
		t.Error(got)
	}
	must(t, api.TriggerIndexingJob(ctx))
	server.Advance(59 * time.Second)
	if got := searchable(); got != pushapi.SearchableNo {
		t.Error(got)
	}
	server.Advance(time.Second)
	if got := searchable(); got != pushapi.SearchableYes {
		t.Error(got)
	}
}

func TestFakeFaults(t *testing.T) {
	t.Parallel()
	server := pushapi.NewFakeServer("wiki")
	api, ctx := server.Connect("wiki"), t.Context()
	server.Fail(pushapi.Fault{Command: pushapi.CommandAdd, Skip: 1, Times: 2})
	for i, want := range []bool{true, false, false, true} {
		if err := api.AddDocument(ctx, documents("a")[0]); (err == nil) != want || err != nil && !errors.Is(err, pushapi.ErrServerUnavailable) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	full := errors.New("disk full")
	server.Fail(pushapi.Fault{Command: pushapi.CommandAdd, Lost: true, Err: full})
	if err := api.AddDocument(ctx, documents("b")[0]); !errors.Is(err, full) {
		t.Error(err)
	}
	if _, there := server.Document("wiki", "b"); !there {
		t.Error("a call whose reply was lost was not carried out")
	}
	must(t, api.Sync(ctx))
	server.Fail(pushapi.Fault{Command: pushapi.CommandEnumerate, Torn: 1})
	var seen []string
	var last error
	for entry, err := range api.EnumerateSyncedEntries(ctx, "", pushapi.RecursiveDocuments) {
		if err == nil {
			seen = append(seen, entry.URI)
		}
		last = err
	}
	if !cmp.Equal(seen, []string{"b"}) || !errors.Is(last, pushapi.ErrServerUnavailable) {
		t.Error(seen, last)
	}
	hold := make(chan struct{})
	server.Fail(pushapi.Fault{Command: pushapi.CommandSync, Wait: hold, Times: 2})
	slow, cancel := context.WithCancel(ctx)
	cancel()
	if err := api.Sync(slow); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(hold)
	must(t, api.Sync(ctx))
	server.Fail(pushapi.Fault{Times: -1})
	for range 3 {
		if err := api.Ping(ctx); !errors.Is(err, pushapi.ErrServerUnavailable) {
			t.Error(err)
		}
	}
	server.Heal()
	must(t, api.Ping(ctx))
	if err := server.Connect("other").Ping(ctx); !errors.Is(err, pushapi.ErrInvalidConnector) {
		t.Error(err)
	}
}

func TestFakeCalls(t *testing.T) {
	t.Parallel()
	api, ctx := pushapi.Factory{Server: pushapi.NewFakeServer()}.NewFake("wiki"), t.Context()
	id, err := api.StartPushSession(ctx)
	must(t, err, api.AddDocumentList(ctx, documents("a", "b")))
	api.Server().Advance(time.Second)
	api.Server().Crash()
	_, err = api.SetCheckpoint(ctx, "v", pushapi.CheckpointOptions{Name: "n", Sync: true})
	if !errors.Is(err, pushapi.ErrSessionMismatch) {
		t.Error(err)
	}
	start := api.Server().Calls()[0].At
	want := []pushapi.FakeCall{
		{At: start, Connector: "wiki", Command: pushapi.CommandSession},
		{At: start, Connector: "wiki", Command: pushapi.CommandAdd, Session: id, Args: []string{"a", "b"}},
		{At: start.Add(time.Second), Connector: "wiki", Command: pushapi.CommandSetCheckpoint, Session: id, Args: []string{"n", "v", "true"}, Err: err},
	}
	if diff := cmp.Diff(want, api.Server().Calls(), cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
}

func TestFactory(t *testing.T) {
	t.Parallel()
	f := pushapi.Factory{}
	if api, err := f.NewHTTP(pushapi.PAPIV4, "localhost", "no port", "wiki", "", "", ""); err == nil || api != nil {
		t.Error(api, err)
	}
	if api, err := f.NewHTTP(pushapi.PAPIV4, "localhost", "10002", "wiki", "", "", ""); err != nil || api.SourceName() != "wiki" {
		t.Error(api, err)
	}
}
