package delta

import (
	"encoding/binary"
	"io"

	"github.com/gapless-sync/gapless"
)

// File is scratch space that the caller gives and takes away: what is written
// goes to its end and can be read back at once.
type File interface {
	io.ReaderAt
	io.Writer
}

// The log has the table's kind of header, then frames: length of the entries
// (4), their checksum (4), entries. Entries never span frames. Frames are those
// of runs, in each of which entries ascend by key hash: where the order breaks,
// with a frame, the next run begins.
const (
	logMagic   = "gaplogs"
	frameBytes = 8
	// flushBytes is when a frame is written.
	flushBytes = 64 << 10
	// entryBytes is the most that one entry takes.
	entryBytes = 1 + recordBytes + binary.MaxVarintLen64 + 2 + gapless.MaxKeyBytes
	// maxFrameBytes is the most that one frame can hold.
	maxFrameBytes = flushBytes + entryBytes
)

// kind says what a log entry is about.
type kind uint8

const (
	kindCreated  kind = iota // the key is not in the base
	kindUpdated              // the key is in the base with another content
	kindKept                 // the record could not be read
	kindAgain                // the key is in the base and stood before
	kindDistrust             // the destination refused the record; has no key
)

// entry is one line of the log. key is a view.
type entry struct {
	record
	kind kind
	line uint64
	key  []byte
}

func (e *entry) append(p []byte) []byte {
	p = appendRecord(append(p, byte(e.kind)), e.record)
	p = binary.AppendUvarint(p, e.line)
	p = binary.AppendUvarint(p, uint64(len(e.key)))
	return append(p, e.key...)
}

// size is the most that the entry takes.
func (e *entry) size() int { return entryBytes - gapless.MaxKeyBytes + len(e.key) }

// decode reads the entry at the beginning of p and returns its length; 0 if
// there is none.
func (e *entry) decode(p []byte) int {
	const fixed = 1 + recordBytes
	if len(p) < fixed+2 || p[0] > byte(kindDistrust) {
		return 0
	}
	e.kind = kind(p[0])
	e.record = record{kh: hash(p[1:]), content: number(p[17:])}
	line, n := binary.Uvarint(p[fixed:])
	if n <= 0 {
		return 0
	}
	at := fixed + n
	length, n := binary.Uvarint(p[at:])
	if at += n; n <= 0 || length > uint64(len(p)-at) || length > gapless.MaxKeyBytes {
		return 0
	}
	e.line, e.key = line, p[at:at+int(length):at+int(length)]
	return at + int(length)
}

// logWriter writes frames to the end of a file.
type logWriter struct {
	file File
	// buf is the frame being filled, with room for its head.
	buf     []byte
	size    int64
	entries int
	limit   int // bytes of a frame
}

// newLogWriter continues a file of size bytes.
func newLogWriter(file File, size int64, limit int) *logWriter {
	return &logWriter{file: file, size: size, limit: limit, buf: make([]byte, frameBytes, frameBytes+limit+128)}
}

func (w *logWriter) add(e *entry) error {
	w.buf = e.append(w.buf)
	if len(w.buf) < w.limit {
		return nil
	}
	return w.flush()
}

// put adds an entry that is encoded already.
func (w *logWriter) put(raw []byte) error {
	w.buf = append(w.buf, raw...)
	if len(w.buf) < w.limit {
		return nil
	}
	return w.flush()
}

func (w *logWriter) flush() error {
	if len(w.buf) == frameBytes {
		return nil
	}
	binary.LittleEndian.PutUint32(w.buf, uint32(len(w.buf)-frameBytes))
	binary.LittleEndian.PutUint32(w.buf[4:], checksum(w.buf[frameBytes:]))
	if err := write(w.file, w.buf); err != nil {
		return err
	}
	w.size += int64(len(w.buf))
	w.buf = w.buf[:frameBytes]
	return nil
}

// logReader reads the entries of the frames between at and end.
type logReader struct {
	r       io.ReaderAt
	at, end int64
	buf     []byte
	frame   []byte // what is left of the frame at hand
	begins  int64  // where that frame begins
	first   bool   // the entry at hand is its first
	torn    bool   // the frame asked for was not written to its end
	entry   entry
}

// next makes the next entry the one at hand; false after the last. The entry's
// key is valid until the next call.
func (r *logReader) next() (bool, error) {
	if r.first = len(r.frame) == 0; r.first {
		if r.at >= r.end {
			return false, nil
		}
		if err := r.load(); err != nil {
			return false, err
		}
	}
	n := r.entry.decode(r.frame)
	if n == 0 {
		return false, damaged("the log has no entry before %d", r.at)
	}
	r.frame = r.frame[n:]
	return true, nil
}

// load reads the next frame.
func (r *logReader) load() error {
	var head [frameBytes]byte
	if r.torn = r.end-r.at <= frameBytes; r.torn {
		return damaged("the log ends within a frame at %d", r.at)
	}
	if err := readAt(r.r, head[:], r.at); err != nil {
		return err
	}
	size := int64(binary.LittleEndian.Uint32(head[:]))
	if size == 0 || size > maxFrameBytes {
		return damaged("the log has no frame of %d bytes at %d", size, r.at)
	}
	if r.torn = size > r.end-r.at-frameBytes; r.torn {
		return damaged("the log ends within a frame of %d bytes at %d", size, r.at)
	}
	if int64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	r.frame = r.buf[:size]
	if err := readAt(r.r, r.frame, r.at+frameBytes); err != nil {
		return err
	}
	if checksum(r.frame) != binary.LittleEndian.Uint32(head[4:]) {
		return damaged("the log has a wrong checksum at %d", r.at)
	}
	r.begins = r.at
	r.at += frameBytes + size
	return nil
}
