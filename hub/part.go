package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless"
)

const (
	chunkBytes          = 256 << 10
	defaultMaxPartBytes = 64 << 20
	// maxPartNameBytes bounds name, media type and version of a part.
	maxPartNameBytes = 4096
)

// pushIDs numbers the pushes of this incarnation that have parts.
type pushIDs struct {
	incarnation uint32
	n           atomic.Uint64
}

func (p *pushIDs) next() pushID { return newPushID(p.incarnation, p.n.Add(1)) }

// stage reads the parts of a batch into chunks before the push takes the
// hub's lock, for a part may come from far away.
type stage struct {
	hub     *Hub
	id      pushID
	chunks  *pebble.Batch // not yet in the store
	spilled bool          // chunks are in the store, behind an orphan marker
	parts   uint32
	waiting int // uploaded parts that no row has yet
	buffer  []byte
	staged  map[int][]storedPart // by row
	reject  map[int]error        // by row
}

func (h *Hub) newStage() *stage {
	return &stage{
		hub: h, id: h.pushes.next(), chunks: h.store.db.NewBatch(), buffer: make([]byte, chunkBytes),
		staged: map[int][]storedPart{}, reject: map[int]error{},
	}
}

// stageParts reads the parts of a batch into st, or into a new stage if there
// is none; it returns nil if no row has parts. After an error nothing is left
// of the stage.
func (h *Hub) stageParts(ctx context.Context, st *stage, b *gapless.Batch) (*stage, error) {
	for i := range b.Rows {
		parts := b.Parts(i)
		if len(parts) == 0 || b.Rows[i].Op == gapless.OpDelete {
			continue
		}
		if st == nil {
			st = h.newStage()
		}
		if err := st.row(ctx, i, parts); err != nil {
			return nil, errors.Join(err, st.discard())
		}
	}
	return st, nil
}

// row stages the parts of row i. An error fails the push; a part that is bad
// by itself rejects the row.
func (st *stage) row(ctx context.Context, i int, parts []gapless.Part) error {
	list := make([]storedPart, 0, len(parts))
	for n := range parts {
		p, err := st.part(ctx, &parts[n])
		if err == nil && slices.ContainsFunc(list, func(q storedPart) bool { return q.name == p.name }) {
			err = errors.New("the name is not unique")
		}
		list = append(list, p)
		var failed *gapless.Failure
		switch {
		case err == nil:
			continue
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case errors.Is(err, errStage), errors.As(err, &failed) && failed.Kind == gapless.KindRecoverable:
			return fmt.Errorf("part %q: %w", parts[n].Name, err)
		}
		st.reject[i] = fmt.Errorf("part %q: %w", parts[n].Name, err)
		return dropStaged(st.chunks, list)
	}
	st.staged[i] = list
	return nil
}

// errStage marks errors of the store among those of a part.
var errStage = errors.New("keep the part")

func (st *stage) part(ctx context.Context, p *gapless.Part) (storedPart, error) {
	s := st.newPart()
	s.name, s.media, s.version = p.Name, p.Type, p.Version
	if max(len(p.Name), len(p.Type), len(p.Version)) > maxPartNameBytes {
		return s, fmt.Errorf("name, type or version is longer than %d bytes", maxPartNameBytes)
	}
	if p.Open == nil {
		return s, errors.New("it cannot be opened")
	}
	content, err := p.Open(ctx)
	if err != nil {
		return s, err
	}
	if kept, ok := content.(*uploaded); ok {
		return s, kept.claim(st, &s)
	}
	err = st.read(ctx, &s, content)
	if err = errors.Join(err, content.Close()); err == nil && p.Size > 0 && p.Size != s.size {
		err = fmt.Errorf("%d bytes were announced and %d came", p.Size, s.size)
	}
	return s, err
}

func (st *stage) newPart() storedPart {
	s := storedPart{blob: st.id.blob(st.parts)}
	st.parts++
	return s
}

// read keeps the content of a part, and adds its size and hash to s.
func (st *stage) read(ctx context.Context, s *storedPart, content io.Reader) error {
	hash := xxh3.New()
	for chunk := uint32(0); ; chunk++ {
		n, err := fill(content, st.buffer)
		if s.size += int64(n); s.size > st.hub.opts.MaxPartBytes {
			return fmt.Errorf("it is larger than %d bytes", st.hub.opts.MaxPartBytes)
		}
		if n > 0 {
			_, _ = hash.Write(st.buffer[:n]) // a hash accepts everything
			if err := st.keep(s.blob.chunk(chunk), st.buffer[:n]); err != nil {
				return fmt.Errorf("%w: %w", errStage, err)
			}
		}
		if err == io.EOF { //nolint:errorlint // a wrapped io.EOF is not the end but a failure
			sum := hash.Sum128()
			s.hash = gapless.Hash128{Hi: sum.Hi, Lo: sum.Lo}
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// fill reads until p is full. Only a plain io.EOF is the end of the content.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = r.Read(p[n:])
		n += more
	}
	return n, err
}

func (st *stage) keep(key, value []byte) error {
	if err := st.chunks.Set(key, value, nil); err != nil || st.chunks.Len() < st.hub.opts.stageBytes {
		return err
	}
	if !st.spilled {
		if err := st.chunks.Set(st.id.orphan(), nil, nil); err != nil {
			return err
		}
		st.spilled = true
	}
	full := st.chunks
	st.chunks = st.hub.store.db.NewBatchWithSize(st.hub.opts.stageBytes + chunkBytes + 1<<10)
	return st.hub.store.commit(full, pebble.NoSync)
}

// dropStaged puts into b what removes the chunks of a row that was rejected;
// they may not be all there.
func dropStaged(b *pebble.Batch, parts []storedPart) error {
	for i := range parts {
		chunks := parts[i].blob.chunks()
		if err := b.DeleteRange(chunks, prefixEnd(chunks), nil); err != nil {
			return err
		}
	}
	return nil
}

// into puts what is staged into the batch of the push, ahead of its rows:
// they may replace each other's parts.
func (st *stage) into(b *pebble.Batch) error {
	if st == nil {
		return nil
	}
	if err := b.Apply(st.chunks, nil); err != nil {
		return err
	}
	if st.spilled {
		return b.Delete(st.id.orphan(), nil)
	}
	return nil
}

// discard forgets everything staged.
func (st *stage) discard() error {
	if st == nil || !st.spilled || st.hub.store.failure() != nil {
		return nil
	}
	b := st.hub.store.db.NewBatch()
	if err := dropPush(b, st.id); err != nil {
		return err
	}
	return st.hub.store.commit(b, pebble.NoSync)
}

func dropPush(b *pebble.Batch, id pushID) error {
	return errors.Join(b.DeleteRange(id.chunks(), prefixEnd(id.chunks()), nil), b.Delete(id.orphan(), nil))
}

// dropOrphans puts into b what removes the chunks of pushes that did not end.
func dropOrphans(r pebble.Reader, b *pebble.Batch) error {
	return scan(r, []byte{spaceOrphan}, func(key, _ []byte) error {
		var id pushID
		copy(id[:], key[1:])
		return dropPush(b, id)
	})
}

// dropParts puts into b what removes parts, with what became of them.
func dropParts(b *pebble.Batch, parts []storedPart) error {
	for i := range parts {
		for n := range parts[i].chunkCount() {
			if err := b.Delete(parts[i].blob.chunk(n), nil); err != nil {
				return err
			}
		}
		if err := b.Delete(parts[i].blob.text(), nil); err != nil {
			return err
		}
	}
	return nil
}

// part returns the SDK's form of a stored part. With pushed it is read from
// what was pushed, else from the synced view. A part that came without a
// version has the hash of its content as one.
func (h *Hub) part(s storedPart, pushed bool) gapless.Part {
	version := s.version
	if version == "" {
		version = fmt.Sprintf("xxh3:%016x%016x", s.hash.Hi, s.hash.Lo)
	}
	return gapless.Part{
		Name: s.name, Type: s.media, Size: s.size, Version: version,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return h.openPart(ctx, s, pushed) },
	}
}

func (h *Hub) openPart(ctx context.Context, s storedPart, pushed bool) (io.ReadCloser, error) {
	if pushed {
		return h.openPartOf(ctx, s, func() *view { return h.views.hold(&view{snap: h.store.db.NewSnapshot()}) })
	}
	return h.openPartOf(ctx, s, h.views.acquire)
}

// openPartOf opens a part as a view has it, which the reader releases.
func (h *Hub) openPartOf(ctx context.Context, s storedPart, of func() *view) (io.ReadCloser, error) {
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.end()
	r := &partReader{hub: h, part: s, hash: xxh3.New(), ctx: ctx, view: of()}
	if s.size > 0 {
		if err := r.load(); err != nil {
			h.views.release(r.view)
			return nil, err
		}
	}
	return r, nil
}

// partReader streams a part chunk by chunk out of one view.
type partReader struct {
	ctx    context.Context //nolint:containedctx // a reader lives for one Open call and has no other way to be cancelled
	hub    *Hub
	view   *view
	part   storedPart
	next   uint32
	rest   []byte
	read   int64
	hash   *xxh3.Hasher
	closed bool
}

func (r *partReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.read < r.part.size {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	if len(r.rest) == 0 {
		return 0, r.verify()
	}
	n := copy(p, r.rest)
	_, _ = r.hash.Write(r.rest[:n]) // a hash accepts everything
	r.rest, r.read = r.rest[n:], r.read+int64(n)
	return n, nil
}

func (r *partReader) fill() error {
	if err := r.hub.begin(); err != nil {
		return err
	}
	defer r.hub.end()
	if r.closed {
		return errClosed
	}
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	return r.load()
}

func (r *partReader) load() error {
	chunk, err := get(r.view.snap, r.part.blob.chunk(r.next))
	if err != nil {
		return r.hub.store.classifyRead(err)
	}
	if len(chunk) == 0 {
		return gapless.Recoverable(fmt.Errorf("part %q: its record has changed since it was read: %w", r.part.name, gapless.ErrNotFound))
	}
	r.rest = chunk
	r.next++
	return nil
}

func (r *partReader) verify() error {
	sum := r.hash.Sum128()
	if r.part.hash != (gapless.Hash128{Hi: sum.Hi, Lo: sum.Lo}) {
		return r.hub.store.classify(fmt.Errorf("%w: content of part %q", errDamagedValue, r.part.name))
	}
	return io.EOF
}

func (r *partReader) Close() error {
	if !r.closed {
		r.closed = true
		r.hub.views.release(r.view)
	}
	return nil
}

// head returns at most limit bytes from the start of the part.
func (s *storedPart) head(r pebble.Reader, limit int) ([]byte, error) {
	var text []byte
	for n := uint32(0); n < s.chunkCount() && len(text) < limit; n++ {
		chunk, err := get(r, s.blob.chunk(n))
		if err != nil {
			return nil, err
		}
		text = append(text, chunk...)
	}
	return bytes.Clone(text[:min(limit, len(text))]), nil
}
