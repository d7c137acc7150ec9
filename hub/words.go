package hub

import (
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2/analysis"
)

const (
	// maxWordBytes is the longest word worth finding; longer ones are data.
	maxWordBytes = 64
	// breakByte separates texts that a phrase must not span.
	breakByte = 0
	// breakGap is the distance in words that a break counts for.
	breakGap = 16
)

// words splits text into lower-case words: runs of letters, digits and marks,
// and every ideograph by itself. It is used for indexing, for queries and for
// highlighting, so that all three agree.
type words struct {
	text     []byte
	at       int
	position int
	// The current word: its range in text, its number, and its lower-case
	// form, valid until the next call.
	start, end int
	word       []byte
	lower      []byte
}

// next advances to the next word.
func (w *words) next() bool {
	for w.at < len(w.text) {
		if !w.skip() {
			return false
		}
		w.run()
		w.position++
		if w.end-w.start <= maxWordBytes {
			return true
		}
	}
	return false
}

// skip advances to where a word begins.
func (w *words) skip() bool {
	for w.at < len(w.text) {
		c := w.text[w.at]
		if c < utf8.RuneSelf {
			if asciiWord[c] != 0 {
				return true
			}
			if c == breakByte {
				w.position += breakGap
			}
			w.at++
			continue
		}
		r, size := utf8.DecodeRune(w.text[w.at:])
		if inWord(r) {
			return true
		}
		w.at += size
	}
	return false
}

// run takes the word that begins here.
func (w *words) run() {
	w.start, w.lower = w.at, w.lower[:0]
	for w.at < len(w.text) {
		c := w.text[w.at]
		if c < utf8.RuneSelf {
			low := asciiWord[c]
			if low == 0 {
				break
			}
			w.lower = append(w.lower, low)
			w.at++
			continue
		}
		r, size := utf8.DecodeRune(w.text[w.at:])
		alone := ideograph(r)
		if !inWord(r) || alone && w.at > w.start {
			break
		}
		w.lower = utf8.AppendRune(w.lower, unicode.ToLower(r))
		w.at += size
		if alone {
			break
		}
	}
	w.end, w.word = w.at, w.lower
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

func ideograph(r rune) bool {
	return r >= 0x2E80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

// asciiWord maps letters and digits to lower case and everything else to 0.
var asciiWord = func() (t [utf8.RuneSelf]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = c, c
	}
	return t
}()

// analyzer is words as the index wants them.
type analyzer struct{}

// Analyze implements [analysis.Analyzer]. Tokens say where they are in words,
// for phrases, and not in bytes: highlighting reads the text again, and the
// index stays half as large.
func (analyzer) Analyze(text []byte) analysis.TokenStream {
	w := words{text: text}
	slab := make([]analysis.Token, 0, len(text)/6+1)
	terms := make([]byte, 0, len(text))
	for w.next() {
		from := len(terms)
		terms = append(terms, w.word...)
		slab = append(slab, analysis.Token{
			Position: w.position, Term: terms[from:len(terms):len(terms)], Type: analysis.AlphaNumeric,
		})
	}
	stream := make(analysis.TokenStream, len(slab))
	for i := range slab {
		stream[i] = &slab[i]
	}
	return stream
}

// wordsOf returns the words of a query's text.
func wordsOf(text string) (list []string) {
	w := words{text: []byte(text)}
	for w.next() {
		list = append(list, string(w.word))
	}
	return list
}
