package tabular

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gapless-sync/gapless"
)

// entry says what one operation of a segment, or one line of the published
// file, is about. The slices are valid until the next entry is read.
type entry struct {
	op      gapless.Op
	scope   uint64
	key     []byte
	version []byte
	length  uint64 // of the line with its break; 0 for a delete
	raw     []byte
}

// minEntry is the size of the smallest entry.
const minEntry = 5

// appendEntry writes an entry: op, scope, key, version, length of the line;
// numbers are varints, byte strings follow their length.
func appendEntry(dst []byte, op gapless.Op, scope uint64, key, version []byte, length uint64) []byte {
	dst = append(dst, byte(op))
	dst = binary.AppendUvarint(dst, scope)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(version)))
	dst = append(dst, version...)
	return binary.AppendUvarint(dst, length)
}

var (
	errCut     = errors.New("the entry is cut off")
	errInvalid = errors.New("the entry is invalid")
)

// decodeEntry reads the entry that text begins with. errCut says that it goes
// on behind text.
func decodeEntry(text []byte) (entry, error) {
	if len(text) == 0 {
		return entry{}, errCut
	}
	e := entry{op: gapless.Op(text[0])}
	if e.op > gapless.OpDelete {
		return entry{}, errInvalid
	}
	at := 1
	var err error
	if e.scope, at, err = number(text, at); err != nil {
		return entry{}, err
	}
	if e.key, at, err = byteString(text, at); err != nil {
		return entry{}, err
	}
	if e.version, at, err = byteString(text, at); err != nil {
		return entry{}, err
	}
	if e.length, at, err = number(text, at); err != nil {
		return entry{}, err
	}
	if len(e.key) == 0 || len(e.key) > gapless.MaxKeyBytes || e.length > 1<<32 {
		return entry{}, errInvalid
	}
	e.raw = text[:at]
	return e, nil
}

func number(text []byte, at int) (uint64, int, error) {
	if at < len(text) && text[at] < 0x80 {
		return uint64(text[at]), at + 1, nil
	}
	v, n := binary.Uvarint(text[at:])
	switch {
	case n > 0:
		return v, at + n, nil
	case n == 0:
		return 0, 0, errCut
	}
	return 0, 0, errInvalid
}

func byteString(text []byte, at int) ([]byte, int, error) {
	n, at, err := number(text, at)
	switch {
	case err != nil:
		return nil, 0, err
	case n > 1<<32:
		return nil, 0, errInvalid
	case uint64(len(text)-at) < n:
		return nil, 0, errCut
	}
	return text[at : at+int(n)], at + int(n), nil
}

// indexReader reads the entries of one index.
type indexReader struct {
	text   io.Reader
	left   int64 // bytes that are still to be read
	buffer []byte
	lo     int
	scopes uint64 // that there are
}

func newIndexReader(text io.Reader, size int64, scopes int) *indexReader {
	return &indexReader{text: text, left: size, buffer: make([]byte, 0, writeBuffer), scopes: uint64(scopes)}
}

// next returns io.EOF behind the last entry.
func (r *indexReader) next() (entry, error) {
	for {
		if r.lo == len(r.buffer) && r.left == 0 {
			return entry{}, io.EOF
		}
		e, err := decodeEntry(r.buffer[r.lo:])
		switch {
		case err == nil && e.scope >= r.scopes:
			return entry{}, errInvalid
		case err == nil:
			r.lo += len(e.raw)
			return e, nil
		case !errors.Is(err, errCut) || r.left == 0:
			return entry{}, err
		}
		if err := r.fill(); err != nil {
			return entry{}, err
		}
	}
}

func (r *indexReader) fill() error {
	held := copy(r.buffer, r.buffer[r.lo:])
	r.lo = 0
	if held == cap(r.buffer) {
		r.buffer = append(make([]byte, 0, 2*held), r.buffer[:held]...)
	}
	n, err := r.text.Read(r.buffer[held:min(int64(cap(r.buffer)), int64(held)+r.left)])
	r.buffer = r.buffer[:held+n]
	r.left -= int64(n)
	if err != nil && (!errors.Is(err, io.EOF) || n == 0 && r.left > 0) {
		return fmt.Errorf("%d bytes of the index are missing: %w", r.left, err)
	}
	return nil
}
