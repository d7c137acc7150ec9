package sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/mapping"
)

const connector = "c"

// Setup says what a world is like before anything happens in it.
type Setup struct {
	// Seed decides how long every outside call takes.
	Seed uint64
	// Model of the source. Positioned says that a source of model full issues
	// positions nevertheless, Fetching that one of model log can read single
	// records; those of model modified always can.
	Model                gapless.ChangeModel
	Positioned, Fetching bool
	// Partitions there are, 1 to 4. Sliced makes them slices of one collection.
	Partitions int
	Sliced     bool
	// Keys of each partition that there can be, at most 10.
	Keys int
	// MarkEvery is how many records lie between the marks of an enumeration;
	// 0 makes none.
	MarkEvery int
	Settings  engine.Settings
	// Sabotage breaks one invariant.
	Sabotage Sabotage
	// Trace keeps a line for every call.
	Trace bool
}

// DefaultSettings are small, so that a handful of records crosses every
// boundary, and make retries wait the same time whenever they are played.
func DefaultSettings() engine.Settings {
	return engine.Settings{
		BatchRows: 3, SyncRecords: 5, Attempts: 2, MaxWait: 1, Parallel: 1, GuardRecords: 1000, GuardPercent: 1e-9,
		LeaseTTL: 300 * time.Millisecond, Memory: 1 << 16,
	}
}

// Violation is an invariant that did not hold.
type Violation struct {
	// Invariant is I1 to I10; or end, if a history without any further faults
	// does not come to rest in step and proved.
	Invariant string
	What      string
}

// String is one line.
func (v Violation) String() string { return v.Invariant + ": " + v.What }

// World is a source, a destination, a state and processes that run between
// them, in virtual time. Its methods are called by the story alone, from one
// goroutine.
type World struct {
	setup Setup
	clock clock
	rules []*mapping.Program

	mu        sync.Mutex // guards what follows; nobody sleeps with it
	trace     trace
	source    source
	dest      *destination
	lenient   bool           // destinations take anything
	others    []*destination // that were exchanged
	names     int            // ids and incarnations given out
	store     *Store
	root      string // of all folders with fingerprints
	dir       string // of those in use
	config    []int  // numbers of rules, as configured one after the other
	processes []*process
	audit     auditor
	end       chan struct{}
}

// Result is what became of a history.
type Result struct {
	Violations []Violation
	// Trace has a line for every call, if it was asked for.
	Trace string
	// Runs is how many there were, Calls how many outside calls they made.
	Runs, Calls int
}

// Play lets story happen in a new world and checks every invariant at every
// call. It may be called by several tests at once.
func Play(t *testing.T, s Setup, story func(*World)) Result {
	t.Helper()
	programs, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch(), "gapless-sim-*")
	if err != nil {
		t.Fatal(err)
	}
	var result Result
	synctest.Test(t, func(*testing.T) {
		w := newWorld(s, programs, dir)
		story(w)
		result = w.close()
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return result
}

// compiled returns the programs of all rules.
var compiled = sync.OnceValues(func() ([]*mapping.Program, error) {
	var programs []*mapping.Program
	for _, r := range rules() {
		spec := mapping.Spec{Filter: r.filter}
		if r.set != "" {
			spec.Set = map[string]string{"w": r.set}
		}
		program, err := mapping.Compile(spec)
		if err != nil {
			return nil, err
		}
		programs = append(programs, program)
	}
	return programs, nil
})

// scratch is where fingerprints are kept: in memory if the machine has such a
// folder, because they are synced often.
func scratch() string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return memory
	}
	return os.TempDir()
}

func newWorld(s Setup, programs []*mapping.Program, root string) *World {
	w := &World{
		setup: s, clock: clock{seed: s.Seed}, rules: programs, trace: trace{wanted: s.Trace, began: time.Now()},
		store: NewStore(), root: root, config: []int{0}, end: make(chan struct{}),
	}
	w.dir = w.folder()
	w.audit = newAuditor(w)
	w.dest = newDestination(w.name("d"), w.name("i"))
	for i := range s.Partitions {
		p := &part{number: i, listed: true, records: map[string]*record{}}
		p.ID = "p" + strconv.Itoa(i)
		p.Collection = p.ID
		if s.Sliced {
			p.Collection, p.Prefix = "c", p.ID+"."
		}
		for k := range s.Keys {
			key := p.Prefix + "k" + strconv.Itoa(k)
			p.keys = append(p.keys, key)
			p.records[key] = &record{}
		}
		w.source.parts = append(w.source.parts, p)
	}
	return w
}

// name returns a name that was never given out.
func (w *World) name(kind string) string {
	w.names++
	return kind + strconv.Itoa(w.names)
}

// folder returns a folder that is not there yet.
func (w *World) folder() string { return filepath.Join(w.root, w.name("f")) }

// close lets all processes end that hang, and returns what was found.
func (w *World) close() Result {
	close(w.end)
	result := Result{Runs: len(w.processes)}
	for _, p := range w.processes {
		<-p.ended
		result.Calls += p.calls[0] + p.calls[1] + p.calls[2]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	result.Violations, result.Trace = w.audit.found, w.trace.text.String()
	return result
}

// Broken reports whether an invariant was found not to hold: there is no use
// in going on.
func (w *World) Broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.audit.found) > 0
}

// do changes the world from outside, and has the auditor look at it.
func (w *World) do(what string, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace.add("-- %s", what)
	change()
	w.audit.destination(w.dest)
}

// Wait lets time pass.
func (w *World) Wait(d time.Duration) { w.clock.sleepUntil(actorStory, time.Now().Add(d)) }

// Put gives record number key of a partition a value of 0 to 9: the
// destination refuses 9 at once and 8 when it is synced.
func (w *World) Put(partition, key, value int) {
	p := w.source.parts[partition]
	w.do(fmt.Sprintf("put %s %s %d", p.ID, p.keys[key], value), func() { w.source.put(p, p.keys[key], value) })
}

// Remove deletes a record.
func (w *World) Remove(partition, key int) {
	p := w.source.parts[partition]
	w.do(fmt.Sprintf("remove %s %s", p.ID, p.keys[key]), func() { w.source.put(p, p.keys[key], absent) })
}

// Spoil makes a record unreadable until it is put again; if garbled, not even
// its key can be told.
func (w *World) Spoil(partition, key int, garbled bool) {
	p := w.source.parts[partition]
	w.do(fmt.Sprintf("spoil %s %s, garbled %t", p.ID, p.keys[key], garbled), func() {
		r := p.records[p.keys[key]]
		if r.value() != absent {
			r.forbidden, r.garbled = !garbled, garbled
		}
	})
}

// Mend makes everything at the source readable again, and acceptable: by another
// content or, if lenient, because destinations take anything from now on.
func (w *World) Mend(lenient bool) {
	w.do(fmt.Sprintf("mend, lenient %t", lenient), func() {
		w.lenient = lenient
		for _, p := range w.source.parts {
			for _, key := range p.keys {
				r := p.records[key]
				if v := r.value(); v != absent && (r.forbidden || r.garbled || v >= tardyValue && !lenient) {
					w.source.put(p, key, v%tardyValue)
				}
			}
		}
	})
}

// List has the source list a partition, or not.
func (w *World) List(partition int, listed bool) {
	p := w.source.parts[partition]
	w.do(fmt.Sprintf("list %s %t", p.ID, listed), func() { p.listed = listed })
}

// Prune makes every position before now expire.
func (w *World) Prune() { w.do("prune", func() { w.source.pruned = len(w.source.log) }) }

// Reshape changes the schema: every record of the source looks otherwise.
func (w *World) Reshape() { w.do("reshape", func() { w.source.generation++ }) }

// Configure has processes that begin from now on map records by rule number n,
// 0 to 3; 0 is none.
func (w *World) Configure(n int) {
	w.do(fmt.Sprintf("configure rule %d", n), func() { w.config = append(w.config, n) })
}

// Crash lets the destination lose what is not synced. What survives of it
// depends on survivors, a number by chance.
func (w *World) Crash(survivors uint64) {
	w.do("crash", func() {
		w.dest.crash(w.name("i"), func() bool {
			survivors = mix(survivors)
			return survivors%2 == 0
		})
	})
}

// Replace puts an empty destination in the place of the one there is, which is
// kept; Exchange puts the one that was kept longest back, if there is one.
func (w *World) Replace() {
	w.do("replace", func() {
		w.others = append(w.others, w.dest)
		w.dest = newDestination(w.name("d"), w.name("i"))
	})
}

// Exchange is described at Replace.
func (w *World) Exchange() {
	w.do("exchange", func() {
		if len(w.others) > 0 {
			w.others = append(w.others, w.dest)
			w.dest, w.others = w.others[0], w.others[1:]
		}
	})
}

// Backup is a copy of what the destination or state held.
type Backup struct {
	dest  *destination
	store *Store
	dir   string
}

// BackUp copies what is durable at the destination, in state and of the
// fingerprints.
func (w *World) BackUp() (b Backup, err error) {
	w.do("back up", func() {
		b = Backup{dest: w.dest.clone(), store: w.store.Snapshot(), dir: w.folder()}
		if err = os.MkdirAll(w.dir, 0o700); err == nil {
			err = os.CopyFS(b.dir, os.DirFS(w.dir))
		}
	})
	return b, err
}

// RestoreDestination replaces the destination by a backup. If silent, it does
// not know of it, and shows the incarnation that it had.
func (w *World) RestoreDestination(b Backup, silent bool) {
	w.do(fmt.Sprintf("restore destination, silent %t", silent), func() {
		w.dest = b.dest.clone()
		if !silent {
			w.dest.incarnation = w.name("i")
		}
	})
}

// RestoreState replaces state and fingerprints by a backup.
func (w *World) RestoreState(b Backup) (err error) {
	w.do("restore state", func() {
		w.store.Restore(b.store)
		w.dir = w.folder()
		err = os.CopyFS(w.dir, os.DirFS(b.dir))
		w.audit.stateLost()
	})
	return err
}

// ForgetState loses state and fingerprints.
func (w *World) ForgetState() {
	w.do("forget state", func() {
		w.store.Restore(NewStore())
		w.dir = w.folder()
		w.audit.stateLost()
	})
}

// Settle is the end of a history: nothing fails and nobody edits any more.
// Runs, with the deletes approved that the guard asks about, then bring the
// destination into step, and the proof holds. Records must be mended before.
func (w *World) Settle() {
	w.Wait(2 * w.setup.Settings.LeaseTTL)
	var last Ended
	for try := range 8 {
		o := engine.RunOptions{Full: try > 3}
		if gapless.ExitCode(last.Err) == gapless.ExitGuard {
			o.Approve = last.Summary.Plan
		}
		if last = w.Run(Run{Options: o}); last.Err == nil || w.Broken() {
			break
		}
	}
	if w.Broken() {
		return
	}
	if last.Err != nil {
		w.unsettled("without faults, the last of 8 runs ends with %d: %v", last.Summary.Exit, last.Err)
		return
	}
	w.inStep()
}

// inStep compares the destination with the source, and asks for the proof.
func (w *World) inStep() {
	w.mu.Lock()
	rule := rules()[w.config[len(w.config)-1]]
	for _, p := range w.source.parts {
		for _, key := range p.keys {
			want, wanted := rule.mapped(w.source.generation, p.records[key].value())
			got, there := w.dest.synced[name(p.Partition, key)]
			if p.listed && (wanted != there || wanted && want != string(got.Data)) {
				invariant := "end"
				if w.dest.excused[name(p.Partition, key)] {
					invariant = "I9"
				}
				w.audit.fail(invariant, "%s %s is %q at the destination, want %q", p.ID, key, got.Data, want)
			}
		}
	}
	w.mu.Unlock()
	p := w.begin(Run{})
	defer close(p.ended)
	e, err := p.engine()
	if err == nil {
		report, failed := e.Prove(p.context)
		if err = failed; err == nil && !report.OK {
			err = errors.New(report.Text())
		}
	}
	if err != nil {
		w.unsettled("in step, but not proved: %v", err)
	}
}

// unsettled notes that a history does not come to rest as it has to.
func (w *World) unsettled(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.audit.fail("end", format, args...)
}

// listed returns the partitions that the source lists.
func (w *World) listed() []gapless.Partition {
	var all []gapless.Partition
	for _, p := range w.source.parts {
		if p.listed {
			all = append(all, p.Partition)
		}
	}
	return all
}

// part returns the partition of an id, or nil.
func (w *World) part(id string) *part {
	for _, p := range w.source.parts {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// placeOf numbers the partitions of a process's actors; 15 is none.
func (w *World) placeOf(id string) int {
	if p := w.part(id); p != nil {
		return p.number
	}
	return 15
}
