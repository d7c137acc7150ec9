package tabular

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// layout is how a record stands in the output.
type layout interface {
	// fingerprint identifies the layout; lines of another one are of no use.
	fingerprint() string
	// header stands at the beginning of the file.
	header() []byte
	// appendLine writes the line of a JSON object, with its line break.
	appendLine(dst, data []byte) ([]byte, error)
	// patch returns the line with the fields of a JSON object merged into it.
	// An empty line stands for no record.
	patch(line, data []byte) ([]byte, error)
	// verbatim reports whether a line is the object itself and a line break.
	verbatim() bool
}

var errNoObject = errors.New("the record is not a JSON object")

// jsonLayout writes JSON Lines.
type jsonLayout struct{}

func (jsonLayout) fingerprint() string { return "jsonl/1" }
func (jsonLayout) header() []byte      { return nil }
func (jsonLayout) verbatim() bool      { return true }

// appendLine copies the object. Line breaks can only stand between its tokens,
// where they mean nothing.
func (jsonLayout) appendLine(dst, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return dst, errNoObject
	}
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return append(append(dst, data...), '\n'), nil
		}
		dst = append(dst, data[:i]...)
		data = data[i+1:]
	}
}

func (l jsonLayout) patch(line, data []byte) ([]byte, error) {
	changes := gjson.ParseBytes(data)
	if !changes.IsObject() {
		return nil, errNoObject
	}
	var names []string
	var values []gjson.Result
	changes.ForEach(func(name, value gjson.Result) bool {
		names, values = append(names, name.String()), append(values, value)
		return true
	})
	merged := []byte{'{'}
	put := func(rawName, rawValue string) {
		if len(merged) > 1 {
			merged = append(merged, ',')
		}
		merged = append(append(append(merged, rawName...), ':'), rawValue...)
	}
	var done []string
	gjson.ParseBytes(line).ForEach(func(name, value gjson.Result) bool {
		i := slices.Index(names, name.String())
		switch {
		case i < 0:
			put(name.Raw, value.Raw)
		case values[i].Type != gjson.Null && !slices.Contains(done, names[i]):
			put(name.Raw, values[i].Raw)
		}
		if i >= 0 {
			done = append(done, names[i])
		}
		return true
	})
	for i, name := range names {
		if values[i].Type != gjson.Null && !slices.Contains(done, name) && slices.Index(names, name) == i {
			quoted := appendText(nil, []byte(name), false)
			put(string(quoted), values[i].Raw)
		}
	}
	return l.appendLine(nil, append(merged, '}'))
}

// csvLayout writes CSV with a header.
type csvLayout struct {
	syntax  csvSyntax
	columns []string
	paths   []string // gjson paths of the columns
}

func newCSVLayout(columns []string, delimiter byte) csvLayout {
	l := csvLayout{syntax: csvSyntax{delimiter: delimiter, quotes: true}, columns: columns}
	for _, c := range columns {
		l.paths = append(l.paths, gjson.Escape(c))
	}
	return l
}

func (l csvLayout) fingerprint() string {
	return fingerprint("csv/1", strings.Join(l.columns, "\x00"), string(l.syntax.delimiter))
}

func (csvLayout) verbatim() bool { return false }

func (l csvLayout) header() []byte {
	var line []byte
	for i, c := range l.columns {
		line = l.cell(line, i, c)
	}
	return append(line, '\n')
}

func (l csvLayout) appendLine(dst, data []byte) ([]byte, error) {
	record := gjson.ParseBytes(data)
	if !record.IsObject() {
		return dst, errNoObject
	}
	for i, path := range l.paths {
		dst = l.cell(dst, i, cellText(record.Get(path)))
	}
	return append(dst, '\n'), nil
}

func (l csvLayout) patch(line, data []byte) ([]byte, error) {
	changes := gjson.ParseBytes(data)
	if !changes.IsObject() {
		return nil, errNoObject
	}
	d := csvDecoder{window: line}
	if len(line) > 0 {
		var err error
		if d.cells, _, err = l.syntax.split(nil, line, true); err != nil {
			return nil, err
		}
		if len(d.cells) != len(l.columns) {
			return nil, errors.New("the row has another number of cells")
		}
	}
	var merged []byte
	for i, path := range l.paths {
		text := ""
		if change := changes.Get(path); change.Exists() {
			text = cellText(change)
		} else if d.cells != nil {
			text = string(d.text(d.cells[i]))
		}
		merged = l.cell(merged, i, text)
	}
	return append(merged, '\n'), nil
}

// cellText returns a string as it is, nothing for null, and other values as
// JSON.
func cellText(value gjson.Result) string {
	switch value.Type {
	case gjson.Null:
		return ""
	case gjson.String:
		return value.Str
	}
	return value.Raw
}

// cell writes the i-th cell of a row, quoted if it has to be.
func (l csvLayout) cell(dst []byte, i int, text string) []byte {
	if i > 0 {
		dst = append(dst, l.syntax.delimiter)
	}
	// A row of one empty cell would be a blank line.
	if text != "" && strings.IndexByte(text, l.syntax.delimiter) < 0 && !strings.ContainsAny(text, "\"\r\n") || text == "" && len(l.columns) > 1 {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for {
		quote := strings.IndexByte(text, '"')
		if quote < 0 {
			return append(append(dst, text...), '"')
		}
		dst = append(append(dst, text[:quote+1]...), '"')
		text = text[quote+1:]
	}
}
