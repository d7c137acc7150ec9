package resolve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// Bounds of one expression.
const (
	maxExpressionBytes = 16 << 10
	maxNodes           = 2000
	// memoryBudget is how many elements one evaluation may allocate.
	memoryBudget = 1 << 20
)

// variables are what an expression reads.
type variables struct {
	Local      any    `expr:"local"`
	Remote     any    `expr:"remote"`
	Base       any    `expr:"base"`
	Field      string `expr:"field"`
	LocalTime  int64  `expr:"local_time"`
	RemoteTime int64  `expr:"remote_time"`
	LocalNode  string `expr:"local_node"`
	RemoteNode string `expr:"remote_node"`
	LocalMCI   int    `expr:"local_mci"`
	RemoteMCI  int    `expr:"remote_mci"`
}

// compileRule compiles the resolution of one field.
func (r *Resolver) compileRule(option string, name Resolution) (fieldRule, error) {
	rule := fieldRule{name: name}
	r.counts = r.counts || name == Counter
	text, isExpression := strings.CutPrefix(string(name), exprPrefix)
	switch {
	case name == ByHook && r.hook == nil:
		return rule, gapless.Errorf(gapless.CodeInvalidOption, "", "%s: hook needs a function, which only a Go program can supply", option)
	case !isExpression:
		return rule, nil
	case len(text) > maxExpressionBytes:
		return rule, gapless.Errorf(gapless.CodeInvalidOption, "", "%s: the expression is longer than %d bytes", option, maxExpressionBytes)
	}
	options := []expr.Option{expr.Env(variables{}), expr.MaxNodes(maxNodes)}
	// What depends on the clock, or on the order of a hash table, would give
	// every replica another value.
	for _, name := range [...]string{"now", "keys", "values", "toPairs"} {
		options = append(options, expr.DisableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	if err != nil {
		return rule, gapless.Errorf(gapless.CodeInvalidOption, "", "%s: %w", option, err).
			WithHint("write for example  expr: remote > local ? remote : local; it reads local, remote, base, field, local_time and remote_time")
	}
	rule.program = program
	return rule, nil
}

// evaluate gives a field the value of an expression.
func (w *work) evaluate(p *pair, program *vm.Program) verdict {
	machine := vm.VM{MemoryBudget: memoryBudget}
	local, remote := decode(p.local), decode(p.remote)
	value, err := machine.Run(program, variables{
		Local: local, Remote: remote, Base: decode(p.base), Field: p.name,
		LocalTime: p.localAt.Time.UnixMilli(), RemoteTime: p.remoteAt.Time.UnixMilli(),
		LocalNode: p.localAt.Node, RemoteNode: p.remoteAt.Node,
		LocalMCI: w.in.Local.MCI, RemoteMCI: w.in.Remote.MCI,
	})
	if err != nil {
		return p.giveUp()
	}
	if value == nil {
		for _, raw := range [...]string{p.local, p.remote} {
			if raw == "null" {
				return p.made(raw, ruleExpr)
			}
		}
		return p.made("", ruleExpr)
	}
	raw, err := encode(value)
	if err != nil {
		return p.giveUp()
	}
	// A number of more digits than a float has comes back as it was written.
	if same, err := encode(local); err == nil && p.local != "" && same == raw {
		raw = p.local
	} else if same, err := encode(remote); err == nil && p.remote != "" && same == raw {
		raw = p.remote
	}
	return p.made(raw, ruleExpr)
}

// askHook gives a field the value that the hook returns.
func (w *work) askHook(p *pair) verdict {
	raw, err := w.hook(Contest{
		Field: p.name, Local: bytesOf(p.local), Remote: bytesOf(p.remote), Base: bytesOf(p.base),
		LocalTime: p.localAt, RemoteTime: p.remoteAt, LocalMCI: w.in.Local.MCI, RemoteMCI: w.in.Remote.MCI,
	})
	text := strings.TrimSpace(string(raw))
	if err != nil || text != "" && check(text) != nil {
		return p.giveUp()
	}
	return p.made(text, ruleHook)
}

// made is a value that somebody made by rules of their own.
func (p *pair) made(raw, rule string) verdict {
	v := p.taken(raw, rule)
	v.byRight = v.choice == ChoseLocal
	return v
}

// giveUp keeps the local value and calls it a conflict.
func (p *pair) giveUp() verdict {
	v := p.keepByRight(ruleUndecided)
	v.undecided = true
	return v
}

func bytesOf(raw string) []byte {
	if raw == "" {
		return nil
	}
	return []byte(raw)
}

// decode turns raw JSON into values that expressions work on: integers that
// fit are integers.
func decode(raw string) any {
	if raw == "" {
		return nil
	}
	value := gjson.Parse(raw)
	switch {
	case value.Type == gjson.Number:
		if n, err := strconv.Atoi(raw); err == nil {
			return n
		}
		return value.Num
	case value.IsArray():
		list := []any{}
		value.ForEach(func(_, v gjson.Result) bool {
			list = append(list, decode(v.Raw))
			return true
		})
		return list
	case value.IsObject():
		object := map[string]any{}
		value.ForEach(func(k, v gjson.Result) bool {
			if _, duplicate := object[k.Str]; !duplicate {
				object[k.Str] = decode(v.Raw)
			}
			return true
		})
		return object
	}
	return value.Value()
}

// encode writes the result of an expression as JSON.
func encode(value any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("write the result: %w", err)
	}
	text := strings.TrimSuffix(b.String(), "\n")
	return text, check(text)
}
