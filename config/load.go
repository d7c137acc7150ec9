package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// Load reads the configuration at path, a file or a folder that holds
// [FileName], and checks it against the connectors that there are. lookup
// resolves ${NAME}.
//
// It returns either a configuration, or the problems that prevent one, in the
// order of the file. An error means that the file could not be read at all.
func Load(path string, lookup Lookup, connectors []gapless.Connector) (*Config, []Problem, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	data, err := readBounded(path, maxFileBytes+1)
	if err != nil {
		return nil, nil, gapless.Errorf(gapless.CodeConfig, path, "read configuration: %w", err).
			WithHint("name a file or a folder that holds %s, or write one with gapless init", FileName)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, nil, gapless.Errorf(gapless.CodeConfig, path, "find the configuration's folder: %w", err)
	}
	c, problems := parse(path, dir, data, lookup, connectors)
	return c, problems, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, most))
}

// loader turns the nodes of one file into a Config.
type loader struct {
	*reporter
	dir        string
	lookup     Lookup
	connectors []gapless.Connector
	config     *Config
}

func parse(file, dir string, data []byte, lookup Lookup, connectors []gapless.Connector) (*Config, []Problem) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	r := newReporter(file, strings.ToValidUTF8(text, "?"), wordsOf(connectors))
	if at, fix, bad := unreadable(data, text); bad != "" {
		r.add(at, gapless.CodeConfig, bad, fix)
		return nil, r.problems
	}
	top := r.parse(text)
	if top == nil {
		return nil, r.problems
	}
	l := &loader{
		reporter: r, dir: dir, lookup: lookup, connectors: connectors,
		config: &Config{File: file, Dir: dir},
	}
	l.top(top)
	if len(l.problems) > 0 {
		return nil, l.sorted()
	}
	return l.config, nil
}

// unreadable says why bytes cannot be a configuration.
func unreadable(data []byte, text string) (at place, fix, message string) {
	switch {
	case len(data) > maxFileBytes:
		return place{1, 1}, "split it", fmt.Sprintf("the file is larger than %s", gapless.ByteSize(maxFileBytes))
	case !utf8.Valid(data):
		valid := strings.ToValidUTF8(text, "\x00")
		return placeIn(valid, strings.IndexByte(valid, 0)), "save the file as UTF-8", "the file is not UTF-8 text"
	case bytes.IndexByte(data, 0) >= 0:
		return placeIn(text, strings.IndexByte(text, 0)), "save the file as UTF-8", "the file is not a text file"
	}
	return place{}, "", ""
}

func placeIn(text string, offset int) place {
	before := text[:offset]
	line := strings.Count(before, "\n") + 1
	return place{line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1}
}

// The keys there are outside of a connector's own options.
var (
	topKeys       = []string{"state", "hub", "pushapi", "car", "sahana", "cart", "events", "connectors"}
	serverKeys    = []string{"pushapi", "car", "sahana", "cart", "events"} // that connectors are not needed with
	connectorKeys = []string{"from", "to", "between", "resolve", "filter", "map", "rename", "keep", "drop", "deletes", "reconcile", "sync", "parallel", "batch", "retry"}
)

// general holds the single values at the top of a configuration.
type general struct {
	State string `option:"state" default:".gapless" help:"Folder in which the project keeps what survives runs: state, hub, sockets. Relative to this file."`
}

func (l *loader) top(n *node) {
	if !l.isBlock(n, n.place, "a configuration") {
		return
	}
	l.known(n, "key", topKeys)
	var g general
	decode(l, n, &g)
	l.config.State = g.State
	if !filepath.IsAbs(g.State) {
		l.config.State = filepath.Join(l.dir, g.State)
	}
	l.settings(n, "hub", &l.config.Hub)
	l.settings(n, "pushapi", &l.config.PushAPI)
	l.settings(n, "car", &l.config.CAR)
	l.sahana(n)
	l.cart(n)
	serves := slices.ContainsFunc(serverKeys, func(key string) bool {
		_, found := n.get(key)
		return found
	})
	connectors, found := n.get("connectors")
	switch {
	case !found && serves:
	case !found:
		l.add(n.place, gapless.CodeMissingOption, "no connectors are configured", "add connectors: with a name, from: and to:")
	case connectors.value.shape == absent || connectors.value.shape == block && len(connectors.value.entries) == 0:
		l.add(connectors.at, gapless.CodeMissingOption, "no connectors are configured", "add a name, and below it from: and to:")
	case l.isBlock(connectors.value, connectors.at, "connectors"):
		for _, e := range connectors.value.entries {
			l.connector(e)
		}
		l.clients(n, connectors.value)
	}
	l.events(n)
}

// clients refuses names for clients of the Push API that connectors have: both
// would write, and sweep, the same records of the hub.
func (l *loader) clients(n, connectors *node) {
	at, found := n.find("pushapi.connectors")
	if !found || l.reported(at) {
		return
	}
	api, _ := n.get("pushapi")
	names, _ := api.value.get("connectors")
	for i, name := range l.config.PushAPI.Connectors {
		if i < len(names.value.items) {
			at = names.value.items[i].place
		}
		if own, taken := connectors.get(name); taken {
			l.addf(at, gapless.CodeInvalidOption, "give one of them another name",
				"clients cannot push to %s, which is the connector of line %d", shorten(name), own.at.line)
		}
	}
}

// isBlock reports whether n is a block, and a problem if it is not.
func (l *loader) isBlock(n *node, at place, what string) bool {
	if n.shape == block {
		return true
	}
	l.addf(at, gapless.CodeInvalidOption, "write its keys below it, indented by two spaces", "%s must be a block of keys with values, not %s", what, n.shape)
	return false
}

// known reports the keys of a block that are not among names.
func (l *loader) known(n *node, what string, names []string) {
	for _, e := range n.entries {
		if !slices.Contains(names, e.key) {
			l.unknown(e, what, names)
		}
	}
}

func (l *loader) unknown(e entry, what string, names []string) {
	fix := gapless.DidYouMean(e.key, names)
	if fix == "" {
		fix = chooseFrom(names)
	}
	l.addf(e.at, gapless.CodeUnknownOption, fix, "%s %s is not known", what, shorten(e.key))
}

// chooseFrom lists what could have been meant.
func chooseFrom(names []string) string {
	if len(names) == 0 {
		return "remove it"
	}
	return "choose from " + strings.Join(names, ", ")
}
