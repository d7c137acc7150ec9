package pushapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// TestFiltersConform: a filter that changes nothing but when things are sent
// keeps the whole contract.
func TestFiltersConform(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(pushapi.PushAPI) pushapi.PushAPI{
		"plain": func(p pushapi.PushAPI) pushapi.PushAPI {
			return pushapi.NewFilter(p, func(ctx context.Context, _ pushapi.Operation, next func(context.Context) error) error {
				return next(ctx)
			})
		},
		"buffering": func(p pushapi.PushAPI) pushapi.PushAPI {
			return pushapi.NewBuffering(p, pushapi.BufferingOptions{Documents: 7})
		},
		"background": func(p pushapi.PushAPI) pushapi.PushAPI {
			return pushapi.NewBackground(p, pushapi.BackgroundOptions{Documents: 50})
		},
		"trace": func(p pushapi.PushAPI) pushapi.PushAPI { return pushapi.NewTrace(p, slog.New(slog.DiscardHandler)) },
		"rate":  func(p pushapi.PushAPI) pushapi.PushAPI { return pushapi.NewRateLimit(p, 1e9, 1e6) },
		"all": func(p pushapi.PushAPI) pushapi.PushAPI {
			return pushapi.NewBuffering(pushapi.NewBackground(pushapi.NewTrace(p, slog.New(slog.DiscardHandler)), pushapi.BackgroundOptions{}), pushapi.BufferingOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held := name == "buffering" || name == "background" || name == "all"
			conform(t, func(*testing.T) world {
				server := pushapi.NewFakeServer()
				return world{
					late: held,
					connect: func(t *testing.T, connector string) pushapi.PushAPI {
						api := wrap(server.Connect(connector))
						t.Cleanup(func() {
							if b, ok := api.(*pushapi.Buffering); ok {
								_, _ = b.Discard(context.Background())
							}
							_ = api.Close(context.Background())
						})
						return api
					},
					restart: func(*testing.T) { server.Crash() },
				}
			})
		})
	}
}

func commands(server *pushapi.FakeServer) string {
	var list []string
	for _, call := range server.Calls() {
		text := string(call.Command)
		if len(call.Args) > 0 {
			text += "(" + strings.Join(call.Args, ",") + ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func TestBufferingCollates(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewBuffering(server.Connect("wiki"), pushapi.BufferingOptions{Documents: 4})
	for _, uri := range []string{"a", "b", "c"} {
		must(t, api.AddDocument(ctx, documents(uri)[0]))
	}
	if got := commands(server); got != "" {
		t.Error(got)
	}
	must(t, api.AddDocument(ctx, documents("d")[0])) // full
	must(t, api.DeleteDocument(ctx, "a"), api.AddDocument(ctx, documents("a")[0]), api.UpdateDocument(ctx, documents("a")[0], pushapi.UpdateOptions{}))
	_, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{Sync: true})
	must(t, err, api.AddDocument(ctx, documents("e")[0]), api.Close(ctx))
	want := "add_documents(a,b,c,d) delete_documents(a) add_documents(a) update_documents(a) set_checkpoint(,1,true) add_documents(e)"
	if got := commands(server); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestBufferingBySize(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewBuffering(server.Connect("wiki"), pushapi.BufferingOptions{Bytes: 10_000})
	doc := documents("a")[0]
	doc.Parts = []pushapi.Part{pushapi.NewPart("", make([]byte, 6000))}
	must(t, api.AddDocument(ctx, doc))
	if got := commands(server); got != "" {
		t.Error(got)
	}
	must(t, api.AddDocument(ctx, doc))
	if got := commands(server); got != "add_documents(a,a)" {
		t.Error(got)
	}
	// What can be read but once is never held.
	doc.Parts = []pushapi.Part{pushapi.ReaderPart("", strings.NewReader("x"), 1)}
	must(t, api.AddDocument(ctx, documents("b")[0]), api.AddDocument(ctx, doc))
	if got := commands(server); got != "add_documents(a,a) add_documents(b) add_documents(a)" {
		t.Error(got)
	}
	must(t, api.Close(ctx))
}

// TestBufferingLosesNothing: whatever fails, everything arrives in the end.
func TestBufferingLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		server, ctx := pushapi.NewFakeServer(), t.Context()
		api := pushapi.NewBuffering(server.Connect("wiki"), pushapi.BufferingOptions{Documents: rapid.IntRange(1, 5).Draw(r, "buffer")})
		want := map[string]string{}
		for i := range rapid.IntRange(1, 40).Draw(r, "steps") {
			if rapid.IntRange(0, 3).Draw(r, "fault") == 0 {
				server.Fail(pushapi.Fault{Times: rapid.IntRange(1, 3).Draw(r, "times"), Lost: rapid.Bool().Draw(r, "lost")})
			}
			uri, stamp := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "uri"), fmt.Sprint(i)
			deletes := rapid.Bool().Draw(r, "delete")
			for { // a caller repeats what failed
				var err error
				if deletes {
					err = api.DeleteDocument(ctx, uri)
				} else {
					err = api.AddDocument(ctx, pushapi.Document{URI: uri, Stamp: stamp})
				}
				if err == nil {
					break
				}
			}
			if want[uri] = stamp; deletes {
				delete(want, uri)
			}
		}
		for api.Close(ctx) != nil {
			if n, err := api.Pending(ctx); err != nil || n == 0 {
				r.Fatal("an error, and nothing is held")
			}
		}
		got := map[string]string{}
		for _, uri := range []string{"a", "b", "c"} {
			if doc, ok := server.Document("wiki", uri); ok {
				got[uri] = doc.Stamp
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestBufferingDiscard(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewBuffering(server.Connect("wiki"), pushapi.BufferingOptions{})
	_, err := api.StartPushSession(ctx)
	must(t, err, api.AddDocumentList(ctx, documents("a", "b")))
	server.Crash()
	if err := api.Sync(ctx); !errors.Is(err, pushapi.ErrSessionMismatch) || !strings.Contains(err.Error(), "2 documents are held back") {
		t.Error(err)
	}
	if err := api.StopPushSession(ctx); !errors.Is(err, pushapi.ErrSessionMismatch) {
		t.Error(err)
	}
	if n, err := api.Discard(ctx); n != 2 || err != nil {
		t.Error(n, err)
	}
	must(t, api.StopPushSession(ctx), api.Close(ctx))
}

func TestBackgroundStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewBackground(server.Connect("wiki"), pushapi.BackgroundOptions{})
	hold := make(chan struct{})
	full := errors.New("disk full")
	server.Fail(pushapi.Fault{Command: pushapi.CommandAdd, Wait: hold, Err: full, Skip: 1})
	must(t, api.AddDocument(ctx, documents("a")[0]), api.AddDocument(ctx, documents("b")[0]), api.AddDocument(ctx, documents("c")[0]))
	close(hold)
	for range 2 {
		if err := api.Sync(ctx); !errors.Is(err, full) || !strings.Contains(err.Error(), "2 documents were not sent") {
			t.Error(err)
		}
	}
	if err := api.AddDocument(ctx, documents("d")[0]); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := api.Close(ctx); !errors.Is(err, full) {
		t.Error(err)
	}
	if got := commands(server); got != "add_documents(a) add_documents(b)" {
		t.Error(got)
	}
	must(t, api.Close(ctx))
	if err := api.AddDocument(ctx, documents("d")[0]); err == nil {
		t.Error("a closed filter takes documents")
	}
}

func TestBackgroundIsBounded(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewBackground(server.Connect("wiki"), pushapi.BackgroundOptions{Documents: 3})
	hold := make(chan struct{})
	server.Fail(pushapi.Fault{Command: pushapi.CommandAdd, Wait: hold, Times: -1})
	must(t, api.AddDocumentList(ctx, documents("a", "b")), api.AddDocument(ctx, documents("c")[0]))
	full, cancel := context.WithCancel(ctx)
	cancel()
	if err := api.AddDocument(full, documents("d")[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("a full queue takes more: %v", err)
	}
	close(hold)
	must(t, api.AddDocumentList(ctx, documents("e", "f", "g", "h")), api.Sync(ctx), api.Close(ctx))
	if got := commands(server); got != "add_documents(a,b) add_documents(c) add_documents(e,f,g,h) sync" {
		t.Error(got)
	}
}

// TestBackgroundCloseGivesUp: Close ends when its context does, and says what
// was not sent.
func TestBackgroundCloseGivesUp(t *testing.T) {
	t.Parallel()
	server := pushapi.NewFakeServer()
	api := pushapi.NewBackground(server.Connect("wiki"), pushapi.BackgroundOptions{})
	server.Fail(pushapi.Fault{Command: pushapi.CommandAdd, Wait: make(chan struct{})})
	must(t, api.AddDocumentList(t.Context(), documents("a", "b")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := api.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "2 documents were not sent") {
		t.Error(err)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	must(t, server.Connect("wiki").AddDocument(ctx, documents("old")[0]), server.Connect("wiki").Sync(ctx))
	before := len(server.Calls())
	api := pushapi.NewDryRun(server.Connect("wiki"))
	must(t, api.AddDocumentList(ctx, documents("a", "b")), api.DeleteDocument(ctx, "old"), api.DeleteDocumentsRootPath(ctx, "", true), api.Sync(ctx), api.ClearAllCheckpoints(ctx))
	if serial, err := api.SetCheckpoint(ctx, "1", pushapi.CheckpointOptions{}); serial != 0 || err != nil {
		t.Error(serial, err)
	}
	if err := api.AddDocument(ctx, pushapi.Document{}); !errors.Is(err, pushapi.ErrInvalidParameter) {
		t.Error(err)
	}
	if len(server.Calls()) != before {
		t.Error(commands(server))
	}
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "old" {
		t.Error(got)
	}
	want := map[pushapi.Command]int{
		pushapi.CommandAdd: 2, pushapi.CommandDelete: 1, pushapi.CommandDeleteRootPath: 1, pushapi.CommandSync: 1,
		pushapi.CommandClearCheckpoints: 1, pushapi.CommandSetCheckpoint: 1,
	}
	if diff := cmp.Diff(want, api.Suppressed()); diff != "" {
		t.Error(diff)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server, ctx := pushapi.NewFakeServer(), t.Context()
	api := pushapi.NewTrace(server.Connect("wiki"), log)
	doc := pushapi.Document{URI: "a", Metas: []pushapi.Meta{{Name: "salary", Value: "confidential"}}, Parts: []pushapi.Part{pushapi.NewPart("", []byte("classified"))}}
	must(t, api.AddDocument(ctx, doc))
	server.Fail(pushapi.Fault{})
	_ = api.Sync(ctx)
	text := out.String()
	for _, want := range []string{"add_documents", "documents=1", "uri=a", "metas=[salary]", "parts=[master]", "bytes=10", "level=WARN msg=sync", "error="} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	for _, secret := range []string{"confidential", "classified"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s in:\n%s", secret, text)
		}
	}
}

func TestFilterMayRefuse(t *testing.T) {
	t.Parallel()
	server, ctx := pushapi.NewFakeServer(), t.Context()
	no := errors.New("no")
	var seen []pushapi.Command
	api := pushapi.NewFilter(server.Connect("wiki"), func(_ context.Context, op pushapi.Operation, _ func(context.Context) error) error {
		seen = append(seen, op.Command)
		return no
	})
	for name, err := range everyCommand(ctx, api, false) {
		if !errors.Is(err, no) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(server.Calls()) != 0 || !slices.Contains(seen, pushapi.CommandSearchable) {
		t.Error(commands(server), seen)
	}
}
