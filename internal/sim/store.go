package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// Store is a [state.Store] in memory. What was committed stays until
// [Store.Restore] replaces it.
type Store struct {
	mu    sync.Mutex
	held  held // guarded by mu
	plans plans
}

// held is everything a store remembers but plans. The values are never
// changed in place, so that a copy of the maps is a copy of all.
type held struct {
	connectors   map[string]state.Connector
	partitions   map[string]map[string]state.Partition
	certificates map[string]map[string][]proof.Certificate
	runs         map[string]state.Run
	letters      map[string]state.DeadLetter
	opened       int                          // letters, ever
	open         map[letterSubject]string     // ids
	ledgers      map[string]map[string]ledger // connector, collection
	conflicts    map[string]state.Conflict
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{held: held{
		connectors: map[string]state.Connector{}, partitions: map[string]map[string]state.Partition{},
		certificates: map[string]map[string][]proof.Certificate{}, runs: map[string]state.Run{},
		letters: map[string]state.DeadLetter{}, open: map[letterSubject]string{},
		ledgers: map[string]map[string]ledger{}, conflicts: map[string]state.Conflict{},
	}, plans: plans{byID: map[string]savedPlan{}}}
}

// Snapshot copies everything, for a later [Store.Restore].
func (s *Store) Snapshot() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := NewStore()
	c.held.connectors, c.held.runs = maps.Clone(s.held.connectors), maps.Clone(s.held.runs)
	c.held.letters, c.held.opened, c.held.open = maps.Clone(s.held.letters), s.held.opened, maps.Clone(s.held.open)
	c.held.conflicts = maps.Clone(s.held.conflicts)
	for name, partitions := range s.held.partitions {
		c.held.partitions[name] = maps.Clone(partitions)
	}
	for name, chains := range s.held.certificates {
		c.held.certificates[name] = map[string][]proof.Certificate{}
		for partition, chain := range chains {
			c.held.certificates[name][partition] = slices.Clone(chain)
		}
	}
	for name, ledgers := range s.held.ledgers {
		c.held.ledgers[name] = map[string]ledger{}
		for collection, l := range ledgers {
			c.held.ledgers[name][collection] = l.clone()
		}
	}
	c.plans = plans{byID: maps.Clone(s.plans.byID), saved: s.plans.saved}
	return c
}

// Restore replaces everything by what a snapshot holds.
func (s *Store) Restore(snapshot *Store) {
	c := snapshot.Snapshot()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.plans = c.held, c.plans
}

// Close does nothing: the store outlives the processes that use it.
func (s *Store) Close() error { return nil }

// locked runs do under the lock unless ctx has ended.
func (s *Store) locked(ctx context.Context, doing string, do func() error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return do()
}

func notFound(doing string) error {
	return gapless.Errorf(gapless.CodeNotFound, "", "%s: %w", doing, gapless.ErrNotFound)
}

// legible replaces what cannot be shown everywhere.
func legible(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// stored is a time as stores keep it.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(0, t.UnixNano()).UTC()
}

// Acquire implements [state.Leaser].
func (s *Store) Acquire(ctx context.Context, connector, holder string, ttl time.Duration, now time.Time) (state.Lease, error) {
	if connector == "" || connector != legible(connector) || holder == "" || holder != legible(holder) || ttl <= 0 || now.IsZero() {
		return state.Lease{}, fmt.Errorf("acquire the lease of %q for %q: no usable names or times", connector, holder)
	}
	var l state.Lease
	err := s.locked(ctx, "acquire the lease of "+connector, func() error {
		c, known := s.held.connectors[connector]
		if known && c.Lease.Holder != "" && c.Lease.Until.After(now) {
			return state.NewHeldError(c.Lease)
		}
		c.Name = connector
		c.Epoch = max(c.Epoch+1, uint64(max(now.UnixMilli(), 1)))
		l = state.Lease{Connector: connector, Holder: holder, Epoch: c.Epoch, Until: stored(now.Add(ttl))}
		c.Lease = l
		s.held.connectors[connector] = c
		for id, r := range s.held.runs {
			if r.Connector == connector && r.Status == state.StatusRunning {
				r.Status, r.Finished, r.Error = state.StatusCrashed, stored(now), "its runner died or lost its lease before the run ended"
				s.held.runs[id] = r
			}
		}
		return nil
	})
	return l, err
}

// Renew implements [state.Leaser].
func (s *Store) Renew(ctx context.Context, l state.Lease, ttl time.Duration, now time.Time) (state.Lease, error) {
	err := s.locked(ctx, "renew the lease of "+l.Connector, func() error {
		if err := s.current(l); err != nil {
			return err
		}
		l.Until = stored(now.Add(ttl))
		c := s.held.connectors[l.Connector]
		c.Lease.Until = l.Until
		s.held.connectors[l.Connector] = c
		return nil
	})
	if err != nil {
		return state.Lease{}, err
	}
	return l, nil
}

// Release implements [state.Leaser].
func (s *Store) Release(ctx context.Context, l state.Lease) error {
	return s.locked(ctx, "release the lease of "+l.Connector, func() error {
		if err := s.current(l); err != nil {
			return err
		}
		c := s.held.connectors[l.Connector]
		c.Lease = state.Lease{}
		s.held.connectors[l.Connector] = c
		return nil
	})
}

// current fails with [gapless.ErrFenced] unless the lease still counts.
func (s *Store) current(l state.Lease) error {
	c := s.held.connectors[l.Connector]
	if l.Holder == "" || c.Lease.Holder != l.Holder || c.Lease.Epoch != l.Epoch {
		return gapless.Errorf(gapless.CodeFenced, l.Connector, "epoch %d: %w", l.Epoch, gapless.ErrFenced)
	}
	return nil
}

// Commit implements [state.Committer].
func (s *Store) Commit(ctx context.Context, l state.Lease, c state.Commit) error {
	if err := consistent(l, c); err != nil {
		return fmt.Errorf("commit to %s: %w", l.Connector, err)
	}
	return s.locked(ctx, "commit to "+l.Connector, func() error {
		if err := s.current(l); err != nil {
			return err
		}
		chains, err := s.extended(l.Connector, c.Certificates)
		if err != nil {
			return err
		}
		for _, x := range c.Conflicts {
			if owner := s.held.conflicts[x.ID].Connector; owner != "" && owner != l.Connector {
				return fmt.Errorf("conflict %s: the id is in use by connector %s", x.ID, owner)
			}
		}
		s.apply(l, c, chains)
		return nil
	})
}

// consistent reports what in c does not belong to the connector of the lease,
// contradicts itself, or could not be kept by a database.
func consistent(l state.Lease, c state.Commit) error {
	var errs []error
	check := func(connector, what, id string, numbers ...uint64) {
		if connector != l.Connector || id == "" || slices.Max(append(numbers, 0)) > math.MaxInt64 {
			errs = append(errs, fmt.Errorf("%s %q of connector %q cannot be stored", what, id, connector))
		}
	}
	if c.Run != nil {
		check(c.Run.Connector, "run", c.Run.ID, c.Run.Epoch)
	}
	for _, p := range c.Partitions {
		check(p.Connector, "partition", p.ID, p.Records, p.Seq, p.Checkpoint.Seq, p.Checkpoint.Epoch)
		if p.Checkpoint.Partition != "" && p.Checkpoint.Partition != p.ID {
			errs = append(errs, fmt.Errorf("partition %q has a checkpoint of %q", p.ID, p.Checkpoint.Partition))
		}
	}
	for i := range c.Certificates {
		check(c.Certificates[i].Connector, "certificate", c.Certificates[i].ID, c.Certificates[i].Seq)
	}
	for _, d := range c.DeadLetters {
		check(d.Connector, "dead letter of partition", d.Partition)
	}
	for _, e := range c.Entries {
		if e.Collection == "" || e.Key == "" || len(e.Key) > gapless.MaxKeyBytes {
			errs = append(errs, fmt.Errorf("entry of %q in %q cannot be stored", e.Key, e.Collection))
		}
	}
	for _, x := range c.Conflicts {
		check(x.Connector, "conflict", x.ID)
		if x.Loser > state.Other {
			errs = append(errs, fmt.Errorf("conflict %q was lost by %s", x.ID, x.Loser))
		}
	}
	return errors.Join(errs...)
}

// extended returns the chains of the partitions that have new certificates.
func (s *Store) extended(connector string, certificates []proof.Certificate) (map[string][]proof.Certificate, error) {
	chains := map[string][]proof.Certificate{}
	for _, c := range certificates {
		chain, begun := chains[c.Partition]
		if !begun {
			chain = slices.Clone(s.held.certificates[connector][c.Partition])
		}
		i, there := slices.BinarySearchFunc(chain, c.Seq, func(c proof.Certificate, seq uint64) int { return cmp.Compare(c.Seq, seq) })
		if there {
			was, err := chain[i].Encode()
			is, failed := c.Encode()
			if err = errors.Join(err, failed); err != nil || !bytes.Equal(was, is) {
				return nil, fmt.Errorf("certificate number %d of partition %s is another one already: %w", c.Seq, c.Partition, err)
			}
			continue
		}
		c.Started, c.Finished = stored(c.Started), stored(c.Finished)
		chains[c.Partition] = slices.Insert(chain, i, c)
	}
	return chains, nil
}

// apply stores what was found to be in order.
func (s *Store) apply(l state.Lease, c state.Commit, chains map[string][]proof.Certificate) {
	if c.Destination != nil {
		connector := s.held.connectors[l.Connector]
		connector.Destination = *c.Destination
		s.held.connectors[l.Connector] = connector
	}
	if c.Run != nil {
		r := *c.Run
		r.Started, r.Finished = stored(r.Started), stored(r.Finished)
		r.Holder, r.Error, r.Hint, r.Summary = legible(r.Holder), legible(r.Error), legible(r.Hint), bytes.Clone(r.Summary)
		s.held.runs[r.ID] = r
	}
	partitions := in(s.held.partitions, l.Connector)
	for _, p := range c.Partitions {
		if p.Checkpoint != (gapless.Checkpoint{}) {
			p.Checkpoint.Partition = p.ID
		}
		p.Error, p.ErrorCode = legible(p.Error), legible(p.ErrorCode)
		p.Repair, p.Progress = slices.Clone(p.Repair), bytes.Clone(p.Progress)
		p.Reconciled, p.Updated = stored(p.Reconciled), stored(p.Updated)
		partitions[p.ID] = p
	}
	maps.Copy(in(s.held.certificates, l.Connector), chains)
	s.resolve(l, c)
	for _, d := range c.DeadLetters {
		s.openLetter(d)
	}
	s.settle(l.Connector, c.Entries)
	for _, x := range c.Conflicts {
		s.addConflict(x)
	}
}

// in returns the map of a connector and makes it first if need be.
func in[V any](all map[string]map[string]V, connector string) map[string]V {
	if all[connector] == nil {
		all[connector] = map[string]V{}
	}
	return all[connector]
}

// resolve closes the letters and conflicts that a commit names.
func (s *Store) resolve(l state.Lease, c state.Commit) {
	by, at := l.Holder, c.At
	if c.Run != nil {
		by = c.Run.ID
	}
	if at.IsZero() {
		at = time.Now()
	}
	for _, id := range c.Resolved {
		if d := s.held.letters[id]; d.Connector == l.Connector && d.ResolvedAt.IsZero() {
			d.ResolvedAt, d.ResolvedBy = stored(at), by
			s.held.letters[id] = d
			delete(s.held.open, subjectOf(d))
		}
	}
	for _, x := range c.Settled {
		known := s.held.conflicts[x.ID]
		if known.Connector == l.Connector && known.ResolvedAt.IsZero() && known.Decision.At.Equal(x.Decision.At) {
			known.ResolvedAt, known.ResolvedBy = stored(at), by
			s.held.conflicts[x.ID] = known
		}
	}
}

// letterSubject is what an open letter is about.
type letterSubject struct {
	connector, partition, stage, key, origin string
	line                                     int
}

func subjectOf(d state.DeadLetter) letterSubject {
	if d.Key != "" {
		return letterSubject{connector: d.Connector, partition: d.Partition, stage: d.Stage, key: d.Key}
	}
	return letterSubject{connector: d.Connector, partition: d.Partition, stage: d.Stage, origin: d.Origin, line: d.Line}
}

func (s *Store) openLetter(d state.DeadLetter) {
	subject := subjectOf(d)
	id, again := s.held.open[subject]
	if !again {
		s.held.opened++
		id = fmt.Sprintf("d-%012d", s.held.opened)
	}
	d.HasBody = d.HasBody && len(d.Body) <= state.MaxLetterBytes
	d.Body = bytes.Clone(d.Body[:min(len(d.Body), state.MaxLetterBytes)])
	d.ID, d.Reason, d.At, d.ResolvedAt, d.ResolvedBy = id, legible(d.Reason), stored(d.At), time.Time{}, ""
	s.held.letters[id], s.held.open[subject] = d, id
}

// Connector implements [state.ProgressReader].
func (s *Store) Connector(ctx context.Context, name string) (c state.Connector, err error) {
	err = s.locked(ctx, "read connector "+name, func() error {
		known := false
		if c, known = s.held.connectors[name]; !known {
			return notFound("read connector " + name)
		}
		return nil
	})
	return c, err
}

// Connectors implements [state.ProgressReader].
func (s *Store) Connectors(ctx context.Context) (all []state.Connector, err error) {
	err = s.locked(ctx, "read connectors", func() error {
		for _, name := range slices.Sorted(maps.Keys(s.held.connectors)) {
			all = append(all, s.held.connectors[name])
		}
		return nil
	})
	return all, err
}

// Partitions implements [state.ProgressReader].
func (s *Store) Partitions(ctx context.Context, connector string) (all []state.Partition, err error) {
	err = s.locked(ctx, "read partitions of "+connector, func() error {
		partitions := s.held.partitions[connector]
		for _, id := range slices.Sorted(maps.Keys(partitions)) {
			p := partitions[id]
			p.Repair, p.Progress = slices.Clone(p.Repair), bytes.Clone(p.Progress)
			all = append(all, p)
		}
		return nil
	})
	return all, err
}

// Runs implements [state.ProgressReader].
func (s *Store) Runs(ctx context.Context, connector string, limit int) (all []state.Run, err error) {
	err = s.locked(ctx, "read runs", func() error {
		for _, r := range s.held.runs {
			if connector == "" || r.Connector == connector {
				all = append(all, r)
			}
		}
		slices.SortFunc(all, func(a, b state.Run) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID)) })
		return nil
	})
	return first(all, limit), err
}

func first[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit]
	}
	return all
}

// Run implements [state.ProgressReader].
func (s *Store) Run(ctx context.Context, id string) (r state.Run, err error) {
	err = s.locked(ctx, "read run "+id, func() error {
		known := false
		if r, known = s.held.runs[id]; !known {
			return notFound("read run " + id)
		}
		return nil
	})
	return r, err
}

// Certificates implements [state.CertificateReader].
func (s *Store) Certificates(ctx context.Context, connector string) iter.Seq2[proof.Certificate, error] {
	return func(yield func(proof.Certificate, error) bool) {
		var all []proof.Certificate
		err := s.locked(ctx, "read certificates of "+connector, func() error {
			chains := s.held.certificates[connector]
			for _, partition := range slices.Sorted(maps.Keys(chains)) {
				all = append(all, chains[partition]...)
			}
			return nil
		})
		if err != nil {
			yield(proof.Certificate{}, err)
			return
		}
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// LastCertificate implements [state.CertificateReader].
func (s *Store) LastCertificate(ctx context.Context, connector, partition string) (c proof.Certificate, err error) {
	doing := "read the last certificate of " + connector + ", partition " + partition
	err = s.locked(ctx, doing, func() error {
		chain := s.held.certificates[connector][partition]
		if len(chain) == 0 {
			return notFound(doing)
		}
		c = chain[len(chain)-1]
		return nil
	})
	return c, err
}

// DeadLetters implements [state.DeadLetterReader].
func (s *Store) DeadLetters(ctx context.Context, f state.DeadLetterFilter) (all []state.DeadLetter, err error) {
	err = s.locked(ctx, "read dead letters", func() error {
		for _, d := range s.held.letters {
			if (f.Connector == "" || f.Connector == d.Connector) && (f.Partition == "" || f.Partition == d.Partition) &&
				(f.Run == "" || f.Run == d.Run) && (!f.Open || d.ResolvedAt.IsZero()) {
				d.Body = nil
				all = append(all, d)
			}
		}
		slices.SortFunc(all, func(a, b state.DeadLetter) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
		return nil
	})
	return first(all, f.Limit), err
}

// DeadLetter implements [state.DeadLetterReader].
func (s *Store) DeadLetter(ctx context.Context, id string) (d state.DeadLetter, err error) {
	err = s.locked(ctx, "read dead letter "+id, func() error {
		known := false
		if d, known = s.held.letters[id]; !known {
			return notFound("read dead letter " + id)
		}
		return nil
	})
	return d, err
}

type savedPlan struct {
	plan  plan.Plan
	saved int
}

// plans keeps the last plans of each connector.
type plans struct {
	byID  map[string]savedPlan
	saved int
}

// SavePlan implements [state.PlanKeeper].
func (s *Store) SavePlan(ctx context.Context, p plan.Plan) error {
	if p.ID == "" || p.Connector == "" {
		return fmt.Errorf("save plan %s of %q: a plan needs an id and a connector", p.ID, p.Connector)
	}
	return s.locked(ctx, "save plan "+p.ID, func() error {
		p.Decisions, p.Changes, p.Approvals = slices.Clone(p.Decisions), slices.Clone(p.Changes), slices.Clone(p.Approvals)
		p.Created = stored(p.Created)
		s.plans.saved++
		s.plans.byID[p.ID] = savedPlan{p, s.plans.saved}
		s.plans.prune(p.Connector)
		return nil
	})
}

func (p *plans) prune(connector string) {
	if len(p.byID) <= state.KeptPlans {
		return
	}
	oldest, count := "", 0
	for id, saved := range p.byID {
		if saved.plan.Connector != connector {
			continue
		}
		if count++; oldest == "" || saved.saved < p.byID[oldest].saved {
			oldest = id
		}
	}
	if count > state.KeptPlans {
		delete(p.byID, oldest)
	}
}

// Plan implements [state.PlanKeeper].
func (s *Store) Plan(ctx context.Context, id string) (p plan.Plan, err error) {
	err = s.locked(ctx, "read plan "+id, func() error {
		saved, known := s.plans.byID[id]
		if !known {
			return notFound("read plan " + id)
		}
		p = saved.plan
		return nil
	})
	return p, err
}
