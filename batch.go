package gapless

import (
	"context"
	"io"
	"time"
)

// Op says what a change does to the record of its key.
type Op uint8

// The three changes. Replaying any of them is harmless.
const (
	// OpUpsert replaces the whole record, or creates it.
	OpUpsert Op = iota
	// OpPatch merges the top-level fields of Data into an existing record; a
	// field that is null is removed. Parts named replace parts of that name.
	OpPatch
	// OpDelete removes the record; deleting what is not there is no error.
	OpDelete
)

// String returns "upsert", "patch" or "delete".
func (o Op) String() string {
	switch o {
	case OpUpsert:
		return "upsert"
	case OpPatch:
		return "patch"
	case OpDelete:
		return "delete"
	}
	return "unknown"
}

// Record is one document of a collection.
type Record struct {
	// Key identifies the record within its collection: 1 to MaxKeyBytes bytes
	// of UTF-8.
	Key string
	// Version is the source's opaque stamp of this state of the record. Empty
	// means that the source has none. It is given back verbatim.
	Version string
	// Modified is when the source says the record last changed; zero if it
	// does not say.
	Modified time.Time
	// Data is one JSON object, kept byte for byte.
	Data []byte
	// Parts are the record's binary contents, in order, names unique.
	Parts []Part
}

// Change is a record together with what happened to it. A delete needs only
// the key.
type Change struct {
	Op Op
	Record
	// Line is the line or ordinal within [Batch.Origin] that the change came
	// from, counted from 1; 0 if that means nothing here.
	Line int
}

// Part is one binary content of a record. It is opened lazily: a record that
// turns out to be unchanged is never read.
type Part struct {
	Name string
	// Type is the media type, such as "text/markdown"; empty if unknown.
	Type string
	// Size in bytes, or -1 if unknown before reading.
	Size int64
	// Version changes whenever the content does; empty if the source cannot
	// tell, in which case the record's version must.
	Version string
	// Open returns the content from its start. It may be called more than
	// once; the caller closes. An error that is not classified rejects the
	// record, not the run.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Limits that every decoder and destination may rely on.
const (
	// MaxKeyBytes is the longest key in bytes.
	MaxKeyBytes = 4096
	// MaxDataBytes is the largest JSON object of one record in bytes.
	MaxDataBytes = 64 << 20
)

// Span is a range of bytes in [Batch.Buf].
type Span struct{ Off, Len uint32 }

// Row is one change of a batch as offsets into [Batch.Buf].
type Row struct {
	Key, Version, Data Span
	// Modified is in Unix nanoseconds; 0 if unknown.
	Modified int64
	// Line is the line or ordinal within [Batch.Origin]; 0 if unknown.
	Line           uint64
	partLo, partHi uint32
	Op             Op
}

// Batch is a run of changes of one partition, in order: raw bytes plus
// offsets. It is the unit of work from end to end; nothing is allocated per
// record. A batch belongs to whoever holds it; views that its methods return
// are valid until the next Reset.
type Batch struct {
	// Partition is the partition that every row belongs to.
	Partition Partition
	// Origin names what the rows' line numbers count in, such as a file path.
	Origin string
	// Buf holds the bytes that rows point into. A source may read input
	// straight into it and append rows by [Batch.AppendRow]. It must stay
	// below 4 GiB.
	Buf  []byte
	Rows []Row
	// Rejects are records that the source could not deliver, in order of
	// appearance; they become dead letters.
	Rejects []Rejection
	// Mark, if not empty, says that everything up to and including this batch
	// has been emitted; see [Output.Mark].
	Mark  Mark
	parts []Part
}

// Rejection is a record that cannot be synced, with its reason. A source
// reports it by [Output.Reject], a destination in a [Receipt].
type Rejection struct {
	// Key of the record; empty if it could not even be identified, in which
	// case nothing may be deleted by absence in this partition.
	Key string
	// Partition is the id of the record's partition where a destination finds
	// out late: a Sync settles what all of them have pushed. Otherwise it is
	// empty, for the partition at hand.
	Partition string
	// Origin and Line say where it stood, such as a file path and a line.
	Origin string
	Line   int
	// Raw is a copy of the offending bytes, truncated to [MaxRejectBytes].
	Raw []byte
	Err error
}

// MaxRejectBytes is how much of an offending record a [Rejection] keeps.
const MaxRejectBytes = 64 << 10

// Len returns the number of rows.
func (b *Batch) Len() int { return len(b.Rows) }

// Bytes returns the view of a span; valid until Reset.
func (b *Batch) Bytes(s Span) []byte { return b.Buf[s.Off : s.Off+s.Len : s.Off+s.Len] }

// Key returns the key of row i; valid until Reset.
func (b *Batch) Key(i int) []byte { return b.Bytes(b.Rows[i].Key) }

// Version returns the version of row i, empty if it has none; valid until
// Reset.
func (b *Batch) Version(i int) []byte { return b.Bytes(b.Rows[i].Version) }

// Data returns the JSON object of row i; valid until Reset.
func (b *Batch) Data(i int) []byte { return b.Bytes(b.Rows[i].Data) }

// Parts returns the parts of row i; valid until Reset.
func (b *Batch) Parts(i int) []Part {
	r := &b.Rows[i]
	return b.parts[r.partLo:r.partHi:r.partHi]
}

// Change returns row i as a change of its own that shares no memory with the
// batch. It allocates; hot paths use Key, Version and Data.
func (b *Batch) Change(i int) Change {
	r := &b.Rows[i]
	c := Change{Op: r.Op, Line: int(r.Line)}
	c.Key, c.Version = string(b.Key(i)), string(b.Version(i))
	c.Data = append([]byte(nil), b.Data(i)...)
	c.Parts = append([]Part(nil), b.Parts(i)...)
	if r.Modified != 0 {
		c.Modified = time.Unix(0, r.Modified).UTC()
	}
	return c
}

// Append copies a change into the batch.
func (b *Batch) Append(c Change) {
	r := Row{Op: c.Op, Line: uint64(max(c.Line, 0))}
	r.Key = b.AppendBytes([]byte(c.Key))
	r.Version = b.AppendBytes([]byte(c.Version))
	r.Data = b.AppendBytes(c.Data)
	if !c.Modified.IsZero() {
		r.Modified = c.Modified.UnixNano()
	}
	b.AppendRow(r, c.Parts...)
}

// AppendBytes copies p to the end of Buf and returns its span.
func (b *Batch) AppendBytes(p []byte) Span {
	off := len(b.Buf)
	b.Buf = append(b.Buf, p...)
	return Span{Off: uint32(off), Len: uint32(len(p))}
}

// AppendRow appends a row whose bytes are in Buf already.
func (b *Batch) AppendRow(r Row, parts ...Part) {
	r.partLo = uint32(len(b.parts))
	b.parts = append(b.parts, parts...)
	r.partHi = uint32(len(b.parts))
	b.Rows = append(b.Rows, r)
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.parts)
	clear(b.Rejects)
	*b = Batch{Buf: b.Buf[:0], Rows: b.Rows[:0], Rejects: b.Rejects[:0], parts: b.parts[:0]}
}
