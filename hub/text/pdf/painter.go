package pdf

import (
	"bytes"
	"math"
)

// matrix maps coordinates: x' = a x + c y + e, y' = b x + d y + f.
type matrix [6]float64

// times returns the matrix that applies m first and then n.
func (m matrix) times(n matrix) matrix {
	return matrix{
		m[0]*n[0] + m[1]*n[2], m[0]*n[1] + m[1]*n[3],
		m[2]*n[0] + m[3]*n[2], m[2]*n[1] + m[3]*n[3],
		m[4]*n[0] + m[5]*n[2] + n[4], m[4]*n[1] + m[5]*n[3] + n[5],
	}
}

func identity() matrix { return matrix{1, 0, 0, 1, 0, 0} }

// state is what q saves and Q restores.
type state struct {
	page                matrix // from what is drawn to the page
	font                *font
	size, leading       float64
	charSpace, wordGaps float64
	scale               float64
}

const (
	maxStates   = 256
	maxOperands = 1024
	// maxPageText bounds the bytes of text of one page.
	maxPageText = 1 << 20
)

// painter follows what one page draws, as far as text needs it: where each
// string begins and ends tells words and lines apart.
type painter struct {
	reader *reader
	text   []byte
	state
	saved []state
	// Of the text object: where the next string and the line begin.
	next, line matrix
	// Where the last string ended on the page.
	endX, endY float64
}

func newPainter(r *reader) *painter {
	return &painter{reader: r, state: state{page: identity(), scale: 1}, next: identity(), line: identity()}
}

// draw runs the operators of a page, or of a drawing on it.
func (p *painter) draw(content []byte, resources dict, depth int) {
	l := lexer{data: content, budget: p.reader.file.budget}
	var operands []object
	for {
		l.values = 0
		o, ok := l.next()
		if !ok {
			return
		}
		word, ok := o.(operator)
		if !ok {
			if len(operands) < maxOperands {
				operands = append(operands, o)
			}
			continue
		}
		switch word {
		case "Tf":
			if key, ok := operand(operands, 2).(name); ok {
				p.font = p.reader.font(resources, key)
			}
			p.size = number(operands, 1)
		case "Do":
			p.drawing(operands, resources, depth)
		case "ID":
			l.skipImage()
		default:
			if !p.place(word, operands) {
				p.show(word, operands)
			}
		}
		operands = operands[:0]
	}
}

// operand returns the one that is n from the end, 1 for the last.
func operand(operands []object, n int) object {
	if n > len(operands) {
		return nil
	}
	return operands[len(operands)-n]
}

func number(operands []object, n int) float64 {
	x, _ := operand(operands, n).(float64)
	return x
}

func operandMatrix(operands []object) (m matrix) {
	for i := range m {
		m[i] = number(operands, len(m)-i)
	}
	return m
}

// skipImage goes behind an image among the operators.
func (l *lexer) skipImage() {
	for l.at < len(l.data) && l.budget.work(1) {
		i := bytes.Index(l.data[l.at:], []byte("EI"))
		if i < 0 {
			l.at = len(l.data)
			return
		}
		before, behind := l.at+i-1, l.at+i+2
		l.at = behind
		if (before < 0 || isSpace(l.data[before])) && (behind >= len(l.data) || isSpace(l.data[behind])) {
			return
		}
	}
}

// drawing draws a form of the resources, in coordinates of its own.
func (p *painter) drawing(operands []object, resources dict, depth int) {
	f := p.reader.file
	key, _ := operand(operands, 1).(name)
	form, ok := f.resolve(f.dict(resources["XObject"])[key]).(*stream)
	if !ok || depth >= maxNesting || f.name(form.dict["Subtype"]) != "Form" {
		return
	}
	if own := f.dict(form.dict["Resources"]); own != nil {
		resources = own
	}
	outer, saved, next, line := p.state, p.saved, p.next, p.line
	if m := f.array(form.dict["Matrix"]); len(m) == len(matrix{}) {
		p.page = operandMatrix(m).times(p.page)
	}
	p.saved, p.next, p.line = nil, identity(), identity()
	p.draw(f.unpack(form), resources, depth+1)
	p.state, p.saved, p.next, p.line = outer, saved, next, line
}

// place runs an operator that moves or sets something; false for any other.
func (p *painter) place(word operator, operands []object) bool {
	switch word {
	case "q":
		if len(p.saved) < maxStates {
			p.saved = append(p.saved, p.state)
		}
	case "Q":
		if n := len(p.saved); n > 0 {
			p.state, p.saved = p.saved[n-1], p.saved[:n-1]
		}
	case "cm":
		p.page = operandMatrix(operands).times(p.page)
	case "BT":
		p.next, p.line = identity(), identity()
	case "Tm":
		p.line = operandMatrix(operands)
		p.next = p.line
	case "Td":
		p.move(number(operands, 2), number(operands, 1))
	case "TD":
		p.leading = -number(operands, 1)
		p.move(number(operands, 2), number(operands, 1))
	case "T*":
		p.move(0, -p.leading)
	case "TL":
		p.leading = number(operands, 1)
	case "Tc":
		p.charSpace = number(operands, 1)
	case "Tw":
		p.wordGaps = number(operands, 1)
	case "Tz":
		p.scale = number(operands, 1) / 100
	default:
		return false
	}
	return true
}

func (p *painter) move(x, y float64) {
	p.line = matrix{1, 0, 0, 1, x, y}.times(p.line)
	p.next = p.line
}

// show runs an operator that shows text.
func (p *painter) show(word operator, operands []object) {
	switch word {
	case "Tj":
	case "'":
		p.move(0, -p.leading)
	case "\"":
		p.wordGaps, p.charSpace = number(operands, 3), number(operands, 2)
		p.move(0, -p.leading)
	case "TJ":
		list, _ := operand(operands, 1).(array)
		for _, o := range list {
			switch o := o.(type) {
			case str:
				p.write(o)
			case float64:
				p.advance(-o / 1000 * p.size * p.scale)
			}
		}
		return
	default:
		return
	}
	if s, ok := operand(operands, 1).(str); ok {
		p.write(s)
	}
}

func (p *painter) advance(x float64) { p.next = matrix{1, 0, 0, 1, x, 0}.times(p.next) }

// write shows one string.
func (p *painter) write(s str) {
	if p.font == nil || len(p.text) > maxPageText {
		return
	}
	p.separate()
	size := p.font.codeBytes
	for ; len(s) >= size && p.reader.file.budget.work(1); s = s[size:] {
		code := codeOf(s[:size])
		text := p.font.text(code)
		p.text = append(p.text, text...)
		width := p.font.width(code)/1000*p.size + p.charSpace
		if size == 1 && code == ' ' {
			width += p.wordGaps
		}
		p.advance(width * p.scale)
	}
	at := p.next.times(p.page)
	p.endX, p.endY = at[4], at[5]
}

// Distances between two strings, in units of the font's size.
const (
	// wordGap is where a distance is taken for a space: about half of one.
	wordGap = 0.15
	// roughGap is the same where widths are but estimated.
	roughGap = 0.01
	// lineGap is how much higher or lower another line is at least.
	lineGap = 0.4
)

// separate puts a space or a new line between the last string and the one that
// begins here.
func (p *painter) separate() {
	if n := len(p.text); n == 0 || p.text[n-1] == '\n' {
		return
	}
	m := p.next.times(p.page)
	dx, dy := m[4]-p.endX, m[5]-p.endY
	if dx == 0 && dy == 0 {
		return
	}
	length := math.Hypot(m[0], m[1])
	unit := length * math.Abs(p.size)
	along, across := (dx*m[0]+dy*m[1])/length/unit, (dy*m[0]-dx*m[1])/length/unit
	gap := wordGap
	if !p.font.measured {
		gap = roughGap
	}
	switch {
	case math.Abs(across) > lineGap:
		p.text = append(p.text, '\n')
	case math.Abs(along) < gap, along > -1 && along < 0 && p.font.measured:
	default: // also where the numbers make no sense
		p.text = append(p.text, ' ')
	}
}
