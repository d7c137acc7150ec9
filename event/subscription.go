package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/theory/jsonpath"
)

// Rule says which events are wanted. All that is set has to be true; the zero
// Rule wants every event.
//
// Paths are JSONPath (RFC 9535), applied to the event as a document of version
// 1.0, whatever it came as: $.type, $.data, extensions beside them. Binary
// content is not in it.
type Rule struct {
	// Types lists the types that are wanted, exactly as they are sent. Empty
	// means all.
	Types []string
	// Source is the one that is wanted. Empty means all.
	Source string
	// JSONPath has to select something.
	JSONPath string
	// Keys selects the keys of the records that an event is about.
	Keys string
}

// Subscription is a [Rule], ready to be used. Its methods may be called from
// any goroutine.
type Subscription struct {
	rule          Rule
	matches, keys *jsonpath.Path // nil if not set
}

// Compile checks the paths of a rule. The error, of class misconfigured, says
// which one cannot be used.
func (r Rule) Compile() (*Subscription, error) {
	s := &Subscription{rule: r}
	s.rule.Types = slices.Clone(r.Types)
	var err error
	if s.matches, err = parse("jsonpath", r.JSONPath); err != nil {
		return nil, err
	}
	s.keys, err = parse("keys", r.Keys)
	return s, err
}

func parse(name, path string) (*jsonpath.Path, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no path, no mistake
	}
	p, err := jsonpath.Parse(path)
	if err != nil {
		return nil, gapless.Misconfigured(fmt.Errorf("%s: %w", name, err))
	}
	return p, nil
}

// Matches reports whether the event is wanted.
func (s *Subscription) Matches(e Event) bool {
	if len(s.rule.Types) > 0 && !slices.Contains(s.rule.Types, e.Type) || s.rule.Source != "" && s.rule.Source != e.Source {
		return false
	}
	return s.matches == nil || len(s.matches.Select(e.document())) > 0
}

// KeysOf returns the keys that the event names, each once, in order. It
// returns nil if nobody can say which records the event is about: no path was
// given, it selects nothing, or something else than strings and numbers.
func (s *Subscription) KeysOf(e Event) []string {
	if s.keys == nil {
		return nil
	}
	var keys []string
	seen := map[string]bool{}
	for _, node := range s.keys.Select(e.document()) {
		var key string
		switch node := node.(type) {
		case string:
			key = node
		case json.Number:
			key = node.String()
		}
		if key == "" {
			return nil
		}
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// document returns the event as paths see it.
func (e *Event) document() map[string]any {
	doc := map[string]any{"specversion": Version1, "id": e.ID, "source": e.Source, "type": e.Type}
	for name, value := range e.Extensions {
		doc[name] = value
	}
	for name, value := range map[string]string{"subject": e.Subject, "datacontenttype": e.DataContentType, "dataschema": e.DataSchema} {
		if value != "" {
			doc[name] = value
		}
	}
	if !e.Time.IsZero() {
		doc["time"] = e.Time.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	}
	decoder := json.NewDecoder(bytes.NewReader(e.Data))
	decoder.UseNumber()
	var data any
	if decoder.Decode(&data) == nil { // no data is none for a path
		doc["data"] = data
	}
	return doc
}
