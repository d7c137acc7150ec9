package gaplesstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gapless-sync/gapless"
)

// shelf is an outside system that takes records: what is pushed lies in memory
// until it is flushed. Its destination is written with care, except for the flaw
// that a test plants in it.
type shelf struct {
	t           testing.TB
	b           *Breaker
	flaw        string
	mu          sync.Mutex
	id          int
	incarnation int
	epoch       uint64
	flushed     shelved // survives a crash
	pushed      shelved
	checkpoints map[string]gapless.Checkpoint
	full        map[[2]string]bool // pushed since a full run began; nil outside of one
	serial      uint64
}

type shelved map[[2]string]gapless.Record // by collection and key

func newShelf(t testing.TB, b *Breaker, flaw string) *shelf {
	return &shelf{t: t, b: b, flaw: flaw, id: 1, flushed: shelved{}, pushed: shelved{}, checkpoints: map[string]gapless.Checkpoint{}}
}

// call is one call of the outside system, which effect carries out.
func (s *shelf) call(ctx context.Context, effect func() error) error {
	fault := s.b.Call(ctx)
	switch {
	case errors.Is(fault, Unavailable) && s.flaw == "does not classify":
		return fault
	case errors.Is(fault, Throttled) && s.flaw == "takes throttled for done",
		errors.Is(fault, Unauthorized) && s.flaw == "takes unauthorized for done",
		errors.Is(fault, Forbidden) && s.flaw == "takes forbidden for done":
		return nil
	case errors.Is(fault, Postponed) && s.flaw == "comes back at once":
		return s.call(ctx, effect)
	case errors.Is(fault, Postponed) && s.flaw != "forgets the time":
		return gapless.Later(postponement, mean(fault))
	case fault != nil && !takesEffect(fault):
		return mean(fault)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := effect()
	if s.flaw == "does not classify answers" && err == nil && (errors.Is(fault, Truncated) || errors.Is(fault, Blank)) {
		return fault
	}
	return errors.Join(err, mean(fault))
}

// takesEffect reports whether a call was carried out that failed nevertheless.
func takesEffect(fault error) bool {
	return slices.ContainsFunc([]Fault{Cut, Lost, Truncated, Blank}, func(f Fault) bool { return errors.Is(fault, f) })
}

func (s *shelf) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushed = maps.Clone(s.flushed)
	if s.flaw != "has one incarnation" {
		s.incarnation++
	}
}

func (s *shelf) replace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := newShelf(s.t, s.b, s.flaw)
	s.flushed, s.pushed, s.checkpoints, s.epoch = fresh.flushed, fresh.pushed, fresh.checkpoints, 0
	if s.flaw != "is always the same store" {
		s.id++
	}
}

// process is the destination in one process.
type process struct{ *shelf }

func (p *process) Open(ctx context.Context, _ string, epoch uint64) (gapless.Session, error) {
	s := &shelfSession{process: p, epoch: epoch}
	err := p.call(ctx, func() error {
		s.incarnation, s.before = p.incarnation, p.epoch
		if p.flaw == "tells its own epoch" {
			s.before = epoch
		}
		if epoch == 0 && p.flaw != "lets readers fence" {
			return nil
		}
		if epoch < p.epoch && p.flaw != "lets anybody in" && epoch != 0 {
			return gapless.ErrFenced
		}
		p.epoch = max(p.epoch, epoch)
		if p.flaw == "lets readers fence" && epoch == 0 {
			p.epoch++
		}
		return nil
	})
	if p.flaw == "leaves a goroutine behind" {
		stop := make(chan struct{})
		p.t.Cleanup(func() { close(stop) })
		go func() { <-stop }()
	}
	if p.flaw == "leaves a file open" {
		f, err := os.Open(os.Args[0])
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _ = f.Close() })
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

type shelfSession struct {
	*process
	epoch       uint64
	before      uint64
	incarnation int
	borrowed    []*gapless.Batch
	failed      error // what Sync said last, which Close repeats
	late        []gapless.Rejection
}

// Predecessor implements [gapless.Successor].
func (s *shelfSession) Predecessor() uint64 { return s.before }

func (s *shelfSession) check(write bool) error {
	switch {
	case s.epoch == 0 && write && s.flaw != "lets readers write":
		return gapless.ErrFenced
	case s.epoch != 0 && s.epoch != s.process.shelf.epoch && s.flaw != "does not fence":
		return gapless.ErrFenced
	case s.incarnation != s.shelf.incarnation && s.flaw != "does not see a crash":
		return gapless.ErrIncarnation
	}
	return nil
}

func (s *shelfSession) Status(ctx context.Context) (st gapless.Status, err error) {
	err = s.call(ctx, func() error {
		st = gapless.Status{
			ID: fmt.Sprint(s.id), Incarnation: fmt.Sprint(s.shelf.incarnation), Checkpoints: maps.Clone(s.checkpoints),
			Holds: len(s.flushed) > 0 || len(s.checkpoints) > 0,
		}
		if s.flaw == "is another store each time" {
			st.ID = fmt.Sprintf("%p", s.process)
		}
		return s.check(false)
	})
	return st, err
}

func (s *shelfSession) Push(ctx context.Context, b *gapless.Batch) (receipt gapless.Receipt, err error) {
	if s.flaw == "takes no empty batch" && b.Len() == 0 {
		return receipt, gapless.Recoverable(errors.New("nothing to push"))
	}
	if s.flaw == "keeps the batch" {
		s.borrowed = append(s.borrowed, b)
		return receipt, nil
	}
	err = s.call(ctx, func() error { receipt, err = s.push(b, nil); return err })
	if s.flaw == "cleans up after a failure" && takesEffect(err) {
		s.mu.Lock()
		for i := range b.Rows {
			delete(s.pushed, [2]string{b.Partition.Collection, string(b.Key(i))})
		}
		s.mu.Unlock()
		return receipt, nil
	}
	return receipt, err
}

// PushIf implements [gapless.ConditionalPusher].
func (s *shelfSession) PushIf(ctx context.Context, b *gapless.Batch, expect []gapless.Expectation) (receipt gapless.Receipt, err error) {
	err = s.call(ctx, func() error { receipt, err = s.push(b, expect); return err })
	return receipt, err
}

func (s *shelfSession) push(b *gapless.Batch, expect []gapless.Expectation) (receipt gapless.Receipt, err error) {
	if err := s.check(true); err != nil {
		return receipt, err
	}
	order := make([]int, b.Len())
	for i := range order {
		order[i] = i
	}
	if s.flaw == "deletes last" {
		slices.SortStableFunc(order, func(i, j int) int { return int(b.Rows[i].Op) - int(b.Rows[j].Op) })
	}
	for _, i := range order {
		c := b.Change(i)
		at := [2]string{b.Partition.Collection, c.Key}
		had, exists := s.pushed[at]
		reason := error(nil)
		switch {
		case expect != nil && s.flaw != "pushes whatever is there" && (expect[i].Exists != exists || exists && (string(expect[i].Version) != had.Version || !bytes.Equal(expect[i].Data, had.Data))):
			reason = gapless.ErrChanged
		case c.Op == gapless.OpDelete && !exists && s.flaw == "deletes only what is there":
			reason = gapless.ErrNotFound
		case c.Op == gapless.OpUpsert && exists && had.Version == c.Version && s.flaw == "refuses what it has":
			reason = errors.New("exists")
		case strings.Contains(string(c.Data), `"refuse"`) && s.flaw == "drops what is refused":
			continue
		case strings.Contains(string(c.Data), `"refuse"`):
			reason = errRefused
		}
		if c.Op == gapless.OpPatch && s.flaw == rejectsPatchesLate {
			s.late = append(s.late, gapless.Rejection{Key: c.Key, Err: errRefused})
			continue
		}
		if reason != nil {
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: c.Key, Err: reason})
			continue
		}
		s.apply(at, c, had)
	}
	return receipt, nil
}

func (s *shelfSession) apply(at [2]string, c gapless.Change, had gapless.Record) {
	s.serial++
	if s.full != nil {
		s.full[at] = true
	}
	switch {
	case c.Op == gapless.OpDelete:
		delete(s.pushed, at)
		return
	case c.Op == gapless.OpPatch && s.flaw != "takes a patch for the record":
		c.Data = patched(had.Data, c.Data)
	}
	if s.flaw == "folds keys" {
		at[1] = strings.TrimRight(at[1], " \x00")
	}
	if s.flaw == "reads numbers as floats" {
		var value any
		if json.Unmarshal(c.Data, &value) == nil {
			c.Data, _ = json.Marshal(value)
		}
	}
	s.pushed[at] = c.Record
}

// Sync makes two calls: one for the data, one for the checkpoints.
func (s *shelfSession) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	s.failed = s.sync(ctx, checkpoints)
	receipt := gapless.Receipt{Rejected: s.late, Serial: s.serial}
	s.late = nil
	return receipt, s.failed
}

func (s *shelfSession) sync(ctx context.Context, checkpoints []gapless.Checkpoint) error {
	if s.flaw == "waits forever" {
		ctx = context.WithoutCancel(ctx)
	}
	for _, b := range s.borrowed {
		if _, err := s.push(b, nil); err != nil {
			return err
		}
	}
	s.borrowed = nil
	data := func() error {
		return s.call(ctx, func() error {
			err := s.check(true)
			if err == nil && s.flaw != "flushes with the next sync" || err == nil && len(checkpoints) == 0 {
				s.flushed = maps.Clone(s.pushed)
			}
			return err
		})
	}
	marks := func() error {
		return s.call(ctx, func() error {
			err := s.check(true)
			if err != nil {
				return err
			}
			if s.flaw == "keeps the last checkpoints only" {
				clear(s.checkpoints)
			}
			for _, c := range checkpoints {
				if s.flaw == "serves a few partitions" && len(s.checkpoints) >= 10 {
					break
				}
				s.checkpoints[c.Partition] = c
			}
			return nil
		})
	}
	if s.flaw == "writes the checkpoint first" {
		data, marks = marks, data
	}
	if err := data(); err != nil {
		return err
	}
	return marks()
}

func (s *shelfSession) Close() error {
	if s.flaw == "retires when it is closed" && s.full != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.DeleteFunc(s.flushed, func(at [2]string, _ gapless.Record) bool { return !s.full[at] })
	}
	return s.failed
}

func (s *shelfSession) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	var all []gapless.Record
	err := s.call(ctx, func() error {
		for at, r := range s.flushed {
			if at[0] == p.Collection && (strings.HasPrefix(at[1], p.Prefix) || s.flaw == "lists whole collections") {
				all = append(all, r)
			}
		}
		return nil
	})
	for _, r := range all {
		if err == nil {
			err = fn([]byte(r.Key), []byte(r.Version))
		}
	}
	return err
}

func (s *shelfSession) Get(ctx context.Context, p gapless.Partition, key string) (r gapless.Record, err error) {
	err = s.call(ctx, func() error {
		found, ok := s.flushed[[2]string{p.Collection, key}]
		if r = found; !ok && s.flaw != "finds what is not there" {
			return gapless.ErrNotFound
		}
		return nil
	})
	return r, err
}

// Searchable implements [gapless.Searchable].
func (s *shelfSession) Searchable(ctx context.Context, serial uint64) (known bool, err error) {
	err = s.call(ctx, func() error {
		known = serial <= s.serial && s.flaw != "never shows anything" || s.flaw == "shows what is to come"
		return nil
	})
	return known, err
}

// BeginFull implements [gapless.FullRunner].
func (s *shelfSession) BeginFull(ctx context.Context, resumed bool) error {
	return s.call(ctx, func() error {
		if err := s.check(true); err != nil {
			return err
		}
		switch {
		case !resumed || s.flaw == "forgets what a full run held":
			s.full = map[[2]string]bool{}
			if s.flaw == "retires at the beginning" {
				clear(s.pushed)
			}
		case s.full == nil:
			return gapless.Expired(errors.New("no full run was broken off"))
		}
		return nil
	})
}

// EndFull implements [gapless.FullRunner].
func (s *shelfSession) EndFull(ctx context.Context) error {
	return s.call(ctx, func() error {
		if err := s.check(true); err != nil {
			return err
		}
		if s.flaw != "retires nothing" {
			maps.DeleteFunc(s.pushed, func(at [2]string, _ gapless.Record) bool { return !s.full[at] })
		}
		s.full = nil
		return nil
	})
}

// shelfCase is a shelf and its destination under check.
func shelfCase(flaw string) DestinationCase {
	return DestinationCase{New: func(t testing.TB, b *Breaker) DestinationSystem {
		b.Allow(Postponed, Cut, Lost, Truncated, Blank, Stalled)
		s := newShelf(t, b, flaw)
		return DestinationSystem{
			Open: func() gapless.Destination { return &process{shelf: s} },
			Refused: func(_ gapless.Partition, name string) gapless.Record {
				return gapless.Record{Key: name, Data: []byte(`{"n":"refuse"}`)}
			},
			Crash: s.crash, Server: true, Replace: s.replace,
		}
	}}
}

func TestShelf(t *testing.T) {
	t.Parallel()
	CheckDestination(t, shelfCase(""))
}

// rejectsPatchesLate is no flaw: a receipt of Sync names what was not taken.
const rejectsPatchesLate = "rejects patches late"

func TestPatchRejectedLate(t *testing.T) {
	t.Parallel()
	r := verdict(t, check[*inside]{"patch", checkPatch}, shelfCase(rejectsPatchesLate).world)
	if r.failed || !r.skipped {
		t.Errorf("patches that are rejected by Sync are reported as %q", r.log)
	}
}

// A session may say once more, when it is closed, why its last Sync failed.
func TestCloseRepeatsFailure(t *testing.T) {
	t.Parallel()
	r := verdict(t, check[*inside]{"data-first", checkDataFirst}, func(t testing.TB) *inside {
		w := shelfCase("").world(t)
		w.Crash = nil // which would end it without Close
		return w
	})
	if r.failed || r.skipped {
		t.Errorf("the check says: %q", r.log)
	}
}

// destinationFlaws are what a shelf's destination may do wrong.
func destinationFlaws() []flawed {
	return []flawed{
		{"refuses what it has", "replay", "*"},
		{"deletes only what is there", "delete", "*"},
		{"deletes last", "order", "*"},
		{"takes a patch for the record", "patch", ""},
		{"folds keys", "odd", ""},
		{"reads numbers as floats", "large", ""},
		{"takes no empty batch", "empty", ""},
		{"keeps the batch", "borrowed", "*"},
		{"drops what is refused", "rejects", ""},
		{"lists whole collections", "enumerate", ""},
		{"finds what is not there", "get", "*"},
		{"pushes whatever is there", "conditional", ""},
		{"sums what is not synced", "sums", ""},
		{"shows what is to come", "searchable", ""},
		{"never shows anything", "searchable", ""},
		{"retires nothing", "full-run", ""},
		{"forgets what a full run held", "full-run", ""},
		{"retires at the beginning", "full-run", "engine"},
		{"retires when it is closed", "full-run", "engine"},
		{"keeps the last checkpoints only", "checkpoints", "engine"},
		{"serves a few partitions", "many-partitions", ""},
		{"writes the checkpoint first", "data-first", "engine"},
		{"flushes with the next sync", "read-back crash", "*"},
		{"has one incarnation", "crash incarnation engine", ""},
		{"does not see a crash", "incarnation engine", ""},
		{"does not fence", "fencing", ""},
		{"lets anybody in", "fencing", ""},
		{"tells its own epoch", "fencing read-only", ""},
		{"lets readers write", "read-only", ""},
		{"lets readers fence", "read-only", "*"},
		{"is another store each time", "identity", "*"},
		{"is always the same store", "identity", ""},
		{"does not classify", "unavailable", "engine"},
		{"does not classify answers", "truncated blank", ""},
		{"takes throttled for done", "throttled", "engine"},
		{"takes unauthorized for done", "unauthorized", ""},
		{"takes forbidden for done", "forbidden", "engine"},
		{"cleans up after a failure", "cut lost", "truncated blank data-first engine"},
		{"comes back at once", "retry-after", ""},
		{"forgets the time", "retry-after", ""},
		{"waits forever", "cancel", ""},
		{"leaves a goroutine behind", "leaks", ""},
		{"leaves a file open", "leaks", ""},
	}
}

// Each flaw is found by the check that is named for it.
func TestDestinationFlaws(t *testing.T) {
	t.Parallel()
	for _, f := range destinationFlaws() {
		t.Run(f.flaw, func(t *testing.T) {
			t.Parallel()
			judged(t, f, destinationChecks(), func(t testing.TB) *inside {
				w := shelfCase(f.flaw).world(t)
				w.brief = true
				return w
			})
		})
	}
}

// Each check finds a flaw.
func TestDestinationChecksFind(t *testing.T) {
	t.Parallel()
	finds(t, destinationChecks(), destinationFlaws())
}
