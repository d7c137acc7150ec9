package s3

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// Status of an envelope.
const (
	StatusSuccess = "success"
	StatusFailed  = "failed"
)

// Envelope is the JSON answer to an import, a deletion or a registration, and
// to most requests that are refused. It says more than the status of the HTTP
// response, which is 200 also for imports that failed.
type Envelope struct {
	// Status is success or failed.
	Status string
	// StatusCode is the status that HTTP would have; 0 if there is none.
	StatusCode int
	// Records counts the records of the main table that were taken, including
	// those that changed nothing; nil in answers to anything but imports.
	Records *int
	// Created, Updated, Deleted and Skipped are numbers of records at the
	// receiver, in no order. An Eden lists records as updated also if its
	// policy kept what it had.
	Created, Updated, Deleted, Skipped []int64
	// Message is there with errors, and with registrations.
	Message string
	// Sender is the uuid of the answering site, in registrations.
	Sender string
	// Tree holds the elements that were refused; [Resource.Error] and
	// [Field.Error] say why.
	Tree []Resource
}

// OK reports whether the request succeeded: by its status or, for answers of
// old installations without one, by a status code that begins with 2.
func (e Envelope) OK() bool {
	return e.Status == StatusSuccess || e.Status == "" && e.StatusCode/100 == 2
}

// ReadEnvelope reads an answer whatever its content type was; ResourceBytes
// bounds it as a whole. Numbers may be texts, unknown members are ignored. Any
// other content is a [ContentError], broken JSON a [SyntaxError].
func ReadEnvelope(r io.Reader, l Limits) (Envelope, error) {
	if l == (Limits{}) {
		l = DefaultLimits()
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(l.ResourceBytes)+1))
	if err != nil {
		return Envelope{}, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > l.ResourceBytes {
		return Envelope{}, &LimitError{"bytes of an answer", int64(l.ResourceBytes)}
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	switch {
	case !bytes.HasPrefix(body, []byte("{")):
		return Envelope{}, contentError("JSON", body)
	case !json.Valid(body):
		return Envelope{}, &SyntaxError{Format: S3JSON, Err: errors.New("the answer is not JSON")}
	case !utf8.Valid(body):
		return Envelope{}, &SyntaxError{Format: S3JSON, Err: errNotUTF8}
	}
	var e Envelope
	err = eachMember(gjson.ParseBytes(body), func(name string, v gjson.Result) error {
		if err := e.set(name, v, l); err != nil {
			return fmt.Errorf("member %s of the answer: %w", name, err)
		}
		return nil
	})
	return e, err
}

func (e *Envelope) set(name string, v gjson.Result, l Limits) (err error) {
	if v.Type == gjson.Null {
		return nil
	}
	switch name {
	case "status":
		e.Status = strings.ToLower(v.String())
	case "statuscode":
		e.StatusCode, err = strconv.Atoi(v.String())
	case "records":
		var n int
		n, err = strconv.Atoi(v.String())
		e.Records = &n
	case "created":
		e.Created, err = identifiers(v)
	case "updated":
		e.Updated, err = identifiers(v)
	case "deleted":
		e.Deleted, err = identifiers(v)
	case "skipped":
		e.Skipped, err = identifiers(v)
	case "message":
		e.Message = v.String()
	case "sender":
		e.Sender = v.String()
	case "tree":
		e.Tree, err = tree(v.Raw, l)
	}
	return err
}

// identifiers reads a list of numbers, or a single one.
func identifiers(v gjson.Result) (list []int64, err error) {
	for _, one := range v.Array() {
		n, err := strconv.ParseInt(one.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number of a record", clip(one.String()))
		}
		list = append(list, n)
	}
	return list, nil
}

// tree reads refused elements, as far as they can be understood: they are there
// because something is wrong with them.
func tree(text string, l Limits) ([]Resource, error) {
	var list []Resource
	for r, err := range NewDecoder(strings.NewReader(text), S3JSON, DecodeOptions{Limits: l}).Resources() {
		if err != nil && gapless.KindOf(err) != gapless.KindRejected {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// MarshalJSON writes the answer as an Eden does, its status code a text.
func (e Envelope) MarshalJSON() ([]byte, error) {
	m := members{[]byte{'{'}}
	m.text("status", e.Status)
	if e.StatusCode != 0 {
		m.text("statuscode", strconv.Itoa(e.StatusCode))
	}
	if e.Records != nil {
		m.raw("records", strconv.Itoa(*e.Records))
	}
	m.identifiers("created", e.Created)
	m.identifiers("updated", e.Updated)
	m.identifiers("deleted", e.Deleted)
	m.identifiers("skipped", e.Skipped)
	if e.Message != "" {
		m.text("message", e.Message)
	}
	if e.Sender != "" {
		m.text("sender", e.Sender)
	}
	if len(e.Tree) > 0 {
		var b bytes.Buffer
		encoder := NewEncoder(&b, S3JSON, Document{}, EncodeOptions{})
		list := byTable(e.Tree)
		for i := range list {
			if err := encoder.Encode(&list[i]); err != nil {
				return nil, err
			}
		}
		if err := encoder.Close(); err != nil {
			return nil, err
		}
		m.raw("tree", strings.TrimSpace(b.String()))
	}
	if !utf8.Valid(m.b) {
		return nil, errNotUTF8
	}
	return append(m.b, '}'), nil
}

func (m *members) identifiers(name string, list []int64) {
	if len(list) == 0 {
		return
	}
	m.b = append(appendMember(m.b, "", name), '[')
	for _, n := range list {
		m.b = strconv.AppendInt(appendComma(m.b), n, 10)
	}
	m.b = append(m.b, ']')
}
