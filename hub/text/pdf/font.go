package pdf

import "strings"

// font says what the codes of a string mean and how wide they are.
type font struct {
	codeBytes int
	text      func(code int) string
	widths    map[int]float64 // in thousandths of the size
	usual     float64         // width of the other codes
	measured  bool            // the widths are those of the font
}

// usualWidth is that of letters on average, for fonts that leave it to the
// reader to know them.
const usualWidth = 500

// Memory that a font takes by itself, and for each code beyond that, about.
const (
	fontBytes = 8 << 10
	codeBytes = 64
)

// readFont reads a font's dictionary.
func (f *file) readFont(d dict, glyphs map[string]string) *font {
	f.budget.unpack(fontBytes)
	t := &font{codeBytes: 1, widths: map[int]float64{}, usual: usualWidth}
	var meaning *cmap
	if s, ok := f.resolve(d["ToUnicode"]).(*stream); ok {
		meaning = f.readCMap(s)
	}
	if f.name(d["Subtype"]) == "Type0" {
		f.composite(t, d, meaning)
		return t
	}
	f.simpleWidths(t, d)
	codes := f.encoding(d, glyphs)
	t.text = func(code int) string {
		if meaning != nil && meaning.text[code] != "" {
			return meaning.text[code]
		}
		return codes[code]
	}
	return t
}

// encoding returns what the codes of a simple font mean by themselves.
func (f *file) encoding(d dict, glyphs map[string]string) (e encoding) {
	differences := f.dict(d["Encoding"])
	base := f.name(d["Encoding"])
	if differences != nil {
		base = f.name(differences["BaseEncoding"])
	}
	switch {
	case base == "MacRomanEncoding":
		e = macRoman()
	case base == "WinAnsiEncoding", f.name(d["Subtype"]) == "TrueType":
		e = winAnsi()
	default:
		e = standard()
	}
	code := 0
	for _, o := range f.array(differences["Differences"]) {
		switch o := f.resolve(o).(type) {
		case float64:
			code = int(o)
		case name:
			if code >= 0 && code < len(e) {
				e[code] = glyphText(glyphs, string(o))
			}
			code++
		}
	}
	return e
}

func (f *file) simpleWidths(t *font, d dict) {
	scale := 1.0
	if f.name(d["Subtype"]) == "Type3" {
		if m := f.array(d["FontMatrix"]); len(m) > 0 {
			x, _ := f.number(m[0])
			scale = x * 1000
		}
	}
	first := f.integer(d["FirstChar"])
	for i, o := range f.array(d["Widths"]) {
		w, ok := f.number(o)
		if code := first + i; ok && first >= 0 && code < 256 {
			t.widths[code], t.measured = w*scale, true
		}
	}
}

// composite completes a font whose codes have several bytes.
func (f *file) composite(t *font, d dict, meaning *cmap) {
	t.codeBytes, t.usual, t.measured = 2, 1000, true
	if meaning != nil && meaning.width > 0 {
		t.codeBytes = meaning.width
	}
	own := string(f.name(d["Encoding"]))
	unicode := strings.Contains(own, "UCS2") || strings.Contains(own, "UTF16")
	t.text = func(code int) string {
		switch {
		case meaning != nil:
			return meaning.text[code]
		case unicode:
			return textOf(str([]byte{byte(code >> 8), byte(code)}))
		}
		return ""
	}
	list := f.array(d["DescendantFonts"])
	if len(list) == 0 {
		return
	}
	descendant := f.dict(list[0])
	if w, ok := f.number(descendant["DW"]); ok {
		t.usual = w
	}
	f.compositeWidths(t, f.array(descendant["W"]))
}

// compositeWidths reads a list of "first [width ...]" and "first last width".
func (f *file) compositeWidths(t *font, list array) {
	for len(list) > 1 && f.budget.work(1) {
		first := f.integer(list[0])
		if widths := f.array(list[1]); widths != nil {
			for i, o := range widths {
				w, _ := f.number(o)
				f.setWidth(t, first+i, w)
			}
			list = list[2:]
			continue
		}
		if len(list) < 3 {
			return
		}
		last := min(f.integer(list[1]), 1<<16)
		w, _ := f.number(list[2])
		for code := first; code <= last && f.budget.work(1); code++ {
			f.setWidth(t, code, w)
		}
		list = list[3:]
	}
}

func (f *file) setWidth(t *font, code int, w float64) {
	if len(t.widths) < maxCodes && f.budget.unpack(codeBytes) {
		t.widths[code] = w
	}
}

func (t *font) width(code int) float64 {
	if w, ok := t.widths[code]; ok {
		return w
	}
	return t.usual
}
