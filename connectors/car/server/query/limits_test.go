package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	many := strings.Repeat
	tests := []struct{ name, query, variables, want string }{
		{"nothing", ``, ``, `there is no query`},
		{"syntax", `{ asset(`, ``, `"locations":[{"line":1,"column":9}]`},
		{"no such collection", `{ aset { id } }`, ``, `there is no collection aset; did you mean asset?`},
		{"no fields", `{ asset }`, ``, `asset needs fields`},
		{"no such operator", `{ asset(where: {name: {_equ: "a"}}) { id } }`, ``, `there is no operator _equ; did you mean _eq?`},
		{"operator without field", `{ asset(where: {_eq: "a"}) { id } }`, ``, `_eq compares a field`},
		{"value without operator", `{ asset(where: {name: "a"}) { id } }`, ``, `takes an object such as`},
		{"word instead of text", `{ asset(where: {name: {_eq: a}}) { id } }`, ``, `_eq takes a string`},
		{"order of null", `{ asset(where: {name: {_gt: null}}) { id } }`, ``, `_gt cannot compare with null`},
		{"list of null", `{ asset(where: {name: {_in: [null]}}) { id } }`, ``, `_in takes a list`},
		{"no such argument", `{ asset(first: 3) { id } }`, ``, `asset takes no argument first here, but where, limit`},
		{"argument twice", `{ asset(limit: 3, limit: 4) { id } }`, ``, `limit is given twice`},
		{"negative limit", `{ asset(limit: -1) { id } }`, ``, `limit takes a whole number`},
		{"limit as text", `{ asset(limit: "1") { id } }`, ``, `limit takes a whole number`},
		{"order", `{ asset(order_by: {name: up}) { id } }`, ``, `order_by name takes asc or desc`},
		{"order of a path", `query($o: x) { asset(order_by: $o) { id } }`, `{"o": {"a.b": "asc"}}`, `order_by a.b takes`},
		{"condition on a path", `query($w: x) { asset(where: $w) { id } }`, `{"w": {"a.b|@pretty": {"_eq": 1}}}`, `cannot be the name of a field`},
		{"fields of a value", `{ asset { os { family } } }`, ``, `os of asset has no fields`},
		{"history has nothing nested", `{ asset_history { ipaddress { id } } }`, ``, `ipaddress of asset_history has no fields`},
		{"end with arguments", `{ asset_ipaddress { asset(limit: 1) { id } } }`, ``, `takes no arguments here`},
		{"arguments of a value", `{ asset { name(limit: 1) } }`, ``, `name needs fields, or takes no arguments`},
		{"count without count", `{ asset_aggregate { sum } }`, ``, `has no field sum`},
		{"count without fields", `{ asset_aggregate }`, ``, `asset_aggregate needs fields`},
		{"count of fields", `{ asset_aggregate { aggregate { count { x } } } }`, ``, `count takes neither`},
		{"two things of one name", `{ x: asset(limit: 1) { id } x: asset(limit: 2) { id } }`, ``, `x would be two different things`},
		{"introspection", `{ __schema { queryType { name } } }`, ``, `introspection is not supported`},
		{"mutation", `mutation { insert_asset { id } }`, ``, `a mutation cannot be executed here`},
		{"two operations", `query A { asset { id } } query B { asset { id } }`, ``, `several operations`},
		{"fragment only", `fragment F on asset { id }`, ``, `the document has no query`},
		{"no such fragment", `{ asset { ...F } }`, ``, `there is no fragment F`},
		{"fragment on another", `{ asset { ... on ipaddress { id } } }`, ``, `a fragment on ipaddress cannot be used on asset`},
		{"undeclared variable", `{ asset(limit: $n) { id } }`, ``, `the variable $n is not declared`},
		{"variable without value", `query($n: Int!) { asset(limit: $n) { id } }`, ``, `the variable $n needs a value`},
		{"variables of another kind", `{ asset { id } }`, `[1]`, `variables have to be a JSON object`},
		{"directive", `{ asset { id @rest } }`, ``, `there is no directive @rest`},

		{"fragment cycle", `{ asset { ...A } } fragment A on asset { ...B } fragment B on asset { ...A }`, ``, `contains itself`},
		{"fragment cycle through levels", `{ asset { ...A } } fragment A on asset { asset_ipaddress { asset { ...A } } }`, ``, `deeper than 8 levels`},
		{"deep", `{ asset { ` + many("ipaddress { asset { ", 20) + `id` + many(" } }", 20) + ` } }`, ``, `deeper than 8 levels`},
		{"very deep", many("{ a ", 100_000), ``, `nesting depth`},
		{"many aliases", `{` + aliases(2000) + `}`, ``, `more than 1000 fields`},
		{"many tokens", `{ asset { ` + many("id ", 60_000) + `} }`, ``, `token limit`},
		{"doubling fragments", `{ asset { ...F0 } } ` + doubling(40), ``, `more than 1000 fields`},
		{"deep conditions", `{ asset(where: ` + many(`{_not: `, 2000) + `{}` + many(`}`, 2000) + `) { id } }`, ``, `nesting depth`},
		{"deep variable", `query($w: x) { asset(where: $w) { id } }`, `{"w": ` + many(`{"_not": `, 5000) + `{}` + many(`}`, 5000) + `}`, `nests deeper`},
		{"huge list", `query($l: x) { asset(where: {id: {_in: $l}}) { id } }`, `{"l": [` + many("1,", 30_000) + `1]}`, `more than 20000 values`},
		{"large list used often", `query($l: x) {` + listUses(500) + `}`, `{"l": [` + many("1,", 1000) + `1]}`, `more than 20000 values`},
		{"large object used often", `query($w: x) {` + conditionUses(500) + `}`, `{"w": {` + many(`"name":{},`, 1000) + `"name":{}}}`, `more than 20000 values`},
		{"long pattern", `{ asset(where: {name: {_like: "` + many("%a", 200) + `"}}) { id } }`, ``, `at most 256 bytes`},
		{"large request", `{ asset { id } } # ` + many("x", 1<<20), ``, `more than 1048576 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := model()
			var got string
			if tt.variables == "" {
				got = ask(t, g, tt.query)
			} else {
				got = ask(t, g, tt.query, tt.variables)
			}
			if !strings.HasPrefix(got, `{"errors":[{"message":"`) || !strings.Contains(got, tt.want) {
				t.Errorf("got %.300s, want %s", got, tt.want)
			}
			if n := g.read.Load(); n > 0 {
				t.Errorf("%d rows were read for it", n)
			}
		})
	}
}

func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d: asset { id } ", i)
	}
	return b.String()
}

func listUses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d: asset(where: {name: {_in: $l}}) { id } ", i)
	}
	return b.String()
}

func conditionUses(n int) string {
	return strings.ReplaceAll(listUses(n), `{name: {_in: $l}}`, `$w`)
}

func doubling(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "fragment F%d on asset { ...F%d ...F%d } ", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "fragment F%d on asset { id }", n)
	return b.String()
}

func TestRequestsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `[]`, `{"query": 1}`, `{"query":"{asset{id}}"`, strings.Repeat("[", 900_000), "\xff\xfe"} {
		var out strings.Builder
		if err := query.Execute(t.Context(), model(), query.Limits{}, []byte(body), &out); err != nil {
			t.Errorf("%.20q: %v", body, err)
		}
		if !strings.HasPrefix(out.String(), `{"errors":[`) {
			t.Errorf("%.20q: answered %.100s", body, out.String())
		}
	}
}

func execute(ctx context.Context, g query.Graph, l query.Limits, text string, w io.Writer) error {
	body, err := json.Marshal(query.Request{Query: text})
	if err != nil {
		return err
	}
	return query.Execute(ctx, g, l, body, w)
}

func TestLimitsOnRows(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 1000 {
		m.edge("a", "asset_ipaddress", fmt.Sprintf("%04d", i%50), fmt.Sprintf("10.0.0.%d", i/10), `{"n":"`+strings.Repeat("x", 200)+`"}`)
	}
	for i := range 100 {
		m.put("a", "asset", fmt.Sprintf("%04d", i), `{}`)
		m.put("a", "ipaddress", fmt.Sprintf("10.0.0.%d", i), `{}`)
	}
	tests := []struct {
		name, query string
		limits      query.Limits
		want        string
	}{
		{"read", `{ asset_ipaddress(where: {n: {_eq: "y"}}) { n } }`, query.Limits{Rows: 40}, "reads more than 40 rows"},
		{"read below", `{ asset { asset_ipaddress { n } } }`, query.Limits{Rows: 150}, "reads more than 150 rows"},
		{"returned", `{ asset { ipaddress { asset { ipaddress { id } } } } }`, query.Limits{Rows: 10_000}, "the reply has more than 10000 rows"},
		{"held for sorting", `{ asset_ipaddress(order_by: {n: asc}) { n } }`, query.Limits{HeldBytes: 20_000}, "order by id"},
		{"held for values that sort", `{ asset_ipaddress(order_by: [` + strings.Repeat(`{n: asc},`, 16) + `]) { n } }`, query.Limits{HeldBytes: 1_000_000}, "order by id"},
		{"held for nesting", `{ asset { asset_ipaddress { n } } }`, query.Limits{HeldBytes: 30_000}, "sorting and nesting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := execute(t.Context(), m, tt.limits, tt.query, &out); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), `{"errors":[`) || !strings.Contains(out.String(), tt.want) {
				t.Errorf("got %.300s", out.String())
			}
		})
	}
	t.Run("held for ids", func(t *testing.T) {
		t.Parallel()
		m := newMemory().put("a", "asset", "1", `{}`)
		for i := range 5000 {
			m.edge("a", "asset_application", "1", fmt.Sprint(i), `{}`)
		}
		var out strings.Builder
		if err := execute(t.Context(), m, query.Limits{HeldBytes: 50_000}, `{ asset { application { id } } }`, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "sorting and nesting") || m.lookups.Load() > 0 {
			t.Errorf("%d lookups: %.300s", m.lookups.Load(), out.String())
		}
	})
	t.Run("a heap needs memory for its limit only", func(t *testing.T) {
		t.Parallel()
		var out strings.Builder
		if err := execute(t.Context(), m, query.Limits{HeldBytes: 20_000}, `{ asset_ipaddress(order_by: {n: asc}, limit: 3) { id } }`, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), `{"data":`) {
			t.Errorf("got %.300s", out.String())
		}
	})
}

// TestErrorsBehindAPart sees that a reply of which a part was sent is never
// finished by something that looks like an end.
func TestErrorsBehindAPart(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 5000 {
		m.put("a", "asset", fmt.Sprintf("%04d", i), `{"name":"`+strings.Repeat("x", 100)+`"}`)
	}
	broken := errors.New("the disk is gone")
	tests := []struct {
		name  string
		graph query.Graph
		l     query.Limits
	}{
		{"a limit", m, query.Limits{Rows: 4000}},
		{"the graph", &failing{memory: m, after: 4000, err: broken}, query.Limits{}},
		{"the graph at once", &failing{memory: m, err: broken}, query.Limits{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := execute(t.Context(), tt.graph, tt.l, `{ asset { name } }`, &out); err == nil {
				t.Error("no error")
			}
			if json.Valid(out.Bytes()) {
				t.Errorf("%d bytes look like a reply", out.Len())
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		var out bytes.Buffer
		if err := execute(ctx, m, query.Limits{}, `{ asset { name } }`, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "takes too long") {
			t.Errorf("got %s", out.String())
		}
	})
	t.Run("an end of the caller", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := execute(ctx, m, query.Limits{}, `{ asset { name } }`, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// failing fails after a number of rows.
type failing struct {
	*memory
	after int
	err   error
}

func (f *failing) Rows(ctx context.Context, source, collection, prefix, after string, fn func(query.Row) error) error {
	n := 0
	return f.memory.Rows(ctx, source, collection, prefix, after, func(r query.Row) error {
		if n++; n > f.after {
			return f.err
		}
		return fn(r)
	})
}

// TestArgumentsAreComparedInPlace compares large arguments, deep within
// others, with themselves: writing them out each time would take minutes.
func TestArgumentsAreComparedInPlace(t *testing.T) {
	t.Parallel()
	const depth = 900
	value := strings.Repeat("[", depth) + `"` + strings.Repeat("x", 1_000_000) + `"` + strings.Repeat("]", depth)
	got := ask(t, model(), `{ `+strings.Repeat("...F ", 499)+`} fragment F on query_root { a: asset(where: `+value+`) { id } }`)
	if !strings.Contains(got, "where takes an object") {
		t.Errorf("got %.300s", got)
	}
	got = ask(t, model(), `{ a: asset(where: {name: {_in: ["x"]}}) { id } a: asset(where: {name: {_in: ["y"]}}) { id } }`)
	if !strings.Contains(got, "two different things") {
		t.Errorf("got %.300s", got)
	}
}

// TestPatternsAreLinear matches what takes exponential time where every
// stretch of any characters is tried again.
func TestPatternsAreLinear(t *testing.T) {
	t.Parallel()
	m := newMemory().put("a", "asset", "1", `{"name":"`+strings.Repeat("a", 1<<20)+`"}`)
	pattern := strings.Repeat("%a", 100) + "%b"
	if got := ask(t, m, `{ asset(where: {name: {_like: "`+pattern+`"}}) { id } }`); got != `{"data":{"asset":[]}}` {
		t.Error(got)
	}
}
