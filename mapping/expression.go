package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/gapless-sync/gapless"
)

// Bounds of one expression.
const (
	maxExpressionBytes = 16 << 10
	maxNodes           = 2000
	// memoryBudget is how many elements one evaluation may allocate.
	memoryBudget = 1 << 20
	// fieldPrefix sets the names that paths get in the virtual machine apart
	// from those of functions and variables.
	fieldPrefix = "@"
)

// unavailable lists functions whose results depend on more than the record.
func unavailable() map[string]string {
	return map[string]string{
		"now":     "a mapping must give the same result on every run, so the clock is not available",
		"keys":    "the order of its result is not defined",
		"values":  "the order of its result is not defined",
		"toPairs": "the order of its result is not defined",
	}
}

// ExpressionError says what is wrong with an expression of a [Spec].
type ExpressionError struct {
	// Field of the specification, such as "filter" or "map.title".
	Field string
	// Expression as written.
	Expression string
	// Line and Column count from 1 within the expression; 0 if the problem is
	// not at one place.
	Line, Column int
	Problem      string
}

// Error names field, expression, place and problem.
func (e *ExpressionError) Error() string {
	at := ""
	if e.Column > 0 {
		at = fmt.Sprintf(" at line %d, column %d", e.Line, e.Column)
	}
	return fmt.Sprintf("%s: %s%s of %s", e.Field, e.Problem, at, e.Expression)
}

// expression is a compiled expression.
type expression struct {
	field  string
	source string
	node   node
	paths  []*path
	// canonical is equal for expressions that mean the same field by field.
	canonical string
}

// source is an expression while it is compiled.
type source struct {
	field string
	text  string
	tree  *parser.Tree
	// paths by the names that they have in the virtual machine.
	paths map[string]*path
	order []string
}

func compileExpression(field, text string, condition bool) (*expression, error) {
	s := &source{field: field, text: text, paths: map[string]*path{}}
	if len(text) > maxExpressionBytes {
		s.text = text[:40] + "..."
		return nil, s.fail(fmt.Errorf("the expression is longer than %d bytes", maxExpressionBytes))
	}
	tree, err := parser.ParseWithConfig(text, config(false))
	if err != nil {
		return nil, s.fail(err)
	}
	s.tree = tree
	if err := s.resolve(); err != nil {
		return nil, s.fail(err)
	}
	e := &expression{field: field, source: text, canonical: ast.Dump(tree.Node)}
	if _, err := checker.Check(tree, config(condition)); err != nil {
		return nil, s.fail(err)
	}
	for _, name := range s.order {
		e.paths = append(e.paths, s.paths[name])
	}
	if e.node, err = s.build(tree.Node); err != nil {
		return nil, s.fail(err)
	}
	return e, nil
}

func config(condition bool) *conf.Config {
	c := conf.New(map[string]any{})
	c.Strict = false
	c.MaxNodes = maxNodes
	for name := range unavailable() {
		c.Disabled[name] = true
		delete(c.Builtins, name)
	}
	if condition {
		c.Expect, c.ExpectAny = reflect.Bool, true
	}
	return c
}

// fail turns an error of the expression library into the one that users see.
func (s *source) fail(err error) error {
	e := &ExpressionError{Field: s.field, Expression: s.text, Problem: err.Error()}
	if at, ok := errors.AsType[*file.Error](err); ok {
		e.Problem = strings.ReplaceAll(at.Message, fieldPrefix, "")
		e.Line, e.Column = at.Line, at.Column+1
	}
	return gapless.Errorf(gapless.CodeConfig, "", "%w", e).
		WithHint("write a field (author.name), a text ('doc') or a condition (size < 1000 && lang == 'en'); a text needs quotes of its own inside those of YAML")
}

// at returns an error at a node.
func (s *source) at(n ast.Node, format string, args ...any) error {
	e := &file.Error{Location: n.Location(), Message: fmt.Sprintf(format, args...)}
	return e.Bind(s.tree.Source)
}

// resolve replaces every chain of names and constant indexes that begins at a
// field of the record by one name, so that only its end is ever decoded.
func (s *source) resolve() error {
	locals := localNames{}
	ast.Walk(&s.tree.Node, locals)
	r := &resolver{source: s, locals: locals, paths: map[string]*path{}}
	ast.Walk(&s.tree.Node, r)
	if r.err != nil {
		return r.err
	}
	used := &usedNames{source: s, known: r.paths}
	ast.Walk(&s.tree.Node, used)
	return used.err
}

// localNames collects the names declared by let.
type localNames map[string]bool

// Visit implements ast.Visitor.
func (l localNames) Visit(n *ast.Node) {
	if d, ok := (*n).(*ast.VariableDeclaratorNode); ok {
		l[d.Name] = true
	}
}

// resolver rewrites the tree from its leaves upwards.
type resolver struct {
	source *source
	locals localNames
	paths  map[string]*path
	err    error
}

// Visit implements ast.Visitor.
func (r *resolver) Visit(n *ast.Node) {
	switch node := (*n).(type) {
	case *ast.IdentifierNode:
		if node.Value == "$env" {
			return
		}
		p := &path{root: node.Value}
		if r.locals[node.Value] {
			r.paths[node.Value] = p // it may be the field before it is the variable
			return
		}
		r.replace(n, p)
	case *ast.MemberNode:
		r.member(n, node)
	case *ast.ChainNode:
		if inner, ok := node.Node.(*ast.IdentifierNode); ok && r.paths[inner.Value] != nil {
			*n = inner
		}
	case *ast.CallNode:
		if r.err == nil {
			r.err = r.call(node)
		}
	}
}

func (r *resolver) member(n *ast.Node, node *ast.MemberNode) {
	base, ok := node.Node.(*ast.IdentifierNode)
	if !ok || r.locals[base.Value] {
		return
	}
	switch property := node.Property.(type) {
	case *ast.StringNode:
		if base.Value == "$env" {
			r.replace(n, &path{root: property.Value})
		} else {
			r.replace(n, r.paths[base.Value].extend(step{name: property.Value, index: -1}))
		}
	case *ast.IntegerNode:
		if base.Value != "$env" && property.Value >= 0 {
			r.replace(n, r.paths[base.Value].extend(step{index: property.Value}))
		}
	}
}

func (r *resolver) replace(n *ast.Node, p *path) {
	name := fieldPrefix + p.String()
	r.paths[name] = p
	identifier := &ast.IdentifierNode{Value: name}
	identifier.SetLocation((*n).Location())
	*n = identifier
}

func (r *resolver) call(node *ast.CallNode) error {
	callee, ok := node.Callee.(*ast.IdentifierNode)
	if !ok {
		return r.source.at(node, "only functions can be called")
	}
	p := r.paths[callee.Value]
	if p == nil || len(p.steps) > 0 {
		return r.source.at(node, "%s is not a function; write upper(name), not name.upper()", strings.TrimPrefix(callee.Value, fieldPrefix))
	}
	if why, known := unavailable()[p.root]; known {
		return r.source.at(node, "%s() is not available: %s", p.root, why)
	}
	return r.source.at(node, "there is no function %s()", p.root)
}

// usedNames collects the paths that are left after resolving, in order.
type usedNames struct {
	source *source
	known  map[string]*path
	err    error
}

// Visit implements ast.Visitor.
func (u *usedNames) Visit(n *ast.Node) {
	identifier, ok := (*n).(*ast.IdentifierNode)
	if !ok {
		return
	}
	s, name := u.source, identifier.Value
	p := u.known[name]
	switch {
	case p == nil && u.err == nil:
		u.err = s.at(identifier, "$env needs a field name that is written out, as in $env[\"content-type\"]")
	case p != nil && s.paths[name] == nil:
		s.paths[name] = p
		s.order = append(s.order, name)
	}
}

// machine compiles a subtree for the virtual machine.
func (s *source) machine(n ast.Node) (*machineNode, error) {
	within := &usedNames{source: &source{paths: map[string]*path{}, tree: s.tree}, known: s.paths}
	ast.Walk(&n, within)
	c := config(false)
	tree := &parser.Tree{Node: n, Source: s.tree.Source}
	if _, err := checker.Check(tree, c); err != nil {
		return nil, err
	}
	if err := optimizer.Optimize(&tree.Node, c); err != nil {
		return nil, err
	}
	program, err := compiler.Compile(tree, c)
	if err != nil {
		return nil, err
	}
	m := &machineNode{program: program}
	for _, name := range within.source.order {
		m.inputs = append(m.inputs, input{name: name, path: s.paths[name]})
	}
	return m, nil
}

// constant evaluates a subtree that reads no field.
func (s *source) constant(n ast.Node) (any, error) {
	m, err := s.machine(n)
	if err != nil {
		return nil, err
	}
	machine := vm.VM{MemoryBudget: memoryBudget}
	return machine.Run(m.program, map[string]any{})
}

// readsNothing reports whether a subtree reads no field.
func (s *source) readsNothing(n ast.Node) bool {
	within := &usedNames{source: &source{paths: map[string]*path{}, tree: s.tree}, known: s.paths}
	ast.Walk(&n, within)
	return len(within.source.order) == 0
}
