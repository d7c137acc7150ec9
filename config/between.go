package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
)

// Between makes a connector two-way: what changes on one side is brought to
// the other, and the policy decides where both have changed the same.
type Between struct {
	// Sides in the order of the file: the first is "this" in resolutions, the
	// second "other".
	Sides [2]Side
	// Policy is by our own rules, [resolve.Strict].
	Policy resolve.Policy
}

// Side is one end of a two-way connector: a kind that is opened both as a
// source and as a destination. Each gets those of the side's options that it
// declares; one that both declare goes to both.
type Side struct {
	Kind                string
	Source, Destination Endpoint
}

// String lists kind and options, secrets hidden.
func (s Side) String() string {
	all := Endpoint{Kind: s.Kind, Options: maps.Clone(s.Source.Options), secret: maps.Clone(s.Source.secret)}
	maps.Copy(all.Options, s.Destination.Options)
	maps.Copy(all.secret, s.Destination.secret)
	return all.String()
}

// resolving declares what a policy is made of to editors and samples; its
// values are decoded by [resolve.DecodePolicy].
type resolving struct {
	Compat     string        `option:"compat" default:"strict" enum:"strict" help:"By whose rules to decide; a two-way connector has its own."`
	Strategy   []string      `option:"strategy" example:"[create, update]" help:"Methods that may be applied to either side: create, update, delete, merge. All by default."`
	Resolution string        `option:"resolution" example:"newer" help:"Whose value of a field is kept, for all fields or by field: this is the first side, other the second."`
	Default    string        `option:"default_resolution" example:"this" help:"Whose value is kept of fields that are not listed."`
	Conflict   string        `option:"conflict" default:"fields" enum:"fields,inbox,this,other,newer,master" help:"What becomes of a record of which both sides changed the same field."`
	Deletes    string        `option:"deletes" default:"newer" enum:"newer,delete,edit" help:"What becomes of a record that one side deleted and the other edited."`
	Tolerance  time.Duration `option:"tolerance" default:"5m" help:"How far ahead of now a time may be before it counts as now."`
}

const keyResolve = "resolve"

// oneWay refuses what only two-way connectors have.
func (l *loader) oneWay(n *node) {
	if e, found := n.get(keyResolve); found {
		l.add(e.at, gapless.CodeConfig, "resolve decides between two sides, but this connector has a source and a destination", "write between: in place of from: and to:, or remove it")
	}
}

// oneWayDeletes refuses settings of deletes that two-way connectors do not have.
func (l *loader) oneWayDeletes(n *node) {
	for _, key := range []string{"keep", "canary"} {
		if at, found := n.find("deletes." + key); found {
			l.addf(at, gapless.CodeConfig, "remove it", "deletes.%s has no place here: a two-way connector keeps what loses in its inbox, and has no source that decides alone", key)
		}
	}
}

// between reads the sides of a two-way connector and its policy, and refuses
// what it cannot have.
func (l *loader) between(connector, e entry) *Between {
	for _, key := range append([]string{string(from), string(to)}, mappingKeys...) {
		excluded, found := connector.value.get(key)
		switch {
		case !found:
		case slices.Contains(mappingKeys, key):
			l.addf(excluded.at, gapless.CodeConfig, "remove it", "%s has no place here: a two-way connector passes records as they are", key)
		default:
			l.addf(excluded.at, gapless.CodeConfig, "remove it, or between", "a connector has either from and to or between")
		}
	}
	b := &Between{Policy: l.policy(connector.value)}
	if n := e.value; n.shape != list || len(n.items) != len(b.Sides) {
		l.add(e.at, gapless.CodeConfig, "between needs two sides", "write two kinds below it, each after a dash")
		return b
	}
	for i, item := range e.value.items {
		b.Sides[i] = l.side(connector.key, item)
	}
	if s := b.Sides; s[0].Kind != "" && reflect.DeepEqual(s[0], s[1]) {
		l.add(e.value.items[1].place, gapless.CodeConfig, "both sides are the same", "give them different options")
	}
	return b
}

// side reads one side.
func (l *loader) side(connector string, n *node) Side {
	at := l.kind(connector, both, n, n.place)
	i := slices.IndexFunc(l.connectors, func(c gapless.Connector) bool { return c.Name == at.Kind })
	if i < 0 {
		return Side{}
	}
	c := l.connectors[i]
	return Side{Kind: at.Kind, Source: at.only(c.Source.Options), Destination: at.only(c.Destination.Options)}
}

// only returns the endpoint with nothing but these options.
func (e Endpoint) only(options []gapless.Option) Endpoint {
	return Endpoint{Kind: e.Kind, Options: only(e.Options, options), secret: e.secret}
}

func only(values map[string]any, options []gapless.Option) map[string]any {
	known := map[string]any{}
	for _, o := range options {
		if value, given := values[o.Name]; given {
			known[o.Name] = value
		}
	}
	return known
}

// sideOptions are those of source and destination, each once; it is required
// if either requires it.
func sideOptions(c gapless.Connector) []gapless.Option {
	list := slices.Clone(sourceOptions(c))
	for _, o := range destinationOptions(c) {
		i := slices.IndexFunc(list, func(known gapless.Option) bool { return known.Name == o.Name })
		if i < 0 {
			list = append(list, o)
			continue
		}
		list[i].Required = list[i].Required || o.Required
	}
	return list
}

// checkSide has each of source and destination check the options that it
// knows. What both complain about is reported once.
func checkSide(c gapless.Connector, values map[string]any, env gapless.Env) []gapless.OptionError {
	var names []string
	for _, o := range sideOptions(c) {
		names = append(names, o.Name)
	}
	var mistakes []gapless.OptionError
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, name) {
			mistakes = append(mistakes, gapless.OptionError{Option: name, Problem: "is not known", Fix: gapless.DidYouMean(name, names), Code: gapless.CodeUnknownOption})
		}
	}
	mistakes = append(mistakes, c.Source.Check(only(values, c.Source.Options), env)...)
	for _, m := range c.Destination.Check(only(values, c.Destination.Options), env) {
		if !slices.ContainsFunc(mistakes, func(known gapless.OptionError) bool { return known.Option == m.Option }) {
			mistakes = append(mistakes, m)
		}
	}
	return mistakes
}

// policy reads the block that says whose edits win.
func (l *loader) policy(n *node) resolve.Policy {
	e, found := n.get(keyResolve)
	if !found || e.value.shape == absent {
		e.value = &node{place: e.at, shape: block}
	}
	if !l.isBlock(e.value, e.at, keyResolve) {
		return resolve.Policy{}
	}
	v := l.values(e.value, gapless.DescribeOptions(new(resolving)))
	l.check(v, e.at, "key", policyMistakes)
	policy, _ := resolve.DecodePolicy(v.resolved) // its mistakes are reported
	return policy
}

// policyMistakes returns everything that is wrong with a policy.
func policyMistakes(values map[string]any) []gapless.OptionError {
	p, mistakes := resolve.DecodePolicy(values)
	decoded := len(mistakes) == 0
	if decoded {
		mistakes = strictMistakes(p)
	}
	rest := maps.Clone(values)
	for i := range mistakes {
		m := &mistakes[i]
		if _, written := values["default_resolution"]; m.Option == "default_resolution" && !written {
			m.Option = "resolution.__default__"
		}
		top, _, _ := strings.Cut(m.Option, ".")
		delete(rest, top)
	}
	if decoded || len(rest) == len(values) {
		return mistakes
	}
	return append(mistakes, policyMistakes(rest)...)
}

// strictMistakes returns what a two-way connector cannot do with a policy that
// was decoded: rules that are not ours, and expressions, each on its own.
func strictMistakes(p resolve.Policy) (mistakes []gapless.OptionError) {
	if p.Compat != resolve.Strict {
		return []gapless.OptionError{{Option: "compat", Problem: "a two-way connector decides by its own rules", Fix: "remove it", Code: gapless.CodeInvalidOption}}
	}
	options := map[string]resolve.Resolution{"resolution": p.Resolution, "default_resolution": p.Default}
	for name, r := range p.Fields {
		options["resolution."+name] = r
	}
	for _, option := range slices.Sorted(maps.Keys(options)) {
		_, err := resolve.Compile(resolve.Policy{Resolution: options[option]})
		if err == nil {
			continue
		}
		problem, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "resolution: "), "\n")
		m := gapless.OptionError{Option: option, Problem: problem, Code: gapless.CodeInvalidOption}
		if e, ok := errors.AsType[*gapless.Error](err); ok {
			m.Fix = e.Hint
		}
		mistakes = append(mistakes, m)
	}
	return mistakes
}

// policySchema describes the block of a policy. Only the resolution can be a
// block itself, of fields.
func policySchema() *jsonschema.Schema {
	s := settingsSchema("Whose edits win where both sides have changed a record.", new(resolving))
	one := s.Properties["resolution"]
	s.Properties["resolution"] = &jsonschema.Schema{
		Description: one.Description, Examples: one.Examples,
		AnyOf: []*jsonschema.Schema{scalarSchema(), {Type: "object", AdditionalProperties: scalarSchema()}},
	}
	return s
}
