package query

import (
	"fmt"
	"io"
	"strconv"

	"github.com/tidwall/gjson"
)

// flushBytes is how much of a reply is gathered before it is sent. A reply
// that is smaller can still become one that tells an error.
const flushBytes = 64 << 10

// output gathers the reply.
type output struct {
	w   io.Writer
	buf []byte
}

// settle sends what was gathered if it is much.
func (o *output) settle() error {
	if len(o.buf) < flushBytes {
		return nil
	}
	return o.flush()
}

func (o *output) flush() error {
	if _, err := o.w.Write(o.buf); err != nil {
		return fmt.Errorf("write the reply: %w", err)
	}
	o.buf = o.buf[:0]
	return nil
}

func (o *output) raw(text string) { o.buf = append(o.buf, text...) }

func (o *output) text(s string) {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			o.buf = gjson.AppendJSONString(o.buf, s)
			return
		}
	}
	o.buf = append(append(append(o.buf, '"'), s...), '"')
}

func (o *output) value(r gjson.Result) {
	switch {
	case r.Raw != "":
		o.raw(r.Raw)
	case r.Type == gjson.String:
		o.text(r.Str)
	default:
		o.raw("null")
	}
}

// row writes a row with all that is nested in it.
func (o *output) row(sel *selection, it *item) error {
	o.raw("{")
	for i := range sel.fields {
		f := &sel.fields[i]
		o.buf = append(o.buf, f.key...)
		switch f.kind {
		case attributeField:
			o.value(it.value(f.attribute))
		case typenameField:
			o.text(sel.c.typename())
		case nestedField:
			if err := o.nested(sel.nested[f.slot], &it.slots[f.slot]); err != nil {
				return err
			}
		}
	}
	o.raw("}")
	return o.settle()
}

func (o *output) nested(n *nested, s *slot) error {
	switch n.kind {
	case countNested:
		o.count(n.list.count, s.count)
		return nil
	case fromNested, toNested:
		if len(s.items) == 0 {
			o.raw("null")
			return nil
		}
		return o.row(n.list.sel, s.items[0])
	case edgesNested, neighboursNested:
	}
	o.raw("[")
	for i, it := range s.items {
		if i > 0 {
			o.raw(",")
		}
		if err := o.row(n.list.sel, it); err != nil {
			return err
		}
	}
	o.raw("]")
	return nil
}

func (o *output) count(fields []countField, n int) {
	o.raw("{")
	for _, f := range fields {
		o.buf = append(o.buf, f.key...)
		switch {
		case f.fields != nil:
			o.count(f.fields, n)
		case f.typename != "":
			o.text(f.typename)
		default:
			o.buf = strconv.AppendInt(o.buf, int64(n), 10)
		}
	}
	o.raw("}")
}
