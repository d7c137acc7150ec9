package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gapless-sync/gapless"
)

// Spec says which records pass and what becomes of their top-level fields.
// Expressions always read the record as it comes in. Of duplicate keys the
// first counts.
type Spec struct {
	// Filter is a condition; records for which it is false, missing or null do
	// not pass. Empty passes everything.
	Filter string `yaml:"filter,omitempty" json:"filter,omitempty"`
	// Set gives top-level fields of the outgoing record a value: a field
	// (author.name), a constant ('doc') or any expression (size / 1024). A
	// field that exists is replaced where it stands, others follow at the end
	// in the order of their names. A plain field is copied byte for byte; one
	// that the record does not have leaves the outgoing field out.
	Set map[string]string `yaml:"map,omitempty" json:"map,omitempty"`
	// Rename gives fields other names, where they stand: old name to new name.
	// It replaces a field that has the new name already.
	Rename map[string]string `yaml:"rename,omitempty" json:"rename,omitempty"`
	// Keep lists the fields that stay besides those set and renamed. A list
	// that is there but empty keeps none.
	Keep []string `yaml:"keep,omitempty" json:"keep,omitzero"`
	// Drop lists fields that are removed.
	Drop []string `yaml:"drop,omitempty" json:"drop,omitempty"`
}

// Program is a compiled [Spec]. It is immutable and safe for concurrent use; a
// nil Program passes everything as it is.
type Program struct {
	filter *expression
	sets   []setter
	// slots numbers the top-level fields that the program reads or touches.
	slots map[string]int
	// actions by slot; others is what happens to fields without one.
	actions []action
	others  actionKind
	// reshapes is false if all that passes stays as it is.
	reshapes    bool
	fingerprint string
	reads       []string
	records     sync.Pool
}

// setter gives one field a value.
type setter struct {
	slot int
	// key as it is written: quoted, with its colon.
	key []byte
	*expression
}

type actionKind uint8

const (
	copyField actionKind = iota
	dropField
	renameField
	setField
)

// action is what happens to a field of the incoming record.
type action struct {
	kind actionKind
	// key to write for renameField; index of the setter for setField.
	key    []byte
	setter int
	// unless is the slot of a field that takes this one's name; -1 if none.
	unless int
}

// semantics is part of every fingerprint; it grows whenever the same
// specification would give another result than before.
const semantics = 1

// Compile checks and compiles s. Errors are [gapless.CodeConfig] and wrap an
// [*ExpressionError] if an expression is at fault. An empty specification
// gives the identity.
func Compile(s Spec) (*Program, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	p := &Program{slots: map[string]int{}}
	if strings.TrimSpace(s.Filter) != "" {
		filter, err := compileExpression("filter", s.Filter, true)
		if err != nil {
			return nil, err
		}
		p.filter = filter
		p.read(filter)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Set)) {
		value, err := compileExpression("map."+name, s.Set[name], false)
		if err != nil {
			return nil, err
		}
		p.read(value)
		p.sets = append(p.sets, setter{slot: p.slot(name), key: quotedKey(name), expression: value})
	}
	p.layOut(s)
	p.seal(s)
	return p, nil
}

// check finds contradictions between the parts of a specification.
func (s *Spec) check() error {
	wrong := func(hint, format string, args ...any) error {
		return gapless.Errorf(gapless.CodeConfig, "", format, args...).WithHint("%s", hint)
	}
	if s.Keep != nil && len(s.Drop) > 0 {
		return wrong("remove one of the two", "keep and drop exclude each other")
	}
	origin := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(s.Rename)) {
		to := s.Rename[from]
		if to == "" {
			return wrong("name the new field, or list the old one under drop", "rename.%s: the new name is empty", from)
		}
		if other, twice := origin[to]; twice {
			return wrong("give one of them another name", "rename: %s and %s both become %s", other, from, to)
		}
		origin[to] = from
		if _, set := s.Set[to]; set {
			return wrong("remove one of the two", "map.%s: rename.%s gives the field this name as well", to, from)
		}
	}
	for name, text := range s.Set {
		if name == "" || strings.TrimSpace(text) == "" {
			return wrong("write for example  title: name", "map.%s: field and expression must not be empty", name)
		}
	}
	for _, name := range s.Drop {
		_, set := s.Set[name]
		_, renamed := s.Rename[name]
		if set || renamed {
			return wrong("remove one of the two", "drop: %s is set or renamed elsewhere", name)
		}
	}
	return nil
}

func (p *Program) slot(name string) int {
	n, known := p.slots[name]
	if !known {
		n = len(p.slots)
		p.slots[name] = n
	}
	return n
}

func (p *Program) read(e *expression) {
	for _, path := range e.paths {
		path.slot = p.slot(path.root)
		p.reads = append(p.reads, path.String())
	}
}

// layOut decides what happens to each field that the program knows by name.
func (p *Program) layOut(s Spec) {
	if s.Keep != nil {
		p.others = dropField
	}
	renames := map[string]string{}
	for from, to := range s.Rename {
		if from != to {
			renames[from] = to
			p.slot(from)
			p.slot(to)
		}
	}
	for _, name := range slices.Concat(s.Keep, s.Drop) {
		p.slot(name)
	}
	p.actions = make([]action, len(p.slots))
	for i := range p.actions {
		p.actions[i] = action{kind: p.others, unless: -1}
	}
	for _, name := range s.Keep {
		p.actions[p.slots[name]].kind = copyField
	}
	for _, name := range s.Drop {
		p.actions[p.slots[name]].kind = dropField
	}
	for i := range p.sets {
		a := &p.actions[p.sets[i].slot]
		a.kind, a.setter = setField, i
	}
	for from, to := range renames {
		a := &p.actions[p.slots[from]]
		a.kind, a.key = renameField, quotedKey(to)
		p.actions[p.slots[to]].unless = p.slots[from]
	}
	p.reshapes = len(p.sets) > 0 || len(renames) > 0 || s.Keep != nil || len(s.Drop) > 0
}

// seal computes what is known about the whole program.
func (p *Program) seal(s Spec) {
	slices.Sort(p.reads)
	p.reads = slices.Compact(p.reads)
	p.records.New = func() any { return newRecord(len(p.slots)) }
	if p.IsIdentity() {
		return
	}
	canonical := struct {
		Semantics  int
		Filter     string
		Set        [][2]string
		Rename     map[string]string
		KeepsSome  bool
		Keep, Drop []string
	}{Semantics: semantics, Rename: maps.Clone(s.Rename), KeepsSome: s.Keep != nil}
	if p.filter != nil {
		canonical.Filter = p.filter.canonical
	}
	for _, set := range p.sets {
		canonical.Set = append(canonical.Set, [2]string{string(set.key), set.canonical})
	}
	maps.DeleteFunc(canonical.Rename, func(from, to string) bool { return from == to })
	canonical.Keep = slices.Compact(slices.Sorted(slices.Values(s.Keep)))
	canonical.Drop = slices.Compact(slices.Sorted(slices.Values(s.Drop)))
	encoded, _ := json.Marshal(canonical) // strings, booleans and integers always encode
	sum := sha256.Sum256(encoded)
	p.fingerprint = fmt.Sprintf("m%d-%s", semantics, hex.EncodeToString(sum[:12]))
}

// IsIdentity reports whether every record passes as it is.
func (p *Program) IsIdentity() bool { return p == nil || p.filter == nil && !p.reshapes }

// Fingerprint changes whenever results may change, and only then: white space
// and order in the specification do not count. It is empty for the identity.
func (p *Program) Fingerprint() string {
	if p == nil {
		return ""
	}
	return p.fingerprint
}

// Fields lists what expressions read, as paths in ascending order.
func (p *Program) Fields() []string {
	if p == nil {
		return nil
	}
	return slices.Clone(p.reads)
}

func quotedKey(name string) []byte { return append(appendString(nil, name), ':') }
