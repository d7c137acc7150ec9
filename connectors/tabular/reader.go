package tabular

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/gapless-sync/gapless"
)

// reader is a session for reading only. It looks at the store anew each time
// and fences nobody.
type reader struct {
	store     *store
	connector string
	before    uint64 // epoch of the last writer when the session was opened
}

var (
	_ gapless.Session    = (*reader)(nil)
	_ gapless.Enumerator = (*reader)(nil)
	_ gapless.Successor  = (*reader)(nil)
)

// Predecessor implements [gapless.Successor].
func (r *reader) Predecessor() uint64 { return r.before }

// Status returns what is synced now.
func (r *reader) Status(context.Context) (gapless.Status, error) {
	m, err := r.store.peek(r.connector)
	if err != nil {
		return gapless.Status{}, err
	}
	return m.status(), nil
}

// Push returns [gapless.ErrFenced].
func (r *reader) Push(context.Context, *gapless.Batch) (gapless.Receipt, error) {
	return gapless.Receipt{}, gapless.Errorf(gapless.CodeFenced, r.store.path, "the session is for reading only: %w", gapless.ErrFenced)
}

// Sync returns [gapless.ErrFenced].
func (r *reader) Sync(ctx context.Context, _ []gapless.Checkpoint) (gapless.Receipt, error) {
	return r.Push(ctx, nil)
}

// Close does nothing.
func (r *reader) Close() error { return nil }

// Enumerate lists the synced records of p. If a writer merges meanwhile, it
// begins again with what is there then.
func (r *reader) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	for session := uint64(0); ; {
		m, err := r.store.peek(r.connector)
		if err != nil {
			return err
		}
		err = r.store.enumerate(ctx, m, p, fn)
		if !errors.Is(err, fs.ErrNotExist) || session == m.Session {
			return err
		}
		session = m.Session
	}
}

// status returns what a store with this meta data holds.
func (m *meta) status() gapless.Status {
	status := gapless.Status{
		ID: m.ID, Incarnation: strconv.FormatUint(m.Incarnation, 10),
		Holds: len(m.Checkpoints) > 0, Checkpoints: map[string]gapless.Checkpoint{},
	}
	for _, c := range m.Checkpoints {
		status.Checkpoints[c.Partition] = c.checkpoint()
	}
	for _, e := range m.layers() {
		status.Holds = status.Holds || e.Ops > 0
	}
	return status
}

// enumerate lists the records of p that m stands for, in the order of their
// keys. Nothing is handed to fn before everything was read.
func (s *store) enumerate(ctx context.Context, m *meta, p gapless.Partition, fn func(key, version []byte) error) error {
	order := newSorter(s.disk, filepath.Join(s.dir, "list-"+rand.Text()+".tmp"))
	defer order.close()
	// A key may have come in another partition of the same collection before.
	err := s.scan(ctx, m, m.layers(), 0, func(ordinal uint64, e entry) error {
		if m.Scopes[e.scope].Collection != p.Collection || !bytes.HasPrefix(e.key, []byte(p.Prefix)) {
			return nil
		}
		return order.add(item{scope: uint32(e.scope), ordinal: ordinal, op: e.op, key: e.key, version: e.version})
	})
	if err != nil {
		return broken(s.path, err)
	}
	return order.chains(nil, func(chain []item) error {
		last := chain[len(chain)-1]
		if last.op == gapless.OpDelete || p.Prefix == "" && m.Scopes[last.scope].Partition != p.ID {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fn(last.key, last.version)
	})
}
