package pdf

import (
	"context"
)

const (
	// maxPages is how many pages are read.
	maxPages = 10_000
	// maxNesting is how deep lists of pages, and drawings in drawings, nest.
	maxNesting = 32
)

// Text reads the text of a file page by page, in the order in which the pages
// draw it, and gives it to emit in pieces of valid UTF-8. It ends with an error
// of emit, with the cause for which ctx ended, with [ErrEncrypted], or with one
// that says in lower case what is wrong with the file.
func Text(ctx context.Context, data []byte, emit func(text []byte) error) error {
	b := &budget{ctx: ctx}
	f, err := open(data, b)
	if err != nil {
		return err
	}
	r := &reader{file: f, emit: emit, glyphs: glyphTable(), fonts: map[ref]*font{}, seen: map[ref]bool{}}
	r.pages(f.root["Pages"], nil, 0)
	return b.err
}

// reader walks through the pages of a file. Errors of emit end up in the
// file's budget.
type reader struct {
	file   *file
	emit   func([]byte) error
	glyphs map[string]string
	fonts  map[ref]*font
	seen   map[ref]bool // lists of pages and pages
	count  int          // pages so far
}

// pages reads a list of pages, or a page; resources are inherited.
func (r *reader) pages(o object, resources object, depth int) {
	if number, ok := o.(ref); ok {
		if r.seen[number] {
			return
		}
		r.seen[number] = true
	}
	f := r.file
	d := f.dict(o)
	if d == nil || depth > maxNesting || r.count >= maxPages || f.budget.err != nil {
		return
	}
	if d["Resources"] != nil {
		resources = d["Resources"]
	}
	if kids := f.array(d["Kids"]); kids != nil {
		for _, kid := range kids {
			r.pages(kid, resources, depth+1)
		}
		return
	}
	r.count++
	p := newPainter(r)
	p.draw(r.contents(d["Contents"]), f.dict(resources), 0)
	if len(p.text) == 0 || f.budget.err != nil {
		return
	}
	if err := r.emit(append(p.text, '\n')); err != nil {
		f.budget.err = err
	}
}

// contents joins the streams of a page.
func (r *reader) contents(o object) (all []byte) {
	for _, part := range r.file.list(o) {
		if s, ok := r.file.resolve(part).(*stream); ok {
			all = append(append(all, '\n'), r.file.unpack(s)...)
		}
		if r.file.budget.err != nil {
			return nil
		}
	}
	return all
}

// font returns a font of resources by name; nil if there is none.
func (r *reader) font(resources dict, key name) *font {
	o := r.file.dict(resources["Font"])[key]
	number, shared := o.(ref)
	if t, ok := r.fonts[number]; ok && shared {
		return t
	}
	d := r.file.dict(o)
	if d == nil {
		return nil
	}
	t := r.file.readFont(d, r.glyphs)
	if shared {
		r.fonts[number] = t
	}
	return t
}
