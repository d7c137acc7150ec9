package resolve_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless/resolve"
)

// world is a set of replicas of one record that edit and meet.
type world struct {
	t        *rapid.T
	resolver *resolve.Resolver
	now      time.Time
	replicas []resolve.Side
	// skew of the clock that a replica stamps its edits with, and of the one
	// that it resolves by.
	skew, resolveSkew []time.Duration
	// bases by pair of replicas; nil if they are not used.
	bases map[[2]int]base
	// edits by the text of the value that they wrote; superseded are those
	// that an edit has replaced which knew them.
	edits, superseded, reported map[string]bool
	values                      func(*world) string
	written                     int
}

// base is what two replicas had when they last met.
type base struct {
	data    []byte
	deleted bool
}

const tolerance = time.Minute

// newWorld draws replicas and their clocks: some are slow or fast by up to an
// hour, and one may be of another year.
func newWorld(t *rapid.T, p resolve.Policy, replicas int, withBases bool) *world {
	p.Tolerance = tolerance
	w := &world{
		t: t, resolver: compile(t, p), now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), replicas: make([]resolve.Side, replicas),
		edits: map[string]bool{}, superseded: map[string]bool{}, reported: map[string]bool{},
	}
	if withBases {
		w.bases = map[[2]int]base{}
	}
	for range replicas {
		skew := time.Duration(rapid.IntRange(-60, 60).Draw(t, "skew")) * time.Minute
		if rapid.IntRange(0, 9).Draw(t, "future") == 0 {
			skew = 14 * 365 * 24 * time.Hour
		}
		w.skew = append(w.skew, skew)
		w.resolveSkew = append(w.resolveSkew, time.Duration(rapid.IntRange(-20, 20).Draw(t, "resolve skew"))*time.Second)
	}
	return w
}

var fieldNames = []string{"a", "b", "c"}

// edit makes a replica change or remove one field, or create the record.
func (w *world) edit(i int) {
	prev := w.replicas[i]
	fields := fieldsOf(w.t, prev.Data)
	name := rapid.SampledFrom(fieldNames).Draw(w.t, "field")
	if old, ok := fields[name]; ok {
		w.superseded[name+string(old)] = true
	}
	if rapid.IntRange(0, 5).Draw(w.t, "remove") == 0 {
		delete(fields, name)
	} else {
		fields[name] = json.RawMessage(w.values(w))
		w.edits[name+string(fields[name])] = true
	}
	data, err := json.Marshal(fields)
	if err != nil {
		w.t.Fatal(err)
	}
	next, err := resolve.Edit(prev, data, w.now.Add(w.skew[i]), fmt.Sprint("node", i))
	if err != nil {
		w.t.Fatal(err)
	}
	w.replicas[i] = next
	w.log("edits", i)
}

// log tells a failing case as a story.
func (w *world) log(what string, i int) {
	r := w.replicas[i]
	w.t.Logf("%d %s: %s deleted %v at %v+%d\n  times %v\n  seen %v", i, what, r.Data, r.Deleted, r.Modified.Time.Format(time.TimeOnly), r.Modified.Counter, r.Times, r.Seen)
}

// remove makes a replica delete the record.
func (w *world) remove(i int) {
	if w.replicas[i].Deleted || len(w.replicas[i].Data) == 0 {
		return
	}
	for name, value := range fieldsOf(w.t, w.replicas[i].Data) {
		w.superseded[name+string(value)] = true
	}
	w.replicas[i] = resolve.Delete(w.replicas[i], w.now.Add(w.skew[i]), fmt.Sprint("node", i))
	w.log("deletes", i)
}

// meet brings two replicas together: each resolves what the other has, or one
// does and both take over the result. It reports whether anything changed.
func (w *world) meet(i, j int, oneResolves bool) bool {
	before := [2]resolve.Side{w.replicas[i], w.replicas[j]}
	b := w.bases[pairOf(i, j)]
	first := w.apply(i, before[0], before[1], b)
	if oneResolves {
		w.replicas[i], w.replicas[j] = first, first
	} else {
		w.replicas[i], w.replicas[j] = first, w.apply(j, before[1], before[0], b)
	}
	w.log("has met the next", i)
	w.log("has met the previous", j)
	if w.bases != nil && (len(first.Data) > 0 || first.Deleted) {
		w.bases[pairOf(i, j)] = base{first.Data, first.Deleted}
	}
	return !same(before[0], w.replicas[i]) || !same(before[1], w.replicas[j])
}

func (w *world) apply(i int, local, remote resolve.Side, b base) resolve.Side {
	in := resolve.Input{Local: local, Remote: remote, Base: b.data, BaseDeleted: b.deleted, Now: w.now.Add(w.resolveSkew[i]), SurvivorKnown: true}
	got := resolved(w.t, w.resolver, in)
	for _, l := range got.Losers {
		if l.Rule == "" {
			w.t.Fatalf("a loser without rule: %+v", l)
		}
		switch {
		case l.Deletion:
		case l.Side == resolve.ChoseLocal:
			w.reported[l.Field+string(l.Local)] = true
		default:
			w.reported[l.Field+string(l.Remote)] = true
		}
	}
	return sideOf(got)
}

func sideOf(r resolve.Result) resolve.Side {
	return resolve.Side{Data: r.Data, Modified: r.Modified, Times: r.Times, Seen: r.Seen, MCI: r.MCI, Deleted: r.Deleted, ReplacedBy: r.ReplacedBy}
}

func pairOf(i, j int) [2]int { return [2]int{min(i, j), max(i, j)} }

// same reports whether two replicas hold the same record: the live data down
// to the spelling of values, order of fields aside.
func same(a, b resolve.Side) bool {
	return a.Deleted == b.Deleted && (a.Deleted || reflect.DeepEqual(rawFields(a.Data), rawFields(b.Data)))
}

func rawFields(data []byte) map[string]string {
	var fields map[string]json.RawMessage
	if len(data) > 0 && json.Unmarshal(data, &fields) != nil {
		return nil
	}
	texts := map[string]string{}
	for name, value := range fields {
		texts[name] = string(value)
	}
	return texts
}

func fieldsOf(t *rapid.T, data []byte) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	}
	return fields
}

// run draws edits, deletions and meetings along the edges given, and then
// lets everybody meet until nothing changes any more.
func (w *world) run(edges [][2]int, deletes bool) {
	for range rapid.IntRange(1, 14).Draw(w.t, "steps") {
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(w.t, "passes")) * time.Second)
		switch i := rapid.IntRange(0, len(w.replicas)-1).Draw(w.t, "replica"); rapid.IntRange(0, 9).Draw(w.t, "step") {
		case 0, 1, 2, 3, 4:
			w.edit(i)
		case 5:
			if deletes {
				w.remove(i)
			}
		default:
			e := rapid.SampledFrom(edges).Draw(w.t, "edge")
			w.meet(e[0], e[1], rapid.Bool().Draw(w.t, "one resolves"))
		}
	}
	order := rapid.Permutation(edges).Draw(w.t, "order")
	for round := 0; ; round++ {
		changed := false
		for _, e := range order {
			changed = w.meet(e[0], e[1], true) || changed
		}
		if !changed {
			break
		}
		if round > 20 {
			w.t.Fatalf("no rest after %d rounds: %+v", round, w.replicas)
		}
	}
	for i, r := range w.replicas {
		if !same(r, w.replicas[0]) {
			w.t.Fatalf("replica %d holds\n%s (deleted %v), replica 0\n%s (deleted %v)", i, r.Data, r.Deleted, w.replicas[0].Data, w.replicas[0].Deleted)
		}
	}
}

// noSilentLoss checks that every edit is part of the result, was replaced by
// somebody who knew it, or was reported.
func (w *world) noSilentLoss() {
	final := rawFields(w.replicas[0].Data)
	for edit := range w.edits {
		name, value := edit[:1], edit[1:]
		if !w.replicas[0].Deleted && final[name] == value || w.superseded[edit] || w.reported[edit] {
			continue
		}
		w.t.Fatalf("the edit %s: %s vanished; %v is left (deleted %v)", name, value, final, w.replicas[0].Deleted)
	}
}

// idempotent checks that resolving again what was resolved changes nothing.
func (w *world) idempotent() {
	r := w.replicas[0]
	got := resolved(w.t, w.resolver, resolve.Input{Local: r, Remote: r, Base: r.Data, BaseDeleted: r.Deleted, Now: w.now.Add(tolerance)})
	if got.Action != resolve.ActionNothing || got.Restamp || got.SendBack || len(got.Losers) > 0 || !same(sideOf(got), r) {
		w.t.Fatalf("resolving a record with itself: %+v", got)
	}
}

func mesh(n int) [][2]int {
	var edges [][2]int
	for i := range n {
		for j := range i {
			edges = append(edges, [2]int{i, j})
		}
	}
	return edges
}

func star(n int) [][2]int {
	var edges [][2]int
	for i := 1; i < n; i++ {
		edges = append(edges, [2]int{0, i})
	}
	return edges
}

// unique writes values of which no two are the same.
func unique(w *world) string {
	w.written++
	return fmt.Sprintf(`"v%d"`, w.written)
}

// mixed writes values of all types.
func mixed(w *world) string {
	return rapid.SampledFrom([]string{
		"1", "1.0", "2", "-3e2", "10", "null", "true", `"a"`, `"ab"`, `"zz"`, `"2026-01-01"`, `"2026-01-01T00:00:00Z"`, `"2025-06-01T00:00:00+02:00"`, "[1]", `{"x":1}`,
	}).Draw(w.t, "value")
}

// arrays writes sets of small numbers.
func arrays(w *world) string {
	list := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(w.t, "array")
	text, err := json.Marshal(list)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// TestReplicasConverge lets replicas that keep the times of fields meet in
// any order.
func TestReplicasConverge(t *testing.T) {
	t.Parallel()
	resolutions := map[resolve.Resolution]func(*world) string{
		resolve.Newer: unique, resolve.Min: mixed, resolve.Max: mixed, resolve.Longest: mixed, resolve.Union: arrays,
	}
	for _, name := range slices.Sorted(maps.Keys(resolutions)) {
		for _, deletes := range []resolve.DeletePolicy{resolve.DeleteNewer, resolve.DeleteWins, resolve.EditWins} {
			for _, withBases := range []bool{false, true} {
				if withBases && name == resolve.Union {
					continue // for trees only
				}
				t.Run(fmt.Sprintf("%s/%s/%v", name, deletes, withBases), func(t *testing.T) {
					t.Parallel()
					rapid.Check(t, func(t *rapid.T) {
						n := rapid.IntRange(2, 4).Draw(t, "replicas")
						w := newWorld(t, resolve.Policy{Resolution: name, Deletes: deletes}, n, withBases)
						w.values = resolutions[name]
						w.run(mesh(n), true)
						w.idempotent()
						if name == resolve.Newer {
							w.noSilentLoss()
						}
					})
				})
			}
		}
	}
}

// TestTreesConverge lets replicas around a hub count and gather: every
// addition arrives exactly once, and what one removes from an array is gone.
func TestTreesConverge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "replicas")
		w := newWorld(t, resolve.Policy{Resolution: resolve.Counter}, n, true)
		total := 0
		w.replicas[0], _ = resolve.Edit(resolve.Side{}, []byte(`{"a":0,"b":0,"c":0.5}`), w.now, "node0")
		edges := star(n)
		for _, e := range edges {
			w.meet(e[0], e[1], true)
		}
		w.values = nil
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			w.now = w.now.Add(time.Minute)
			i := rapid.IntRange(0, n-1).Draw(t, "replica")
			if rapid.Bool().Draw(t, "meets") && i > 0 {
				w.meet(0, i, true)
				continue
			}
			add := rapid.IntRange(-5, 9).Draw(t, "add")
			total += add
			var r struct{ A, B int }
			if err := json.Unmarshal(w.replicas[i].Data, &r); err != nil {
				t.Fatal(err)
			}
			next, err := resolve.Edit(w.replicas[i], fmt.Appendf(nil, `{"a":%d,"b":%d,"c":0.5}`, r.A+add, r.B-add), w.now.Add(w.skew[i]), fmt.Sprint("node", i))
			if err != nil {
				t.Fatal(err)
			}
			w.replicas[i] = next
		}
		for range 2 {
			for _, e := range edges {
				w.meet(e[0], e[1], true)
			}
		}
		want := fmt.Sprintf(`{"a":%d,"b":%d,"c":0.5}`, total, -total)
		for i, r := range w.replicas {
			if string(r.Data) != want {
				t.Fatalf("replica %d counts %s, want %s", i, r.Data, want)
			}
		}
	})
}

// TestUnionsConvergeInTrees lets replicas around a hub add and remove.
func TestUnionsConvergeInTrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "replicas")
		w := newWorld(t, resolve.Policy{Resolution: resolve.Union}, n, true)
		w.values = arrays
		w.run(star(n), true)
		w.idempotent()
	})
}

// TestPlainRecordsConverge lets two replicas that keep no times of fields
// meet: whatever their clocks say, edits of different fields merge, and no
// edit vanishes unreported.
func TestPlainRecordsConverge(t *testing.T) {
	t.Parallel()
	for _, name := range []resolve.Resolution{"", resolve.Newer, resolve.Older} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, resolve.Policy{Resolution: name}, 2, true)
				w.values = unique
				for range rapid.IntRange(1, 12).Draw(t, "steps") {
					w.now = w.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "passes")) * time.Second)
					if i := rapid.IntRange(0, 2).Draw(t, "replica"); i < 2 {
						w.edit(i)
						w.replicas[i].Modified, w.replicas[i].Times = resolve.At(w.now.Add(w.skew[i])), nil
					} else {
						w.meet(0, 1, true)
						w.replicas[0].Times, w.replicas[1].Times = nil, nil
					}
				}
				w.meet(0, 1, true)
				w.noSilentLoss()
			})
		})
	}
}
