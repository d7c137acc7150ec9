package tabular

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/gapless-sync/gapless"
)

// publish merges base and segments, as far as they are synced, into a new file
// and replaces the old one. What is pushed next goes to a new segment.
func (s *session) publish(ctx context.Context) error {
	if err := s.closeSegment(); err != nil {
		return s.fail(err)
	}
	base, err := s.store.merge(ctx, s.meta, s.newName())
	if err != nil {
		return broken(s.store.path, err)
	}
	unlock, err := lockFile(filepath.Join(s.store.dir, lockName))
	if err != nil {
		return s.fail(err)
	}
	defer unlock()
	if err := s.checkOwner(); err != nil {
		return err
	}
	next := s.meta.clone()
	next.Base, next.Segments, next.Ours = base, nil, true
	seen, err := s.store.save(next)
	if err != nil {
		return s.fail(err)
	}
	s.meta, s.seen = next, seen
	// From here on the new file is the truth; opening the store would put it
	// in its place, too.
	if err := s.store.finish(next); err != nil {
		return s.fail(err)
	}
	return broken(s.store.path, s.store.sweep(next))
}

// merge writes the lines that m stands for, and their index, durably under a
// name within the folder.
func (s *store) merge(ctx context.Context, m *meta, name string) (*extent, error) {
	v, err := s.judge(ctx, m)
	if err != nil {
		return nil, err
	}
	if v.clean && m.Base == nil && len(m.Segments) == 1 && s.compression == compressionNone {
		only := m.Segments[0]
		if err := s.measure(&only); err != nil {
			return nil, err
		}
		if only.Size == only.Lines { // nothing unsynced behind: it is the file already
			return &only, nil
		}
	}
	w, err := s.newMerger(m, v, name)
	if err != nil {
		return nil, err
	}
	for _, layer := range m.layers() {
		if err = w.layer(ctx, layer); err != nil {
			break
		}
	}
	if err == nil {
		err = w.finish()
	}
	if err := errors.Join(err, w.close()); err != nil {
		return nil, err
	}
	return &w.out, s.measure(&w.out)
}

// measure notes by what a change of the file from outside will be noticed.
func (s *store) measure(e *extent) error {
	info, err := os.Stat(s.file(*e, linesSuffix))
	if err != nil {
		return err
	}
	e.Size, e.Modified = info.Size(), info.ModTime().UnixNano()
	return nil
}

// merger writes a new base.
type merger struct {
	store    *store
	meta     *meta
	verdicts *verdicts
	lines    *diskFile
	index    *diskFile
	text     io.Writer // into lines, compressed if need be
	squeeze  io.Closer // ends the compression
	out      extent
	ordinal  uint64
	source   *bufio.Reader
	copying  int64 // bytes of source that are to be copied next
	skipping int64 // or skipped
	scratch  []byte
}

func (s *store) newMerger(m *meta, v *verdicts, name string) (*merger, error) {
	w := &merger{store: s, meta: m, verdicts: v, out: extent{Name: name}}
	var err error
	if w.lines, err = s.disk.create(s.file(w.out, linesSuffix)); err != nil {
		return nil, err
	}
	if w.index, err = s.disk.create(s.file(w.out, indexSuffix)); err != nil {
		return nil, errors.Join(err, w.lines.Close())
	}
	sink := appender{w.lines}
	switch s.compression {
	case compressionGzip:
		z := gzip.NewWriter(sink)
		w.text, w.squeeze = z, z
	case compressionZstd:
		z, err := zstd.NewWriter(sink, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.text, w.squeeze = z, z
	default:
		w.text, w.squeeze = sink, io.NopCloser(nil)
	}
	if err := w.write(s.layout.header()); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// appender makes a writer of a diskFile.
type appender struct{ file *diskFile }

func (a appender) Write(p []byte) (int, error) { return len(p), a.file.Append(p) }

func (w *merger) write(p []byte) error {
	w.out.Lines += int64(len(p))
	_, err := w.text.Write(p)
	return err
}

// maxCopy is about how many bytes of a run are copied at a time.
const maxCopy = 1 << 20

// layer adds what stays of one layer. Runs of lines that stay are copied as
// bytes.
func (w *merger) layer(ctx context.Context, e extent) error {
	source, err := w.store.openLines(w.meta, e)
	if err != nil {
		return err
	}
	defer source.Close()
	w.source = bufio.NewReaderSize(source, 2*writeBuffer)
	w.copying, w.skipping = 0, int64(len(w.store.layout.header()))
	err = w.store.scanLayer(ctx, w.meta, e, w.ordinal, w.entry)
	if err == nil {
		err = w.catchUp()
	}
	if err != nil {
		return fmt.Errorf("merge %s: %w", e.Name, err)
	}
	w.ordinal += e.Ops
	return nil
}

// entry decides about one operation.
func (w *merger) entry(ordinal uint64, e entry) error {
	length := int64(e.length)
	record := w.verdicts.patched[ordinal]
	switch {
	case e.op == gapless.OpDelete:
		return nil
	case record != nil:
		return w.patched(ordinal, e, record)
	case w.verdicts.isDropped(ordinal):
		if w.copying > 0 {
			if err := w.catchUp(); err != nil {
				return err
			}
		}
		w.skipping += length
		return nil
	}
	if w.skipping > 0 || w.copying > maxCopy {
		if err := w.catchUp(); err != nil {
			return err
		}
	}
	w.copying += length
	w.out.Ops++
	return w.index.Append(e.raw)
}

// catchUp copies or skips the lines that were put off.
func (w *merger) catchUp() error {
	if _, err := w.source.Discard(int(w.skipping)); err != nil {
		return err
	}
	if err := copyBytes(w.text, w.source, w.copying); err != nil {
		return err
	}
	w.out.Lines += w.copying
	w.copying, w.skipping = 0, 0
	return nil
}

// patched takes one operation of a record with patches, and writes the record
// at its last one.
func (w *merger) patched(ordinal uint64, e entry, record *patchedRecord) error {
	if err := w.catchUp(); err != nil {
		return err
	}
	w.scratch = append(w.scratch[:0], make([]byte, e.length)...)
	if _, err := io.ReadFull(w.source, w.scratch); err != nil {
		return err
	}
	if e.op == gapless.OpUpsert {
		record.line = bytes.Clone(w.scratch)
		return nil
	}
	line, err := w.store.layout.patch(record.line, w.scratch)
	if err != nil {
		return fmt.Errorf("patch %s: %w", e.key, err)
	}
	record.line = line
	if ordinal != record.last {
		return nil
	}
	record.line = nil
	w.out.Ops++
	raw := appendEntry(nil, gapless.OpUpsert, e.scope, e.key, e.version, uint64(len(line)))
	return errors.Join(w.write(line), w.index.Append(raw))
}

// finish makes the new base durable.
func (w *merger) finish() error {
	if err := w.squeeze.Close(); err != nil {
		return err
	}
	if err := errors.Join(w.lines.Sync(), w.index.Sync()); err != nil {
		return err
	}
	w.out.Index = w.index.size
	return w.store.disk.syncDir(w.store.dir)
}

func (w *merger) close() error { return errors.Join(w.lines.Close(), w.index.Close()) }

// openLines opens the text of a layer. A base lies in its place, or still in
// the folder if putting it there failed.
func (s *store) openLines(m *meta, e extent) (io.ReadCloser, error) {
	path := s.file(e, linesSuffix)
	isBase := m.Base != nil && e.Name == m.Base.Name
	if isBase {
		path = s.path
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, damaged(s.dir, err)
	}
	text := &stream{path: path, file: f, unzip: func() {}}
	compression := compressionNone
	if isBase {
		compression = s.compression
	}
	if err := text.decompress(compression); err != nil {
		return nil, errors.Join(err, text.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{text.text, text}, nil
}
