package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidwall/gjson"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
)

// Request is what a client asks.
type Request struct {
	// Query is the GraphQL document.
	Query string `json:"query"`
	// Variables is a JSON object, or nothing.
	Variables json.RawMessage `json:"variables,omitempty"`
	// Operation is the name of that to execute; needed if there are several.
	Operation string `json:"operationName,omitempty"`
}

// Error is a mistake in a request, or a limit that it exceeds: trying again
// does not help.
type Error struct {
	Message string
	// Hint says what to do instead; may be empty.
	Hint string
	// Line and Column of the document, from 1; 0 if they are not known.
	Line, Column int
}

func (e *Error) Error() string {
	message := e.Message
	if e.Hint != "" {
		message += "; " + e.Hint
	}
	if e.Line > 0 {
		message = fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, message)
	}
	return message
}

func mistake(at *ast.Position, format string, args ...any) *Error {
	e := &Error{Message: fmt.Sprintf(format, args...)}
	if at != nil {
		e.Line, e.Column = at.Line, at.Column
	}
	return e
}

// mistakeIn says of a mistake where it is.
func mistakeIn(err error, at *ast.Position, where string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	in := *e
	in.Message = where + ": " + e.Message
	if in.Line == 0 && at != nil {
		in.Line, in.Column = at.Line, at.Column
	}
	return &in
}

// Execute answers the JSON body of a request, {"query", "variables",
// "operationName"}, with {"data": ...} or, where the request is at fault, with
// {"errors": [...]}.
//
// An error says that the graph failed, that ctx ended, or that a limit was
// reached when a part of the reply was written already. The reply is then not
// whole, and whoever sends it has to break it off; if nothing was written,
// another can be sent.
func Execute(ctx context.Context, g Graph, limits Limits, request []byte, w io.Writer) error {
	out := &counter{w: w}
	err := execute(ctx, g, limits.withDefaults(), request, out)
	e, refused := errors.AsType[*Error](err)
	if !refused || out.written > 0 {
		return err
	}
	return writeRefusal(w, e)
}

func execute(ctx context.Context, g Graph, limits Limits, request []byte, w io.Writer) error {
	if len(request) > limits.RequestBytes {
		return mistake(nil, "the request has more than %d bytes", limits.RequestBytes)
	}
	var r Request
	if err := json.Unmarshal(request, &r); err != nil {
		return mistake(nil, "the request is not a JSON object with a query: %v", err)
	}
	return Run(ctx, g, limits, r, w)
}

// Run executes a request and writes {"data": ...} as it reads. After an error
// w has a part of the reply, or nothing. Mistakes and limits are an [Error].
func Run(ctx context.Context, g Graph, limits Limits, r Request, w io.Writer) error {
	limits = limits.withDefaults()
	operation, err := parse(limits, r)
	if err != nil {
		return err
	}
	s, err := readSchema(ctx, g)
	if err != nil {
		return err
	}
	operation.schema = s
	roots, err := operation.roots()
	if err != nil {
		return err
	}
	x := &execution{ctx: ctx, graph: g, limits: limits, out: output{w: w}}
	err = x.run(roots)
	if errors.Is(err, context.DeadlineExceeded) {
		return mistake(nil, "the query takes too long: narrow it with where, source or limit")
	}
	return err
}

// parse reads the document and the variables; the planner lacks the schema.
func parse(limits Limits, r Request) (*planner, error) {
	if len(r.Query)+len(r.Variables) > limits.RequestBytes {
		return nil, mistake(nil, "the request has more than %d bytes", limits.RequestBytes)
	}
	if len(bytes.TrimSpace([]byte(r.Query))) == 0 {
		return nil, mistake(nil, "there is no query: write for example { asset(limit: 3) { name } }")
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: r.Query}, limits.Tokens)
	if err != nil {
		return nil, syntaxMistake(err)
	}
	p := &planner{limits: limits, fragments: map[string]*ast.FragmentDefinition{}, variables: map[string]literal{}}
	for _, f := range document.Fragments {
		if p.fragments[f.Name] != nil {
			return nil, mistake(f.Position, "there are two fragments %s", f.Name)
		}
		p.fragments[f.Name] = f
	}
	if p.operation, err = choose(document.Operations, r.Operation); err != nil {
		return nil, err
	}
	return p, p.readVariables(r.Variables)
}

func syntaxMistake(err error) error {
	e, ok := errors.AsType[*gqlerror.Error](err)
	if !ok {
		return mistake(nil, "%v", err)
	}
	m := mistake(nil, "%s", e.Message)
	if len(e.Locations) > 0 {
		m.Line, m.Column = e.Locations[0].Line, e.Locations[0].Column
	}
	return m
}

func choose(operations ast.OperationList, name string) (*ast.OperationDefinition, error) {
	var chosen *ast.OperationDefinition
	for _, o := range operations {
		if name != "" && o.Name != name {
			continue
		}
		if chosen != nil {
			return nil, mistake(o.Position, "the document has several operations: say which by operationName")
		}
		chosen = o
	}
	switch {
	case chosen == nil && name != "":
		return nil, mistake(nil, "the document has no operation %s", name)
	case chosen == nil:
		return nil, mistake(nil, "the document has no query")
	case chosen.Operation != ast.Query:
		return nil, mistake(chosen.Position, "a %s cannot be executed here, only a query; rows come in by imports", chosen.Operation)
	}
	return chosen, nil
}

func (p *planner) readVariables(raw json.RawMessage) error {
	given := gjson.ParseBytes(raw)
	if len(raw) > 0 && !given.IsObject() && given.Type != gjson.Null {
		return mistake(nil, "variables have to be a JSON object")
	}
	values := map[string]gjson.Result{}
	given.ForEach(func(name, value gjson.Result) bool {
		values[name.String()] = value
		return true
	})
	for _, d := range p.operation.VariableDefinitions {
		value, ok := values[d.Variable]
		l := literal{at: d.Position}
		var err error
		switch {
		case ok:
			l, err = literalFrom(value, 0)
		case d.DefaultValue != nil:
			l, err = literalOf(d.DefaultValue, nil)
		}
		if err != nil {
			return mistakeIn(err, d.Position, "the variable $"+d.Variable)
		}
		if d.Type != nil && d.Type.NonNull && l.kind == nullLiteral {
			return mistake(d.Position, "the variable $%s needs a value", d.Variable)
		}
		p.variables[d.Variable] = l
	}
	return nil
}

// writeRefusal writes the reply to a request that is at fault.
func writeRefusal(w io.Writer, e *Error) error {
	type location struct {
		Line   int `json:"line"`
		Column int `json:"column"`
	}
	type entry struct {
		Message   string     `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	plain := *e
	plain.Line, plain.Column = 0, 0
	one := entry{Message: plain.Error()}
	if e.Line > 0 {
		one.Locations = []location{{e.Line, e.Column}}
	}
	reply, err := json.Marshal(map[string][]entry{"errors": {one}})
	if err != nil {
		return fmt.Errorf("encode the errors: %w", err)
	}
	_, err = w.Write(reply)
	return err
}

// counter knows whether anything was written.
type counter struct {
	w       io.Writer
	written int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.written += int64(n)
	return n, err
}
