package sim

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

// outlet is the destination as the engine of a process sees it.
type outlet struct{ *process }

func (o outlet) ask(ctx context.Context, c call, effect func() error) error {
	c.endpoint, c.quick = Destination, o.world.setup.Settings.Parallel > 1
	return o.call(ctx, c, effect)
}

// noPlace is where calls are counted that are about no partition.
const noPlace = 15

// Open implements [gapless.Destination].
func (o outlet) Open(ctx context.Context, _ string, epoch uint64) (gapless.Session, error) {
	s := &session{outlet: o, epoch: epoch}
	err := o.ask(ctx, call{place: noPlace}, func() error {
		w := o.world
		s.d = w.dest
		s.incarnation = s.d.incarnation
		if epoch != 0 && epoch < s.d.epoch && w.setup.Sabotage != NoFence {
			return gapless.ErrFenced
		}
		s.before = s.d.epoch
		s.d.epoch = max(s.d.epoch, epoch)
		w.audit.opened(o.process, s.d, epoch)
		w.trace.add("%d open %s", o.number, s.d.id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// session is a session of one process.
type session struct {
	outlet
	d           *destination
	epoch       uint64
	before      uint64 // epoch of the session before this one
	incarnation string
	// tardy are rows that the next sync will refuse, late those that it has
	// refused in an answer that was lost.
	tardy, late []gapless.Rejection
}

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

func (s *session) check(write bool) error {
	if s.world.setup.Sabotage != NoFence && s.epoch != 0 && s.epoch != s.d.epoch || write && s.epoch == 0 {
		return gapless.ErrFenced
	}
	if s.world.dest != s.d || s.incarnation != s.d.incarnation {
		return gapless.ErrIncarnation
	}
	return nil
}

// Status implements [gapless.Session].
func (s *session) Status(ctx context.Context) (status gapless.Status, err error) {
	err = s.ask(ctx, call{place: noPlace}, func() error {
		if err := s.check(false); err != nil {
			return err
		}
		status = s.d.status()
		if others := s.world.others; s.world.setup.Sabotage == BlindStatus && len(others) > 0 {
			status = others[0].status()
		}
		s.seen = true
		s.world.trace.add("%d status: %s, %d checkpoints", s.number, status.ID, len(status.Checkpoints))
		return nil
	})
	return status, err
}

// Push implements [gapless.Session].
func (s *session) Push(ctx context.Context, b *gapless.Batch) (receipt gapless.Receipt, err error) {
	part := s.world.part(b.Partition.ID)
	account := &s.parts[part.number]
	var tardy []gapless.Rejection
	err = s.ask(ctx, call{place: part.number, work: true}, func() error {
		if err := s.check(true); err != nil {
			return err
		}
		s.world.audit.pushes(s.process, s.d, part, b)
		for i := range b.Rows {
			c := b.Change(i)
			late, refused := s.d.push(s.process, b.Partition, c)
			if refused != nil {
				receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: c.Key, Err: refused})
			} else if late {
				tardy = append(tardy, gapless.Rejection{Key: c.Key, Partition: part.ID, Err: errRefused})
			}
			s.rows.accepted++
			s.world.trace.add("%d push %s %s refused %t tardy %t", s.number, part.ID, describe(c), refused != nil, late)
		}
		tardy = slices.DeleteFunc(tardy, func(r gapless.Rejection) bool { return names(receipt.Rejected, r.Key) }) // it is refused already
		return nil
	})
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.tardy = append(s.tardy, tardy...)
	if err != nil {
		account.pushing = textOf(b)
		if s.world.setup.Sabotage == SkippedBatch {
			return receipt, nil
		}
		return receipt, err
	}
	account.pushing = ""
	account.accept(part, b, receipt.Rejected)
	return receipt, nil
}

// accept notes the rows of a batch that the process knows to be accepted.
func (a *partAccount) accept(p *part, b *gapless.Batch, rejected []gapless.Rejection) {
	for i := range b.Rows {
		key := string(b.Key(i))
		if names(rejected, key) {
			a.rejected[key] = len(p.records[key].history)
			continue
		}
		delete(a.rejected, key)
		keyHash, content := proof.RowHash(b, i)
		a.pushed++
		a.accepted.Add(proof.Delivery(keyHash, content))
	}
}

// names reports whether a key is among those that are rejected.
func names(rejected []gapless.Rejection, key string) bool {
	return slices.ContainsFunc(rejected, func(r gapless.Rejection) bool { return r.Key == key })
}

// textOf identifies the rows of a batch.
func textOf(b *gapless.Batch) string {
	var text strings.Builder
	for i, r := range b.Rows {
		text.WriteByte(byte(r.Op))
		for _, field := range [...][]byte{b.Key(i), b.Version(i), b.Data(i)} {
			var size [4]byte
			binary.BigEndian.PutUint32(size[:], uint32(len(field)))
			text.Write(size[:])
			text.Write(field)
		}
	}
	return text.String()
}

// Sync implements [gapless.Session].
func (s *session) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (receipt gapless.Receipt, err error) {
	place := noPlace
	if len(checkpoints) > 0 {
		place = s.world.part(checkpoints[0].Partition).number
	}
	err = s.ask(ctx, call{place: place, work: true}, func() error {
		if err := s.check(true); err != nil {
			return err
		}
		for _, c := range checkpoints {
			s.world.trace.add("%d sync %s: position %q, mark %q, number %d", s.number, c.Partition, c.Position, c.Mark, c.Seq)
		}
		if len(checkpoints) == 0 {
			s.world.trace.add("%d sync", s.number)
		}
		s.late = append(s.late, s.tardy...)
		s.tardy = nil
		for _, r := range s.late {
			s.d.excused[name(s.world.part(r.Partition).Partition, r.Key)] = true
		}
		receipt.Rejected = slices.Clone(s.late)
		s.store(checkpoints)
		s.world.audit.syncs(s.process, s.d, checkpoints)
		return nil
	})
	if err != nil {
		return receipt, err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	for _, r := range s.late {
		p := s.world.part(r.Partition)
		account := &s.parts[p.number]
		account.tardy++
		account.rejected[r.Key] = len(p.records[r.Key].history)
	}
	s.late = nil
	return receipt, nil
}

// store makes durable what a sync is for.
func (s *session) store(checkpoints []gapless.Checkpoint) {
	switch s.world.setup.Sabotage {
	case EmptySync:
	case CheckpointFirst:
		for _, c := range checkpoints {
			s.d.checkpoints[c.Partition] = c
		}
	default:
		s.d.sync(checkpoints)
	}
}

// Close implements [gapless.Session]; it costs no call.
func (s *session) Close() error { return nil }

// Enumerate implements [gapless.Enumerator].
func (s *session) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	var records []gapless.Record
	err := s.ask(ctx, call{place: s.world.placeOf(p.ID), work: true}, func() error {
		if err := s.check(false); err != nil {
			return err
		}
		records = s.d.list(p)
		s.world.trace.add("%d enumerate %s: %d records", s.number, p.ID, len(records))
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := fn([]byte(r.Key), []byte(r.Version)); err != nil {
			return err
		}
	}
	return nil
}
