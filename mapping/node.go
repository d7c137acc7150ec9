package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// node is a compiled expression or a part of one.
type node interface {
	// test evaluates the node as a condition; nil counts as false.
	test(r *record) (bool, error)
	// write appends the node's value as JSON; ok is false, and nothing is
	// appended, if it is a path that leads nowhere.
	write(r *record, dst []byte) (out []byte, ok bool, err error)
}

// writeTest is write for conditions.
func writeTest(n node, r *record, dst []byte) ([]byte, bool, error) {
	yes, err := n.test(r)
	if err != nil {
		return dst, false, err
	}
	dst, err = appendValue(dst, yes)
	return dst, true, err
}

// testRaw reads raw JSON as a condition.
func testRaw(raw []byte) (bool, error) {
	switch string(raw) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", excerpt(raw))
}

// excerpt shortens a value for an error.
func excerpt(raw []byte) string {
	const limit = 40
	if len(raw) > limit {
		return strings.ToValidUTF8(string(raw[:limit]), "") + "..."
	}
	return string(raw)
}

// pathNode copies a value as it stands in the record.
type pathNode struct{ path *path }

func (n *pathNode) test(r *record) (bool, error) {
	raw, ok := n.path.find(r)
	if !ok {
		return false, nil
	}
	return testRaw(raw)
}

func (n *pathNode) write(r *record, dst []byte) ([]byte, bool, error) {
	raw, ok := n.path.find(r)
	return append(dst, raw...), ok, nil
}

// constantNode is a value that reads no field.
type constantNode struct{ raw []byte }

func newConstant(value any) (node, error) {
	raw, err := appendValue(nil, value)
	return &constantNode{raw}, err
}

func (n *constantNode) test(*record) (bool, error) { return testRaw(n.raw) }

func (n *constantNode) write(_ *record, dst []byte) ([]byte, bool, error) {
	return append(dst, n.raw...), true, nil
}

// notNode turns a condition round.
type notNode struct{ inner node }

func (n *notNode) test(r *record) (bool, error) {
	yes, err := n.inner.test(r)
	return !yes, err
}

func (n *notNode) write(r *record, dst []byte) ([]byte, bool, error) { return writeTest(n, r, dst) }

// logicNode joins two conditions; the second is looked at only if needed.
type logicNode struct {
	left, right node
	or          bool
}

func (n *logicNode) test(r *record) (bool, error) {
	yes, err := n.left.test(r)
	if err != nil || yes == n.or {
		return yes, err
	}
	return n.right.test(r)
}

func (n *logicNode) write(r *record, dst []byte) ([]byte, bool, error) { return writeTest(n, r, dst) }

// conditionalNode is condition ? yes : no.
type conditionalNode struct{ condition, yes, no node }

func (n *conditionalNode) choose(r *record) (node, error) {
	yes, err := n.condition.test(r)
	if err != nil || !yes {
		return n.no, err
	}
	return n.yes, nil
}

func (n *conditionalNode) test(r *record) (bool, error) {
	chosen, err := n.choose(r)
	if err != nil {
		return false, err
	}
	return chosen.test(r)
}

func (n *conditionalNode) write(r *record, dst []byte) ([]byte, bool, error) {
	chosen, err := n.choose(r)
	if err != nil {
		return dst, false, err
	}
	return chosen.write(r, dst)
}

// defaultNode is value ?? other.
type defaultNode struct{ value, other node }

func (n *defaultNode) test(r *record) (bool, error) {
	raw, ok, err := n.write(r, nil)
	if err != nil || !ok {
		return false, err
	}
	return testRaw(raw)
}

func (n *defaultNode) write(r *record, dst []byte) ([]byte, bool, error) {
	start := len(dst)
	dst, ok, err := n.value.write(r, dst)
	if err != nil || ok && !isNull(dst[start:]) {
		return dst, ok, err
	}
	return n.other.write(r, dst[:start])
}

// comparisonNode compares a field with a constant. What it cannot decide by
// itself goes to the virtual machine, which then says what is wrong.
type comparisonNode struct {
	path     *path
	operator string
	machine  *machineNode

	kind    byte // of the constant: 's'tring, 'i'nteger, 'f'loat, 'b'oolean or 'n'il
	text    []byte
	integer int
	float   float64
	yes     bool
}

// against sets the constant and reports whether the operator is defined on it.
func (n *comparisonNode) against(value any) bool {
	equality := n.operator == "==" || n.operator == "!="
	switch v := value.(type) {
	case string:
		n.kind, n.text = 's', []byte(v)
		return true
	case int:
		n.kind, n.integer, n.float = 'i', v, float64(v)
		return equality || n.operator[0] == '<' || n.operator[0] == '>'
	case float64:
		n.kind, n.float = 'f', v
		return !math.IsNaN(v) && (equality || n.operator[0] == '<' || n.operator[0] == '>')
	case bool:
		n.kind, n.yes = 'b', v
		return equality
	case nil:
		n.kind = 'n'
		return equality
	}
	return false
}

func (n *comparisonNode) test(r *record) (bool, error) {
	raw, _ := n.path.find(r)
	switch n.operator {
	case "==":
		return n.equal(raw), nil
	case "!=":
		return !n.equal(raw), nil
	}
	isText := len(raw) > 0 && raw[0] == '"'
	switch {
	case n.kind == 's' && isText:
		return n.compareText(text(raw)), nil
	case n.kind != 's' && isNumber(raw):
		return ordered(n.operator, n.compareNumber(raw)), nil
	}
	return n.machine.test(r)
}

func (n *comparisonNode) write(r *record, dst []byte) ([]byte, bool, error) {
	return writeTest(n, r, dst)
}

// equal reports whether raw, empty if there is nothing, equals the constant.
func (n *comparisonNode) equal(raw []byte) bool {
	if len(raw) == 0 {
		return n.kind == 'n'
	}
	switch c := raw[0]; {
	case c == '"':
		return n.kind == 's' && bytes.Equal(text(raw), n.text)
	case c == 'n':
		return n.kind == 'n'
	case c == 't' || c == 'f':
		return n.kind == 'b' && n.yes == (c == 't')
	case isNumber(raw):
		return (n.kind == 'i' || n.kind == 'f') && n.compareNumber(raw) == 0
	}
	return false
}

// compareNumber returns the order of a number and the constant.
func (n *comparisonNode) compareNumber(raw []byte) int {
	integer, float, isInteger := number(raw)
	if isInteger && n.kind == 'i' {
		return order(integer, n.integer)
	}
	return order(float, n.float)
}

func (n *comparisonNode) compareText(value []byte) bool {
	switch n.operator {
	case "contains":
		return bytes.Contains(value, n.text)
	case "startsWith":
		return bytes.HasPrefix(value, n.text)
	case "endsWith":
		return bytes.HasSuffix(value, n.text)
	}
	return ordered(n.operator, bytes.Compare(value, n.text))
}

func order[T int | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func ordered(operator string, order int) bool {
	switch operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// membershipNode looks for a field in a list of constants.
type membershipNode struct {
	path *path
	list []comparisonNode
}

func (n *membershipNode) test(r *record) (bool, error) {
	raw, _ := n.path.find(r)
	for i := range n.list {
		if n.list[i].equal(raw) {
			return true, nil
		}
	}
	return false, nil
}

func (n *membershipNode) write(r *record, dst []byte) ([]byte, bool, error) {
	return writeTest(n, r, dst)
}

// input is a field that a machine's program reads.
type input struct {
	name string
	path *path
}

// machineNode runs in the virtual machine over decoded fields.
type machineNode struct {
	program *vm.Program
	inputs  []input
}

func (n *machineNode) run(r *record) (any, error) {
	for _, in := range n.inputs {
		var value any
		if raw, ok := in.path.find(r); ok {
			var err error
			if value, err = decode(raw, 0); err != nil {
				return nil, fmt.Errorf("%s: %w", in.path, err)
			}
		}
		r.env[in.name] = value
	}
	value, err := r.machine.Run(n.program, r.env)
	if err != nil {
		return nil, n.explain(r, err)
	}
	return value, nil
}

// explain adds which fields are absent: by far the most common reason.
func (n *machineNode) explain(r *record, err error) error {
	problem := err.Error()
	if at, ok := errors.AsType[*file.Error](err); ok {
		problem = at.Message
	}
	var absent []string
	for _, in := range n.inputs {
		if raw, ok := in.path.find(r); !ok || isNull(raw) {
			absent = append(absent, in.path.String())
		}
	}
	if len(absent) == 0 {
		return errors.New(problem)
	}
	return fmt.Errorf("%s, because the record has no %s", problem, strings.Join(absent, ", "))
}

func (n *machineNode) test(r *record) (bool, error) {
	value, err := n.run(r)
	if err != nil {
		return false, err
	}
	switch v := value.(type) {
	case bool:
		return v, nil
	case nil:
		return false, nil
	}
	raw, err := appendValue(nil, value)
	if err != nil {
		return false, err
	}
	return testRaw(raw)
}

func (n *machineNode) write(r *record, dst []byte) ([]byte, bool, error) {
	start := len(dst)
	value, err := n.run(r)
	if err != nil {
		return dst, false, err
	}
	dst, err = appendValue(dst, value)
	if err != nil {
		return dst[:start], false, err
	}
	return dst, true, nil
}
