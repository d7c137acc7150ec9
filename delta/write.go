package delta

import (
	"encoding/binary"
	"fmt"
	"io"
)

// tableWriter writes a table from records in ascending order.
type tableWriter struct {
	w       io.Writer
	out     []byte // to be written
	written int64
	fixed   []byte
	keys    []byte
	index   []blockRef
	records uint64
}

func newTableWriter(w io.Writer) *tableWriter {
	return &tableWriter{w: w, out: append(append(make([]byte, 0, scanBytes+scanBytes/4), tableMagic...), version)}
}

func (t *tableWriter) add(r record, key []byte) error {
	if len(t.fixed) == 0 {
		t.index = append(t.index, blockRef{first: r.kh, offset: t.written + int64(len(t.out))})
	}
	t.fixed = appendRecord(t.fixed, r)
	t.keys = append(binary.AppendUvarint(t.keys, uint64(len(key))), key...)
	t.records++
	if len(t.fixed) < blockRows*recordBytes {
		return nil
	}
	return t.endBlock()
}

func (t *tableWriter) endBlock() error {
	t.out = append(t.out, t.fixed...)
	t.out = binary.LittleEndian.AppendUint32(t.out, checksum(t.fixed))
	t.out = append(t.out, t.keys...)
	t.out = binary.LittleEndian.AppendUint32(t.out, checksum(t.keys))
	t.fixed, t.keys = t.fixed[:0], t.keys[:0]
	if len(t.out) < scanBytes {
		return nil
	}
	return t.flush()
}

func (t *tableWriter) flush() error {
	if err := write(t.w, t.out); err != nil {
		return err
	}
	t.written += int64(len(t.out))
	t.out = t.out[:0]
	return nil
}

// finish writes what comes after the records.
func (t *tableWriter) finish(label []byte) error {
	if len(t.fixed) > 0 {
		if err := t.endBlock(); err != nil {
			return err
		}
	}
	indexAt := t.written + int64(len(t.out))
	if err := t.flush(); err != nil {
		return err
	}
	for _, b := range t.index {
		t.out = binary.LittleEndian.AppendUint64(appendHash(t.out, b.first), uint64(b.offset))
	}
	t.out = append(t.out, label...)
	for _, n := range []uint64{t.records, uint64(indexAt), uint64(len(label))} {
		t.out = binary.LittleEndian.AppendUint64(t.out, n)
	}
	t.out = binary.LittleEndian.AppendUint32(t.out, checksum(t.out))
	t.out = append(append(t.out, tableMagic...), version)
	return t.flush()
}

func appendRecord(p []byte, r record) []byte {
	return binary.LittleEndian.AppendUint64(appendHash(p, r.kh), r.content)
}

// write hands all of p to w.
func write(w io.Writer, p []byte) error {
	n, err := w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write fingerprints: %w", err)
	}
	return nil
}
