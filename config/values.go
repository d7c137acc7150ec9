package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless-sync/gapless"
)

// given are the options of one block.
type given struct {
	// resolved values, and the same as written.
	resolved, written map[string]any
	at                map[string]entry
	names             []string // of the options there are
	// environment names the options that hold something of the environment.
	environment map[string]bool
	// broken names the options whose value was reported already.
	broken map[string]bool
}

// values resolves the values of a block. Numbers and switches stay text: only
// the declaration knows whether 1.10 is a number or a version.
func (l *loader) values(n *node, options []gapless.Option) given {
	v := given{
		resolved: map[string]any{}, written: map[string]any{}, at: map[string]entry{},
		environment: map[string]bool{}, broken: map[string]bool{},
	}
	secret := map[string]bool{}
	for _, o := range options {
		secret[o.Name] = o.Type == "secret"
		v.names = append(v.names, o.Name)
	}
	for _, e := range n.entries {
		v.at[e.key] = e
		v.written[e.key] = e.value.plain()
		x := &resolver{loader: l, secret: secret[e.key]}
		v.resolved[e.key] = x.value(e.value)
		v.environment[e.key], v.broken[e.key] = x.environment || x.secret, x.broken
	}
	return v
}

// plain returns a node as options take it, unresolved.
func (n *node) plain() any {
	switch n.shape {
	case single:
		return n.text
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = item.plain()
		}
		return items
	case block:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			m[e.key] = e.value.plain()
		}
		return m
	}
	return nil
}

// resolver resolves the references in one option's value.
type resolver struct {
	*loader
	secret      bool
	environment bool
	broken      bool
}

func (x *resolver) value(n *node) any {
	switch n.shape {
	case single:
		text, bad := x.text(n.text)
		if bad != nil {
			x.broken = true
			x.add(n.place, gapless.CodeInvalidOption, bad.message, bad.fix)
		}
		return text
	case list:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = x.value(item)
		}
		return items
	case block:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			m[e.key] = x.value(e.value)
		}
		return m
	}
	return nil
}

func (x *resolver) text(written string) (string, *mistake) {
	e, bad := expand(written, x.lookup)
	x.environment = x.environment || e.environment
	switch {
	case bad != nil || !x.secret:
		return e.text, bad
	case strings.HasPrefix(written, "file:"):
		return readSecret(x.dir, strings.TrimPrefix(e.text, "file:"))
	case e.references == 0 || e.literalDefault:
		return "", &mistake{"a secret must not be written into the configuration", "put it in the environment or in a file, and write ${NAME} or file:PATH"}
	}
	return e.text, nil
}

const maxSecretBytes = 64 << 10

// readSecret returns the content of a file without its last line end.
func readSecret(dir, path string) (string, *mistake) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if info, err := os.Stat(path); err != nil {
		return "", noSecret(err)
	} else if !info.Mode().IsRegular() {
		return "", noSecret(errors.New("it is not a file"))
	}
	data, err := readBounded(path, maxSecretBytes+1)
	switch {
	case err != nil:
		return "", noSecret(err)
	case len(data) > maxSecretBytes:
		return "", noSecret(fmt.Errorf("it is larger than %s", gapless.ByteSize(maxSecretBytes)))
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" {
		return "", noSecret(errors.New("it is empty"))
	}
	return secret, nil
}

// noSecret leaves out the path, which may come from the environment.
func noSecret(err error) *mistake {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return &mistake{"the secret cannot be read from its file: " + err.Error(), "name a readable file, relative to this configuration"}
}

// settings decodes the block of a key into the struct behind pointer; the other
// keys that it may have are read elsewhere.
func (l *loader) settings(parent *node, key string, pointer any, others ...string) {
	e, found := parent.get(key)
	n := e.value
	if !found || n.shape == absent {
		n = &node{place: e.at, shape: block}
	}
	if l.isBlock(n, n.place, key) {
		l.fields(n, pointer, others)
	}
}

// fields is settings for a block that has no key.
func (l *loader) fields(n *node, pointer any, others []string) {
	var names []string
	for _, o := range gapless.DescribeOptions(pointer) {
		names = append(names, o.Name)
	}
	l.known(n, "key", append(names, others...))
	decode(l, n, pointer)
}

// decode fills the struct behind pointer from those keys of a block that it
// declares; all others are somebody else's.
func decode(l *loader, n *node, pointer any) (given, bool) {
	options := gapless.DescribeOptions(pointer)
	own := &node{place: n.place, shape: block}
	for _, o := range options {
		if e, found := n.get(o.Name); found {
			own.entries = append(own.entries, e)
		}
	}
	v := l.values(own, options)
	return v, l.check(v, n.place, "key", func(values map[string]any) []gapless.OptionError {
		return gapless.DecodeOptions(pointer, values)
	})
}

// check reports the mistakes that a declaration finds in values, and whether
// there is none. Texts that came from the environment are never shown: such
// values are described as they are written.
func (l *loader) check(v given, at place, what string, check func(map[string]any) []gapless.OptionError) bool {
	var mistakes []gapless.OptionError
	for _, m := range check(v.resolved) {
		if !v.broken[v.owner(m.Option)] {
			mistakes = append(mistakes, m)
		}
	}
	for _, m := range mistakes {
		if v.environment[v.owner(m.Option)] {
			m.Problem, m.Fix = l.describe(v, m.Option, check)
		}
		if m.Code == gapless.CodeUnknownOption && m.Fix == "" {
			m.Fix = chooseFrom(v.names)
		}
		e, present := v.entry(m.Option)
		switch {
		case m.Code == gapless.CodeInvalidOption && present:
			l.addf(e.value.place, m.Code, m.Fix, "%s %s: %s", what, shorten(m.Option), m.Problem)
		case present:
			l.addf(e.at, m.Code, m.Fix, "%s %s %s", what, shorten(m.Option), m.Problem)
		default:
			l.addf(at, m.Code, m.Fix, "%s %s %s", what, shorten(m.Option), m.Problem)
		}
	}
	return len(mistakes) == 0
}

// owner returns the option that a mistake is in: one in an element of a map is
// named OPTION.ELEMENT.
func (v given) owner(option string) string {
	if _, written := v.at[option]; written {
		return option
	}
	top, _, _ := strings.Cut(option, ".")
	return top
}

// entry returns where an option or an element of one stands.
func (v given) entry(option string) (entry, bool) {
	owner := v.owner(option)
	e, present := v.at[owner]
	if element, found := strings.CutPrefix(option, owner+"."); found && present {
		if inside, found := e.value.get(element); found {
			return inside, true
		}
	}
	return e, present
}

// describe says what is wrong with an option's value without showing what
// its references stand for.
func (l *loader) describe(v given, name string, check func(map[string]any) []gapless.OptionError) (problem, fix string) {
	shown := map[string]any{v.owner(name): v.written[v.owner(name)]}
	for _, m := range check(shown) {
		if m.Option == name {
			return m.Problem, m.Fix
		}
	}
	return "the value that the reference stands for cannot be used", ""
}
