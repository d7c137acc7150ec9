package framework

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// frame is one entry of a lane.
type frame struct {
	kind frameKind
	key  string
	data []byte
}

// frameKind is the first byte of a frame.
type frameKind byte

const (
	frameUpsert frameKind = 'u'
	frameDelete frameKind = 'd'
	// frameReject holds why a row was refused, before the row itself.
	frameReject frameKind = 'r'
)

// append encodes a frame: its kind, the lengths of key and data as uvarints,
// key, data.
func (f frame) append(b []byte) []byte {
	b = append(b, byte(f.kind))
	b = binary.AppendUvarint(b, uint64(len(f.key)))
	b = binary.AppendUvarint(b, uint64(len(f.data)))
	b = append(b, f.key...)
	return append(b, f.data...)
}

// rawFrame is a frame as a view of the bytes it was read from.
type rawFrame struct {
	kind      frameKind
	key, data []byte
}

// errPartial means that a frame goes on behind the bytes at hand.
var errPartial = errors.New("the frame is not complete")

// cutFrame decodes the first frame of b and returns its length. It returns
// errPartial if b ends within it.
func cutFrame(b []byte) (f rawFrame, size int, err error) {
	if len(b) == 0 {
		return f, 0, errPartial
	}
	f.kind = frameKind(b[0])
	if f.kind != frameUpsert && f.kind != frameDelete && f.kind != frameReject {
		return f, 0, fmt.Errorf("frame of unknown kind %d", b[0])
	}
	key, n := binary.Uvarint(b[1:])
	data, m := 0, 0
	if n > 0 {
		var length uint64
		length, m = binary.Uvarint(b[1+n:])
		if length > maxFrame {
			return f, 0, fmt.Errorf("frame of %d bytes", length)
		}
		data = int(length)
	}
	switch {
	case n < 0 || m < 0 || key > maxFrame:
		return f, 0, errors.New("frame with lengths that cannot be")
	case n == 0 || m == 0:
		return f, 0, errPartial
	}
	head := 1 + n + m
	size = head + int(key) + data
	if len(b) < size {
		return f, size, errPartial
	}
	f.key, f.data = b[head:head+int(key)], b[head+int(key):size]
	return f, size, nil
}

// maxFrame bounds key and data of a frame.
const maxFrame = 1 << 30

// laneReader reads a lane in pieces of whole frames.
type laneReader struct {
	file   *os.File
	offset int64 // of the next frame
	buf    []byte
}

// chunkBytes is how much is read at once, and the distance of marks.
const chunkBytes = 1 << 20

// next returns some frames before end, where one ends. They are valid until
// the next call.
func (r *laneReader) next(end int64) ([]byte, error) {
	want := int64(chunkBytes)
	for {
		want = min(want, end-r.offset)
		if int64(cap(r.buf)) < want {
			r.buf = make([]byte, want)
		}
		r.buf = r.buf[:want]
		if _, err := r.file.ReadAt(r.buf, r.offset); err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		whole := 0
		for whole < len(r.buf) {
			_, size, err := cutFrame(r.buf[whole:])
			if errors.Is(err, errPartial) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("journal at byte %d: %w", r.offset+int64(whole), err)
			}
			whole += size
		}
		if whole > 0 {
			r.offset += int64(whole)
			return r.buf[:whole], nil
		}
		if want == end-r.offset {
			return nil, fmt.Errorf("journal at byte %d: %w", r.offset, errPartial)
		}
		want *= 2
	}
}
