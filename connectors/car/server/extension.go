package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

const (
	extensionCollection = "extension"
	maxExtension        = 1 << 20
	maxExtensions       = 1000
	maxDeclared         = 1000 // collections of one extension, and properties of one collection
	maxProperty         = 128
	maxVersion          = 32
)

// propertyTypes are those that the original documents.
func propertyTypes() []string {
	return []string{"text", "numeric", "boolean", "integer", "bigint", "jsonb", "timestamp", "inet", "macaddr", "bigserial", "float"}
}

// extension declares collections and properties beyond the core.
type extension struct {
	Key     string `json:"key"`
	Owner   string `json:"owner"`
	Version string `json:"version"`
	// Schema is the declaration as it was sent.
	Schema   json.RawMessage `json:"schema"`
	declared declaration
}

type declaration struct {
	Vertices []vertexType `json:"vertices"`
	Edges    []edgeType   `json:"edges"`
}

type vertexType struct {
	Name       string                     `json:"name"`
	Properties map[string]json.RawMessage `json:"properties,omitempty"`
}

type edgeType struct {
	End1       string                     `json:"end1"`
	End2       string                     `json:"end2"`
	Properties map[string]json.RawMessage `json:"properties,omitempty"`
}

func (e *edgeType) name() string { return e.End1 + "_" + e.End2 }

// decodeExtension reads a document and checks all of it.
func decodeExtension(body []byte) (*extension, error) {
	if len(body) > maxExtension {
		return nil, refuse(http.StatusRequestEntityTooLarge, codeTooLarge, "the extension has more than %d bytes", maxExtension)
	}
	object, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	e := &extension{Key: object.Get("key").String(), Owner: object.Get("owner").String(), Version: object.Get("version").String()}
	if !keyPattern().MatchString(e.Key) {
		return nil, malformed("key %q is not a UUID", clip(e.Key))
	}
	if _, ok := number(e.Version); !ok {
		return nil, malformed("version %q is not an integer of at most %d digits", clip(e.Version), maxVersion)
	}
	if len(e.Owner) > maxProperty {
		return nil, malformed("the owner has more than %d bytes", maxProperty)
	}
	schema := object.Get("schema")
	text := []byte(schema.Raw)
	if schema.Type == gjson.String { // as the original's authors write it
		text = []byte(schema.Str)
	}
	inner, err := parseObject(text)
	if err != nil {
		return nil, malformed("schema: %v", err)
	}
	e.Schema = json.RawMessage(inner.Raw)
	if err := json.Unmarshal(e.Schema, &e.declared); err != nil {
		return nil, malformed("the schema is not an object of vertices and edges")
	}
	return e, e.declared.check()
}

// keyPattern takes what clients use for a UUID.
func keyPattern() *regexp.Regexp { return regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`) }

// number reads a version.
func number(text string) (*big.Int, bool) {
	if len(text) > maxVersion {
		return nil, false
	}
	n, ok := new(big.Int).SetString(text, 10)
	return n, ok && n.Sign() >= 0
}

func (d *declaration) check() error {
	if len(d.Vertices) > maxDeclared || len(d.Edges) > maxDeclared {
		return malformed("the schema declares more than %d collections", maxDeclared)
	}
	for _, v := range d.Vertices {
		if !wire.IsName(v.Name) || isReserved(v.Name) {
			return malformed("%q cannot be the name of a collection", clip(v.Name))
		}
		if err := checkProperties(v.Name, v.Properties); err != nil {
			return err
		}
	}
	for _, e := range d.Edges {
		if !wire.IsName(e.End1) || !wire.IsName(e.End2) || !wire.IsName(e.name()) || isReserved(e.name()) {
			return malformed("%q and %q cannot be the ends of an edge", clip(e.End1), clip(e.End2))
		}
		if err := checkProperties(e.name(), e.Properties); err != nil {
			return err
		}
	}
	return nil
}

// isReserved reports whether a name has another meaning in an envelope or in a
// path.
func isReserved(name string) bool {
	return slices.Contains([]string{
		wire.SourceField, wire.ReportField, fieldSourceReport, "databases", "imports", "importstatus", "jobstatus", "importSchema",
		"carSchema", "extensionSchema", "query", "health", "DataRetentionPolicy", "clearDb", "resetPostgres",
	}, name)
}

func checkProperties(collection string, properties map[string]json.RawMessage) error {
	if len(properties) > maxDeclared {
		return malformed("%s has more than %d properties", collection, maxDeclared)
	}
	for _, name := range sortedKeys(properties) {
		if name == "" || len(name) > maxProperty || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return malformed("%q cannot be the name of a property of %s", clip(name), collection)
		}
		kind := gjson.GetBytes(properties[name], "type")
		if !slices.Contains(propertyTypes(), strings.ToLower(kind.String())) {
			return malformed("property %s of %s has type %q, not one of %s", clip(name), collection, clip(kind.String()), strings.Join(propertyTypes(), ", "))
		}
	}
	return nil
}

func (s *Server) loadExtensions(ctx context.Context) error {
	snapshot, err := s.facts.Snapshot(ctx, true)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	all := map[string]*extension{}
	err = snapshot.Records(ctx, extensionCollection, "", "", func(r gapless.Record) error {
		e := &extension{}
		if err := json.Unmarshal(r.Data, e); err != nil {
			return fmt.Errorf("decode extension %s: %w", r.Key, err)
		}
		if err := json.Unmarshal(e.Schema, &e.declared); err != nil {
			return fmt.Errorf("decode the schema of extension %s: %w", r.Key, err)
		}
		all[r.Key] = e
		return nil
	})
	s.schemas.now.Store(newSchema(all))
	return err
}

// putExtension stores a document, in place of an older one.
func (s *Server) putExtension(c *exchange) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	e, err := decodeExtension(body)
	if err != nil {
		return err
	}
	s.schemas.changes.Lock()
	defer s.schemas.changes.Unlock()
	all := s.schemas.current().extensions
	old := all[e.Key]
	switch same, err := e.follows(old); {
	case err != nil:
		return err
	case same:
		return c.reply(http.StatusOK, old)
	case old == nil && len(all) >= maxExtensions:
		return refuse(http.StatusConflict, codeConflict, "there are %d extensions already", len(all))
	}
	if err := s.storeExtension(c.r.Context(), e.Key, e); err != nil {
		return err
	}
	return c.reply(http.StatusCreated, e)
}

// follows reports whether e is what is stored already, or why it cannot take
// its place.
func (e *extension) follows(old *extension) (same bool, err error) {
	if old == nil {
		return false, nil
	}
	stored, _ := number(old.Version)
	next, _ := number(e.Version)
	if stored == nil {
		return false, errors.New("a stored extension has no version")
	}
	switch order := next.Cmp(stored); {
	case order < 0:
		return false, refuse(http.StatusConflict, codeConflict, "extension %s is stored in version %s, which is newer than %s", e.Key, old.Version, e.Version)
	case order == 0 && string(encode(e.Schema)) != string(encode(old.Schema)):
		return false, refuse(http.StatusConflict, codeConflict, "extension %s has version %s already, with another schema: give this one a higher version", e.Key, e.Version)
	default:
		return order == 0, nil
	}
}

// storeExtension stores an extension durably, or deletes it if it is nil. The
// caller holds the changes.
func (s *Server) storeExtension(ctx context.Context, key string, e *extension) error {
	all := maps.Clone(s.schemas.current().extensions)
	w := newWriting(s.opts.Now(), 0)
	if e == nil {
		w.delete(extensionCollection, key)
		delete(all, key)
	} else {
		w.upsert(extensionCollection, key, encode(e))
		all[key] = e
	}
	next := newSchema(all)
	if err := next.conflict(); e != nil && err != nil {
		return err
	}
	if _, err := s.facts.Commit(ctx, w.batches); err != nil {
		return err
	}
	if err := s.syncFacts(ctx); err != nil {
		return err
	}
	s.schemas.now.Store(next)
	return nil
}

func (s *Server) getExtension(c *exchange) error {
	e := s.schemas.current().extensions[c.path[1]]
	if e == nil {
		return notFound("there is no schema extension %q", clip(c.path[1]))
	}
	return c.reply(http.StatusOK, e)
}

func (s *Server) listExtensions(c *exchange) error {
	list := []*extension{}
	all := s.schemas.current().extensions
	for _, key := range sortedKeys(all) {
		list = append(list, all[key])
	}
	return c.reply(http.StatusOK, list)
}

// deleteExtension forgets a declaration. Rows stay; no more of its collections
// are taken.
func (s *Server) deleteExtension(c *exchange) error {
	s.schemas.changes.Lock()
	defer s.schemas.changes.Unlock()
	key := c.path[1]
	if s.schemas.current().extensions[key] == nil {
		return notFound("there is no schema extension %q", clip(key))
	}
	if err := s.storeExtension(c.r.Context(), key, nil); err != nil {
		return err
	}
	return c.reply(http.StatusOK, map[string]string{"key": key, "status": "deleted"})
}

// extensionSchema answers with all declarations as one.
func (s *Server) extensionSchema(c *exchange) error {
	all := s.schemas.current().extensions
	merged := declaration{Vertices: []vertexType{}, Edges: []edgeType{}}
	for _, key := range sortedKeys(all) {
		merged.Vertices = append(merged.Vertices, all[key].declared.Vertices...)
		merged.Edges = append(merged.Edges, all[key].declared.Edges...)
	}
	return c.reply(http.StatusOK, merged)
}
