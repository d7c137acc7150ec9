package query

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// fieldCollector resolves fragments and directives.
type fieldCollector struct {
	*planner
	typename string
	order    []*group
	byAlias  map[string]*group
	// within are the fragments that are being resolved.
	within []string
}

// collect returns the fields of the selection sets of one object in order.
func (p *planner) collect(typename string, sets ...ast.SelectionSet) ([]*group, error) {
	c := fieldCollector{planner: p, typename: typename, byAlias: map[string]*group{}}
	for _, set := range sets {
		if err := c.add(set); err != nil {
			return nil, err
		}
	}
	return c.order, nil
}

func (c *fieldCollector) add(set ast.SelectionSet) error {
	for _, one := range set {
		if c.fields++; c.fields > c.limits.Fields {
			return mistake(one.GetPosition(), "more than %d fields are selected", c.limits.Fields)
		}
		var err error
		switch s := one.(type) {
		case *ast.Field:
			err = c.addField(s)
		case *ast.InlineFragment:
			err = c.addFragment(s.TypeCondition, s.SelectionSet, s.Directives, s.Position)
		case *ast.FragmentSpread:
			err = c.addSpread(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *fieldCollector) addField(f *ast.Field) error {
	if skip, err := c.skipped(f.Directives); skip || err != nil {
		return err
	}
	g := c.byAlias[f.Alias]
	if g == nil {
		g = &group{first: f}
		c.byAlias[f.Alias] = g
		c.order = append(c.order, g)
	} else if g.first.Name != f.Name || !slices.EqualFunc(g.first.Arguments, f.Arguments, sameArgument) {
		return mistake(f.Position, "%s would be two different things: give one of them another name, as in other: %s", f.Alias, f.Name)
	}
	g.all = append(g.all, f)
	return nil
}

func sameArgument(a, b *ast.Argument) bool { return a.Name == b.Name && sameValue(a.Value, b.Value) }

// sameValue reports whether two values of a document are written alike.
func sameValue(a, b *ast.Value) bool {
	return a.Kind == b.Kind && a.Raw == b.Raw && slices.EqualFunc(a.Children, b.Children, func(a, b *ast.ChildValue) bool {
		return a.Name == b.Name && sameValue(a.Value, b.Value)
	})
}

func (c *fieldCollector) addSpread(s *ast.FragmentSpread) error {
	f := c.fragments[s.Name]
	switch {
	case f == nil:
		return mistake(s.Position, "there is no fragment %s", s.Name)
	case slices.Contains(c.within, s.Name):
		return mistake(s.Position, "the fragment %s contains itself", s.Name)
	case len(c.within) == fragmentDepth:
		return mistake(s.Position, "fragments nest deeper than %d levels", fragmentDepth)
	}
	c.within = append(c.within, s.Name)
	err := c.addFragment(f.TypeCondition, f.SelectionSet, s.Directives, s.Position)
	c.within = c.within[:len(c.within)-1]
	return err
}

// fragmentDepth is how deep fragments are used within fragments of the same
// object.
const fragmentDepth = 100

func (c *fieldCollector) addFragment(on string, set ast.SelectionSet, directives ast.DirectiveList, at *ast.Position) error {
	if skip, err := c.skipped(directives); skip || err != nil {
		return err
	}
	if on != "" && on != c.typename {
		return mistake(at, "a fragment on %s cannot be used on %s", on, c.typename)
	}
	return c.add(set)
}

// skipped obeys @skip and @include.
func (c *fieldCollector) skipped(list ast.DirectiveList) (bool, error) {
	skipped := false
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			return false, mistake(d.Position, "there is no directive @%s", d.Name)
		}
		condition := d.Arguments.ForName("if")
		if condition == nil || len(d.Arguments) != 1 {
			return false, mistake(d.Position, "@%s takes one argument, if", d.Name)
		}
		value, err := literalOf(condition.Value, c.variables)
		if err != nil {
			return false, err
		}
		if value.kind != booleanLiteral {
			return false, mistake(d.Position, "@%s(if:) takes true or false", d.Name)
		}
		skipped = skipped || strings.HasPrefix(value.text, "t") == (d.Name == "skip")
	}
	return skipped, nil
}
