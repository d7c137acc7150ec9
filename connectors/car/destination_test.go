package car

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

func TestMain(m *testing.M) {
	// bleve's analysis workers live as long as the program.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// TestEveryPageArrives: what the original loses silently.
func TestEveryPageArrives(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		rows  int
		bytes int64
		pages int
	}{
		{"by rows", 2000, 0, 3},
		{"by bytes", 0, 50_000, 6},
		{"one row each", 1, 0, 4500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			s := openModel(t, service.client(t), 1, func(o *DestinationOptions) { o.PageRows, o.PageBytes = tt.rows, tt.bytes })
			b := batchOf()
			for i := range 4500 {
				b.Append(gapless.Change{Record: gapless.Record{Key: fmt.Sprintf("asset/%d", i), Data: fmt.Appendf(nil, `{"name":"asset %d of many"}`, i)}})
				if b.Len() == 1000 {
					if _, err := s.Push(t.Context(), b); err != nil {
						t.Fatal(err)
					}
					b = batchOf()
				}
			}
			if _, err := s.Push(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			syncAt(t, s, "1")
			if n := len(service.ids("asset")); n != 4500 {
				t.Errorf("%d rows arrived", n)
			}
			for _, line := range service.requestsSince(0) {
				if tt.bytes > 0 && int64(len(line)) > tt.bytes+500 {
					t.Errorf("an import of %d bytes", len(line))
				}
			}
			if service.imports != tt.pages && tt.bytes == 0 {
				t.Errorf("%d imports, want %d", service.imports, tt.pages)
			}
		})
	}
}

// TestBadRows: those at fault become dead letters, whether the service names
// them or not, and all others arrive.
func TestBadRows(t *testing.T) {
	t.Parallel()
	for _, names := range []bool{false, true} {
		t.Run(fmt.Sprint("named ", names), func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			service.names = names
			service.bad = func(_ string, row map[string]json.RawMessage) string {
				if row["bad"] != nil {
					return "too bad"
				}
				return ""
			}
			s := openModel(t, service.client(t), 1)
			b := batchOf()
			b.Origin = "file.csv"
			var want []string
			for i := range 3000 {
				data := `{"name":"x"}`
				if i%500 == 7 {
					data = `{"bad":true}`
					want = append(want, fmt.Sprintf("asset/%d", i))
				}
				b.Append(gapless.Change{Line: i + 1, Record: gapless.Record{Key: fmt.Sprintf("asset/%d", i), Data: []byte(data)}})
			}
			if r, err := s.Push(t.Context(), b); err != nil || len(r.Rejected) > 0 {
				t.Fatal(err, r.Rejected)
			}
			r := syncAt(t, s, "1")
			var got []string
			for _, l := range r.Rejected {
				got = append(got, l.Key)
				if l.Origin != "file.csv" || fmt.Sprintf("asset/%d", l.Line-1) != l.Key || !strings.Contains(l.Err.Error(), "bad") || !strings.Contains(string(l.Raw), `"bad":true`) {
					t.Errorf("letter %+v", l)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" || len(service.ids("asset")) != 3000-len(want) {
				t.Errorf("%d rows arrived, %s", len(service.ids("asset")), diff)
			}
		})
	}
}

// TestServiceThatTakesNothing: it is not the rows that are at fault.
func TestServiceThatTakesNothing(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	service.bad = func(string, map[string]json.RawMessage) string { return "no" }
	s := openModel(t, service.client(t), 1)
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("+ asset/%d {}", i))
	}
	push(t, s, lines...)
	_, err := s.Sync(t.Context(), nil)
	if gapless.KindOf(err) != gapless.KindUnrecoverable || err == nil {
		t.Errorf("got %v", err)
	}
}

// TestRefusedRows are those that cannot be sent at all.
func TestRefusedRows(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, line string }{
		{"no collection", `+ 17 {}`},
		{"name of the envelope", `+ source/17 {}`},
		{"name that is none", `+ as-set/17 {}`},
		{"not an object", `+ asset/1 [1]`},
		{"two objects", `+ asset/1 {},{}`},
		{"broken", `+ asset/1 {"a":`},
		{"another id", `+ asset/1 {"external_id":"2"}`},
		{"another key", `+ ipaddress/1.1.1.1 {"_key":"1.1.1.2"}`},
		{"an edge without ends", `+ asset_ipaddress/1 {}`},
		{"half an edge", `+ asset_ipaddress/1| {}`},
		{"another end", `+ asset_ipaddress/1|2 {"_from":"3"}`},
		{"delete of half an edge", `- asset_ipaddress/1`},
		{"patch of a vertex", `~ asset/1 {"risk":5}`},
		{"patch that is none", `~ asset/1 5`},
	}
	service := newScripted(t)
	s := openModel(t, service.client(t), 1)
	for _, tt := range tests {
		r, err := s.Push(t.Context(), batchOf(tt.line, "+ asset/good {}"))
		if err != nil || len(r.Rejected) != 1 || r.Rejected[0].Key != strings.Fields(tt.line)[1] {
			t.Errorf("%s: %v, %v", tt.name, r.Rejected, err)
		}
	}
	if r := syncAt(t, s, "1"); len(r.Rejected) > 0 {
		t.Error(r.Rejected)
	}
	if got := service.ids("asset"); !slices.Equal(got, []string{"good"}) {
		t.Errorf("arrived: %v", got)
	}
}

// TestRowsAsSent is what becomes of the data of a record.
func TestRowsAsSent(t *testing.T) {
	t.Parallel()
	e, err := newEnvelope(&DestinationOptions{Source: "s"}, "1.5")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, collection, id, data, want string }{
		{"id added", "asset", "1", ` {"a":1} `, `{"external_id":"1","a":1}`},
		{"id there", "asset", "1", `{"a":1, "external_id":"1"}`, `{"a":1, "external_id":"1"}`},
		{"empty", "asset", `a"b`, `{ }`, `{"external_id":"a\"b"}`},
		{"id as a number", "asset", "17", `{"external_id":17,"a":1}`, `{"external_id":"17","a":1}`},
		{"id null", "asset", "17", `{"external_id":null,"a":1}`, `{"external_id":"17","a":1}`},
		{"both ids", "asset", "1", `{"_key":"9","external_id":"1"}`, `{"external_id":"1"}`},
		{"keyed", "ipaddress", "1.1.1.1", `{"external_id":"0/1.1.1.1"}`, `{"_key":"1.1.1.1"}`},
		{"edge", "asset_account", "1|2", `{}`, `{"report":"1.5","source":"s","_from_external_id":"1","_to_external_id":"2","active":true,"timestamp":1.5}`},
		{"edge with its fields", "asset_ipaddress", "1|2", `{"_from":"asset/1","_to":"0/2","active":false,"timestamp":3,"x":[1]}`,
			`{"report":"1.5","source":"s","_from":"asset/1","_to":"0/2","active":false,"timestamp":3,"x":[1]}`},
		{"id as a number in another spelling", "asset", "1e3", `{"external_id":1e3}`, `{"external_id":"1e3"}`},
		{"edge with both spellings of its ends", "asset_account", "1|2.0", `{"_from":"1","_from_external_id":null,"_to":"","_to_external_id":2.0}`,
			`{"report":"1.5","source":"s","active":true,"timestamp":1.5,"_from":"1","_to_external_id":2.0}`},
		{"edge of elsewhere", "asset_ipaddress", "1|2", `{"source":"t","report":"9","x":1}`,
			`{"report":"1.5","source":"s","_from_external_id":"1","_to":"ipaddress/2","active":true,"timestamp":1.5,"x":1}`},
	}
	known, err := newCollections(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := e.appendRow(nil, known.byName[tt.collection], tt.id, tt.data)
			if err != nil || string(got) != tt.want || !json.Valid(got) {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// TestOrder: the last change of a key is what the service holds, whatever is
// on its way at the same time.
func TestOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		service := newScripted(t)
		c, stop := quickClient(service)
		defer stop()
		d, err := NewDestination(c, DestinationOptions{Source: "s", Model: true, PageRows: rapid.IntRange(1, 5).Draw(rt, "rows"), InFlight: 3})
		if err != nil {
			rt.Fatal(err)
		}
		s, err := d.Open(t.Context(), "x", 1)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		want := map[string]string{}
		failing := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 60).Draw(rt, "faults")
		service.misbehave(randomFaults(service, failing))
		for n := range rapid.IntRange(1, 6).Draw(rt, "batches") {
			b := batchOf()
			for i := range rapid.IntRange(1, 12).Draw(rt, "changes") {
				drawChange(rt, b, want, n*100+i)
			}
			again(rt, func() error { _, err := s.Push(t.Context(), b); return err })
		}
		again(rt, func() error {
			_, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: Model, Position: "9"}})
			return err
		})
		got := map[string]string{}
		for _, name := range []string{"asset", "ipaddress", "asset_ipaddress"} {
			for id, text := range service.rows[name] {
				var row struct{ V json.Number }
				if err := json.Unmarshal([]byte(text), &row); err != nil {
					rt.Fatal(err)
				}
				got[ModelKey(name, id)] = row.V.String()
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("-want +got: %s\n%s", diff, strings.Join(service.requestsSince(0), "\n"))
		}
	})
}

// drawChange appends a change to a batch and applies it to what is wanted. A
// vertex takes its edges along.
func drawChange(rt *rapid.T, b *gapless.Batch, want map[string]string, version int) {
	key := rapid.SampledFrom([]string{"asset/1", "asset/2", "ipaddress/a", "asset_ipaddress/1|a", "asset_ipaddress/2|a"}).Draw(rt, "key")
	if rapid.IntRange(0, 3).Draw(rt, "op") > 0 {
		want[key] = fmt.Sprint(version)
		b.Append(gapless.Change{Record: gapless.Record{Key: key, Data: fmt.Appendf(nil, `{"v":%d}`, version)}})
		return
	}
	delete(want, key)
	b.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}})
	switch key {
	case "asset/1":
		delete(want, "asset_ipaddress/1|a")
	case "asset/2":
		delete(want, "asset_ipaddress/2|a")
	case "ipaddress/a":
		delete(want, "asset_ipaddress/1|a")
		delete(want, "asset_ipaddress/2|a")
	}
}

// again calls fn until it succeeds, as the engine does; only recoverable
// failures are allowed.
func again(rt *rapid.T, fn func() error) {
	for range 100 {
		err := fn()
		if err == nil {
			return
		}
		if gapless.KindOf(err) != gapless.KindRecoverable {
			rt.Fatalf("not recoverable: %v", err)
		}
	}
	rt.Fatal("it never succeeds")
}

// randomFaults fails the requests of imports, polls and deletes as the list
// says; some take effect before they fail.
func randomFaults(service *scripted, list []int) fault {
	var mu sync.Mutex
	return func(_ int, r *http.Request, body []byte, w http.ResponseWriter) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == 0 {
			return false
		}
		kind := list[0]
		list = list[1:]
		switch {
		case kind == 1:
			respond(w, 500, `{}`)
		case kind == 2 && r.Method == http.MethodGet:
			respond(w, 200, `{}`)
		case (kind == 3 || kind == 4) && strings.HasSuffix(r.URL.Path, "/imports"): // it is taken, and comes to nothing
			service.next++
			id := fmt.Sprintf("L%d", service.next)
			if kind == 4 {
				service.jobs[id] = fmt.Sprintf(`{"id":%q,"error":"later","statusCode":500}`, id)
			}
			respond(w, 200, fmt.Sprintf(`{"id":%q}`, id))
		case kind == 5: // it was done, and the reply is lost
			service.answer(httptest.NewRecorder(), r, strings.TrimPrefix(r.URL.EscapedPath(), "/x/api/car"), body)
			respond(w, 503, `{}`)
		default:
			return false
		}
		return true
	}
}

// TestDeletesDoNotPileUp: a long list of them is sent before the next Sync.
func TestDeletesDoNotPileUp(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	s := openModel(t, service.client(t), 1)
	b := batchOf()
	for i := range maxLeaving {
		b.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: fmt.Sprintf("asset/%d", i)}})
	}
	for range 2 {
		if _, err := s.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	requests := service.requestsSince(0)
	if last := requests[len(requests)-1]; !strings.HasPrefix(last, "DELETE") {
		t.Errorf("the last request is %.80s", last)
	}
}

// TestFencing: once a newer session is open, the older one is told so.
func TestFencing(t *testing.T) {
	t.Parallel()
	for _, model := range []bool{false, true} {
		t.Run(fmt.Sprint("model ", model), func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			c := service.client(t)
			state := t.TempDir()
			with := func(o *DestinationOptions) { o.Model, o.State = model, state }
			old := openModel(t, c, 4, with)
			if _, err := tryModel(t, c, 3, with); !errors.Is(err, gapless.ErrFenced) {
				t.Errorf("open with an older epoch: %v", err)
			}
			reader := openModel(t, c, 0, with)
			openModel(t, c, 5, with)
			ctx := t.Context()
			_, statusErr := old.Status(ctx)
			_, pushErr := old.Push(ctx, batchOf("+ asset/1 {}"))
			_, syncErr := old.Sync(ctx, nil)
			full := old.(gapless.FullRunner)
			_, readerErr := reader.Push(ctx, batchOf("+ asset/1 {}"))
			for i, err := range []error{statusErr, pushErr, syncErr, full.BeginFull(ctx, false), full.BeginFull(ctx, true), full.EndFull(ctx), readerErr} {
				if !errors.Is(err, gapless.ErrFenced) {
					t.Errorf("call %d: %v", i, err)
				}
			}
			if _, err := reader.Status(ctx); err != nil {
				t.Errorf("reading: %v", err)
			}
			if len(service.ids("asset")) > 0 {
				t.Error("the old session has written")
			}
		})
	}
}

// TestCheckpoints come back as they were written.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	with := func(o *DestinationOptions) { o.Model = false }
	s := openModel(t, c, 1, with)
	if st, err := s.Status(t.Context()); err != nil || st.Holds || len(st.Checkpoints) > 0 {
		t.Errorf("at the beginning: %+v, %v", st, err)
	}
	a := gapless.Checkpoint{Partition: "a", Position: "7", Run: "r", Seq: 3, Epoch: 1}
	b := gapless.Checkpoint{Partition: "b", Mark: "m", Target: "8", Run: "r", Seq: 4, Epoch: 1}
	for _, one := range []gapless.Checkpoint{a, b} {
		if _, err := s.Sync(t.Context(), []gapless.Checkpoint{one}); err != nil {
			t.Fatal(err)
		}
	}
	st, err := openModel(t, c, 2, with).Status(t.Context())
	want := gapless.Status{Holds: true, Checkpoints: map[string]gapless.Checkpoint{"a": a, "b": b}}
	if diff := cmp.Diff(want, st); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestForeignState: the position of a connector of another make is taken over
// by a model, and otherwise known to be there.
func TestForeignState(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	if err := c.PatchSource(t.Context(), "my-src", map[string]any{"model_state_id": "1795285939490.659"}); err != nil {
		t.Fatal(err)
	}
	st, err := openModel(t, c, 0).Status(t.Context())
	if diff := cmp.Diff(map[string]gapless.Checkpoint{Model: {Partition: Model, Position: "1795285939490.659"}}, st.Checkpoints); diff != "" || err != nil || !st.Holds {
		t.Error(diff, err)
	}
	st, err = openModel(t, c, 0, func(o *DestinationOptions) { o.Model = false }).Status(t.Context())
	if err != nil || !st.Holds || len(st.Checkpoints) > 0 {
		t.Errorf("got %+v, %v", st, err)
	}
}

// TestSidecar: what is beside the service counts only where both agree.
func TestSidecar(t *testing.T) {
	t.Parallel()
	whole := gapless.Checkpoint{Partition: Model, Position: "5", Run: "r", Seq: 1, Epoch: 1}
	plain := gapless.Checkpoint{Partition: Model, Position: "5"}
	tests := []struct {
		name   string
		damage func(t *testing.T, folder string, c *Client)
		want   gapless.Checkpoint
	}{
		{"intact", func(*testing.T, string, *Client) {}, whole},
		{"absent", func(t *testing.T, folder string, _ *Client) {
			t.Helper()
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
		}, plain},
		{"torn", func(t *testing.T, folder string, _ *Client) {
			t.Helper()
			list, err := filepath.Glob(filepath.Join(folder, "car-*.json"))
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			if err := os.WriteFile(list[0], []byte(`{"epoch":1,"ne`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, plain},
		{"moved on by another", func(t *testing.T, _ string, c *Client) {
			t.Helper()
			if err := c.PatchSource(t.Context(), "my-src", map[string]any{"model_state_id": "6"}); err != nil {
				t.Fatal(err)
			}
		}, gapless.Checkpoint{Partition: Model, Position: "6"}},
		{"reset", func(t *testing.T, _ string, c *Client) {
			t.Helper()
			if err := c.PatchSource(t.Context(), "my-src", map[string]any{"model_state_id": ""}); err != nil {
				t.Fatal(err)
			}
		}, gapless.Checkpoint{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			c := service.client(t)
			folder := filepath.Join(t.TempDir(), "state")
			with := func(o *DestinationOptions) { o.State = folder }
			s := openModel(t, c, 1, with)
			push(t, s, "+ asset/1 {}")
			syncAt(t, s, "5")
			tt.damage(t, folder, c)
			st, err := openModel(t, c, 2, with).Status(t.Context())
			if diff := cmp.Diff(tt.want, st.Checkpoints[Model]); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

// TestProgressIsKept: the mark of an unfinished full import is found again,
// with the position that the service keeps meanwhile.
func TestProgressIsKept(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	state := t.TempDir()
	with := func(o *DestinationOptions) { o.State = state }
	for epoch, position := range []string{"", "3"} {
		s := openModel(t, c, uint64(epoch)*2+1, with)
		if position != "" {
			syncAt(t, s, position)
		}
		if err := s.(gapless.FullRunner).BeginFull(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		push(t, s, "+ asset/1 {}")
		want := gapless.Checkpoint{Partition: Model, Mark: "m", Target: "9", Run: "r", Seq: 2, Epoch: uint64(epoch)*2 + 1}
		if _, err := s.Sync(t.Context(), []gapless.Checkpoint{want}); err != nil {
			t.Fatal(err)
		}
		if service.state("my-src") != position {
			t.Errorf("the position is %q", service.state("my-src"))
		}
		s = openModel(t, c, uint64(epoch)*2+2, with)
		st, err := s.Status(t.Context())
		if diff := cmp.Diff(want, st.Checkpoints[Model]); diff != "" || err != nil || !st.Holds {
			t.Error(diff, err)
		}
		if err := s.(gapless.FullRunner).BeginFull(t.Context(), true); err != nil {
			t.Error(err)
		}
	}
}
