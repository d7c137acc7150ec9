package resolve

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// Side is one side's version of a record. The zero Side says that it does not
// have the record.
type Side struct {
	// Data is one JSON object. A tombstone may keep its last data, together
	// with Times.
	Data []byte
	// Modified is when the record was last changed or deleted, and by which
	// node. Zero means unknown.
	Modified Stamp
	// Times of the fields; nil if the side keeps none, empty if it would but
	// there never was a field.
	Times Times
	// Seen is what those who ever deleted the record knew of it.
	Seen Times
	// MCI counts how often the record was handed on since its owner: 0 here,
	// 1 sent by the owner. Where a record names none it is 2.
	MCI int
	// Deleted says that this is a tombstone.
	Deleted bool
	// ReplacedBy is the key of the record that a deleted one was merged into.
	ReplacedBy string
	// Partial says that fields are left out which the record may have: a
	// field that is not there has not been removed.
	Partial bool
}

func (s *Side) exists() bool { return len(s.Data) > 0 || s.Deleted }

// says reports whether a side that exists says anything about its fields.
func (s *Side) says() bool { return len(s.Data) > 0 }

// Input is what is decided on.
type Input struct {
	// Local is what is stored here, Remote what is to be imported.
	Local, Remote Side
	// Base is the data of the last version that both sides had; nil if it is
	// not known. It tells what each side has changed since.
	Base []byte
	// BaseDeleted says that this version was a tombstone.
	BaseDeleted bool
	// LastSync is when the sides last met; zero if it is not known. It stands
	// in for Base where that is missing.
	LastSync time.Time
	// Now is the time.
	Now time.Time
	// ParentSkipped says that the record is a component of one that was
	// skipped.
	ParentSkipped bool
	// SurvivorKnown says that the record which Remote.ReplacedBy names is here.
	SurvivorKnown bool
}

// Action is what is to be done with the local record.
type Action string

// The actions.
const (
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
	ActionDelete Action = "delete"
	// ActionMerge deletes the record and points what refers to it to the
	// survivor.
	ActionMerge Action = "merge"
	// ActionNothing leaves the data as it is.
	ActionNothing Action = "nothing"
	// ActionSkip passes over the record and its components.
	ActionSkip Action = "skip"
	// ActionConflict leaves the record as it is and hands the losers to the
	// conflict inbox.
	ActionConflict Action = "conflict"
)

// Choice says whose value of a field was taken.
type Choice string

// The choices.
const (
	ChoseLocal  Choice = "local"
	ChoseRemote Choice = "remote"
	// ChoseBoth is a value made of both, or of neither.
	ChoseBoth Choice = "both"
)

// Decision is what was decided on one field that differs.
type Decision struct {
	Field  string `json:"field"`
	Choice Choice `json:"choice"`
	Rule   string `json:"rule"`
	// Conflict: both sides had changed the field.
	Conflict bool `json:"conflict,omitempty"`
}

// Loser is an edit, or what may have been one, that was not taken.
type Loser struct {
	// Field is empty if Deletion is set.
	Field string `json:"field,omitempty"`
	// Deletion says that it is the deletion of the record that was not taken.
	Deletion bool `json:"deletion,omitempty"`
	// Side whose edit it was, and when it was made.
	Side  Choice `json:"side"`
	Stamp Stamp  `json:"stamp"`
	// Local and Remote are the values of both sides as JSON; nil where there
	// is none.
	Local  []byte `json:"local,omitempty"`
	Remote []byte `json:"remote,omitempty"`
	// Rule that decided against it.
	Rule string `json:"rule"`
}

// FutureTime is a time that was ahead of now by more than the tolerance.
type FutureTime struct {
	Side  Choice `json:"side"`
	Field string `json:"field,omitempty"`
	Stamp Stamp  `json:"stamp"`
}

// Result is what to do and to store.
type Result struct {
	Action Action
	// Rule that decided on the record: an id of [Rules]; Reason says it in a
	// sentence.
	Rule, Reason string
	// Data to store. It may share memory with the input. A tombstone keeps the
	// last data, where the sides did.
	Data []byte
	// Modified, Times, Seen, MCI, Deleted and ReplacedBy are to be stored with
	// the data.
	Modified    Stamp
	Times, Seen Times
	MCI         int
	Deleted     bool
	ReplacedBy  string
	// Restamp: one of them differs from what is stored, even if Action is
	// ActionNothing.
	Restamp bool
	// SendBack: the result is not what the remote side has.
	SendBack bool
	// Fields lists the decisions on fields that differ.
	Fields []Decision
	// Conflict: both sides changed the same field since the base, or one
	// deleted what the other changed; without a base, both were modified since
	// the last sync.
	Conflict bool
	// Losers are all edits that were not taken.
	Losers []Loser
	// Future lists the times that were ahead of now.
	Future []FutureTime
}

// Repeatable reports whether to decide again, after one side has taken the
// result, comes to the same: what is added up, or calculated, does not.
func (r *Result) Repeatable() bool {
	return !slices.ContainsFunc(r.Fields, func(d Decision) bool {
		return d.Rule == ruleCounter || d.Rule == ruleExpr || d.Rule == ruleHook
	})
}

// Resolver is a compiled [Policy]. It is immutable and safe for concurrent
// use.
type Resolver struct {
	line
	strategy []Method
	// others is the rule of fields that have none of their own, record the one
	// for the record as a whole.
	others, record fieldRule
	fields         map[string]*fieldRule
	conflict       ConflictPolicy
	deletes        DeletePolicy
	tolerance      time.Duration
	hook           Hook
	// spare holds memory of records that are done.
	spare sync.Pool
	// counts: some field is a counter, so that equal values may differ.
	counts bool
}

// Compile checks and compiles a policy. The error names every mistake. Under
// the lines of Eden a resolution or conflict policy that the line does not
// have is no mistake; it counts as the line counts it.
func Compile(p Policy) (*Resolver, error) {
	if p.Compat == "" {
		p.Compat = Strict
	}
	if list := p.mistakes(false); len(list) > 0 {
		texts := make([]string, len(list))
		for i, m := range list {
			texts[i] = m.Error()
		}
		return nil, gapless.Errorf(gapless.CodeInvalidOption, "", "policy: %s", strings.Join(texts, "; "))
	}
	all := lines()
	l := all[slices.IndexFunc(all, func(l line) bool { return l.compat == p.Compat })]
	r := &Resolver{
		line: l, strategy: p.Strategy, conflict: p.Conflict, deletes: p.Deletes, tolerance: p.Tolerance, hook: p.Hook,
		fields: make(map[string]*fieldRule, len(p.Fields)),
	}
	if r.strategy == nil {
		r.strategy = l.methods
	}
	if r.tolerance == 0 {
		r.tolerance = DefaultTolerance
	}
	return r, r.compileFields(&p)
}

// compileFields finds the rule of every field.
func (r *Resolver) compileFields(p *Policy) error {
	fallback := p.Default
	if fallback == "" || r.compat != Strict && !slices.Contains(r.names, fallback) {
		fallback = This
	}
	known := func(name Resolution) Resolution {
		switch {
		case r.compat == Strict || slices.Contains(r.names, name):
			return name
		case r.unknownIsDefault:
			return fallback
		}
		return This
	}
	others := fallback
	switch {
	case p.Resolution != "":
		others = known(p.Resolution)
	case p.Fields == nil && p.Default == "" && r.compat != Strict:
		others = Other
	}
	var err error
	if r.others, err = r.compileRule("resolution", others); err != nil {
		return err
	}
	r.record = r.others
	r.others.implied = p.Resolution == "" && p.Default == ""
	for name, resolution := range p.Fields {
		own, err := r.compileRule("resolution."+name, known(resolution))
		if err != nil {
			return err
		}
		r.fields[name] = &own
	}
	return nil
}

// rule returns the rule of a field.
func (r *Resolver) rule(name string) *fieldRule {
	if len(r.fields) > 0 {
		if own, ok := r.fields[name]; ok {
			return own
		}
	}
	return &r.others
}

// Resolve decides on one record. An error says that data of one side is not a
// JSON object or is nested too deeply; nothing else fails.
func (r *Resolver) Resolve(in *Input) (Result, error) {
	w, _ := r.spare.Get().(*work)
	if w == nil {
		w = &work{}
	}
	w.Resolver, w.in = r, in
	err := w.resolve()
	out := w.out
	w.reset()
	r.spare.Put(w)
	if err != nil {
		return Result{}, err
	}
	return out, nil
}

func (w *work) resolve() error {
	w.readTimes()
	if w.gate() {
		return w.validate()
	}
	if same, err := w.sameBytes(); same || err != nil {
		return err
	}
	if err := w.read(); err != nil {
		return err
	}
	if w.compat == Strict {
		w.strict()
	} else {
		w.eden()
	}
	return nil
}

// reset lets go of everything but the memory that the next record can use.
func (w *work) reset() {
	clear(w.outcomes)
	*w = work{outcomes: w.outcomes[:0], local: version{object: w.local.empty()}, remote: version{object: w.remote.empty()}, base: w.base.empty()}
}

// work is one record while it is decided on.
type work struct {
	*Resolver
	in            *Input
	local, remote version
	base          object
	outcomes      []outcome
	out           Result
}

// version is what one side has: its fields, and its times as they count.
type version struct {
	object
	clock
}

// outcome is what becomes of one field.
type outcome struct {
	pair
	verdict
	differs bool
}

// method returns what the remote side asks for.
func (in *Input) method() Method {
	switch {
	case in.Remote.Deleted && in.Remote.ReplacedBy != "":
		return Merge
	case in.Remote.Deleted:
		return Remove
	case in.Local.exists():
		return Update
	}
	return Create
}

// gate decides on what needs no look at the data, and reports that it did.
func (w *work) gate() bool {
	in := w.in
	method := in.method()
	switch {
	case in.ParentSkipped:
		w.keep(ActionSkip, ruleParent, "the record that this is a component of was skipped")
	case !in.Remote.exists():
		w.keep(ActionNothing, ruleNoNews, "the remote side does not have the record")
		w.out.SendBack = in.Local.exists()
	case !slices.Contains(w.strategy, method):
		w.keep(ActionSkip, ruleStrategy, "the strategy does not allow to "+string(method)+" records")
	case in.Remote.Deleted && !in.Local.exists():
		w.forgetOrRemember()
	case method == Merge && !in.SurvivorKnown && !in.Local.Deleted:
		action := ActionConflict
		if w.compat != Strict {
			action = ActionSkip
		}
		w.keep(action, ruleSurvivor, "the record that this one was merged into is not here")
		if action == ActionConflict {
			w.out.Losers = []Loser{{Deletion: true, Side: ChoseRemote, Stamp: in.Remote.Modified, Local: in.Local.Data, Rule: ruleSurvivor}}
		}
	default:
		return false
	}
	return true
}

// forgetOrRemember takes note of the deletion of what is not here: strictly,
// so that an older version that arrives later by another way stays away.
func (w *work) forgetOrRemember() {
	const reason = "what was deleted is not here"
	if w.compat == Strict {
		w.adopt(ActionNothing, ruleNoNews, reason)
		return
	}
	w.keep(ActionNothing, ruleNoNews, reason)
}

// keep makes the local version the result.
func (w *work) keep(a Action, rule, reason string) {
	l := &w.in.Local
	w.out = Result{
		Action: a, Rule: rule, Reason: reason, Data: l.Data, Modified: w.local.at, Times: w.local.times, Seen: w.local.seen, MCI: l.MCI,
		Deleted: l.Deleted, ReplacedBy: l.ReplacedBy, Future: w.out.Future,
	}
	w.out.Restamp = w.out.Modified.Compare(l.Modified) != 0 || !w.out.Times.same(l.Times) || !w.out.Seen.same(l.Seen)
}

// adopt makes the remote version the result.
func (w *work) adopt(a Action, rule, reason string) {
	s := &w.in.Remote
	w.out = Result{
		Action: a, Rule: rule, Reason: reason, Data: s.Data, Modified: w.remote.at, Times: w.remote.times, Seen: w.remote.seen, MCI: s.MCI,
		Deleted: s.Deleted, ReplacedBy: s.ReplacedBy, Restamp: true, Future: w.out.Future,
	}
}

// validate refuses data that the result passes on unread.
func (w *work) validate() error {
	if len(w.out.Data) == 0 {
		return nil
	}
	return validObject(w.out.Data)
}

// read parses both sides and the base.
func (w *work) read() error {
	var err error
	if w.local.object, err = w.local.parse(w.in.Local.Data); err != nil {
		return fmt.Errorf("read the local version: %w", err)
	}
	if w.remote.object, err = w.remote.parse(w.in.Remote.Data); err != nil {
		return fmt.Errorf("read the remote version: %w", err)
	}
	if w.base, err = w.base.parse(w.in.Base); err != nil {
		return fmt.Errorf("read the base: %w", err)
	}
	return nil
}

// sameBytes decides on the commonest case: two live versions of the same
// bytes without times of fields.
func (w *work) sameBytes() (bool, error) {
	l, r := &w.in.Local, &w.in.Remote
	if w.compat != Strict || l.Deleted || r.Deleted || len(l.Times)+len(r.Times)+len(l.Seen)+len(r.Seen) > 0 ||
		w.counts && len(w.in.Base) > 0 || string(l.Data) != string(r.Data) {
		return false, nil
	}
	if err := validObject(l.Data); err != nil {
		return false, fmt.Errorf("read both versions: %w", err)
	}
	w.keep(ActionNothing, ruleEqual, reasonEqual)
	w.out.Modified = later(w.local.at, w.remote.at)
	w.out.Restamp = w.out.Modified.Compare(l.Modified) != 0
	return true, nil
}

const reasonEqual = "both sides say the same"
