package service

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
)

func testEvent(id string) event.Event {
	return event.Event{Version: event.Version1, ID: id, Source: "/test", Type: "t"}
}

// nameOf is the name of testEvent's file.
func nameOf(id string) string { return eventName("/test\n" + id) }

// entries are files of the queue by their paths.
type entries map[string]string

// crashingDisk knows what a crash can leave on disk. It is told before each
// step, and crashes or fails before one of them.
type crashingDisk struct {
	t    *testing.T
	dir  string
	at   int   // the step to end before, counted from 0
	fail error // nil crashes
	// steps that were begun
	steps int
	// states that a file has had since its folder was synced, by its path: a
	// crash leaves one of them.
	states map[string][]fileState
	synced map[string]bool // temporary files
	torn   map[string]bool // files that were renamed before they were synced
	folder string          // is being synced
}

type fileState struct {
	there   bool
	content string
}

func newCrashingDisk(t *testing.T, at int, fail error) *crashingDisk {
	return &crashingDisk{
		t: t, dir: filepath.Join(t.TempDir(), "events"), at: at, fail: fail,
		states: map[string][]fileState{}, synced: map[string]bool{}, torn: map[string]bool{},
	}
}

// errCrash is what a crash panics with.
var errCrash = errors.New("crash")

func (c *crashingDisk) watch(step diskStep, path string) error {
	c.settle()
	if c.steps++; c.steps-1 == c.at {
		if c.fail == nil {
			panic(errCrash)
		}
		return c.fail
	}
	switch step {
	case stepWrite:
		c.synced[path] = false
	case stepSyncFile:
		c.synced[path] = true
	case stepRename:
		c.torn[path] = !c.synced[filepath.Base(path)+temporary]
	case stepSyncFolder:
		c.folder = path
	}
	return nil
}

// settle notes what the last step has done.
func (c *crashingDisk) settle() {
	now := files(c.t, c.dir)
	for path := range now {
		if c.states[path] == nil {
			c.states[path] = []fileState{{}}
		}
	}
	for path, states := range c.states {
		content, there := now[path]
		if c.torn[path] {
			content = ""
		}
		if last := (fileState{there, content}); states[len(states)-1] != last {
			states = append(states, last)
		}
		if filepath.Dir(path) == c.folder {
			states = states[len(states)-1:]
		}
		c.states[path] = states
	}
	c.folder = ""
}

// outcomes calls each with every set of files that a crash now can leave.
func (c *crashingDisk) outcomes(each func(entries)) {
	c.settle()
	all := []entries{{}}
	for path, states := range c.states {
		var more []entries
		for _, left := range all {
			for _, state := range states {
				with := maps.Clone(left)
				if state.there {
					with[path] = state.content
				}
				more = append(more, with)
			}
		}
		all = more
	}
	for _, left := range all {
		each(left)
	}
}

// files returns the files below a folder, but for temporary ones.
func files(t *testing.T, dir string) entries {
	t.Helper()
	found := entries{}
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(content)
	}
	return found
}

// promises are what the queue has told its callers.
type promises struct {
	accepted, done, dead map[string]bool
	err                  error // the first one
}

// life is what the events of a test go through.
func life(q *eventQueue, p *promises) {
	note := func(err error, told map[string]bool, ids ...string) {
		p.err = errors.Join(p.err, err)
		for _, id := range ids {
			told[id] = told[id] || err == nil
		}
	}
	accept := func(ids ...string) {
		var events []event.Event
		for _, id := range ids {
			events = append(events, testEvent(id))
		}
		_, err := q.accept(events)
		note(err, p.accepted, ids...)
	}
	accept("1")
	accept("2", "3")
	note(q.done(nameOf("1")), p.done, "1")
	file, _, err := q.load(nameOf("2"))
	if err == nil {
		file.Reason, file.Attempts = "later", 1
		note(q.retry(nameOf("2"), file, time.Now().Add(time.Hour)), p.accepted)
	}
	if file, _, err = q.load(nameOf("3")); err == nil {
		note(q.kill(nameOf("3"), file), p.dead, "3")
		delete(p.dead, "3") // from here on it may be queued again
		err := q.revive(nameOf("3"))
		if note(err, p.dead); err == nil {
			note(q.done(nameOf("3")), p.done, "3")
		}
	}
	accept("1", "2", "4")
	if file, _, err = q.load(nameOf("4")); err == nil {
		note(q.kill(nameOf("4"), file), p.dead, "4")
	}
	note(q.done(nameOf("2")), p.done, "2")
}

// lived lets events live until the disk ends it.
func lived(t *testing.T, disk *crashingDisk) (p promises, crashed bool) {
	t.Helper()
	p = promises{accepted: map[string]bool{}, done: map[string]bool{}, dead: map[string]bool{}}
	defer func() {
		if cause := recover(); cause != nil {
			if cause != any(errCrash) {
				panic(cause)
			}
			crashed = true
		}
	}()
	q, err := openEventQueue(disk.dir, time.Hour, disk.watch)
	if err != nil {
		p.err = err
		return p, false
	}
	defer q.Close()
	life(q, &p)
	return p, false
}

// reopened opens a queue with the files that are left, and checks it.
func reopened(t *testing.T, left entries, p promises) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "events")
	for path, content := range left {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700), os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	q, err := openEventQueue(dir, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	survived(t, q, p)
}

// survived checks a queue after a crash against what was promised before it.
func survived(t *testing.T, q *eventQueue, p promises) {
	t.Helper()
	waiting := map[string]bool{}
	for _, e := range q.waiting {
		if waiting[e.name] {
			t.Errorf("%s waits twice", e.name)
		}
		waiting[e.name] = true
		if _, _, err := q.load(e.name); err != nil {
			t.Errorf("an event that waits: %v", err)
		}
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		var in []string
		for _, folder := range []string{folderQueued, folderDone, folderDead} {
			found, err := q.disk.has(folder, nameOf(id))
			if err != nil {
				t.Fatal(err)
			}
			if found {
				in = append(in, folder)
			}
		}
		switch {
		case waiting[nameOf(id)] != slices.Contains(in, folderQueued):
			t.Errorf("event %s waits: %t, but it is in %v", id, waiting[nameOf(id)], in)
		case len(in) > 1:
			t.Errorf("event %s is in %v", id, in)
		case p.done[id] && !slices.Contains(in, folderDone):
			t.Errorf("event %s was done, and is in %v", id, in)
		case p.dead[id] && !slices.Contains(in, folderDead):
			t.Errorf("event %s was dead, and is in %v", id, in)
		case p.accepted[id] && len(in) == 0:
			t.Errorf("event %s was accepted, and is lost", id)
		}
	}
}

// TestCrashes crashes before every step of events' lives, and opens the queue
// with everything that the crash can have left.
func TestCrashes(t *testing.T) {
	t.Parallel()
	outcomes, at := 0, 0
	for crashed := true; crashed && !t.Failed(); at++ {
		disk := newCrashingDisk(t, at, nil)
		var p promises
		if p, crashed = lived(t, disk); p.err != nil {
			t.Fatal(p.err)
		}
		disk.outcomes(func(left entries) {
			outcomes++
			if reopened(t, left, p); t.Failed() {
				t.Fatalf("after a crash before step %d, with %v", at, slices.Sorted(maps.Keys(left)))
			}
		})
	}
	if at < 50 || outcomes < 80 {
		t.Errorf("only %d steps and %d outcomes", at, outcomes)
	}
}

// TestDiskErrors fails every step once, and goes on until the power fails.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	for at := 0; ; at++ {
		disk := newCrashingDisk(t, at, full)
		p, _ := lived(t, disk)
		if disk.steps <= at {
			break
		}
		if !errors.Is(p.err, full) {
			t.Fatalf("step %d failed, and nobody was told: %v", at, p.err)
		}
		if left, err := filepath.Glob(filepath.Join(disk.dir, "*"+temporary)); err != nil || len(left) > 0 {
			t.Errorf("step %d leaves %v (%v)", at, left, err)
		}
		disk.outcomes(func(left entries) {
			if reopened(t, left, p); t.Failed() {
				t.Fatalf("after an error of step %d, with %v", at, slices.Sorted(maps.Keys(left)))
			}
		})
	}
}

// TestBrokenQueueStandsStill lets a sync fail: nothing is promised after that.
func TestBrokenQueueStandsStill(t *testing.T) {
	t.Parallel()
	broken := errors.New("input/output error")
	var fail bool
	q, err := openEventQueue(t.TempDir(), time.Hour, func(step diskStep, path string) error {
		if fail && step == stepSyncFolder {
			return broken
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if _, err := q.accept([]event.Event{testEvent("1")}); err != nil {
		t.Fatal(err)
	}
	fail = true
	if n, err := q.accept([]event.Event{testEvent("2")}); n != 0 || !errors.Is(err, broken) {
		t.Errorf("%d, %v", n, err)
	}
	fail = false
	// The second file is there, but nobody knows whether it will be.
	if n, err := q.accept([]event.Event{testEvent("2")}); n != 0 || !errors.Is(err, broken) {
		t.Errorf("%d, %v", n, err)
	}
	if name, ok := q.next(t.Context()); ok {
		t.Errorf("%s is handed out", name)
	}
}

func TestPendingListsWhatIsNotDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q, err := openEventQueue(dir, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, id := range []string{"1", "2", "3"} {
		if _, err := q.accept([]event.Event{testEvent(id)}); err != nil {
			t.Fatal(err)
		}
	}
	file, e, err := q.load(nameOf("2"))
	if diff := cmp.Diff(testEvent("2"), e); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
	file.Reason, file.Attempts = "no such cart", 3
	if err := errors.Join(q.kill(nameOf("2"), file), q.done(nameOf("1")), q.bury(nil, []byte("hello"), errors.New("no event"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, folderDead, strings.Repeat("0", 64)), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := q.pending()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %t %d %s", p.ID, p.Dead, p.Attempts, p.Reason))
	}
	want := []string{" true 0 its file cannot be read: unexpected end of JSON input", "2 true 3 no such cart", "3 false 0 ", " true 0 no event"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		name, event string
		code        gapless.Code
	}{
		{"unknown", nameOf("9"), gapless.CodeNotFound},
		{"not dead", nameOf("3"), gapless.CodeNotFound},
		{"a path", "../queued/" + nameOf("3"), gapless.CodeNotFound},
		{"no event", eventName("\x00hello"), gapless.CodeUsage},
		{"damaged", strings.Repeat("0", 64), gapless.CodeUsage},
	} {
		err := q.revive(tt.event)
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestForgets looks at how long an event is known.
func TestForgets(t *testing.T) {
	t.Parallel()
	q, err := openEventQueue(t.TempDir(), time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	again := func() int {
		n, err := q.accept([]event.Event{testEvent("1")})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	again()
	if err := q.done(nameOf("1")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := q.prune(now.Add(59 * time.Minute)); err != nil || again() != 0 {
		t.Errorf("forgotten too early (%v)", err)
	}
	if err := q.prune(now.Add(61 * time.Minute)); err != nil || again() != 1 {
		t.Errorf("not forgotten (%v)", err)
	}
}
