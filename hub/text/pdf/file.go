package pdf

import (
	"bytes"
	"errors"
	"fmt"
)

// maxObjects is how many objects a file has.
const maxObjects = 1 << 20

// headBytes is where the header of a file is looked for, and the type of an
// object in its dictionary.
const headBytes = 1024

var (
	errNoHeader = errors.New("it does not begin like a PDF file")
	errNoPages  = errors.New("it has no list of pages")
	errObjects  = fmt.Errorf("it has more than %d objects", maxObjects)
)

// location is where an object is.
type location struct {
	data   []byte // the file, or an object stream that was unpacked
	at     int
	origin int // in the file: what comes later replaces what was before
}

// file finds objects by their number.
type file struct {
	data    []byte
	budget  *budget
	objects map[ref]location
	root    dict // the catalogue
}

// open finds the objects of a file. Those of a later revision follow the
// earlier ones in the file, and win.
func open(data []byte, b *budget) (*file, error) {
	if !bytes.Contains(data[:min(len(data), headBytes)], []byte("%PDF-")) {
		return nil, errNoHeader
	}
	f := &file{data: data, budget: b, objects: map[ref]location{}}
	order := f.scan()
	trailer := f.trailers()
	var containers []int
	for i, at := range order {
		end := len(data)
		if i+1 < len(order) {
			end = order[i+1]
		}
		head := data[at:min(end, at+headBytes)]
		if !b.work(len(head)) {
			return nil, b.err
		}
		switch {
		case bytes.Contains(head, []byte("/ObjStm")):
			containers = append(containers, at)
		case bytes.Contains(head, []byte("/XRef")):
			merge(trailer, f.at(location{data: data, at: at}))
		case bytes.Contains(head, []byte("/Catalog")) && trailer["Root"] == nil:
			trailer["Root"] = f.at(location{data: data, at: at})
		}
	}
	if trailer["Encrypt"] != nil {
		return nil, ErrEncrypted
	}
	for _, at := range containers {
		f.unpackObjects(at)
	}
	f.root = f.dict(trailer["Root"])
	if b.err == nil && f.dict(f.root["Pages"]) == nil {
		return nil, errNoPages
	}
	return f, b.err
}

// scan finds every "number generation obj" and returns the offsets behind them
// in order.
func (f *file) scan() (order []int) {
	for at := 0; f.budget.work(1); {
		i := bytes.Index(f.data[at:], []byte("obj"))
		if i < 0 {
			break
		}
		at += i
		if number, ok := definition(f.data[:at]); ok {
			f.objects[number] = location{f.data, at + len("obj"), at}
			order = append(order, at+len("obj"))
		}
		if at += len("obj"); len(order) > maxObjects {
			f.budget.err = errObjects
		}
	}
	return order
}

// definition reads the number and generation at the end of p.
func definition(p []byte) (ref, bool) {
	p = bytes.TrimRight(p[max(0, len(p)-32):], " \t\r\n\f\x00")
	generation := len(p)
	for generation > 0 && isDigit(p[generation-1]) {
		generation--
	}
	head := bytes.TrimRight(p[:generation], " \t\r\n\f\x00")
	if generation == len(p) || len(head) == generation {
		return 0, false
	}
	number, digits := 0, 0
	for scale := 1; digits < min(len(head), 10) && isDigit(head[len(head)-1-digits]); digits++ {
		number += scale * int(head[len(head)-1-digits]-'0')
		scale *= 10
	}
	return ref(number), digits > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// trailers returns what the trailers say; later ones win.
func (f *file) trailers() dict {
	all := dict{}
	for at := 0; f.budget.work(1); {
		i := bytes.Index(f.data[at:], []byte("trailer"))
		if i < 0 {
			break
		}
		at += i + len("trailer")
		merge(all, f.at(location{data: f.data, at: at}))
	}
	return all
}

func merge(all dict, o object) {
	if s, ok := o.(*stream); ok {
		o = s.dict
	}
	from, _ := o.(dict)
	for _, key := range []name{"Root", "Encrypt"} {
		if from[key] != nil {
			all[key] = from[key]
		}
	}
}

// unpackObjects adds the objects of an object stream.
func (f *file) unpackObjects(at int) {
	s, ok := f.at(location{data: f.data, at: at}).(*stream)
	if !ok {
		return
	}
	data := f.unpack(s)
	first := f.integer(s.dict["First"])
	if first < 0 || first > len(data) {
		return
	}
	for l := (lexer{data: data[:first], budget: f.budget}); ; {
		number, ok := l.next()
		offset, more := l.next()
		if !ok || !more {
			return
		}
		n, isNumber := number.(float64)
		o, isOffset := offset.(float64)
		if !isNumber || !isOffset || o < 0 || o > float64(len(data)-first) {
			continue
		}
		if f.objects[ref(n)].origin < at && len(f.objects) <= maxObjects {
			f.objects[ref(n)] = location{data, first + int(o), at}
		}
	}
}

// at reads the object at a location.
func (f *file) at(where location) object {
	l := lexer{data: where.data, at: where.at, budget: f.budget}
	o, _ := l.next()
	d, ok := o.(dict)
	if !ok {
		return o
	}
	l.space()
	rest, ok := bytes.CutPrefix(l.data[l.at:], []byte("stream"))
	if !ok {
		return d
	}
	rest = bytes.TrimPrefix(rest, []byte("\r"))
	rest = bytes.TrimPrefix(rest, []byte("\n"))
	return &stream{d, rest[:f.length(d, rest)]}
}

// length returns how many bytes of rest are the stream's: what its dictionary
// says if the stream does end there, and else up to where it ends.
func (f *file) length(d dict, rest []byte) int {
	stated := d["Length"]
	if number, ok := stated.(ref); ok {
		where := f.objects[number]
		stated, _ = (&lexer{data: where.data, at: where.at, budget: f.budget}).next()
	}
	if n, ok := stated.(float64); ok && n >= 0 && n <= float64(len(rest)) {
		behind := bytes.TrimLeft(rest[int(n):min(len(rest), int(n)+16)], " \t\r\n")
		if bytes.HasPrefix(behind, []byte("endstream")) {
			return int(n)
		}
	}
	end := bytes.Index(rest, []byte("endstream"))
	if end < 0 {
		end = len(rest)
	}
	f.budget.work(end)
	return end
}

// resolve follows references.
func (f *file) resolve(o object) object {
	for range maxDepth {
		number, ok := o.(ref)
		if !ok {
			return o
		}
		where, ok := f.objects[number]
		if !ok || !f.budget.work(1) {
			return nil
		}
		o = f.at(where)
	}
	return nil
}

// dict returns a dictionary, also that of a stream; nil if it is none.
func (f *file) dict(o object) dict {
	switch o := f.resolve(o).(type) {
	case dict:
		return o
	case *stream:
		return o.dict
	}
	return nil
}

func (f *file) array(o object) array {
	list, _ := f.resolve(o).(array)
	return list
}

func (f *file) number(o object) (float64, bool) {
	n, ok := f.resolve(o).(float64)
	return n, ok
}

// integer returns -1 for anything that is no small natural number.
func (f *file) integer(o object) int {
	n, ok := f.number(o)
	if !ok || n < 0 || n > 1<<31 {
		return -1
	}
	return int(n)
}

func (f *file) name(o object) name {
	n, _ := f.resolve(o).(name)
	return n
}
