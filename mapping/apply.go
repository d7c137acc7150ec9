package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/expr-lang/expr/vm"

	"github.com/gapless-sync/gapless"
)

// Verdict says what became of a row.
type Verdict uint8

// The verdicts. Rows that pass are not reported.
const (
	// Filtered rows are out of scope: the filter was false.
	Filtered Verdict = iota + 1
	// Rejected rows could not be evaluated; each is in the outgoing batch's
	// Rejects.
	Rejected
)

// ErrPatch is wrapped by the rejection of a patch that lacks fields which the
// program needs: a filter cannot judge a part of a record, and an expression
// cannot read what the patch does not carry. The whole record can be mapped.
var ErrPatch = errors.New("a patch does not carry the fields that the mapping needs")

var (
	errAlias    = errors.New("map batch: the incoming batch is the outgoing one as well")
	errTooLarge = fmt.Errorf("the mapped record is larger than %d bytes", gapless.MaxDataBytes)
	errFull     = errors.New("map batch: the mapped batch exceeds 4 GiB")
)

// Apply appends the rows of in that pass to out, mapped, in their order;
// partition, origin, mark and the source's rejections go along. Keys,
// versions, times, parts and lines are kept. in is left as it is.
//
// Deletes pass unfiltered, because deleting what is not there is harmless, and
// so do rows without data, which only say that a key exists. verdict, if not
// nil, is called for each row that does not pass, with its index in in. A
// record that cannot be evaluated is appended to out.Rejects and does not
// affect the others; Apply itself fails only if out is in, or would outgrow a
// batch.
//
// The data of in must be valid JSON objects; what comes out is valid then.
func (p *Program) Apply(in, out *gapless.Batch, verdict func(row int, v Verdict, err error)) error {
	if in == out {
		return errAlias
	}
	out.Partition, out.Origin, out.Mark = in.Partition, in.Origin, in.Mark
	out.Rejects = append(out.Rejects, in.Rejects...)
	var r *record
	if !p.IsIdentity() {
		r = p.records.Get().(*record)
		defer r.release(&p.records)
	}
	for i := range in.Rows {
		v, err := p.row(r, in, out, i)
		if errors.Is(err, errFull) {
			return err
		}
		if v == Rejected {
			err = reject(in, out, i, err)
		}
		if v != 0 && verdict != nil {
			verdict(i, v, err)
		}
	}
	return nil
}

// row maps one row; 0 means that it passed.
func (p *Program) row(r *record, in, out *gapless.Batch, i int) (Verdict, error) {
	row, data, start := in.Rows[i], in.Data(i), len(out.Buf)
	mapped := r != nil && row.Op != gapless.OpDelete && len(data) > 0
	if mapped {
		if err := r.scan(p, data); err != nil {
			return Rejected, err
		}
		r.patch = row.Op == gapless.OpPatch
		if passes, err := p.passes(r); err != nil {
			return Rejected, err
		} else if !passes {
			return Filtered, nil
		}
	}
	var err error
	if mapped && p.reshapes {
		out.Buf, err = p.splice(out.Buf, r)
	} else {
		out.Buf = append(out.Buf, data...)
	}
	end := len(out.Buf)
	if size := end - start; err == nil && size > gapless.MaxDataBytes && size > len(data) {
		err = errTooLarge
	}
	if err != nil {
		out.Buf = out.Buf[:start]
		return Rejected, err
	}
	row.Data = gapless.Span{Off: uint32(start), Len: uint32(end - start)}
	row.Key = out.AppendBytes(in.Key(i))
	row.Version = out.AppendBytes(in.Version(i))
	if len(out.Buf) > math.MaxUint32 {
		out.Buf = out.Buf[:start]
		return 0, errFull
	}
	out.AppendRow(row, in.Parts(i)...)
	return 0, nil
}

// reject records why row i does not pass and returns the error.
func reject(in, out *gapless.Batch, i int, err error) error {
	key, raw := string(in.Key(i)), in.Data(i)
	err = gapless.Reject(key, fmt.Errorf("map record: %w", err))
	out.Rejects = append(out.Rejects, gapless.Rejection{
		Key: key, Origin: in.Origin, Line: int(in.Rows[i].Line),
		Raw: bytes.Clone(raw[:min(len(raw), gapless.MaxRejectBytes)]), Err: err,
	})
	return err
}

// passes evaluates the filter.
func (p *Program) passes(r *record) (bool, error) {
	if p.filter == nil {
		return true, nil
	}
	if r.patch {
		return false, fmt.Errorf("filter: %w", ErrPatch)
	}
	yes, err := p.filter.node.test(r)
	if err != nil {
		return false, p.filter.wrap(err)
	}
	return yes, nil
}

func (e *expression) wrap(err error) error {
	return fmt.Errorf("%s: %s: %w", e.field, e.source, err)
}

// record is one record while it is mapped; it is reused.
type record struct {
	data   []byte
	patch  bool
	fields []field
	// first is the index of the first field of each slot, or -1.
	first   []int
	env     map[string]any
	machine vm.VM
	end     int // of the last byte before the closing brace
}

// field is a top-level field of the record.
type field struct {
	from  int // of its key
	value span
	slot  int // -1 if the program does not know its name
}

func newRecord(slots int) *record {
	return &record{first: make([]int, slots), env: map[string]any{}, machine: vm.VM{MemoryBudget: memoryBudget}}
}

func (r *record) release(pool interface{ Put(any) }) {
	r.data = nil
	clear(r.env)
	pool.Put(r)
}

// slot returns the raw value of the first field of a slot.
func (r *record) slot(i int) ([]byte, bool) {
	n := r.first[i]
	if n < 0 {
		return nil, false
	}
	v := r.fields[n].value
	return r.data[v.from:v.to:v.to], true
}

// scan finds the top-level fields: all of them if they will be spliced, and
// otherwise no more than the filter reads.
func (r *record) scan(p *Program, data []byte) error {
	r.data, r.fields = data, r.fields[:0]
	for i := range r.first {
		r.first[i] = -1
	}
	c := cursor{data: data}
	c.open('{')
	missing := len(r.first)
	for !c.bad && (p.reshapes || missing > 0) {
		key, value, ok := c.field()
		if !ok {
			break
		}
		slot, known := p.slots[string(text(data[key.from:key.to]))]
		if !known {
			slot = -1
		} else if r.first[slot] < 0 {
			r.first[slot] = len(r.fields)
			missing--
		}
		r.fields = append(r.fields, field{key.from, value, slot})
	}
	if c.bad {
		return errSyntax
	}
	r.end = c.at
	return nil
}

// splice appends the outgoing record: runs of untouched fields as they stand,
// with whatever lies between them, and the others one by one.
func (p *Program) splice(dst []byte, r *record) ([]byte, error) {
	if len(r.fields) == 0 {
		dst = append(dst, r.data[:r.end]...)
	} else {
		dst = append(dst, r.data[:r.fields[0].from]...)
	}
	s := splicer{record: r, dst: dst, run: -1}
	for i := range r.fields {
		if err := s.field(p, i); err != nil {
			return s.dst, err
		}
	}
	s.flush(len(r.fields))
	for i := range p.sets {
		slot := p.sets[i].slot
		if p.actions[slot].kind == setField && r.first[slot] >= 0 {
			continue // replaced where it stood
		}
		if err := s.set(&p.sets[i]); err != nil {
			return s.dst, err
		}
	}
	if n := len(r.fields); n > 0 {
		return append(s.dst, r.data[r.fields[n-1].value.to:]...), nil
	}
	return append(s.dst, r.data[r.end:]...), nil
}

// splicer writes the fields of one outgoing record.
type splicer struct {
	record *record
	dst    []byte
	wrote  bool
	run    int // first field of a run of untouched ones, or -1
}

func (s *splicer) field(p *Program, i int) error {
	f := &s.record.fields[i]
	a := action{kind: p.others, unless: -1}
	if f.slot >= 0 {
		a = p.actions[f.slot]
	}
	if a.kind == copyField {
		copied, err := s.copies(a.unless)
		if err != nil {
			return err
		}
		if copied {
			if s.run < 0 {
				s.run = i
			}
			return nil
		}
		a.kind = dropField
	}
	s.flush(i)
	if a.kind == dropField || s.record.first[f.slot] != i {
		return nil
	}
	if a.kind == setField {
		return s.set(&p.sets[a.setter])
	}
	s.comma()
	s.dst = append(s.dst, a.key...)
	s.dst = append(s.dst, s.record.data[f.value.from:f.value.to]...)
	return nil
}

// copies reports whether an untouched field stays although another one may
// take its name. A patch does not tell whether the record has that other one.
func (s *splicer) copies(unless int) (bool, error) {
	switch {
	case unless < 0:
		return true, nil
	case s.record.first[unless] >= 0:
		return false, nil
	case s.record.patch:
		return false, fmt.Errorf("rename: %w", ErrPatch)
	}
	return true, nil
}

// flush copies the run of untouched fields that ends before field i.
func (s *splicer) flush(i int) {
	if s.run < 0 {
		return
	}
	s.comma()
	fields := s.record.fields
	s.dst = append(s.dst, s.record.data[fields[s.run].from:fields[i-1].value.to]...)
	s.run = -1
}

func (s *splicer) comma() {
	if s.wrote {
		s.dst = append(s.dst, ',')
	}
	s.wrote = true
}

// set evaluates a setter and writes its field, unless it has no value. In a
// patch, a value that has become nothing is written as null, which removes
// the field, and an expression over fields that the patch does not carry
// leaves the field alone.
func (s *splicer) set(set *setter) error {
	if s.record.patch {
		present := 0
		for _, p := range set.paths {
			if s.record.first[p.slot] >= 0 {
				present++
			}
		}
		if present == 0 && len(set.paths) > 0 {
			return nil
		}
		if present < len(set.paths) {
			return set.wrap(ErrPatch)
		}
	}
	start, wrote := len(s.dst), s.wrote
	s.comma()
	s.dst = append(s.dst, set.key...)
	dst, ok, err := set.node.write(s.record, s.dst)
	s.dst = dst
	if err != nil {
		return set.wrap(err)
	}
	if !ok && s.record.patch {
		s.dst, ok = append(s.dst, "null"...), true
	}
	if !ok {
		s.dst, s.wrote = s.dst[:start], wrote
	}
	return nil
}
