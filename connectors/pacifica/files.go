package pacifica

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/transfer"
)

// entry is a file as events and transactions describe it.
type entry struct {
	transfer.File
	mime string
	raw  json.RawMessage
}

// FilesOfEvent returns the files that an event about an ingest names: the
// elements of its data whose destinationTable is Files. An event without any, or
// of another kind, is an error with [gapless.CodeFileList]; so is a file without
// an id or a name. Neither the event's type nor its source matters, for an
// installation may choose both.
func FilesOfEvent(e event.Event) iter.Seq2[transfer.File, error] {
	return plainFiles(entriesOfEvent(e))
}

// FilesOfTransaction returns the files of a transaction as the policy server
// describes it, with the map of files in a member files or bare. Its errors are
// as those of [FilesOfEvent]; an answer that there is no such transaction is
// [gapless.ErrNotFound].
func FilesOfTransaction(doc []byte) iter.Seq2[transfer.File, error] {
	return plainFiles(entriesOfTransaction(doc))
}

func plainFiles(entries iter.Seq2[entry, error]) iter.Seq2[transfer.File, error] {
	return func(yield func(transfer.File, error) bool) {
		for e, err := range entries {
			if !yield(e.File, err) || err != nil {
				return
			}
		}
	}
}

// unusable is an error about a list of files.
func unusable(subject string, err error) error {
	return gapless.Errorf(gapless.CodeFileList, subject, "%w", gapless.Reject("", err))
}

var (
	errNoFiles = errors.New("it names no files")
	errNotUTF8 = errors.New("it is not UTF-8")
)

func entriesOfEvent(e event.Event) iter.Seq2[entry, error] {
	subject := fmt.Sprintf("event %q of type %q", e.ID, e.Type)
	return func(yield func(entry, error) bool) {
		files := 0
		for element, err := range elements(e.Data) {
			var file entry
			found := true
			if err == nil {
				file, found, err = entryOfElement(element)
			}
			if err != nil {
				yield(entry{}, unusable(subject, err))
				return
			}
			if !found {
				continue
			}
			files++
			if !yield(file, nil) {
				return
			}
		}
		if files == 0 {
			yield(entry{}, unusable(subject, errNoFiles))
		}
	}
}

// elements returns the elements of the list that an event's data is.
func elements(data []byte) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		d := json.NewDecoder(bytes.NewReader(data))
		t, err := d.Token()
		switch {
		case !utf8.Valid(data):
			yield(nil, errNotUTF8)
			return
		case err != nil || t != json.Delim('['):
			yield(nil, fmt.Errorf("%w: its data is %s, not a list", errNoFiles, kindOf(data)))
			return
		}
		for d.More() {
			var element json.RawMessage
			if err := d.Decode(&element); err != nil {
				yield(nil, fmt.Errorf("its data is no JSON: %w", err))
				return
			}
			if !yield(element, nil) {
				return
			}
		}
		if err := endOf(d); err != nil {
			yield(nil, err)
		}
	}
}

// endOf reads the last delimiter of a document, and nothing behind it.
func endOf(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if d.More() {
		return errors.New("it is no JSON: something stands behind its end")
	}
	return nil
}

// kindOf names the kind of a JSON value.
func kindOf(data []byte) string {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "missing"
	}
	switch data[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 'n':
		return "null"
	}
	return "a plain value"
}

func entryOfElement(element json.RawMessage) (file entry, found bool, err error) {
	var table struct {
		Name json.RawMessage `json:"destinationTable"`
	}
	if err := json.Unmarshal(element, &table); err != nil {
		return entry{}, false, fmt.Errorf("an element of its data is %s, not an object", kindOf(element))
	}
	if name, _, err := text(table.Name); err != nil || name != "Files" {
		return entry{}, false, nil //nolint:nilerr // an element of some other table
	}
	file, err = newEntry("", element)
	return file, true, err
}

// entriesOfTransaction returns the files of a transaction in the order of its
// document.
func entriesOfTransaction(doc []byte) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		files, subject, err := filesMember(doc)
		if err != nil {
			yield(entry{}, unusable(subject, err))
			return
		}
		some := false
		for m, err := range members(files) {
			var file entry
			if err == nil {
				file, err = newEntry(m.name, m.value)
			}
			if err != nil {
				yield(entry{}, unusable(subject, err))
				return
			}
			some = true
			if !yield(file, nil) {
				return
			}
		}
		if !some {
			yield(entry{}, unusable(subject, errNoFiles))
		}
	}
}

// filesMember returns the map of files of a transaction's document, and what to
// call it in messages. The policy server says with status 200 that there is no
// such transaction.
func filesMember(doc []byte) (files json.RawMessage, subject string, err error) {
	subject = "the transaction"
	var status, message string
	bare := true
	for m, err := range members(doc) {
		if err != nil {
			return nil, subject, err
		}
		switch m.name {
		case "files":
			files = m.value
		case "_id":
			subject = "transaction " + string(m.value)
		case "status":
			status, _, _ = text(m.value) // anything but a text means nothing here
		case "message":
			message, _, _ = text(m.value)
		}
		bare = bare && kindOf(m.value) == "an object"
	}
	switch {
	case files != nil && kindOf(files) != "an object":
		return nil, subject, fmt.Errorf("%w: its files are %s, not an object", errNoFiles, kindOf(files))
	case files != nil:
		return files, subject, nil
	case strings.HasPrefix(status, "404"):
		return nil, subject, fmt.Errorf("%w: %.300s", gapless.ErrNotFound, message)
	case status != "" || message != "":
		return nil, subject, fmt.Errorf("the policy server answers %.100s: %.300s", status, message)
	case bare:
		return doc, subject, nil
	}
	return nil, subject, fmt.Errorf("%w: it has no member files", errNoFiles)
}

// member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members returns the members of an object in their order.
func members(doc []byte) iter.Seq2[member, error] {
	return func(yield func(member, error) bool) {
		d := json.NewDecoder(bytes.NewReader(doc))
		t, err := d.Token()
		switch {
		case !utf8.Valid(doc):
			yield(member{}, errNotUTF8)
			return
		case err != nil || t != json.Delim('{'):
			yield(member{}, fmt.Errorf("it is %s, not an object", kindOf(doc)))
			return
		}
		for d.More() {
			name, err := d.Token()
			m := member{}
			if err == nil {
				m.name, _ = name.(string)
				err = d.Decode(&m.value)
			}
			if err != nil {
				yield(m, fmt.Errorf("it is no JSON: %w", err))
				return
			}
			if !yield(m, nil) {
				return
			}
		}
		if err := endOf(d); err != nil {
			yield(member{}, err)
		}
	}
}

// newEntry reads the description of a file. id is the one that it is listed
// under, or "" if it has to name its own.
func newEntry(id string, raw json.RawMessage) (entry, error) {
	var d struct {
		ID        json.RawMessage `json:"_id"`
		Name      json.RawMessage `json:"name"`
		Folder    json.RawMessage `json:"subdir"`
		Size      json.RawMessage `json:"size"`
		Hash      json.RawMessage `json:"hashsum"`
		Algorithm json.RawMessage `json:"hashtype"`
		Type      json.RawMessage `json:"mimetype"`
		Modified  json.RawMessage `json:"mtime"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return entry{}, fmt.Errorf("file %q is %s, not an object", id, kindOf(raw))
	}
	f := entry{raw: raw}
	var problem error
	read := func(what string, value json.RawMessage) (string, bool) {
		s, given, err := text(value)
		if err != nil && problem == nil {
			problem = fmt.Errorf("the file's %s: %w", what, err)
		}
		return s, given
	}
	if id == "" {
		id, _ = read("_id", d.ID)
	}
	name, _ := read("name", d.Name)
	folder, _ := read("subdir", d.Folder)
	hash, hashed := read("hashsum", d.Hash)
	algorithm, _ := read("hashtype", d.Algorithm)
	f.mime, _ = read("mimetype", d.Type)
	size, sized := read("size", d.Size)
	if modified, _, err := text(d.Modified); err == nil { // free text of whoever sent the file
		f.Modified = parseTime(modified)
	}
	f.Origin, f.Path, f.Size = id, joinPath(folder, name), -1
	if hashed && hash != "" {
		f.Hash, f.Algorithm = hash, algorithm
	}
	if sized && problem == nil {
		n, err := strconv.ParseUint(size, 10, 63)
		if err != nil {
			problem = fmt.Errorf("the file's size %.40q is none", size)
		}
		f.Size = int64(n)
	}
	switch {
	case problem != nil:
	case name == "":
		problem = errors.New("the file has no name")
	case id == "":
		problem = errors.New("the file has no _id")
	case strings.Contains(id, "/"):
		problem = errors.New("the file's _id is a path, for which a cart is never finished")
	default:
		f.File, problem = checkOrdered(f.File)
	}
	if problem != nil {
		return entry{}, fmt.Errorf("file %q, %q: %w", clip(id), clip(f.Path), problem)
	}
	return f, nil
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// joinPath joins as cart servers do in effect: slashes at the beginning and
// doubled ones do not count.
func joinPath(folder, name string) string {
	elements := strings.FieldsFunc(folder+"/"+name, func(r rune) bool { return r == '/' })
	path := strings.Join(elements, "/")
	if strings.HasSuffix(name, "/") {
		path += "/" // a folder's name, which no file can have
	}
	return path
}

// text returns a JSON text, or a whole number as text. What is missing, null or
// false is not given.
func text(raw json.RawMessage) (s string, given bool, err error) {
	switch kind := kindOf(raw); {
	case kind == "missing", kind == "null", string(raw) == "false":
		return "", false, nil
	case kind == "a text":
		err := json.Unmarshal(raw, &s)
		return s, true, err
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return strconv.FormatInt(n, 10), true, nil
	}
	return "", false, fmt.Errorf("%s where a text or a whole number is due", clip(string(raw)))
}

// parseTime reads a time of metadata: ISO 8601, in UTC if it has no zone. Other
// spellings name zones by letters that mean nothing for sure; they give the zero
// time.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
