package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

const (
	// fieldSourceReport holds edges that older connectors send and that say
	// nothing new.
	fieldSourceReport = "source_report"
	maxCollections    = 256
	maxRows           = 100_000
	maxRowBytes       = 1 << 20
)

// envelope is one import.
type envelope struct {
	source string
	about  map[string]json.RawMessage // what it says of its source
	rows   []*rows
}

// decodeEnvelope reads an import. What is wrong with the envelope itself is a
// [problem]; what is wrong with rows is returned beside it.
func decodeEnvelope(body []byte, s *schema) (*envelope, *rowProblems, error) {
	object, err := parseObject(body)
	if err != nil {
		return nil, nil, err
	}
	e := &envelope{}
	if e.source, e.about, err = identified(object, wire.SourceField); err != nil {
		return nil, nil, err
	}
	if err := checkSourceName(e.source); err != nil {
		return nil, nil, err
	}
	if _, _, err = identified(object, wire.ReportField); err != nil {
		return nil, nil, err
	}
	problems, seen := &rowProblems{}, map[string]bool{}
	left := maxRows
	object.ForEach(func(name, value gjson.Result) bool {
		switch {
		case seen[name.Str]:
			err = malformed("%q is there twice", clip(name.Str))
		case len(seen) == maxCollections:
			err = malformed("the import has more than %d collections", maxCollections)
		case name.Str == wire.SourceField, name.Str == wire.ReportField, name.Str == fieldSourceReport:
		case !value.IsArray():
			err = malformed("the rows of %q are not an array", clip(name.Str))
		default:
			var r *rows
			if r, err = decodeRows(name.Str, value, s, problems, left); r != nil {
				left -= r.seen
				e.rows = append(e.rows, r)
			}
		}
		seen[name.Str] = true
		return err == nil
	})
	return e, problems, err
}

// identified returns an object of the envelope and its _key.
func identified(envelope gjson.Result, name string) (key string, members map[string]json.RawMessage, err error) {
	object := envelope.Get(name)
	if !object.IsObject() {
		return "", nil, malformed("the import has no object %q", name)
	}
	if members, err = fields(object); err != nil {
		return "", nil, err
	}
	key, ok := idText(object.Get(fieldKey))
	if !ok || key == "" {
		return "", nil, malformed("%s.%s is not a text or a number", name, fieldKey)
	}
	return key, members, nil
}

// idText returns the text of an id: that of a string, or a number as it is
// written.
func idText(value gjson.Result) (string, bool) {
	switch value.Type {
	case gjson.String:
		return value.Str, true
	case gjson.Number:
		return value.Raw, true
	}
	return "", false
}

// rowProblem is a row that cannot be stored, or a collection of which none
// can; its index is -1 then.
type rowProblem struct {
	Collection string `json:"collection"`
	Index      int    `json:"index"`
	ID         string `json:"id,omitempty"`
	Error      string `json:"error"`
}

// rowProblems are those of one import.
type rowProblems struct {
	count int
	first []rowProblem // as many as are told
}

const maxProblems = 100

func (p *rowProblems) add(collection string, index int, id, format string, args ...any) {
	p.count++
	if len(p.first) < maxProblems {
		p.first = append(p.first, rowProblem{Collection: clip(collection), Index: index, ID: clip(id), Error: fmt.Sprintf(format, args...)})
	}
}

// message says what is wrong with the import.
func (p *rowProblems) message() string {
	first := p.first[0]
	if first.Index < 0 {
		return fmt.Sprintf("nothing was imported: %s", first.Error)
	}
	return fmt.Sprintf("nothing was imported: %d rows cannot be; the first is row %d of %s: %s", p.count, first.Index, first.Collection, first.Error)
}

func tooManyRows() *problem {
	return refuse(http.StatusRequestEntityTooLarge, codeTooLarge, "the import has more than %d rows", maxRows)
}
