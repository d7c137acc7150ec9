package config

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/gapless-sync/gapless"
)

// Bounds of a configuration. They keep the parser's time and stack small,
// whatever the file holds.
const (
	maxFileBytes = 1 << 20
	maxTokens    = 40_000
	maxDepth     = 40
	maxNodes     = 100_000 // aliases count as what they stand for
)

// shape is what a node is.
type shape uint8

const (
	absent shape = iota // nothing written after the key
	single
	list
	block
)

func (s shape) String() string {
	return [...]string{"nothing", "a single value", "a list", "a block"}[s]
}

// node is one value of the file and where it stands.
type node struct {
	place
	shape   shape
	text    string // of a single value
	items   []*node
	entries []entry
	size    int // number of nodes, aliases counted in full
}

type entry struct {
	key   string
	at    place
	value *node
}

// get returns the entry of a key.
func (n *node) get(key string) (entry, bool) {
	for _, e := range n.entries {
		if e.key == key {
			return e, true
		}
	}
	return entry{}, false
}

// tree reads a document into nodes.
type tree struct {
	*reporter
	anchors map[string]*node
	full    bool
}

// parse returns the document's top node, or nil after reporting why there is
// none.
func (r *reporter) parse(text string) *node {
	tokens := lexer.Tokenize(text)
	if at, ok := tooDeep(tokens); ok {
		r.add(at, gapless.CodeConfig, "the file is too large or nested too deeply to be a configuration", "split it")
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.addSyntax(err)
		return nil
	}
	var top ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.DirectiveType:
		case top != nil:
			r.add(placeOf(doc.Body), gapless.CodeConfig, "a configuration is one document", "remove everything from the second --- on")
			return nil
		default:
			top = doc.Body
		}
	}
	if top == nil {
		r.add(place{1, 1}, gapless.CodeConfig, "the configuration is empty", "gapless init writes one to start from")
		return nil
	}
	t := &tree{reporter: r, anchors: map[string]*node{}}
	return t.node(top, 0)
}

// tooDeep finds tokens that a recursive parser should not be given.
func tooDeep(tokens token.Tokens) (place, bool) {
	depth, chain, line := 0, 0, 0
	for i, tk := range tokens {
		at := place{tk.Position.Line, tk.Position.Column}
		if tk.Position.Line != line {
			line, chain = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType, token.AliasType:
			chain++
		case token.MappingValueType:
			if depth == 0 {
				chain++
			}
		}
		if i >= maxTokens || depth > maxDepth || chain > maxDepth {
			return at, true
		}
	}
	return place{}, false
}

// syntaxFixes say what to write instead, by the beginning of the parser's
// message; the second text replaces the message.
var syntaxFixes = []struct{ begins, message, fix string }{
	{"found character '\t'", "a tab cannot indent", "indent with spaces"},
	{"tab character cannot", "a tab cannot indent", "indent with spaces"},
	{"found a tab", "a tab cannot indent", "indent with spaces"},
	{"could not find end character of", "a quotation mark is never closed", "close it, or remove it"},
	{"mapping value is not allowed", "there are two values on one line, or the indentation is wrong", "put quotes around a value that contains ': ', and give keys of one block the same indentation"},
	{"value is not allowed in this context", "the indentation does not fit the lines above", "give keys of one block the same indentation"},
	{"unexpected key name", "a key needs a colon and a value", "write it as key: value"},
	{"sequence end token", "a list is never closed", "add the missing ]"},
	{"',' or ']'", "a list is never closed", "add the missing ] or comma"},
	{"',' or '}'", "a block in braces is never closed", "add the missing } or comma"},
	{"could not find flow mapping end", "a block in braces is never closed", "add the missing }"},
	{"invalid header option", "what follows | or > is not understood", "put the text on the next line"},
	{"unexpected directive", "a value cannot begin with %", "put quotes around it"},
	{"", "", ""},
}

func (r *reporter) addSyntax(err error) {
	at, message := place{1, 1}, "it cannot be parsed"
	if se, ok := errors.AsType[yaml.Error](err); ok {
		message = se.GetMessage()
		if tk := se.GetToken(); tk != nil && tk.Position != nil {
			at = place{tk.Position.Line, tk.Position.Column}
		}
	}
	for _, f := range syntaxFixes {
		if !strings.HasPrefix(message, f.begins) {
			continue
		}
		if f.message != "" {
			message = f.message
		} else {
			message = "this is not YAML: " + message
		}
		r.add(at, gapless.CodeConfig, message, f.fix)
		return
	}
}

func placeOf(n ast.Node) place {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return placeOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(n.Key)
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return place{tk.Position.Line, tk.Position.Column}
	}
	return place{1, 1}
}

// node converts n. It always returns a node: what cannot be converted is
// reported and absent.
func (t *tree) node(n ast.Node, depth int) *node {
	out := &node{size: 1}
	if n == nil {
		return out
	}
	out.place = placeOf(n)
	if depth > maxDepth {
		t.overflow(out.place)
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		out.shape, out.text = single, n.Value
	case *ast.LiteralNode:
		out.shape, out.text = single, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out.shape, out.text = single, n.GetToken().Value
	case *ast.SequenceNode:
		t.sequence(out, n, depth)
	case *ast.MappingNode:
		t.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		t.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		delete(t.anchors, name) // an anchor is not known inside itself
		out = t.node(n.Value, depth+1)
		t.anchors[name] = out
	case *ast.AliasNode:
		return t.alias(n)
	default:
		t.add(out.place, gapless.CodeConfig, "this kind of YAML is not used in configurations", "write a plain value")
	}
	return out
}

func (t *tree) alias(n *ast.AliasNode) *node {
	at := placeOf(n)
	target, ok := t.anchors[n.Value.GetToken().Value]
	if !ok {
		t.add(at, gapless.CodeConfig, "there is no anchor of that name above", "write the value itself, or put quotes around a value that begins with *")
		return &node{place: at, size: 1}
	}
	if target.size > maxNodes {
		t.overflow(at)
		return &node{place: at, size: 1}
	}
	return target
}

func (t *tree) sequence(out *node, n *ast.SequenceNode, depth int) {
	out.shape = list
	for _, v := range n.Values {
		item := t.node(v, depth+1)
		if t.grow(out, item) {
			out.items = append(out.items, item)
		}
	}
}

func (t *tree) mapping(out *node, values []*ast.MappingValueNode, depth int) {
	out.shape = block
	seen := map[string]int{}
	for _, v := range values {
		at := placeOf(v.Key)
		if _, merge := v.Key.(*ast.MergeKeyNode); merge {
			t.add(at, gapless.CodeConfig, "merging with << is not supported", "write the keys themselves, or use an alias for a whole block")
			continue
		}
		if _, plain := v.Key.(ast.ScalarNode); !plain {
			t.add(at, gapless.CodeConfig, "a key must be a plain word", "write it as key: value")
			continue
		}
		key := v.Key.GetToken().Value
		value := t.node(v.Value, depth+1)
		if first, twice := seen[key]; twice {
			t.addf(at, gapless.CodeConfig, "remove one of the two", "key %s is given twice, first in line %d", shorten(key), first)
			continue
		}
		seen[key] = at.line
		if t.grow(out, value) {
			out.entries = append(out.entries, entry{key: key, at: at, value: value})
		}
	}
}

// grow accounts for a child and reports whether it still fits.
func (t *tree) grow(parent, child *node) bool {
	if parent.size+child.size > maxNodes {
		t.overflow(child.place)
		return false
	}
	parent.size += child.size
	return true
}

func (t *tree) overflow(at place) {
	if !t.full {
		t.add(at, gapless.CodeConfig, "the file is too large or nested too deeply to be a configuration", "split it")
	}
	t.full = true
}

// shorten keeps a name from the file printable in a message.
func shorten(name string) string {
	const most = 60
	if r := []rune(name); len(r) > most {
		name = string(r[:most]) + "..."
	}
	return strings.Map(printable, name)
}
