package sahana

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// destination writes into the tables of an Eden.
type destination struct {
	client *client
	// state is the folder of the file with the checkpoints.
	state string
	// repository is the uuid by which we register as a peer; empty to write by
	// REST.
	repository string
	rows       int    // of one import
	verify     string // all, sample or none
}

// maxImport is the most records that an Eden takes at once in reasonable time:
// its effort grows with the square.
const maxImport = 1000

var (
	_ gapless.Destination = (*destination)(nil)
	_ gapless.Closer      = (*destination)(nil)
	_ gapless.Session     = (*session)(nil)
	_ gapless.Enumerator  = (*session)(nil)
	_ gapless.Successor   = (*session)(nil)
)

// session is one connector's way into an Eden, which makes everything durable
// that it takes.
type session struct {
	*destination
	connector string
	epoch     uint64
	before    uint64 // epoch of the session before this one
	file      *sidecar
	// peer says that records are sent as a peer does.
	peer bool
	// asked says that it is known who answers.
	asked bool

	waiting *waiting
	// late are rows that have been refused since the last sync told so.
	late []gapless.Rejection
}

// Open implements [gapless.Destination]. Epochs and checkpoints are kept in a
// file here, because an Eden has no place for them: they fence off runners on
// this machine alone.
func (d *destination) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	file, err := openSidecar(d.state, connector, d.client.base)
	if err != nil {
		return nil, err
	}
	w, err := openWaiting(d.state, connector, d.client.base)
	if err != nil {
		return nil, err
	}
	s := &session{destination: d, connector: connector, epoch: epoch, before: file.Epoch, file: file, peer: d.repository != "", waiting: w}
	if epoch == 0 {
		return s, nil
	}
	if file.Epoch > epoch {
		return nil, s.fenced(file.Epoch)
	}
	file.Epoch = epoch
	if s.peer {
		if err := s.register(ctx); err != nil {
			return nil, err
		}
	}
	return s, file.keep(nil)
}

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

// register makes the Eden know us as a peer. One that does not let us is
// written to by REST.
func (s *session) register(ctx context.Context) error {
	site, err := s.client.register(ctx, s.repository, "gapless "+s.connector)
	if e, ok := errors.AsType[*refusal](err); ok && e.status != http.StatusUnauthorized && e.status/100 == 4 {
		s.peer = false
		return nil
	}
	if err != nil {
		return err
	}
	s.file.Site = site
	return nil
}

func (s *session) fenced(epoch uint64) error {
	return fmt.Errorf("connector %s has epoch %d, which is now %d: %w", s.connector, s.epoch, epoch, gapless.ErrFenced)
}

// newest reports whether no newer session was opened.
func (s *session) newest() error {
	file, err := openSidecar(s.state, s.connector, s.client.base)
	if err == nil && s.epoch != 0 && file.Epoch > s.epoch {
		err = s.fenced(file.Epoch)
	}
	return err
}

// writable reports why the session cannot write.
func (s *session) writable() error {
	if s.epoch == 0 {
		return fmt.Errorf("the session of connector %s is for reading only: %w", s.connector, gapless.ErrFenced)
	}
	return s.newest()
}

// Status implements [gapless.Session].
func (s *session) Status(context.Context) (gapless.Status, error) {
	if err := s.newest(); err != nil {
		return gapless.Status{}, err
	}
	held := maps.Clone(s.file.Checkpoints)
	return gapless.Status{ID: s.file.Site, Holds: len(held) > 0, Checkpoints: held}, nil
}

// Push implements [gapless.Session]. The Eden has committed what it took when
// Push returns.
func (s *session) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	if err := s.writable(); err != nil {
		return gapless.Receipt{}, err
	}
	if _, err := tablePath(b.Partition.Collection); err != nil {
		return gapless.Receipt{}, gapless.Misconfigured(err)
	}
	delete(s.waiting.finished, b.Partition.ID)
	p := s.shipment(b)
	items, err := p.sift(ctx, p.items())
	if err != nil {
		return p.receipt, err
	}
	for i := range items {
		if err := p.take(ctx, items[i]); err != nil {
			return p.receipt, err
		}
	}
	if err := p.flush(ctx); err != nil {
		return p.receipt, err
	}
	p.arrived(items)
	return p.receipt, s.release(ctx)
}

// Sync implements [gapless.Session]. What the Eden took is durable already; what
// waits for others becomes so here.
func (s *session) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	if err := s.writable(); err != nil {
		return gapless.Receipt{}, err
	}
	for _, c := range checkpoints {
		if c.Mark == "" {
			if err := s.wakeUp(ctx); err != nil {
				return gapless.Receipt{}, err
			}
			s.waiting.finished[c.Partition] = true
		}
		s.late = append(s.late, s.waiting.settle(c)...)
	}
	if err := s.waiting.save(); err != nil {
		return gapless.Receipt{}, err
	}
	if len(checkpoints) > 0 {
		if err := s.file.keep(checkpoints); err != nil {
			return gapless.Receipt{}, err
		}
	}
	receipt := gapless.Receipt{Rejected: s.late}
	s.late = nil
	return receipt, nil
}

// wakeUp looks whether the Eden has by now what rows wait for, from whoever.
func (s *session) wakeUp(ctx context.Context) error {
	var ask []ident
	for i := range s.waiting.Rows {
		for _, one := range s.waiting.Rows[i].wants {
			ask = append(ask, one.ident)
		}
	}
	if err := s.learn(ctx, ask); err != nil {
		return err
	}
	return s.release(ctx)
}

// Enumerate implements [gapless.Enumerator]. It lists the records that this
// login has created by imports, and no others: what was entered at the Eden, or
// came to it from elsewhere, is not ours to delete. What waits to be written is
// listed, too. Records have no version, because the Eden keeps none.
func (s *session) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	waits := map[string]bool{}
	for i := range s.waiting.Rows {
		if r := &s.waiting.Rows[i]; r.Partition.Collection == p.Collection && strings.HasPrefix(r.Key, p.Prefix) {
			waits[r.Key] = true
		}
	}
	err := s.client.pages(ctx, p.Collection, 0, maxImport, nil, func(e *export, _ int64) error {
		for i := range e.records {
			r := &e.records[i]
			ours := strings.EqualFold(r.CreatedBy, s.client.opts.Login) && r.MCI != nil && *r.MCI > 1
			key := s3.LocalUUID(r.UUID, e.domain)
			if r.err != nil || !ours || !strings.HasPrefix(key, p.Prefix) {
				continue
			}
			delete(waits, key)
			if err := fn([]byte(key), nil); err != nil {
				return err
			}
		}
		return nil
	})
	for key := range waits {
		if err == nil {
			err = fn([]byte(key), nil)
		}
	}
	return err
}

// Close implements [gapless.Session]. A session that leaves records to be
// written to the next one has not brought everything to the Eden, and says so.
func (s *session) Close() error {
	if s.epoch == 0 {
		return nil
	}
	return s.waiting.left(s.connector)
}

// Close implements [gapless.Closer].
func (d *destination) Close() error { return d.client.Close() }
