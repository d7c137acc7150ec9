package mapping

import (
	"github.com/expr-lang/expr/ast"
)

// build turns a resolved subtree into nodes that work on bytes where they
// can, and into programs of the virtual machine where they cannot.
func (s *source) build(n ast.Node) (node, error) {
	if s.readsNothing(n) {
		value, err := s.constant(n)
		if err != nil {
			return nil, err
		}
		return newConstant(value)
	}
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return &pathNode{s.paths[n.Value]}, nil
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			inner, err := s.build(n.Node)
			return &notNode{inner}, err
		}
	case *ast.ConditionalNode:
		return s.conditional(n)
	case *ast.BinaryNode:
		return s.binary(n)
	}
	return s.fallback(n)
}

// fallback is machine as a node, so that a nil pointer never becomes one.
func (s *source) fallback(n ast.Node) (node, error) {
	m, err := s.machine(n)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s *source) conditional(n *ast.ConditionalNode) (node, error) {
	condition, err := s.build(n.Cond)
	if err != nil {
		return nil, err
	}
	yes, err := s.build(n.Exp1)
	if err != nil {
		return nil, err
	}
	no, err := s.build(n.Exp2)
	return &conditionalNode{condition, yes, no}, err
}

func (s *source) binary(n *ast.BinaryNode) (node, error) {
	switch n.Operator {
	case "and", "&&", "or", "||", "??":
		left, err := s.build(n.Left)
		if err != nil {
			return nil, err
		}
		right, err := s.build(n.Right)
		if n.Operator == "??" {
			return &defaultNode{left, right}, err
		}
		return &logicNode{left: left, right: right, or: n.Operator == "or" || n.Operator == "||"}, err
	case "==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith":
		return s.comparison(n)
	case "in":
		return s.membership(n)
	}
	return s.fallback(n)
}

// comparison handles a path compared with a constant.
func (s *source) comparison(n *ast.BinaryNode) (node, error) {
	operator := n.Operator
	field, ok := n.Left.(*ast.IdentifierNode)
	other := n.Right
	if !ok {
		field, ok = n.Right.(*ast.IdentifierNode)
		other = n.Left
		operator = mirrored(operator)
	}
	if !ok || operator == "" || !s.readsNothing(other) {
		return s.fallback(n)
	}
	value, err := s.constant(other)
	if err != nil {
		return nil, err
	}
	c := &comparisonNode{path: s.paths[field.Value], operator: operator}
	if !c.against(value) {
		return s.fallback(n)
	}
	c.machine, err = s.machine(n)
	return c, err
}

// mirrored returns the operator with its sides exchanged; empty if it has no
// mirror image.
func mirrored(operator string) string {
	switch operator {
	case "==", "!=":
		return operator
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return ""
}

// membership handles a path looked for in a constant list.
func (s *source) membership(n *ast.BinaryNode) (node, error) {
	field, ok := n.Left.(*ast.IdentifierNode)
	list, isList := n.Right.(*ast.ArrayNode)
	if !ok || !isList || !s.readsNothing(list) {
		return s.fallback(n)
	}
	m := &membershipNode{path: s.paths[field.Value]}
	for _, element := range list.Nodes {
		value, err := s.constant(element)
		if err != nil {
			return nil, err
		}
		c := comparisonNode{operator: "=="}
		if !c.against(value) {
			return s.fallback(n)
		}
		m.list = append(m.list, c)
	}
	return m, nil
}
