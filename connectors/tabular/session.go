package tabular

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/gapless-sync/gapless"
)

// session writes to a store until a newer one takes over. What is pushed goes
// to a segment; syncing makes the segment durable and then names it in the
// folder's meta data; publishing merges all segments into the file.
type session struct {
	store *store
	meta  *meta       // as last saved, with scopes added since
	seen  fs.FileInfo // of the meta data as this session saved it
	// before is the epoch of the session that wrote last.
	before uint64
	// segment receives what is pushed; nil until something is.
	segment *segment
	named   int // files named so far
	line    []byte
	entries []byte
	failure error // after which only closing is possible
}

var (
	_ gapless.Session    = (*session)(nil)
	_ gapless.Enumerator = (*session)(nil)
	_ gapless.Successor  = (*session)(nil)
)

var errClosed = errors.New("the session is closed")

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

// Status returns what is synced.
func (s *session) Status(context.Context) (gapless.Status, error) {
	if err := s.usable(); err != nil {
		return gapless.Status{}, err
	}
	return s.meta.status(), nil
}

// Enumerate lists the synced records of p.
func (s *session) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.store.enumerate(ctx, s.meta, p, fn)
}

// usable returns why the session cannot go on.
func (s *session) usable() error {
	if s.failure != nil {
		return s.failure
	}
	info, err := os.Stat(filepath.Join(s.store.dir, metaName))
	if err != nil {
		return s.fail(err)
	}
	if os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size() {
		return nil
	}
	return s.checkOwner()
}

// checkOwner reads the meta data to see whether a newer session has begun.
func (s *session) checkOwner() error {
	m, err := loadMeta(s.store.dir)
	if err != nil {
		return s.fail(err)
	}
	if m == nil || m.ID != s.meta.ID || m.Session != s.meta.Session {
		s.failure = gapless.Errorf(gapless.CodeFenced, s.store.path, "%w", gapless.ErrFenced)
		return s.failure
	}
	return nil
}

// fail ends the session: what a failed write or sync left behind is unknown,
// and only what the meta data names counts.
func (s *session) fail(err error) error {
	if err == nil {
		return nil
	}
	err = broken(s.store.path, err)
	s.failure = fmt.Errorf("%w: what was not synced is lost: %w", gapless.ErrIncarnation, err)
	return err
}

// Push appends the batch to the session's segment.
func (s *session) Push(_ context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	var receipt gapless.Receipt
	if err := s.usable(); err != nil || b.Len() == 0 {
		return receipt, err
	}
	if s.segment == nil {
		segment, err := s.store.newSegment(s.newName())
		if err != nil {
			return receipt, s.fail(err)
		}
		s.segment = segment
	}
	scope := s.scope(b.Partition)
	s.entries = s.entries[:0]
	for i := 0; i < b.Len(); {
		n := 0
		if s.store.layout.verbatim() {
			n = contiguous(b, i)
		}
		if n > 0 {
			first, last := b.Rows[i].Data, b.Rows[i+n-1].Data
			if err := s.segment.lines.Append(b.Buf[first.Off : last.Off+last.Len+1]); err != nil {
				return receipt, s.fail(err)
			}
			for ; n > 0; i, n = i+1, n-1 {
				s.entry(b, i, scope, int(b.Rows[i].Data.Len)+1)
			}
			continue
		}
		err := s.pushRow(b, i, scope)
		if rejected, ok := errors.AsType[*gapless.Failure](err); ok && rejected.Kind == gapless.KindRejected {
			r := &b.Rows[i]
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{
				Key: string(b.Key(i)), Origin: b.Origin, Line: int(r.Line), Err: rejected.Err,
				Raw: bytes.Clone(b.Data(i)[:min(int(r.Data.Len), gapless.MaxRejectBytes)]),
			})
		} else if err != nil {
			return receipt, s.fail(err)
		}
		i++
	}
	return receipt, s.fail(s.segment.index.Append(s.entries))
}

// contiguous returns how many rows from i on are upserts whose objects follow
// each other in the buffer, each on a line of its own.
func contiguous(b *gapless.Batch, i int) int {
	n, lo := 0, b.Rows[i].Data.Off
	end := lo
	for ; i+n < len(b.Rows); n++ {
		r := &b.Rows[i+n]
		stop := r.Data.Off + r.Data.Len
		if r.Op != gapless.OpUpsert || r.Data.Off != end || r.Data.Len == 0 || !validKey(r.Key) ||
			int(stop) >= len(b.Buf) || b.Buf[stop] != '\n' {
			break
		}
		end = stop + 1
	}
	if bytes.Count(b.Buf[lo:end], []byte{'\n'}) != n {
		return 0 // an object spans lines
	}
	return n
}

func validKey(key gapless.Span) bool { return key.Len > 0 && key.Len <= gapless.MaxKeyBytes }

// pushRow appends one row whatever it looks like.
func (s *session) pushRow(b *gapless.Batch, i int, scope uint64) error {
	r := &b.Rows[i]
	if !validKey(r.Key) {
		return gapless.Reject("", fmt.Errorf("the key has %d bytes, not 1 to %d", r.Key.Len, gapless.MaxKeyBytes))
	}
	s.line = s.line[:0]
	var err error
	switch r.Op {
	case gapless.OpUpsert:
		s.line, err = s.store.layout.appendLine(s.line, b.Data(i))
	case gapless.OpPatch:
		if _, err = s.store.layout.patch(nil, b.Data(i)); err == nil {
			s.line, err = jsonLayout{}.appendLine(s.line, b.Data(i))
		}
	case gapless.OpDelete:
	default:
		err = fmt.Errorf("operation %d is not known", r.Op)
	}
	if err != nil {
		return gapless.Reject(string(b.Key(i)), err)
	}
	s.entry(b, i, scope, len(s.line))
	return s.segment.lines.Append(s.line)
}

func (s *session) entry(b *gapless.Batch, i int, scope uint64, length int) {
	s.entries = appendEntry(s.entries, b.Rows[i].Op, scope, b.Key(i), b.Version(i), uint64(length))
	s.segment.ops++
}

// scope returns the number of a partition.
func (s *session) scope(p gapless.Partition) uint64 {
	want := scope{Partition: p.ID, Collection: p.Collection}
	i := slices.Index(s.meta.Scopes, want)
	if i < 0 {
		i = len(s.meta.Scopes)
		s.meta.Scopes = append(s.meta.Scopes, want)
	}
	return uint64(i)
}

func (s *session) newName() string {
	s.named++
	return fmt.Sprintf("%d-%d", s.meta.Session, s.named)
}

// Sync makes the segment durable, then the checkpoints together with the
// segment's name. If every partition is complete, the file is published.
func (s *session) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	if err := s.usable(); err != nil {
		return gapless.Receipt{}, err
	}
	if s.segment == nil && len(checkpoints) == 0 {
		return gapless.Receipt{}, nil
	}
	next := s.meta.clone()
	if s.segment != nil {
		if err := s.segment.sync(s.store); err != nil {
			return gapless.Receipt{}, s.fail(err)
		}
		next.hold(s.segment.extent())
	}
	next.put(checkpoints)
	if err := s.commit(next); err != nil {
		return gapless.Receipt{}, err
	}
	complete := !slices.ContainsFunc(checkpoints, func(c gapless.Checkpoint) bool { return c.Mark != "" || c.Position == "" })
	if complete && len(checkpoints) > 0 && s.meta.worthMerging() {
		return gapless.Receipt{}, s.publish(ctx)
	}
	return gapless.Receipt{}, nil
}

// hold names a segment, or how far it is synced now.
func (m *meta) hold(e extent) {
	i := slices.IndexFunc(m.Segments, func(o extent) bool { return o.Name == e.Name })
	if i < 0 {
		m.Segments = append(m.Segments, e)
	} else {
		m.Segments[i] = e
	}
}

// worthMerging reports whether the segments have grown to a quarter of the
// file, so that merging costs a constant factor of what was pushed, however
// often it is done.
func (m *meta) worthMerging() bool {
	size := int64(0)
	for _, e := range m.Segments {
		size += e.Lines + e.Index
	}
	return len(m.Segments) > 0 && (m.Base == nil || size >= (m.Base.Lines+m.Base.Index)/4)
}

// commit makes next the truth, unless a newer session has begun.
func (s *session) commit(next *meta) error {
	unlock, err := lockFile(filepath.Join(s.store.dir, lockName))
	if err != nil {
		return s.fail(err)
	}
	defer unlock()
	if err := s.checkOwner(); err != nil {
		return err
	}
	seen, err := s.store.save(next)
	if err != nil {
		return s.fail(err)
	}
	s.meta, s.seen = next, seen
	return nil
}

// Close publishes what was synced and ends the session.
func (s *session) Close() error {
	if s.failure == nil && s.usable() == nil {
		defer func() { s.failure = errClosed }()
		return s.finish()
	}
	return s.closeSegment()
}

// closeSegment ends the segment, of which only what is synced counts.
func (s *session) closeSegment() error {
	if s.segment == nil {
		return nil
	}
	old := s.segment
	s.segment = nil
	return old.close()
}

func (s *session) finish() error {
	lost := s.segment != nil && s.segment.unsynced()
	var err error
	if len(s.meta.Segments) > 0 {
		err = s.publish(context.Background())
	}
	err = errors.Join(err, s.closeSegment())
	if s.failure != nil {
		return err
	}
	next := s.meta.clone()
	next.Unsynced = lost
	return errors.Join(err, s.commit(next))
}

// segment is a pair of files being appended to.
type segment struct {
	name         string
	lines, index *diskFile
	ops          uint64
	synced       extent
}

func (s *store) newSegment(name string) (*segment, error) {
	lines, err := s.disk.create(filepath.Join(s.dir, name+linesSuffix))
	if err != nil {
		return nil, err
	}
	index, err := s.disk.create(filepath.Join(s.dir, name+indexSuffix))
	if err != nil {
		return nil, errors.Join(err, lines.Close())
	}
	g := &segment{name: name, lines: lines, index: index}
	if err := lines.Append(s.layout.header()); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *segment) extent() extent {
	return extent{Name: g.name, Lines: g.lines.size, Index: g.index.size, Ops: g.ops}
}

func (g *segment) unsynced() bool { return g.extent() != g.synced && g.ops > 0 }

func (g *segment) sync(s *store) error {
	if g.extent() == g.synced {
		return nil
	}
	if err := errors.Join(g.lines.Sync(), g.index.Sync()); err != nil {
		return err
	}
	if g.synced == (extent{}) {
		if err := s.disk.syncDir(s.dir); err != nil {
			return err
		}
	}
	g.synced = g.extent()
	return nil
}

func (g *segment) close() error { return errors.Join(g.lines.Close(), g.index.Close()) }
