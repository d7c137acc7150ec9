package resolve

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Method is what may be done to a record.
type Method string

// The methods. A tombstone that names its successor is a merge.
const (
	Create Method = "create"
	Update Method = "update"
	Remove Method = "delete"
	Merge  Method = "merge"
)

// Resolution says whose value of a field is kept: one of the names below, or
// "expr: " and an expression that gives the value.
//
// An expression reads local, remote and base (nil where there is no such
// value), field, local_time and remote_time (Unix milliseconds), local_node,
// remote_node, local_mci and remote_mci. Its result is the value; nil leaves
// the field out.
type Resolution string

// The resolutions.
const (
	// This keeps the local value.
	This Resolution = "this"
	// Other keeps the imported value, if there is any.
	Other Resolution = "other"
	// Newer keeps the value that was written last, Older the one that was
	// written first. What just one side has changed since the base is no
	// matter of age.
	Newer Resolution = "newer"
	Older Resolution = "older"
	// Master keeps the imported value if its owner sent it (mci 1) and this
	// is not its owner (mci 0).
	Master Resolution = "master"
	// MasterCopy keeps the value that came the shorter way from its owner,
	// that is with the lower mci; of two that came equally far the newer.
	MasterCopy Resolution = "mastercopy"
	// Min and Max keep the smaller or larger of two numbers, dates or strings.
	Min Resolution = "min"
	Max Resolution = "max"
	// Union keeps the elements of both arrays, in local order and then in
	// remote; with a base those that one side has removed are gone.
	Union Resolution = "union"
	// Counter adds what both sides have added to the base.
	Counter Resolution = "counter"
	// Longest keeps the string of more characters.
	Longest Resolution = "longest"
	// ByHook asks the policy's hook.
	ByHook Resolution = "hook"
)

// exprPrefix begins a resolution by expression.
const exprPrefix = "expr:"

// ConflictPolicy says what becomes of a record of which both sides have
// changed the same field (without a base: both have been modified) since they
// last met. What it accepts is still resolved field by field.
type ConflictPolicy string

// The conflict policies. What is not accepted stays as it is here and is
// reported, to be decided by hand.
const (
	// AcceptFields leaves it to the resolution of each field; the same as
	// AcceptOther by its name in the originals.
	AcceptFields ConflictPolicy = "fields"
	AcceptOther  ConflictPolicy = "other"
	// AcceptNewer accepts a remote version that is not older than the local.
	AcceptNewer ConflictPolicy = "newer"
	// AcceptMaster accepts what its owner sent, unless this is the owner.
	AcceptMaster ConflictPolicy = "master"
	// AcceptNone never accepts; AcceptThis is its name in the originals.
	AcceptNone ConflictPolicy = "inbox"
	AcceptThis ConflictPolicy = "this"
)

// DeletePolicy says what becomes of a record that one side has deleted and
// the other has edited.
type DeletePolicy string

// The delete policies; they are for [Strict] alone.
const (
	// DeleteNewer keeps what happened last.
	DeleteNewer DeletePolicy = "newer"
	// DeleteWins deletes the record whatever was edited, for good.
	DeleteWins DeletePolicy = "delete"
	// EditWins keeps the record if there is an edit that whoever deleted it
	// did not know.
	EditWins DeletePolicy = "edit"
)

// Compat says by whose rules to decide.
type Compat string

// The rules. Those of Sahana Eden know only the resolutions that it has:
// this, other, newer and master.
const (
	// Strict are our own.
	Strict Compat = "strict"
	// Eden is the line in use since 2011.
	Eden Compat = "eden"
	// Eden21 is S3XRC 2.1 of 2010, which knows mastercopy as well.
	Eden21 Compat = "eden-2.1"
	// Eden18 is S3XRC 1.8 of 2010, which knows no master.
	Eden18 Compat = "eden-1.8"
)

// DefaultTolerance is how far ahead of now a time may be under [Strict]
// before it counts as now.
const DefaultTolerance = 5 * time.Minute

// Policy is what a [Resolver] is compiled from.
type Policy struct {
	// Compat defaults to [Strict].
	Compat Compat
	// Strategy lists the methods that may be applied. Nil means all that the
	// line of Compat has; a list that is there but empty means none: every
	// record is skipped with its components.
	Strategy []Method
	// Resolution is that of all fields; it excludes Fields.
	Resolution Resolution
	// Fields are resolutions by name of field.
	Fields map[string]Resolution
	// Default is the resolution of fields that have none, This if empty. As
	// long as nobody chose it, what only one side has changed since the base
	// is taken even so. If neither Resolution nor Fields nor Default is given,
	// the lines of Eden take what is imported.
	Default Resolution
	// Conflict defaults to [AcceptFields].
	Conflict ConflictPolicy
	// Deletes defaults to [DeleteNewer].
	Deletes DeletePolicy
	// Tolerance defaults to [DefaultTolerance].
	Tolerance time.Duration
	// Hook resolves the fields whose resolution is [ByHook].
	Hook Hook
}

// Contest is a field that a [Hook] decides on. Values are raw JSON, nil where
// there is no such value.
type Contest struct {
	Field                 string
	Local, Remote, Base   []byte
	LocalTime, RemoteTime Stamp
	LocalMCI, RemoteMCI   int
}

// Hook returns the value of a field as JSON, or nil to leave it out. An error
// makes the field a conflict; the local value stays. It has to be safe for
// concurrent use, and gives the same answer to the same question.
type Hook func(Contest) ([]byte, error)

// line is what sets the rules of one [Compat] apart.
type line struct {
	compat  Compat
	methods []Method
	names   []Resolution
	// unknownIsDefault: a resolution that is not known counts as the default,
	// not as This.
	unknownIsDefault bool
	// createByMaster: Master withholds fields of new records too.
	createByMaster bool
	// overwriteMCI: updates take over the imported mci.
	overwriteMCI bool
}

// lines returns the table of rules by which Compat decides.
func lines() []line {
	all := []Method{Create, Update, Remove, Merge}
	ours := []Resolution{This, Other, Newer, Older, Master, MasterCopy, Min, Max, Union, Counter, Longest, ByHook}
	return []line{
		{compat: Strict, methods: all, names: ours},
		{compat: Eden, methods: all, names: []Resolution{This, Other, Newer, Master}, createByMaster: true},
		{compat: Eden21, methods: all[:2], names: []Resolution{This, Other, Newer, Master, MasterCopy}, unknownIsDefault: true, createByMaster: true, overwriteMCI: true},
		{compat: Eden18, methods: all[:2], names: []Resolution{This, Other, Newer}, unknownIsDefault: true},
	}
}

// DecodePolicy reads a policy from values as a configuration gives them, and
// returns every mistake. Under resolution stands a name, or names by field;
// there "__default__" means the same as default_resolution.
func DecodePolicy(values map[string]any) (Policy, []gapless.OptionError) {
	type options struct {
		Compat     string        `option:"compat" default:"strict" enum:"strict,eden,eden-2.1,eden-1.8" help:"By whose rules to decide."`
		Strategy   []string      `option:"strategy" help:"Methods that may be applied: create, update, delete, merge. All by default; an empty list skips everything."`
		Resolution string        `option:"resolution" help:"Whose value is kept, for all fields or by field." example:"newer"`
		Default    string        `option:"default_resolution" help:"Whose value is kept of fields that are not listed."`
		Conflict   string        `option:"conflict" default:"fields" enum:"fields,inbox,this,other,newer,master" help:"What becomes of a record of which both sides changed the same field."`
		Deletes    string        `option:"deletes" default:"newer" enum:"newer,delete,edit" help:"What becomes of a record that one side deleted and the other edited."`
		Tolerance  time.Duration `option:"tolerance" default:"5m" help:"How far ahead of now a time may be before it counts as now."`
	}
	var o options
	plain := make(map[string]any, len(values))
	for name, value := range values {
		if _, byField := value.(map[string]any); !byField || name != "resolution" {
			plain[name] = value
		}
	}
	mistakes := gapless.DecodeOptions(&o, plain)
	p := Policy{
		Compat: Compat(o.Compat), Resolution: Resolution(o.Resolution), Default: Resolution(o.Default),
		Conflict: ConflictPolicy(o.Conflict), Deletes: DeletePolicy(o.Deletes), Tolerance: o.Tolerance,
	}
	if values["strategy"] != nil {
		p.Strategy = make([]Method, len(o.Strategy))
		for i, name := range o.Strategy {
			p.Strategy[i] = Method(name)
		}
	}
	if byField, ok := values["resolution"].(map[string]any); ok {
		mistakes = append(mistakes, p.decodeFields(byField)...)
	}
	if len(mistakes) == 0 {
		mistakes = p.mistakes(true)
	}
	return p, mistakes
}

// decodeFields reads resolutions by field.
func (p *Policy) decodeFields(byField map[string]any) []gapless.OptionError {
	var o struct {
		Fields map[string]string `option:"resolution" help:"Resolutions by name of field."`
	}
	mistakes := gapless.DecodeOptions(&o, map[string]any{"resolution": byField})
	p.Fields = make(map[string]Resolution, len(o.Fields))
	for name, resolution := range o.Fields {
		if name != "__default__" {
			p.Fields[name] = Resolution(resolution)
			continue
		}
		if p.Default != "" {
			mistakes = append(mistakes, invalid("default_resolution", "is given twice", "remove __default__ from resolution"))
		}
		p.Default = Resolution(resolution)
	}
	return mistakes
}

// mistakes checks a policy. Values that a peer sends are not checked against
// the names of its line unless strictly is set: Eden takes what it does not
// know for something else.
func (p *Policy) mistakes(strictly bool) []gapless.OptionError {
	var list []gapless.OptionError
	at := slices.IndexFunc(lines(), func(l line) bool { return l.compat == p.Compat })
	if at < 0 {
		return []gapless.OptionError{invalid("compat", fmt.Sprintf("%q is not one of strict, eden, eden-2.1, eden-1.8", p.Compat), "")}
	}
	l := lines()[at]
	for _, m := range p.Strategy {
		if !slices.Contains(l.methods, m) {
			list = append(list, unknown("strategy", string(m), l.methods))
		}
	}
	if p.Resolution != "" && len(p.Fields) > 0 {
		list = append(list, invalid("resolution", "is given for all fields and by field", "move the one for all fields to default_resolution"))
	}
	if strictly || p.Compat == Strict {
		list = append(list, l.unknownNames(p)...)
	}
	policies := []ConflictPolicy{AcceptFields, AcceptNone, AcceptThis, AcceptOther, AcceptNewer, AcceptMaster}
	if p.Conflict != "" && !slices.Contains(policies, p.Conflict) && (strictly || p.Compat == Strict) {
		list = append(list, unknown("conflict", string(p.Conflict), policies))
	}
	if deletes := []DeletePolicy{DeleteNewer, DeleteWins, EditWins}; p.Deletes != "" && !slices.Contains(deletes, p.Deletes) {
		list = append(list, unknown("deletes", string(p.Deletes), deletes))
	}
	if p.Tolerance < 0 {
		list = append(list, invalid("tolerance", "is negative", "write a duration such as 5m"))
	}
	slices.SortStableFunc(list, func(a, b gapless.OptionError) int { return strings.Compare(a.Option, b.Option) })
	return list
}

// unknownNames lists resolutions that the line does not have.
func (l *line) unknownNames(p *Policy) []gapless.OptionError {
	var list []gapless.OptionError
	look := func(option string, r Resolution) {
		if r == "" || slices.Contains(l.names, r) || p.Compat == Strict && strings.HasPrefix(string(r), exprPrefix) {
			return
		}
		list = append(list, unknown(option, string(r), l.names))
	}
	look("resolution", p.Resolution)
	look("default_resolution", p.Default)
	for name, r := range p.Fields {
		if r == "" {
			list = append(list, invalid("resolution."+name, "is empty", "write a resolution, or remove the field"))
		}
		look("resolution."+name, r)
	}
	return list
}

func invalid(option, problem, fix string) gapless.OptionError {
	return gapless.OptionError{Option: option, Problem: problem, Fix: fix, Code: gapless.CodeInvalidOption}
}

func unknown[T ~string](option, value string, names []T) gapless.OptionError {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return invalid(option, fmt.Sprintf("%q is not one of %s", value, strings.Join(texts, ", ")), gapless.DidYouMean(value, texts))
}
