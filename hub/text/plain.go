package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

func readPlain(w *work, content []byte, charset string) error {
	text, err := decode(content, charset)
	if err != nil {
		return err
	}
	return w.add(text)
}

// readJSON takes the strings of values; what is no JSON is plain text.
func readJSON(w *work, content []byte, charset string) error {
	text, err := decode(content, charset)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var inObject []bool // whether what is open is an object, outermost first
	name := false       // the next string is the name of a member
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // the content may go on
		}
		if err != nil {
			w.text = w.text[:0]
			return w.add(text)
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				inObject = append(inObject, token == '{')
			} else {
				inObject = inObject[:len(inObject)-1]
			}
			name = true
		case string:
			if !name || len(inObject) == 0 || !inObject[len(inObject)-1] {
				if err := errors.Join(w.add([]byte(token)), w.blank('\n')); err != nil {
					return err
				}
			}
			name = !name
		default:
			name = true
		}
		if err := w.step(); err != nil {
			return err
		}
	}
}
