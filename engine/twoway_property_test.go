package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// mesh is some replicas and the two-way connectors between them, with an
// account of every edit that was made.
type mesh struct {
	*rapid.T
	dir      string
	replicas []*gaplesstest.Replica
	skew     []time.Duration // of the clock of each replica
	kinds    []gapless.ChangeModel
	pairs    []*pair
	now      time.Time
	edits    int
	// current is what every edit gave to a field, by its unique value;
	// superseded are those that somebody has replaced who saw them.
	current    map[string]edited
	superseded map[string]bool
	removals   []removal
	lastEdit   map[string]int // by key
	policy     resolve.Policy
	settings   engine.Settings
	backups    []*backup // of each replica
	// restored: a replica was, and is met anew, which tells no deletion.
	restored bool
	failed   map[*pair]bool // whose last run failed
	backed   bool           // there are backups
	made     []made         // every edit, in order
}

// made says where an edit was made, and of what.
type made struct {
	replica int
	values  []string
}

// backup is of a replica, after as many edits.
type backup struct {
	copy  *gaplesstest.Replica
	edits int
}

type edited struct{ key, field string }

// removal is a deletion where deletions are told: of which values, and after
// how many edits. Where they are not, a record that is gone right after a run
// has died looks as if it had not arrived yet.
type removal struct {
	key  string
	seen map[string]string
	at   int
}

// newMesh draws a tree of replicas or, if all of them keep the times of
// fields, sometimes a ring.
func newMesh(t *rapid.T, dir string) *mesh {
	m := &mesh{
		T: t, dir: dir, now: noon, current: map[string]edited{}, superseded: map[string]bool{}, lastEdit: map[string]int{},
	}
	k := rapid.IntRange(2, 4).Draw(t, "replicas")
	m.backed = rapid.Bool().Draw(t, "backups")
	ring := k > 2 && rapid.Bool().Draw(t, "ring")
	m.policy = drawPolicy(t)
	m.settings = engine.Settings{BatchRows: 2, Attempts: 1, GuardRecords: rapid.SampledFrom([]int{1, 1000}).Draw(t, "guard")}
	models := []gapless.ChangeModel{gapless.ModelLog, gapless.ModelModified, gapless.ModelFull}
	for i := range k {
		r := gaplesstest.NewReplica(fmt.Sprint("n", i), "r")
		if !ring && rapid.Bool().Draw(t, "plain") {
			r.Plain()
		}
		if rapid.IntRange(0, 3).Draw(t, "slices") == 0 {
			r.Split("a", "b", "c")
		}
		kind := gapless.ModelLog
		if !ring {
			kind = rapid.SampledFrom(models).Draw(t, "model")
		}
		m.replicas, m.kinds = append(m.replicas, r), append(m.kinds, kind)
		m.skew = append(m.skew, time.Duration(rapid.IntRange(-240, 240).Draw(t, "skew"))*time.Second)
		if i > 0 {
			m.join(rapid.IntRange(0, i-1).Draw(t, "neighbour"), i)
		}
	}
	if ring {
		m.join(0, k-1)
	}
	m.backups, m.failed = make([]*backup, k), map[*pair]bool{}
	return m
}

// drawPolicy draws how deletions and fields are resolved.
func drawPolicy(t *rapid.T) resolve.Policy {
	p := resolve.Policy{
		Deletes: rapid.SampledFrom([]resolve.DeletePolicy{resolve.DeleteNewer, resolve.DeleteWins, resolve.EditWins}).Draw(t, "deletes"),
	}
	if rapid.Bool().Draw(t, "by field") {
		p.Default = resolve.Newer
		p.Fields = map[string]resolve.Resolution{"f": resolve.Max, "g": resolve.Longest, "h": resolve.Min}
		return p
	}
	p.Resolution = resolve.Newer
	return p
}

func (m *mesh) join(i, j int) {
	p := &pair{
		tester: noFolders{m.T}, name: fmt.Sprintf("p%d", len(m.pairs)), sides: [2]*gaplesstest.Replica{m.replicas[i], m.replicas[j]},
		models: [2]gapless.ChangeModel{m.kinds[i], m.kinds[j]}, now: &m.now,
		policy: m.policy, settings: m.settings,
	}
	template, err := emptyState()
	if err != nil {
		m.Fatal(err)
	}
	p.dir = filepath.Join(m.dir, p.name)
	if err := os.CopyFS(p.dir, os.DirFS(template)); err != nil {
		m.Fatal(err)
	}
	if p.kept, err = sqlite.Open(context.Background(), filepath.Join(p.dir, "state")); err != nil {
		m.Fatal(err)
	}
	m.pairs = append(m.pairs, p)
}

// close closes the stores of all connectors.
func (m *mesh) close() {
	for _, p := range m.pairs {
		if err := p.kept.Close(); err != nil {
			m.Fatal(err)
		}
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.Fatal(err)
	}
}

// inMemory returns a folder for one case, without a disk behind it where there
// is one of this kind: power cuts are not what is tested.
func inMemory(t *rapid.T) string {
	root := "/dev/shm"
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		root = ""
	}
	dir, err := os.MkdirTemp(root, "gapless-mesh-*")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// noFolders makes a tester of a property's.
type noFolders struct{ *rapid.T }

func (noFolders) TempDir() string { panic("the folder is given") }

// edit gives one or two fields of a record new values at one replica.
func (m *mesh) edit(t *rapid.T) {
	i, key := m.anyReplica(t), m.anyKey(t)
	fields := m.fieldsAt(i, key)
	for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"f", "g", "h"}), 1, 2, rapid.ID).Draw(t, "fields") {
		if was, there := fields[f]; there {
			m.superseded[was] = true
		}
		m.edits++
		fields[f] = fmt.Sprintf("e%d", m.edits)
		m.current[fields[f]] = edited{key, f}
	}
	m.lastEdit[key] = m.edits
	m.made = append(m.made, made{i, slices.Collect(maps.Values(fields))})
	m.replicas[i].Edit("r", key, written(fields), m.clock(t, i))
}

// remove deletes a record at one replica.
func (m *mesh) remove(t *rapid.T) {
	i, key := m.anyReplica(t), m.anyKey(t)
	fields := m.fieldsAt(i, key)
	if len(fields) == 0 {
		return
	}
	for _, was := range fields {
		m.superseded[was] = true
	}
	m.edits++
	if m.kinds[i] == gapless.ModelLog && !m.restored && !m.diedAt(i) {
		m.removals = append(m.removals, removal{key, fields, m.edits})
	}
	at := m.clock(t, i)
	if m.kinds[i] == gapless.ModelLog && at.IsZero() {
		at = m.now // who tells deletions tells when
	}
	m.replicas[i].Remove("r", key, at)
}

// diedAt reports whether a run may have left at a replica what it did not
// remember.
func (m *mesh) diedAt(i int) bool {
	return slices.ContainsFunc(m.pairs, func(p *pair) bool { return m.failed[p] && slices.Contains(p.sides[:], m.replicas[i]) })
}

// backup copies a replica, in every other case.
func (m *mesh) backup(t *rapid.T) {
	if !m.backed {
		return
	}
	i := m.anyReplica(t)
	m.backups[i] = &backup{m.replicas[i].Backup(), len(m.made)}
}

// restore puts the copy of a replica in its place. What was edited there since
// may be gone, and what was deleted there need not be.
func (m *mesh) restore(t *rapid.T) {
	i := m.anyReplica(t)
	b := m.backups[i]
	if b == nil {
		return
	}
	m.replicas[i].Restore(b.copy)
	m.restored, m.removals = true, nil
	for _, e := range m.made[b.edits:] {
		if e.replica != i {
			continue
		}
		for _, value := range e.values {
			m.superseded[value] = true
		}
	}
}

// clock returns the time at a replica, which now and then is not told, or far
// off.
func (m *mesh) clock(t *rapid.T, i int) time.Time {
	m.now = m.now.Add(time.Second)
	switch rapid.IntRange(0, 9).Draw(t, "date") {
	case 0:
		return time.Time{}
	case 1:
		return m.now.AddDate(-20, 0, 0)
	case 2:
		return time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return m.now.Add(m.skew[i])
}

func (m *mesh) anyReplica(t *rapid.T) int {
	return rapid.IntRange(0, len(m.replicas)-1).Draw(t, "replica")
}

func (m *mesh) anyKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
}

func (m *mesh) fieldsAt(i int, key string) map[string]string {
	return fieldsOf(m.replicas[i].Records("r")[key])
}

func fieldsOf(data string) map[string]string {
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.Trim(data, "{}"), ",") {
		if name, value, ok := strings.Cut(part, ":"); ok {
			fields[strings.Trim(name, `"`)] = strings.Trim(value, `"`)
		}
	}
	return fields
}

func written(fields map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, fmt.Sprintf("%q:%q", name, fields[name]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// sync runs one connector, which may fail, and be killed, anywhere.
func (m *mesh) sync(t *rapid.T) {
	p := m.pairs[rapid.IntRange(0, len(m.pairs)-1).Draw(t, "pair")]
	if rapid.Bool().Draw(t, "fails") {
		m.breakAt(t, p)
	}
	_, err := p.run()
	if err != nil {
		t.Log(err) // the end of the case says what came of it
	}
	m.failed[p] = err != nil
	for _, r := range p.sides {
		r.Faults.Set(nil)
	}
	p.state.Set(nil)
}

// breakAt lets a call fail, take effect and fail, or take a replica down.
func (m *mesh) breakAt(t *rapid.T, p *pair) {
	at := rapid.IntRange(1, 25).Draw(t, "call")
	failure := gapless.Recoverable(errors.New("broken"))
	if rapid.Bool().Draw(t, "unrecoverable") {
		failure = errors.New("broken badly")
	}
	if rapid.Bool().Draw(t, "ambiguous") {
		failure = gaplesstest.Ambiguous(failure)
	}
	where := rapid.IntRange(0, 2).Draw(t, "where")
	if where == 2 {
		p.state.Set(func(_ string, _, total int) error {
			if total >= at {
				return failure
			}
			return nil
		})
		return
	}
	crash := rapid.Bool().Draw(t, "crash")
	r := p.sides[where]
	r.Faults.Set(func(_ string, _, total int) error {
		if total != at {
			return nil
		}
		if crash {
			r.Crash()
			return nil
		}
		return failure
	})
}

// settle runs all connectors until none of them writes anything.
func (m *mesh) settle() {
	for range 40 {
		writes := m.writes()
		for _, p := range m.pairs {
			m.run(p)
		}
		if m.writes() == writes {
			return
		}
	}
	m.Fatalf("the replicas do not come to rest: %v", m.contents())
}

// run runs a connector, and approves what the guard stops: here, everything
// may be deleted.
func (m *mesh) run(p *pair) {
	s, err := p.run()
	for tries := 0; gapless.ExitCode(err) == gapless.ExitGuard && tries < 4; tries++ {
		s, err = p.runWith(engine.RunOptions{Approve: s.Plan})
	}
	if err != nil {
		m.Fatalf("run of %s: %v", p.name, err)
	}
}

func (m *mesh) writes() int {
	n := 0
	for _, r := range m.replicas {
		n += r.Writes()
	}
	return n
}

func (m *mesh) contents() []map[string]string {
	var all []map[string]string
	for _, r := range m.replicas {
		all = append(all, r.Records("r"))
	}
	return all
}

// check requires that all replicas have the same, and that every edit is
// there, was replaced by somebody who saw it, or is in an inbox.
func (m *mesh) check() {
	final := canonicalRecords(noFolders{m.T}, m.replicas[0].Records("r"))
	for i, r := range m.replicas[1:] {
		if diff := cmp.Diff(final, canonicalRecords(noFolders{m.T}, r.Records("r"))); diff != "" {
			m.Fatalf("replica 0 and %d differ:\n%s", i+1, diff)
		}
	}
	lost, undeleted := map[string]bool{}, map[string]bool{}
	for _, p := range m.pairs {
		for _, x := range p.conflicts() {
			for _, value := range [...][]byte{x.This, x.Other} {
				lost[strings.Trim(string(value), `"`)] = true
			}
			undeleted[x.Key] = undeleted[x.Key] || x.Deletion
		}
		if r := p.prove(); !r.OK {
			m.Fatalf("%s is in step, but not proved: %+v", p.name, r.Gaps)
		}
	}
	for value, e := range m.current {
		if fieldsOf(final[e.key])[e.field] != value && !m.superseded[value] && !lost[value] {
			m.Fatalf("edit %s of %s.%s is gone without a trace; at the end there is %v", value, e.key, e.field, final)
		}
	}
	for _, r := range m.removals {
		for field, value := range fieldsOf(final[r.key]) {
			if r.seen[field] == value && m.lastEdit[r.key] < r.at && !undeleted[r.key] {
				m.Fatalf("the deletion of %s is gone without a trace; at the end there is %v", r.key, final)
			}
		}
	}
}

// TestTwoWayReplicasConverge plays the same 600 cases whenever it runs, one of
// them by -run TestTwoWayReplicasConverge/10/542, and the first twenty if time
// is short. TestTwoWayReplicasSoak plays others.
func TestTwoWayReplicasConverge(t *testing.T) {
	t.Parallel()
	perShard, shards := 50, 12
	if testing.Short() {
		perShard, shards = 20, 1
	}
	for i := range shards {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			playCases(t, i*perShard, (i+1)*perShard, func(_ *testing.T, rt *rapid.T) { playMesh(rt) })
		})
	}
}

// playCases plays the cases of some numbers, each a subtest. A number stands for
// the same case always.
func playCases(t *testing.T, from, to int, play func(*testing.T, *rapid.T)) {
	t.Helper()
	played := 0
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			luck := make([]byte, 64<<10)
			_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(luck) // never fails
			rapid.MakeFuzz(func(rt *rapid.T) {
				play(t, rt)
				played++
			})(t, luck)
		})
	}
	if played < to-from && !t.Failed() {
		t.Errorf("%d of %d cases were played to their end", played, to-from)
	}
}

// TestTwoWayReplicasSoak plays cases by chance, as many as -rapid.checks says,
// and shrinks one that fails.
func TestTwoWayReplicasSoak(t *testing.T) {
	t.Parallel()
	if os.Getenv("GAPLESS_SOAK") == "" {
		t.Skip("set GAPLESS_SOAK to play")
	}
	rapid.Check(t, playMesh)
}

func playMesh(rt *rapid.T) {
	m := newMesh(rt, inMemory(rt))
	defer m.close()
	for _, p := range m.pairs { // who meets for the first time cannot tell what was deleted before
		p.mustRun()
	}
	rt.Repeat(map[string]func(*rapid.T){"edit": m.edit, "edit more": m.edit, "remove": m.remove, "sync": m.sync, "backup": m.backup, "restore": m.restore})
	m.settle()
	m.check()
	writes := m.writes()
	for range 3 {
		for _, p := range m.pairs {
			if s := p.mustRun(); s.Counts.Pushed > 0 {
				rt.Fatalf("%s pushed %d records after all had come to rest", p.name, s.Counts.Pushed)
			}
		}
	}
	if m.writes() != writes {
		rt.Fatal("records were written after all had come to rest")
	}
}
