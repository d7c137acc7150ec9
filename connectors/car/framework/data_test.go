package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// hooks is a connector whose hooks are functions.
type hooks struct {
	state    string
	vertices func(data *DataHandler) error
	edges    func(data *DataHandler) error
	deletes  func(data *DataHandler) error
	changes  bool
}

func (h *hooks) NewModelStateID(context.Context) (string, error) { return h.state, nil }

func (h *hooks) DataForDelta(context.Context, string, string) error { return nil }

func (h *hooks) ImportVertices(_ context.Context, data *DataHandler) error {
	return h.call(h.vertices, data)
}

func (h *hooks) ImportEdges(_ context.Context, data *DataHandler) error {
	return h.call(h.edges, data)
}

func (h *hooks) DeleteVertices(_ context.Context, data *DataHandler) error {
	return h.call(h.deletes, data)
}

func (*hooks) call(fn func(*DataHandler) error, data *DataHandler) error {
	if fn == nil {
		return nil
	}
	return fn(data)
}

// runHooks runs them once, and returns the log.
func (p *pod) runHooks(h *hooks) (exit int, log string) {
	p.Helper()
	s := &settings{source: sourceName, exportDir: p.dir, stateDir: p.dir + "/state", pageRows: 50}
	var out bytes.Buffer
	c := Connector{Full: h}
	if h.changes {
		c.Incremental = h
	}
	r := importRun{settings: s, connector: c, client: p.service.client(p.T, -1), log: newLog(&out, s)}
	defer r.client.Close()
	return r.run(p.Context()), out.String()
}

func TestFirstRowCounts(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	exit, log := p.runHooks(&hooks{state: "1", vertices: func(data *DataHandler) error {
		for _, name := range []string{"first", "first", "second"} {
			if err := data.AddCollection("asset", map[string]string{"external_id": "1", "name": name}, ""); err != nil {
				return err
			}
		}
		return data.AddCollection("account", map[string]string{"external_id": "1", "name": "another collection"}, "external_id")
	}, edges: func(data *DataHandler) error {
		var errs []error
		for _, row := range []string{
			`{"_from_external_id":"1","_to_external_id":"a"}`,
			`{"_from":"1","_to":"ipaddress/a"}`, `{"_from_external_id":1,"_to":"0/a"}`, // the same in other words
			`{"_from_external_id":"a#b","_to":"c"}`, `{"_from_external_id":"a","_to":"b#c"}`,
			`{"_from_external_id":"a|b","_to":"c"}`, `{"_from_external_id":"a","_to":"b|c"}`,
		} {
			errs = append(errs, data.AddEdge("asset_ipaddress", json.RawMessage(row)))
		}
		return errors.Join(errs...)
	}})
	if exit != 0 {
		t.Fatalf("exit code %d\n%s", exit, log)
	}
	if got := p.service.data["asset/1"]; !strings.Contains(got, "first") {
		t.Errorf("got %s", got)
	}
	if got := p.service.held(); len(got) != 2+5 {
		t.Errorf("%d rows: %v", len(got), got)
	}
	for _, want := range []string{
		`"collection":"asset","duplicates":1,"conflicts":1,"invalid":0`,
		`"collection":"asset_ipaddress","duplicates":0,"conflicts":2,"invalid":0`,
		`A row has the key of an earlier one and another content; the first one counts.","source":"my-src","collection":"asset","key":"1"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

func TestRowsWithoutAKey(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	exit, log := p.runHooks(&hooks{state: "1", vertices: func(data *DataHandler) error {
		return errors.Join(
			data.AddCollection("asset", map[string]any{"external_id": nil, "name": "confidential"}, ""),
			data.AddCollection("asset", map[string]any{"name": "confidential"}, ""),
			data.AddCollection("asset", map[string]any{"external_id": 7, "name": "a number"}, ""),
			data.AddEdge("asset_ipaddress", map[string]any{"_from": "1"}),
		)
	}})
	if exit != 55 || !strings.Contains(log, "the row has no external_id") || !strings.Contains(log, "the edge lacks an end") {
		t.Errorf("exit code %d\n%s", exit, log)
	}
	if strings.Contains(log, "confidential") {
		t.Errorf("a row is logged:\n%s", log)
	}
	if got := p.service.held(); !cmp.Equal(got, []string{"asset/7"}) {
		t.Errorf("the service has %v", got)
	}
}

// TestMistakesOfHooks asserts that a failed call fails the import, even if the
// hook does not pass the error on.
func TestMistakesOfHooks(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*DataHandler) error{
		"no object":             func(d *DataHandler) error { return d.AddCollection("asset", []int{1}, "") },
		"no JSON":               func(d *DataHandler) error { return d.AddCollection("asset", json.RawMessage(`{"external_id":`), "") },
		"cannot be encoded":     func(d *DataHandler) error { return d.AddCollection("asset", map[string]any{"x": func() {}}, "") },
		"no collection":         func(d *DataHandler) error { return d.AddCollection("a/b", map[string]any{"external_id": "1"}, "") },
		"no edge collection":    func(d *DataHandler) error { return d.AddEdge("asset", map[string]any{"_from": "1", "_to": "2"}) },
		"deletes in a full run": func(d *DataHandler) error { return d.DeleteVertices("asset", "1") },
		"edges in a full run":   func(d *DataHandler) error { return d.DisableEdges("asset_ipaddress", Edge{"1", "2"}) },
		"another owner": func(d *DataHandler) error {
			return d.DisableVanished(context.Background(), "asset_ipaddress", "account", "1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, 0)
			exit, log := p.runHooks(&hooks{state: "1", vertices: func(data *DataHandler) error {
				if err := call(data); err == nil {
					t.Error("no error")
				}
				_ = data.AddCollection("asset", map[string]any{"external_id": "1"}, "")
				return nil
			}})
			if exit != gapless.ExitUnrecoverable {
				t.Errorf("exit code %d\n%s", exit, log)
			}
			if got := p.service.held(); len(got) > 0 {
				t.Errorf("the service has %v", got)
			}
		})
	}
}

// TestLateVertices adds vertices when their hook has ended.
func TestLateVertices(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	exit, log := p.runHooks(&hooks{state: "1", edges: func(data *DataHandler) error {
		return errors.Join(
			data.AddEdge("asset_ipaddress", map[string]string{"_from": "1", "_to": "10.0.0.1"}),
			data.AddCollection("asset", map[string]string{"external_id": "1", "name": "late"}, ""),
		)
	}})
	if exit != 0 || len(p.service.held()) != 2 {
		t.Errorf("exit code %d, %v\n%s", exit, p.service.held(), log)
	}
}

func TestManyGoroutinesAdd(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	exit, log := p.runHooks(&hooks{state: "1", vertices: func(data *DataHandler) error {
		var group sync.WaitGroup
		errs := make([]error, 8)
		for g := range errs {
			group.Go(func() {
				for i := range 500 {
					err := data.AddCollection("asset", map[string]string{"external_id": fmt.Sprint(g/2, "-", i), "name": strings.Repeat("n", i)}, "")
					errs[g] = errors.Join(errs[g], err, data.AddEdge("asset_ipaddress", map[string]string{"_from": fmt.Sprint(g), "_to": fmt.Sprint(i)}))
				}
			})
		}
		group.Wait()
		return errors.Join(errs...)
	}})
	if exit != 0 || len(p.service.held()) != 4*500+8*500 {
		t.Errorf("exit code %d, %d rows\n%s", exit, len(p.service.held()), log)
	}
}

// TestAlwaysFull has a connector without an incremental import.
func TestAlwaysFull(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	h := &hooks{vertices: func(data *DataHandler) error {
		return data.AddCollection("asset", map[string]string{"external_id": "1", "name": "a"}, "")
	}}
	last := ""
	for _, state := range []string{"1", "2", "", "", "3"} {
		h.state = state
		if state != "" { // without one, the one before stays: an older state is safe
			last = state
		}
		exit, log := p.runHooks(h)
		if got := how(p.service.drain()); exit != 0 || got != "full" {
			t.Errorf("state %q: exit code %d, the import is %s\n%s", state, exit, got, log)
		}
		if got := p.service.modelState(); got != last {
			t.Errorf("model state %q instead of %q", got, last)
		}
	}
}

// TestIdsThatNeedCare deletes vertices and edges whose ids mean something in a
// URL, and keeps those beside them.
func TestIdsThatNeedCare(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	ids := []string{"a&b", "a", "b", "a#b", "a,b", "ä ö", "%2C", "a/b", "a+b", "a=b", "a?b", "a|b"}
	add := func(data *DataHandler) error {
		var errs []error
		for _, id := range ids {
			errs = append(errs,
				data.AddCollection("asset", map[string]string{"external_id": id, "name": "n"}, ""),
				data.AddEdge("asset_account", map[string]string{"_from_external_id": id, "_to_external_id": "x" + id}))
		}
		return errors.Join(errs...)
	}
	if exit, log := p.runHooks(&hooks{state: "1", vertices: add, changes: true}); exit != 0 {
		t.Fatalf("exit code %d\n%s", exit, log)
	}
	for i, gone := range ids {
		if gone == "a" || gone == "b" {
			continue
		}
		h := &hooks{state: fmt.Sprint(i + 2), changes: true, deletes: func(data *DataHandler) error {
			if i%2 == 0 {
				return data.DeleteVertices("asset", gone)
			}
			return data.DisableEdges("asset_account", Edge{gone, "x" + gone})
		}}
		before := p.service.held()
		if exit, log := p.runHooks(h); exit != 0 {
			t.Fatalf("%s: exit code %d\n%s", gone, exit, log)
		}
		if want := len(before) - 2 + i%2; len(p.service.held()) != want {
			t.Errorf("%s: %d rows instead of %d", gone, len(p.service.held()), want)
		}
	}
	if !slices.Contains(p.service.held(), "asset/a") || !slices.Contains(p.service.held(), "asset/b") {
		t.Error("the wrong vertices were deleted")
	}
}

// TestRowAddedTooLate: by a goroutine that the hooks have not waited for.
func TestRowAddedTooLate(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	var kept *DataHandler
	exit, log := p.runHooks(&hooks{state: "1", vertices: func(data *DataHandler) error {
		kept = data
		return nil
	}})
	if exit != 0 {
		t.Fatalf("exit code %d\n%s", exit, log)
	}
	if err := kept.AddCollection("asset", map[string]string{"external_id": "2"}, ""); err == nil {
		t.Error("a row is taken that nobody reads")
	}
}

// TestAddressesAsQueriesNameThem are deleted all the same.
func TestAddressesAsQueriesNameThem(t *testing.T) {
	t.Parallel()
	p := newPod(t, 0)
	h := &hooks{state: "1", changes: true, vertices: func(data *DataHandler) error {
		return data.AddCollection("ipaddress", map[string]string{"_key": "10.0.0.1"}, "")
	}}
	if exit, log := p.runHooks(h); exit != 0 {
		t.Fatalf("exit code %d\n%s", exit, log)
	}
	h.state, h.vertices = "2", nil
	h.deletes = func(data *DataHandler) error { return data.DeleteVertices("ipaddress", "0/10.0.0.1") }
	if exit, log := p.runHooks(h); exit != 0 || len(p.service.held()) != 0 {
		t.Errorf("exit code %d, the service holds %v\n%s", exit, p.service.held(), log)
	}
}
