package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// jsonReader reads S3JSON: the root member by member, lists of resources
// element by element.
type jsonReader struct {
	window
	options DecodeOptions
	names   interner
	state   jsonState
	table   string // of the list being read
	ignored *int
	elems   int
	problem error // the first one of the resource being read
}

// jsonState is where in the root a reader stands.
type jsonState uint8

const (
	jsonBegin   jsonState = iota
	jsonFirst             // before the first member
	jsonMember            // behind a member
	jsonElement           // before the first element of a list
	jsonBetween           // behind an element of a list
	jsonEnd
)

func newJSONReader(r io.Reader, o DecodeOptions) *jsonReader {
	return &jsonReader{window: newWindow(r, o.Limits.DocumentBytes, o.Limits.ResourceBytes), options: o, names: interner{}}
}

func (j *jsonReader) failedf(format string, args ...any) error {
	return j.failed(fmt.Errorf(format, args...))
}

func (j *jsonReader) failed(err error) error {
	return &SyntaxError{Format: S3JSON, Offset: j.offset(), Err: err}
}

func (j *jsonReader) reject(err error) {
	if j.problem == nil {
		j.problem = err
	}
}

func (j *jsonReader) next(d *Decoder) (r Resource, rejecting, err error) {
	j.ignored = &d.ignored
	for {
		value, err := j.step(d)
		if errors.Is(err, errCut) {
			err = j.failed(io.ErrUnexpectedEOF)
		}
		if err != nil || value == nil {
			if err != nil {
				return r, nil, err
			}
			continue
		}
		j.elems, j.problem = 0, nil
		if err := j.resource(&r, j.table, gjson.ParseBytes(value)); err != nil {
			return r, nil, err
		}
		if j.problem != nil {
			return r, rejected(&r, j.problem), nil
		}
		return r, nil, nil
	}
}

// step goes one step through the root and returns a top-level resource if it
// comes by one; errEnd behind the root.
func (j *jsonReader) step(d *Decoder) ([]byte, error) {
	if j.state == jsonBegin {
		return nil, j.begin()
	}
	c, ok, err := j.token()
	switch {
	case err != nil:
		return nil, err
	case !ok && j.state == jsonEnd:
		return nil, errEnd
	case !ok:
		return nil, errCut
	}
	switch j.state {
	case jsonFirst, jsonMember:
		if c == '}' {
			j.pos++
			j.state = jsonEnd
			return nil, nil
		}
		return j.member(d, c)
	case jsonElement, jsonBetween:
		if c == ']' {
			j.pos++
			j.state = jsonMember
			return nil, nil
		}
		return j.element(c)
	}
	return nil, j.failedf("something behind the end")
}

// token returns the next byte that is not white space.
func (j *jsonReader) token() (byte, bool, error) {
	for {
		c, ok, err := j.peek()
		if !ok || err != nil || !isSpace(c) {
			j.start = j.pos
			return c, ok, err
		}
		j.pos++
		j.start = j.pos
	}
}

func (j *jsonReader) begin() error {
	if err := j.need(3); err == nil && j.hasPrefix("\uFEFF") {
		j.pos += 3
	} else if err != nil && !errors.Is(err, errCut) {
		return err
	}
	c, ok, err := j.token()
	if err != nil {
		return err
	}
	if !ok || c != '{' {
		if err := j.need(sniffBytes); err != nil && !errors.Is(err, errCut) {
			return err
		}
		return contentError(S3JSON.String(), j.rest())
	}
	j.pos++
	j.state = jsonFirst
	return nil
}

// comma reads the comma before an element that is not the first.
func (j *jsonReader) comma(c byte, first bool) (byte, error) {
	if first {
		return c, nil
	}
	if c != ',' {
		return 0, j.failedf("no comma between two values")
	}
	j.pos++
	return j.must()
}

// must returns the next byte that is not white space.
func (j *jsonReader) must() (byte, error) {
	c, ok, err := j.token()
	if err == nil && !ok {
		err = errCut
	}
	return c, err
}

// element reads an element of a list of resources.
func (j *jsonReader) element(c byte) ([]byte, error) {
	c, err := j.comma(c, j.state == jsonElement)
	if err != nil {
		return nil, err
	}
	j.state = jsonBetween
	if c != '{' {
		return nil, j.failedf("an element of the list of %s is no object", clip(j.table))
	}
	return j.value(c)
}

// member reads a member of the root as far as the beginning of a list.
func (j *jsonReader) member(d *Decoder, c byte) ([]byte, error) {
	c, err := j.comma(c, j.state == jsonFirst)
	if err != nil {
		return nil, err
	}
	if c != '"' {
		return nil, j.failedf("no name of a member")
	}
	raw, err := j.value(c)
	if err != nil {
		return nil, err
	}
	name := gjson.ParseBytes(raw).String()
	if c, err = j.must(); err == nil && c != ':' {
		err = j.failedf("no colon behind the name of a member")
	}
	if err != nil {
		return nil, err
	}
	j.pos++
	if c, err = j.must(); err != nil {
		return nil, err
	}
	j.state = jsonMember
	return j.memberValue(d, name, c)
}

func (j *jsonReader) memberValue(d *Decoder, name string, c byte) ([]byte, error) {
	table, isTable := strings.CutPrefix(name, "$_")
	if isTable {
		j.table = j.names.name([]byte(table))
		if c == '[' {
			j.pos++
			j.state = jsonElement
			return nil, nil
		} else if c != '{' {
			return nil, j.failedf("member %s holds no resources", clip(name))
		}
	}
	raw, err := j.value(c)
	if err != nil || isTable {
		return raw, err
	}
	attribute, isAttribute := strings.CutPrefix(name, "@")
	if !isAttribute {
		d.ignored++
		return nil, nil
	}
	if len(d.document.Attributes) >= j.options.Limits.Attributes {
		return nil, &LimitError{"attributes of an element", int64(j.options.Limits.Attributes)}
	}
	if text, ok := j.attributeText(gjson.ParseBytes(raw)); ok {
		d.document.Set(attribute, text)
	}
	return nil, nil
}

// value reads the value that begins with c; valid until the next reading.
func (j *jsonReader) value(c byte) ([]byte, error) {
	scan := jsonScan{most: 2 * j.options.Limits.Depth}
	step := scan.nested
	if c != '{' && c != '[' && c != '"' {
		step = scan.scalar
	}
	raw, err := j.scan(step)
	if err != nil {
		return nil, err
	}
	if scan.unread {
		j.pos--
		raw = raw[:len(raw)-1]
	}
	if !utf8.Valid(raw) {
		return nil, j.failed(errNotUTF8)
	}
	if !json.Valid(raw) {
		return nil, j.failed(json.Unmarshal(raw, new(json.RawMessage)))
	}
	return raw, nil
}

// jsonScan finds the end of a value.
type jsonScan struct {
	depth, most int
	quoted      bool
	escaped     bool
	unread      bool // the last byte is not part of the value
}

func (s *jsonScan) nested(c byte) (done bool, err error) {
	switch {
	case s.escaped:
		s.escaped = false
		return false, nil
	case s.quoted:
		s.escaped = c == '\\'
		s.quoted = c != '"'
		return !s.quoted && s.depth == 0, nil
	}
	switch c {
	case '"':
		s.quoted = true
	case '{', '[':
		if s.depth++; s.depth > s.most {
			return false, &LimitError{"levels of objects and lists", int64(s.most)}
		}
	case '}', ']':
		s.depth--
		return s.depth == 0, nil
	}
	return false, nil
}

// scalar ends behind the byte that follows a number or a word.
func (s *jsonScan) scalar(c byte) (done bool, err error) {
	s.unread = c == ',' || c == '}' || c == ']' || isSpace(c)
	return s.unread, nil
}

// attributeText returns the text of an attribute; null means that it is not
// there.
func (j *jsonReader) attributeText(v gjson.Result) (string, bool) {
	switch {
	case v.Type == gjson.String:
		return v.String(), true
	case v.Type == gjson.JSON:
		return string(canonical(v)), true
	case j.options.Rules == RulesEden:
		return pythonText(v), true
	}
	return v.Raw, v.Type != gjson.Null
}

// counted adds an element and says whether there are too many.
func (j *jsonReader) counted() error {
	if j.elems++; j.elems > j.options.Limits.Elements {
		return &LimitError{"elements in a resource", int64(j.options.Limits.Elements)}
	}
	return nil
}

// each calls fn for the members of an element, after those that hold
// attributes, and checks the limits.
func (j *jsonReader) each(v gjson.Result, attribute func(name string, value gjson.Result), fn func(name string, value gjson.Result) error) error {
	if err := j.counted(); err != nil {
		return err
	}
	var err error
	attributes := 0
	v.ForEach(func(key, value gjson.Result) bool {
		name := key.String()
		rest, isAttribute := strings.CutPrefix(name, "@")
		switch {
		case len(value.Raw) > j.options.Limits.TokenBytes && value.Type != gjson.JSON:
			err = &LimitError{"bytes of a tag, a text or a value", int64(j.options.Limits.TokenBytes)}
		case !isAttribute:
			err = fn(name, value)
		case attributes == j.options.Limits.Attributes:
			err = &LimitError{"attributes of an element", int64(attributes)}
		default:
			attributes++
			attribute(rest, value)
		}
		return err == nil
	})
	return err
}

func (j *jsonReader) resource(r *Resource, table string, v gjson.Result) error {
	r.Name = table
	if table == "" {
		j.reject(errNoName)
	}
	return j.each(v, func(name string, value gjson.Result) {
		if text, ok := j.attributeText(value); ok && name != "name" {
			if err := r.setAttribute(j.names.name([]byte(name)), text, j.options.Rules); err != nil {
				j.reject(err)
			}
		}
	}, func(name string, value gjson.Result) error {
		if table, ok := strings.CutPrefix(name, "$_"); ok {
			return j.resources(&r.Components, table, value)
		}
		if field, ok := strings.CutPrefix(name, "$k_"); ok {
			r.References = append(r.References, Reference{Field: j.names.name([]byte(field))})
			return j.reference(&r.References[len(r.References)-1], value)
		}
		if strings.HasPrefix(name, "$") {
			*j.ignored++
			return nil
		}
		r.Fields = append(r.Fields, Field{Name: j.names.name([]byte(name))})
		return j.field(&r.Fields[len(r.Fields)-1], value)
	})
}

// resources appends the elements of a list, or a single one.
func (j *jsonReader) resources(list *[]Resource, table string, v gjson.Result) (err error) {
	table = j.names.name([]byte(table))
	one := func(_, v gjson.Result) bool {
		if !v.IsObject() {
			j.reject(fmt.Errorf("member $_%s holds something that is no resource", clip(table)))
			return true
		}
		*list = append(*list, Resource{})
		err = j.resource(&(*list)[len(*list)-1], table, v)
		return err == nil
	}
	if v.IsArray() {
		v.ForEach(one)
	} else {
		one(gjson.Result{}, v)
	}
	return err
}

func (j *jsonReader) field(f *Field, v gjson.Result) error {
	switch {
	case v.Type == gjson.String:
		f.Text = v.String()
		return j.counted()
	case v.IsObject():
		return j.each(v, func(name string, value gjson.Result) {
			if name == "value" {
				f.Value = j.valueOf(value)
			} else if text, ok := j.attributeText(value); ok {
				f.setAttribute(j.names.name([]byte(name)), text)
			}
		}, func(name string, value gjson.Result) error {
			j.text(&f.Text, name, value)
			return nil
		})
	case v.Type == gjson.JSON || j.options.Rules == RulesPlain:
		f.Value = canonical(v)
	default:
		f.Text = pythonText(v)
	}
	return j.counted()
}

// valueOf returns the value that an @value stands for.
func (j *jsonReader) valueOf(v gjson.Result) json.RawMessage {
	switch {
	case j.options.Rules == RulesPlain || v.Type == gjson.JSON:
		return canonical(v)
	case v.Type == gjson.String:
		return jsonOf(v.String())
	}
	return jsonOf(pythonText(v))
}

// text takes the member that holds the text node.
func (j *jsonReader) text(text *string, name string, v gjson.Result) {
	if name != "$" {
		*j.ignored++
	} else if t, ok := j.attributeText(v); ok {
		*text = t
	}
}

func (j *jsonReader) reference(f *Reference, v gjson.Result) error {
	if f.Field == "" {
		j.reject(errNoName)
	}
	if !v.IsObject() {
		j.reject(fmt.Errorf("member $k_%s holds something that is no reference", clip(f.Field)))
		return nil
	}
	return j.each(v, func(name string, value gjson.Result) {
		if text, ok := j.attributeText(value); ok {
			f.setAttribute(j.names.name([]byte(name)), text)
		}
	}, func(name string, value gjson.Result) error {
		if table, ok := strings.CutPrefix(name, "$_"); ok {
			return j.resources(&f.Inline, table, value)
		}
		j.text(&f.Text, name, value)
		return nil
	})
}
