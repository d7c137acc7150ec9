package pdf

import "unicode/utf16"

const (
	// maxCodes bounds the codes of one font.
	maxCodes = 1 << 17
	// maxCodeText bounds the bytes of text that one code stands for.
	maxCodeText = 64
)

// cmap is the part of a character map that text needs: what codes mean in
// Unicode, and how many bytes a code has.
type cmap struct {
	text  map[int]string
	width int // of every code in bytes; 0 if the map does not say
}

// readCMap reads the character map in a stream.
func (f *file) readCMap(s *stream) *cmap {
	m := &cmap{text: map[int]string{}}
	l := lexer{data: f.unpack(s), budget: f.budget}
	var list []object
	for {
		o, ok := l.next()
		if !ok {
			return m
		}
		word, ok := o.(operator)
		if !ok {
			if list = append(list, o); len(list) > maxCodes {
				return m
			}
			continue
		}
		switch word {
		case "endcodespacerange":
			m.spaces(list)
		case "endbfchar":
			for ; len(list) > 1 && f.budget.unpack(codeBytes); list = list[2:] {
				m.set(codeOf(list[0]), textOf(list[1]))
			}
		case "endbfrange":
			for ; len(list) > 2 && f.budget.work(1); list = list[3:] {
				f.setRange(m, list)
			}
		}
		list = list[:0]
	}
}

// spaces takes the width of the codes, unless they differ.
func (m *cmap) spaces(list []object) {
	for _, o := range list {
		s, _ := o.(str)
		if m.width != 0 && m.width != len(s) {
			return
		}
		m.width = len(s)
	}
}

// set adds the meaning of a code.
func (m *cmap) set(code int, text string) {
	if code >= 0 && text != "" && len(text) <= maxCodeText && len(m.text) < maxCodes {
		m.text[code] = text
	}
}

// setRange adds the meaning of the codes from the first to the second of list:
// text whose last character counts up, or an array of texts.
func (f *file) setRange(m *cmap, list []object) {
	low, high := codeOf(list[0]), codeOf(list[1])
	if low < 0 || high < low || high-low > 1<<16 || !f.budget.unpack(codeBytes*(high-low+1)) {
		return
	}
	if texts, ok := list[2].(array); ok {
		for i, o := range texts[:min(len(texts), high-low+1)] {
			m.set(low+i, textOf(o))
		}
		return
	}
	text := []rune(textOf(list[2]))
	for code := low; code <= high && len(text) > 0; code++ {
		m.set(code, string(text))
		text[len(text)-1]++
	}
}

// codeOf returns the code that a string of at most four bytes is, or else -1.
func codeOf(o object) int {
	s, ok := o.(str)
	if !ok || s == "" || len(s) > 4 {
		return -1
	}
	code := 0
	for i := range len(s) {
		code = code<<8 | int(s[i])
	}
	return code
}

// textOf returns the text of a string in UTF-16.
func textOf(o object) string {
	s, _ := o.(str)
	units := make([]uint16, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		units = append(units, uint16(s[i])<<8|uint16(s[i+1]))
	}
	return string(utf16.Decode(units))
}
