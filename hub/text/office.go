package text

import "slices"

// word reads a document: ECMA-376, part 1, 17.
func (a *archive) word() error {
	names := []string{"word/document.xml"}
	for _, prefix := range []string{"header", "footer"} {
		names = append(names, a.numbered("word", prefix)...)
	}
	for _, name := range append(names, "word/footnotes.xml", "word/endnotes.xml", "word/comments.xml") {
		if err := a.paragraphs(name); err != nil {
			return err
		}
	}
	return nil
}

// powerPoint reads slides, each followed by the notes of all: ECMA-376, part
// 1, 19.
func (a *archive) powerPoint() error {
	for _, name := range slices.Concat(a.numbered("ppt/slides", "slide"), a.numbered("ppt/notesSlides", "notesSlide")) {
		if err := a.paragraphs(name); err != nil {
			return err
		}
	}
	return nil
}

// paragraphs reads text in runs, where t has the text and p is a paragraph, in
// WordprocessingML as well as in DrawingML.
func (a *archive) paragraphs(name string) error {
	w := a.work
	return a.visit(name, visitor{
		open: func(e *element) (bool, error) {
			switch e.name {
			case "Fallback": // says again what its neighbour Choice does
				return false, nil
			case "tab", "br", "cr":
				return true, w.blank(' ')
			case "noBreakHyphen":
				return true, w.add([]byte("-"))
			}
			return true, nil
		},
		text: func(e *element, text []byte) error {
			if e.name == "t" {
				return w.add(text)
			}
			return nil
		},
		close: func(e *element) error {
			switch e.name {
			case "p", "tr":
				return w.blank('\n')
			}
			return nil
		},
	})
}

// excel reads the names of sheets, the texts that cells share, and the cells
// that have a value of their own: ECMA-376, part 1, 18.
func (a *archive) excel() error {
	w := a.work
	nothing := func(*element, []byte) error { return nil }
	err := a.visit("xl/workbook.xml", visitor{
		open: func(e *element) (bool, error) {
			if e.name != "sheet" {
				return true, nil
			}
			if err := w.add([]byte(e.attribute("name"))); err != nil {
				return false, err
			}
			return true, w.blank('\n')
		},
		text:  nothing,
		close: func(*element) error { return nil },
	})
	for _, name := range append([]string{"xl/sharedStrings.xml"}, a.numbered("xl/worksheets", "sheet")...) {
		if err == nil {
			err = a.cells(name)
		}
	}
	return err
}

// cells reads t, text, and v, the value of a cell unless that is the number of
// a shared text.
func (a *archive) cells(name string) error {
	w := a.work
	shared := false
	return a.visit(name, visitor{
		open: func(e *element) (bool, error) {
			if e.name == "c" {
				shared = e.attribute("t") == "s"
			}
			return e.name != "rPh" && e.name != "f", nil // how to pronounce, and formulas
		},
		text: func(e *element, text []byte) error {
			if e.name == "t" || e.name == "v" && !shared {
				return w.add(text)
			}
			return nil
		},
		close: func(e *element) error {
			switch e.name {
			case "c":
				return w.blank(' ')
			case "si", "row":
				return w.blank('\n')
			}
			return nil
		},
	})
}

// openDocument reads paragraphs and headings: OpenDocument 1.3, part 3.
func (a *archive) openDocument() error {
	encrypted := Reason("encrypted document")
	none := func(*element, []byte) error { return nil }
	done := func(*element) error { return nil }
	err := a.visit("META-INF/manifest.xml", visitor{text: none, close: done, open: func(e *element) (bool, error) {
		if e.name == "encryption-data" {
			return false, encrypted
		}
		return true, nil
	}})
	if err != nil {
		return err
	}
	w := a.work
	depth := 0 // of paragraphs, which may hold others in frames
	return a.visit("content.xml", visitor{
		open: func(e *element) (bool, error) {
			switch e.name {
			case "p", "h":
				depth++
				return true, w.blank('\n')
			case "s", "tab", "line-break":
				return true, w.blank(' ')
			case "tracked-changes", "ruby-text":
				return false, nil
			}
			return true, nil
		},
		text: func(_ *element, text []byte) error {
			if depth == 0 {
				return nil
			}
			return w.add(text)
		},
		close: func(e *element) error {
			if e.name == "p" || e.name == "h" {
				depth--
				return w.blank('\n')
			}
			return nil
		},
	})
}
