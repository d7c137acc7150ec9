package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

const (
	// fieldState holds what this service adds to a source document.
	fieldState = "gapless"
	fieldModel = "model_state_id"
	fieldKey   = "_key"
	// maxDocument bounds a source document, whose position may be that of
	// many partitions.
	maxDocument = 4 << 20
)

// document is what is known of a source, besides its rows.
type document struct {
	fields map[string]json.RawMessage // those of clients
	state  state
}

// state is where the full imports of a source are.
type state struct {
	// Generation counts the full imports that were begun.
	Generation uint64 `json:"generation"`
	// Full says that the last one has not ended, and Since when it began, in
	// ms since 1970.
	Full  bool  `json:"full_import"`
	Since int64 `json:"full_import_since,omitempty"`
	// Failed is an import of this full import that ended in an error.
	Failed string `json:"failed_import,omitempty"`
	// Refused is the job whose retirement waits for an approval.
	Refused *refusal `json:"refused,omitempty"`
	// Tagged are the collections with rows that have tags.
	Tagged []string `json:"tagged,omitempty"`
}

// refusal is a retirement that was refused.
type refusal struct {
	Job        string `json:"approve"`
	Generation uint64 `json:"generation"`
	// Retiring says how many rows of which collections are concerned.
	Retiring map[string]share `json:"collections"`
}

// share is a number of rows out of all.
type share struct {
	Rows int `json:"rows"`
	Of   int `json:"of"`
}

func decodeDocument(data []byte) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(data, &d.fields); err != nil {
		return nil, fmt.Errorf("decode a source document: %w", err)
	}
	if text, ok := d.fields[fieldState]; ok {
		if err := json.Unmarshal(text, &d.state); err != nil {
			return nil, fmt.Errorf("decode the state of a source: %w", err)
		}
		delete(d.fields, fieldState)
	}
	return d, nil
}

// clone returns a copy that can be changed.
func (d *document) clone() *document {
	return &document{fields: maps.Clone(d.fields), state: d.state}
}

// merge sets fields; those that are null are removed.
func (d *document) merge(fields map[string]json.RawMessage) error {
	for name, value := range fields {
		switch {
		case name == fieldState:
			return malformed("field %q of a source is this service's own", fieldState)
		case string(value) == "null":
			delete(d.fields, name)
		default:
			d.fields[name] = value
		}
	}
	if text, ok := d.fields[fieldModel]; ok && gjson.ParseBytes(text).Type != gjson.String {
		return malformed("%s is not a string", fieldModel)
	}
	size := 0
	for name, value := range d.fields {
		size += len(name) + len(value)
	}
	if size > maxDocument {
		return malformed("the source document has more than %d bytes", maxDocument)
	}
	return nil
}

// describe takes over what an envelope says about its source. The position is
// not in its hands.
func (d *document) describe(fields map[string]json.RawMessage) error {
	delete(fields, fieldModel)
	return d.merge(fields)
}

// encode returns the document as it is stored and sent, fields in order.
func (d *document) encode() []byte {
	dst := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(d.fields)) {
		dst = append(append(append(dst, encode(name)...), ':'), d.fields[name]...)
		dst = append(dst, ',')
	}
	return append(append(dst, `"`+fieldState+`":`...), append(encode(d.state), '}')...)
}

// write puts the document into a commit.
func (d *document) write(w *writing, source string) {
	w.upsert(wire.SourceField, source, d.encode())
}
