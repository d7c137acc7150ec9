package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// end is a place of a connector where a kind stands.
type end string

const (
	from end = "from"
	to   end = "to"
	both end = "between" // a side of a two-way connector, which is source and destination
)

func (s end) role() string {
	switch s {
	case from:
		return "source"
	case to:
		return "destination"
	}
	return "side of a two-way connector"
}

// label names the end in a message.
func (s end) label() string {
	if s == both {
		return "a side"
	}
	return string(s)
}

// example is how a kind is written at the end.
func (s end) example(kind string) string {
	if s == both {
		return "- " + kind
	}
	return string(s) + ": " + kind
}

// options returns what a kind accepts at this end, and whether it can stand
// there.
func (s end) options(c gapless.Connector) (list []gapless.Option, has bool) {
	switch s {
	case from:
		return sourceOptions(c), c.Source != nil
	case to:
		return destinationOptions(c), c.Destination != nil
	}
	return sideOptions(c), c.Source != nil && c.Destination != nil
}

func (s end) check(c gapless.Connector, values map[string]any, env gapless.Env) []gapless.OptionError {
	switch s {
	case from:
		return c.Source.Check(values, env)
	case to:
		return c.Destination.Check(values, env)
	}
	return checkSide(c, values, env)
}

func sourceOptions(c gapless.Connector) []gapless.Option {
	if c.Source == nil {
		return nil
	}
	return c.Source.Options
}

func destinationOptions(c gapless.Connector) []gapless.Option {
	if c.Destination == nil {
		return nil
	}
	return c.Destination.Options
}

const namePattern = "^[a-z0-9-]{1,64}$"

var validName = regexp.MustCompile(namePattern)

// running holds the single values of a connector that concern how it runs.
type running struct {
	Reconcile string `option:"reconcile" default:"daily" example:"6h" help:"How often to enumerate the keys of a source that cannot see deletes: daily, always, never, or a period."`
	Parallel  int    `option:"parallel" default:"4" help:"Partitions read at once."`
}

func (l *loader) connector(e entry) {
	if !validName.MatchString(e.key) {
		l.addf(e.at, gapless.CodeConfig, "use lower case letters, digits and dashes, at most 64", "%q cannot be the name of a connector", shorten(e.key))
	}
	n := e.value
	if !l.isBlock(n, e.at, "connector "+shorten(e.key)) {
		return
	}
	l.known(n, "key", connectorKeys)
	c := Connector{Name: e.key, Line: e.at.line}
	if two, found := n.get(string(both)); found {
		c.Between = l.between(e, two)
	} else {
		c.From = l.endpoint(e, from)
		c.To = l.endpoint(e, to)
		c.Mapping = l.mapping(n)
		l.oneWay(n)
	}
	l.settings(n, "deletes", &c.Deletes)
	if c.Between != nil {
		l.oneWayDeletes(n)
	}
	l.settings(n, "sync", &c.Sync)
	l.settings(n, "batch", &c.Batch)
	l.settings(n, "retry", &c.Retry)
	var r running
	if _, ok := decode(l, n, &r); ok {
		c.Parallel = r.Parallel
		c.Reconcile = l.reconcile(n, r.Reconcile)
	}
	l.bounds(n, &c)
	l.config.Connectors = append(l.config.Connectors, c)
}

func (l *loader) reconcile(n *node, text string) time.Duration {
	switch text {
	case "daily":
		return 24 * time.Hour
	case "always":
		return 0
	case "never":
		return ReconcileNever
	}
	every, err := time.ParseDuration(text)
	if err != nil || every <= 0 {
		e, _ := n.get("reconcile")
		l.add(e.value.place, gapless.CodeInvalidOption, "reconcile says how often keys are enumerated", "write daily, always, never, or a period such as 6h")
	}
	return every
}

// bounds checks what the declarations cannot say.
func (l *loader) bounds(n *node, c *Connector) {
	for _, b := range []struct {
		path      string
		value     float64
		low, high float64
	}{
		{"parallel", float64(c.Parallel), 1, 256},
		{"deletes.max_percent", c.Deletes.MaxPercent, 0, 100},
		{"deletes.max_records", float64(c.Deletes.MaxRecords), 0, 1 << 40},
		{"deletes.keep", c.Deletes.Keep.Seconds(), 0, 10 * 365 * 86400},
		{"sync.every_records", float64(c.Sync.EveryRecords), 1, 1 << 30},
		{"sync.every", c.Sync.Every.Seconds(), 0.01, 86400},
		{"batch.rows", float64(c.Batch.Rows), 1, 1 << 20},
		{"batch.size", float64(c.Batch.Size), 1 << 10, 1 << 30},
		{"retry.attempts", float64(c.Retry.Attempts), 1, 1000},
	} {
		at, found := n.find(b.path)
		if found && !l.reported(at) && (b.value < b.low || b.value > b.high) {
			l.addf(at, gapless.CodeInvalidOption, "", "%s is out of bounds: want %s", b.path, interval(b.path, b.low, b.high))
		}
	}
}

func interval(path string, low, high float64) string {
	switch path {
	case "deletes.keep":
		return "0 to 3650d"
	case "sync.every":
		return "10ms to 24h"
	case "batch.size":
		return fmt.Sprintf("%s to %s", gapless.ByteSize(low), gapless.ByteSize(high))
	}
	return fmt.Sprintf("%.0f to %.0f", low, high)
}

// find returns where the value at a dotted path stands.
func (n *node) find(path string) (place, bool) {
	var e entry
	for key := range strings.SplitSeq(path, ".") {
		var found bool
		if e, found = n.get(key); !found || e.value.shape == absent {
			return place{}, false
		}
		n = e.value
	}
	return n.place, true
}

// endpoint reads one end of a connector.
func (l *loader) endpoint(connector entry, s end) Endpoint {
	e, found := connector.value.get(string(s))
	if !found || e.value.shape == absent {
		at := connector.at
		if found {
			at = e.at
		}
		l.addf(at, gapless.CodeMissingOption, "add "+s.example(l.anExample(s)), "connector %s has no %s", shorten(connector.key), s.role())
		return Endpoint{}
	}
	return l.kind(connector.key, s, e.value, e.at)
}

// kind reads what stands at an end: the name of a kind, or a block of one key,
// the kind, with its options below.
func (l *loader) kind(connector string, s end, n *node, at place) Endpoint {
	switch {
	case n.shape == single:
		return l.open(connector, s, entry{key: n.text, at: n.place, value: &node{place: n.place}})
	case n.shape == block && len(n.entries) == 1:
		return l.open(connector, s, n.entries[0])
	case n.shape == block && len(n.entries) > 1:
		l.addf(n.entries[1].at, gapless.CodeConfig, fmt.Sprintf("indent the options of %s below it", shorten(n.entries[0].key)), "%s names more than one kind of connector", s.label())
	default:
		l.addf(at, gapless.CodeConfig, "write for example "+s.example(l.anExample(s)), "%s names no kind of connector", s.label())
	}
	return Endpoint{}
}

// open checks the options of a kind.
func (l *loader) open(connector string, s end, kind entry) Endpoint {
	i := slices.IndexFunc(l.connectors, func(c gapless.Connector) bool { return c.Name == kind.key })
	if i < 0 {
		fix := gapless.DidYouMean(kind.key, l.kinds(s))
		if fix == "" {
			fix = chooseFrom(l.kinds(s))
		}
		l.addf(kind.at, gapless.CodeUnknownKind, fix, "there is no kind of connector named %s", shorten(kind.key))
		return Endpoint{}
	}
	c := l.connectors[i]
	options, has := s.options(c)
	if !has {
		l.addf(kind.at, gapless.CodeConfig, chooseFrom(l.kinds(s)), "%s cannot be a %s", c.Name, s.role())
		return Endpoint{}
	}
	if kind.value.shape == absent {
		kind.value = &node{place: kind.at, shape: block}
	}
	if !l.isBlock(kind.value, kind.value.place, "what is below "+c.Name) {
		return Endpoint{}
	}
	v := l.values(kind.value, options)
	env := gapless.Env{Connector: connector, Dir: l.dir, State: l.config.State}
	l.check(v, kind.at, "option", func(values map[string]any) []gapless.OptionError { return s.check(c, values, env) })
	secret := map[string]bool{}
	for _, o := range options {
		if o.Type == "secret" {
			secret[o.Name] = true
		}
	}
	return Endpoint{Kind: c.Name, Options: v.resolved, secret: secret}
}

// kinds lists what can stand at an end.
func (l *loader) kinds(s end) []string {
	var names []string
	for _, c := range l.connectors {
		if _, has := s.options(c); has {
			names = append(names, c.Name)
		}
	}
	return names
}

func (l *loader) anExample(s end) string {
	if kinds := l.kinds(s); len(kinds) > 0 {
		return kinds[0]
	}
	return "KIND"
}
