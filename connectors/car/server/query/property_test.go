package query_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

// condition is a where, and what it says of a row in plain Go.
type condition struct {
	text  string
	holds func(row map[string]any) bool
}

// values that rows have and conditions compare with, as JSON.
func values() []string {
	return []string{
		`"a"`, `"b"`, `"ab"`, `"A%"`, `""`, `"5"`, `"10"`, `"9"`, `"true"`, `"ä_\\"`, `"€"`, `5`, `5.0`, `10`, `-1`, `0.5`, `9007199254740993`, `9007199254740992`, `1e3`, `true`, `false`,
	}
}

func drawCondition(t *rapid.T, depth int) condition {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind = 0
	}
	switch kind {
	case 1, 2:
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) condition { return drawCondition(t, depth-1) }), 0, 3).Draw(t, "list")
		texts := make([]string, len(list))
		for i, c := range list {
			texts[i] = c.text
		}
		name, either := "_and", kind == 2
		if either {
			name = "_or"
		}
		return condition{"{" + name + ": [" + strings.Join(texts, ", ") + "]}", func(row map[string]any) bool {
			holds := func(c condition) bool { return c.holds(row) }
			if either {
				return slices.ContainsFunc(list, holds)
			}
			return !slices.ContainsFunc(list, func(c condition) bool { return !holds(c) })
		}}
	case 3:
		c := drawCondition(t, depth-1)
		return condition{"{_not: " + c.text + "}", func(row map[string]any) bool { return !c.holds(row) }}
	}
	return drawTest(t)
}

func drawTest(t *rapid.T) condition {
	field := rapid.SampledFrom([]string{"x", "y", "external_id", "source", "id", "missing"}).Draw(t, "field")
	op := rapid.SampledFrom([]string{"_eq", "_neq", "_gt", "_gte", "_lt", "_lte", "_in", "_nin", "_like", "_ilike"}).Draw(t, "operator")
	all := values()
	if field == "id" {
		all = append(all, `"a/1"`, `"a/2"`, `"a0"`, `"b/"`, `"b/1"`)
	}
	if field == "source" || field == "external_id" {
		all = append(all, `"1"`, `"2"`)
	}
	value := rapid.SampledFrom(all)
	switch op {
	case "_in", "_nin":
		list := rapid.SliceOfN(value, 0, 4).Draw(t, "values")
		return condition{fmt.Sprintf("{%s: {%s: [%s]}}", field, op, strings.Join(list, ", ")), func(row map[string]any) bool {
			got := row[field]
			in := slices.ContainsFunc(list, func(v string) bool { return equal(got, decode(v)) })
			return got != nil && in == (op == "_in")
		}}
	case "_like", "_ilike":
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("aAb%_ä5")), 0, 5, -1).Draw(t, "pattern")
		return condition{fmt.Sprintf("{%s: {%s: %q}}", field, op, pattern), func(row map[string]any) bool {
			text, ok := row[field].(string)
			return ok && likeRegexp(pattern, op == "_ilike").MatchString(text)
		}}
	}
	v := value.Draw(t, "value")
	if op == "_eq" || op == "_neq" {
		v = rapid.SampledFrom(append(all, "null")).Draw(t, "value or null")
	}
	return condition{fmt.Sprintf("{%s: {%s: %s}}", field, op, v), func(row map[string]any) bool { return compares(row[field], op, decode(v)) }}
}

func likeRegexp(pattern string, fold bool) *regexp.Regexp {
	text := strings.NewReplacer("%", ".*", "_", ".").Replace(pattern)
	if fold {
		text = "(?i)" + text
	}
	return regexp.MustCompile("^(?s:" + text + ")$")
}

func decode(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(err)
	}
	return v
}

func rational(v any) *big.Rat {
	text := fmt.Sprint(v)
	if !json.Valid([]byte(text)) || strings.ContainsAny(text, "tfn\"[{") {
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return r
}

func equal(got, want any) bool {
	if got == nil || want == nil {
		return got == want
	}
	if _, ok := got.(json.Number); ok {
		a, b := rational(got), rational(want)
		return b != nil && a.Cmp(b) == 0
	}
	return fmt.Sprint(got) == fmt.Sprint(want)
}

func compares(got any, op string, want any) bool {
	switch {
	case op == "_eq":
		return equal(got, want)
	case op == "_neq":
		return got != nil && !equal(got, want)
	case got == nil || want == nil:
		return false
	}
	order := 0
	_, number := got.(json.Number)
	_, bare := want.(json.Number)
	switch text, isText := got.(string); {
	case number || isText && bare:
		a, b := rational(got), rational(want)
		if a == nil || b == nil {
			return false
		}
		order = a.Cmp(b)
	case isText:
		order = strings.Compare(text, fmt.Sprint(want))
	default:
		return false
	}
	switch op {
	case "_gt":
		return order > 0
	case "_gte":
		return order >= 0
	case "_lt":
		return order < 0
	}
	return order <= 0
}

// TestWhereAgreesWithPlainGo draws rows and conditions, and compares what a
// query finds, and how it sorts, pages and counts it, with plain loops.
func TestWhereAgreesWithPlainGo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		var rows []map[string]any
		for _, source := range []string{"5", "a", "b"} {
			for i := range rapid.IntRange(0, 6).Draw(t, "rows") {
				key := fmt.Sprint(i)
				data := fmt.Sprintf(`{"external_id":%q`, key)
				for _, field := range []string{"x", "y"} {
					if v := rapid.SampledFrom(append(values(), "", "null")).Draw(t, field); v != "" {
						data += fmt.Sprintf(`,%q:%s`, field, v)
					}
				}
				data += "}"
				m.put(source, "asset", key, data)
				row, ok := decode(data).(map[string]any)
				if !ok {
					t.Fatal(data)
				}
				row["source"], row["id"] = source, source+"/"+key
				rows = append(rows, row)
			}
		}
		c := drawCondition(t, 3)
		want := []string{}
		for _, row := range rows {
			if c.holds(row) {
				want = append(want, fmt.Sprint(row["id"]))
			}
		}
		limit, offset := rapid.IntRange(0, 8).Draw(t, "limit"), rapid.IntRange(0, 4).Draw(t, "offset")
		field := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "order")
		reply := answer(t, m, fmt.Sprintf(`{
			all: asset(where: %[1]s) { id }
			count: asset_aggregate(where: %[1]s) { aggregate { count } }
			sorted: asset(where: %[1]s, order_by: {%[2]s: desc, id: asc}) { id }
			page: asset(where: %[1]s, order_by: {%[2]s: desc, id: asc}, limit: %[3]d, offset: %[4]d) { id }
			first: asset(where: %[1]s, limit: %[3]d, offset: %[4]d) { id }
		}`, c.text, field, limit, offset))
		ids := func(path string) []string {
			list := []string{}
			for _, id := range gjson.Get(reply, "data."+path+".#.id").Array() {
				list = append(list, id.String())
			}
			return list
		}
		page := func(list []string) []string {
			return list[min(offset, len(list)):min(offset+limit, len(list))]
		}
		all, sorted := ids("all"), ids("sorted")
		if diff := cmp.Diff(want, all); diff != "" {
			t.Fatalf("%s: %s", c.text, diff)
		}
		if n := gjson.Get(reply, "data.count.aggregate.count").Int(); n != int64(len(want)) {
			t.Fatalf("counted %d", n)
		}
		if diff := cmp.Diff(page(all), ids("first")); diff != "" {
			t.Fatalf("page: %s", diff)
		}
		if diff := cmp.Diff(page(sorted), ids("page")); diff != "" {
			t.Fatalf("sorted page: %s", diff)
		}
		slices.Sort(sorted)
		if diff := cmp.Diff(want, sorted); diff != "" {
			t.Fatalf("sorting changes what is found: %s", diff)
		}
	})
}

func answer(t *rapid.T, m *memory, text string) string {
	var out strings.Builder
	if err := execute(t.Context(), m, limits(), text, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), `{"data":`) {
		t.Fatalf("%s: %s", text, out.String())
	}
	return out.String()
}
