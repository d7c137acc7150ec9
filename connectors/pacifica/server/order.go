package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// order is what the body of a POST asks for.
type order struct {
	// entries are sorted by path, each path once.
	entries []entry
	// bundle: the top folder of the archive is the cart's name.
	bundle bool
}

// readOrder decodes the body of a POST. What is wrong with it is a *problem.
func readOrder(body io.Reader, limit int) (order, error) {
	d := &decoder{json: json.NewDecoder(body), limit: limit}
	if err := d.object(); err != nil {
		return order{}, err
	}
	if !d.listed {
		return order{}, refuse(http.StatusBadRequest, "fileids is missing: %q is a required property", "fileids")
	}
	var err error
	d.order.entries, err = arrange(d.order.entries)
	return d.order, err
}

// decoder reads an order as it comes, so that what is beyond a limit is never
// held.
type decoder struct {
	json   *json.Decoder
	limit  int
	order  order
	listed bool // fileids was there
}

func (d *decoder) object() error {
	if err := d.delim('{', "the order is no object"); err != nil {
		return err
	}
	for d.json.More() {
		name, err := d.json.Token()
		if err != nil {
			return invalid(err)
		}
		if err := d.property(fmt.Sprint(name)); err != nil {
			return err
		}
	}
	if _, err := d.json.Token(); err != nil {
		return invalid(err)
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		return invalid(cmp.Or(err, errors.New("there is more behind the order")))
	}
	return nil
}

func (d *decoder) property(name string) error {
	switch name {
	case "fileids":
		return d.files()
	case "bundle":
		var value any
		if err := d.json.Decode(&value); err != nil {
			return invalid(err)
		}
		d.order.bundle = truthy(value)
		return nil
	}
	var passed json.RawMessage
	if err := d.json.Decode(&passed); err != nil {
		return invalid(err)
	}
	return nil
}

// truthy reports whether Python would take a JSON value for true: the original
// server does.
func truthy(value any) bool {
	switch v := value.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

func (d *decoder) files() error {
	if err := d.delim('[', "fileids is no array"); err != nil {
		return err
	}
	d.order.entries, d.listed = nil, true
	for d.json.More() {
		if len(d.order.entries) == d.limit {
			return refuse(http.StatusRequestEntityTooLarge, "the cart has more than %d files; order several carts", d.limit)
		}
		var w wireFile
		if err := d.json.Decode(&w); err != nil {
			return invalid(err)
		}
		e, err := w.entry()
		if err != nil {
			return refuse(http.StatusBadRequest, "file %d: %v", len(d.order.entries)+1, err)
		}
		d.order.entries = append(d.order.entries, e)
	}
	if _, err := d.json.Token(); err != nil {
		return invalid(err)
	}
	return nil
}

func (d *decoder) delim(want json.Delim, message string) error {
	token, err := d.json.Token()
	switch {
	case err != nil:
		return invalid(err)
	case token != want:
		return refuse(http.StatusBadRequest, "%s", message)
	}
	return nil
}

// invalid says why a body cannot be decoded, in the words of the original.
func invalid(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refuse(http.StatusRequestTimeout, "the order did not come in within %v", orderPatience)
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	kind, wrong := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case wrong && kind.Field != "":
		return refuse(http.StatusBadRequest, "%s is a %s, which it must not be", kind.Field, kind.Value)
	case wrong:
		return refuse(http.StatusBadRequest, "a file of fileids is a %s, not an object", kind.Value)
	}
	return refuse(http.StatusBadRequest, "Invalid JSON document: %v", err)
}

// wireFile is a file as it is ordered; other keys are passed over.
type wireFile struct {
	ID       json.RawMessage `json:"id"`
	Path     *string         `json:"path"`
	HashType *string         `json:"hashtype"`
	HashSum  *string         `json:"hashsum"`
}

// maxID bounds the id of a file, in bytes.
const maxID = 4096

func (w *wireFile) entry() (entry, error) {
	var e entry
	for _, required := range [...]struct {
		name string
		from *string
		to   *string
	}{{"path", w.Path, &e.Path}, {"hashtype", w.HashType, &e.Algorithm}, {"hashsum", w.HashSum, &e.Hash}} {
		if required.from == nil {
			return e, fmt.Errorf("%s is missing", required.name)
		}
		*required.to = *required.from
	}
	var err error
	if e.ID, err = identifier(w.ID); err != nil {
		return e, err
	}
	e.Path = tidy(e.Path)
	file, err := e.wanted().Check()
	if err == nil && file.Algorithm == "" {
		err = errors.New("hashtype and hashsum are empty: only files with a hash can be verified")
	}
	e.Algorithm, e.Hash = file.Algorithm, file.Hash
	return e, err
}

// identifier returns the id of a file: an integer as it is written, or a text.
func identifier(raw json.RawMessage) (string, error) {
	text := string(raw)
	switch {
	case text == "":
		return "", errors.New("id is missing")
	case text[0] == '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
	case strings.Trim(text, "-0123456789") != "":
		return "", errors.New("id is neither an integer nor a string")
	}
	if text == "" || len(text) > maxID || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return "", fmt.Errorf("id is empty, has a NUL or is longer than %d bytes", maxID)
	}
	return text, nil
}

// tidy takes out the slashes that the original client puts into paths where a
// subfolder is empty or ends in one.
func tidy(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return strings.TrimPrefix(path, "/")
}

// arrange sorts entries by path, takes out those that are ordered twice, and
// refuses what cannot be in one folder.
func arrange(entries []entry) ([]entry, error) {
	if len(entries) == 0 {
		return nil, refuse(http.StatusBadRequest, "fileids is empty: there is nothing to put into the cart")
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return compareTree(a.Path, b.Path) })
	kept := entries[:1]
	for _, e := range entries[1:] {
		last := &kept[len(kept)-1]
		switch {
		case e.Path == last.Path && e.Algorithm == last.Algorithm && e.Hash == last.Hash:
			continue
		case e.Path == last.Path:
			return nil, refuse(http.StatusBadRequest, "two different files have the path %q", clip(e.Path))
		case strings.HasPrefix(e.Path, last.Path+"/"):
			return nil, refuse(http.StatusBadRequest, "%q cannot be a file and the folder of %q", clip(last.Path), clip(e.Path))
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// compareTree orders paths so that what is in a folder follows its name
// immediately.
func compareTree(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], b[i]; x != y {
			return cmp.Compare(rank(x), rank(y))
		}
	}
	return cmp.Compare(len(a), len(b))
}

func rank(c byte) int {
	if c == '/' {
		return -1
	}
	return int(c)
}
