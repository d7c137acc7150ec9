package mapping_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

// space draws white space as JSON allows it.
func space(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", " ", "\n\t"}).Draw(t, "space")
}

// value draws a JSON value as text, in spellings that encoders do not produce.
func value(t *rapid.T, depth int) string {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "literal")
	case 1:
		return rapid.SampledFrom([]string{"0", "-0", "7", "-12", "3.50", "1e400", "1E+2", "12345678901234567890", "0.1e-7"}).Draw(t, "number")
	case 2, 3:
		return rapid.SampledFrom([]string{`""`, `"en"`, `"e\u006e"`, `"a\"b\\"`, `"{[,]}"`, `"\ud83d\ude00"`, `"\ud800"`, `"<ü>"`, "\"\xff\""}).Draw(t, "text")
	case 4:
		return fmt.Sprint(rapid.Int().Draw(t, "integer"))
	case 5:
		encoded, _ := json.Marshal(rapid.String().Draw(t, "string"))
		return string(encoded)
	case 6:
		var b strings.Builder
		b.WriteString("[" + space(t))
		for i := range rapid.IntRange(0, 3).Draw(t, "elements") {
			if i > 0 {
				b.WriteString("," + space(t))
			}
			b.WriteString(value(t, depth-1) + space(t))
		}
		return b.String() + "]"
	}
	return object(t, depth)
}

func object(t *rapid.T, depth int) string {
	var b strings.Builder
	b.WriteString("{" + space(t))
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		if i > 0 {
			b.WriteString("," + space(t))
		}
		key := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061"`, `"c"`, `""`, `"d e"`, `"lang"`}).Draw(t, "key")
		b.WriteString(key + space(t) + ":" + space(t) + value(t, depth-1) + space(t))
	}
	return b.String() + "}"
}

// TestUntouchedIsIdentical asserts that a program which touches none of the
// fields there are gives the same bytes back.
func TestUntouchedIsIdentical(t *testing.T) {
	t.Parallel()
	programs := []*mapping.Program{
		compile(t, mapping.Spec{}),
		compile(t, mapping.Spec{Filter: "a == a || true"}),
		compile(t, mapping.Spec{Drop: []string{"nope"}}),
		compile(t, mapping.Spec{Rename: map[string]string{"nope": "a"}}),
		compile(t, mapping.Spec{Set: map[string]string{"x": "nope.a ?? nope[1]"}}),
		compile(t, mapping.Spec{Keep: []string{"a", "b", "c", "", "d e", "lang"}}),
	}
	rapid.Check(t, func(rt *rapid.T) {
		data := space(rt) + object(rt, 3) + space(rt)
		for i, p := range programs {
			if diff := cmp.Diff(data, apply(t, p, gapless.OpUpsert, data)); diff != "" {
				rt.Fatalf("program %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

// TestShapeAgainstModel compares splicing with decoding, changing and
// comparing decoded fields.
func TestShapeAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		data := object(rt, 2)
		s := mapping.Spec{Set: map[string]string{"n": "c", "a": `b`}, Rename: map[string]string{"lang": "language"}, Drop: []string{"d e"}}
		got := fields(apply(t, compile(t, s), gapless.OpUpsert, data))
		want := fields(data)
		in := fields(data)
		delete(want, "d e")
		move := func(from, to string) {
			delete(want, to)
			if raw, ok := in[from]; ok {
				want[to] = raw
			}
		}
		move("c", "n")
		move("b", "a")
		move("lang", "language")
		delete(want, "lang")
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("%s (-want +got):\n%s", data, diff)
		}
	})
}

// fields returns the raw text of the first field of each name.
func fields(data string) map[string]string {
	found := map[string]string{}
	gjson.Parse(data).ForEach(func(key, value gjson.Result) bool {
		if _, twice := found[key.String()]; !twice {
			found[key.String()] = value.Raw
		}
		return true
	})
	return found
}

// TestAgainstVirtualMachine asserts that what works on bytes gives the result
// that the virtual machine gives on decoded values, wherever it gives one.
func TestAgainstVirtualMachine(t *testing.T) {
	t.Parallel()
	scalars := []string{"0", "7", "-12", "100.0", "3.5", `"en"`, `""`, `"a\"b\\"`, "true", "nil"}
	paths := []string{"a", "b", "c", "lang", "a.b", "b.a"}
	operators := []string{"==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith"}
	rapid.Check(t, func(rt *rapid.T) {
		leaf := func() string {
			l, r := rapid.SampledFrom(paths).Draw(rt, "path"), rapid.SampledFrom(scalars).Draw(rt, "constant")
			if rapid.Bool().Draw(rt, "mirrored") {
				l, r = r, l
			}
			return "(" + l + " " + rapid.SampledFrom(operators).Draw(rt, "operator") + " " + r + ")"
		}
		var condition func(depth int) string
		condition = func(depth int) string {
			if depth == 0 {
				return leaf()
			}
			switch rapid.IntRange(0, 4).Draw(rt, "shape") {
			case 0:
				return "not " + condition(depth-1)
			case 1:
				return "(" + condition(depth-1) + " and " + condition(depth-1) + ")"
			case 2:
				return "(" + condition(depth-1) + " || " + condition(depth-1) + ")"
			case 3:
				return "(" + condition(depth-1) + " ? " + condition(depth-1) + " : " + condition(depth-1) + ")"
			}
			return leaf()
		}
		filter, data := condition(2), object(rt, 2)
		p, err := mapping.Compile(mapping.Spec{Filter: filter})
		if err != nil {
			return // such as 5 contains a
		}
		want, err := reference(filter, data)
		if err != nil {
			return // a type mismatch
		}
		got := apply(t, p, gapless.OpUpsert, data)
		if verdict := map[bool]string{true: data, false: "filtered"}[want]; got != verdict {
			rt.Fatalf("%s\n%s\ngot %s, want %s", filter, data, got, verdict)
		}
	})
}

// reference evaluates a condition over the whole decoded record.
func reference(filter, data string) (bool, error) {
	filter = strings.ReplaceAll(strings.ReplaceAll(filter, "a.b", "get(a, 'b')"), "b.a", "get(b, 'a')")
	program, err := expr.Compile(filter, expr.Env(map[string]any{}), expr.AllowUndefinedVariables())
	if err != nil {
		return false, err
	}
	env, _ := decoded(gjson.Parse(data)).(map[string]any)
	result, err := expr.Run(program, env)
	if err != nil {
		return false, err
	}
	return result.(bool), nil
}

func decoded(r gjson.Result) any {
	switch {
	case r.IsObject():
		object := map[string]any{}
		r.ForEach(func(k, v gjson.Result) bool {
			if _, twice := object[k.String()]; !twice {
				object[k.String()] = decoded(v)
			}
			return true
		})
		return object
	case r.IsArray():
		array := []any{}
		r.ForEach(func(_, v gjson.Result) bool { array = append(array, decoded(v)); return true })
		return array
	case r.Type == gjson.Number:
		var n int
		if json.Unmarshal([]byte(r.Raw), &n) == nil {
			return n
		}
		return r.Num
	}
	return r.Value()
}

func FuzzApply(f *testing.F) {
	f.Add(`{"size":5,"lang":"en","a":{"b":[1,2]},"n":1e400}`)
	f.Add("{ \"a\\u0062\" : \"\\ud800\" , \"size\" : \"x\\\\\" }\n")
	f.Add(`{"a":1,"a":2,"t":[[],{}],"":null}`)
	f.Add(`{"a":`)
	f.Add(`[{"a":1}]`)
	f.Add(`{"a"1,,}`)
	specs := []mapping.Spec{
		{Filter: `size < 5 && lang == "en" || a.b[1] > 1 || lang startsWith "x"`},
		{Set: map[string]string{"t": "a.b", "size": "size + 1", "n": "n ?? lang", "u": "upper(lang)"}, Rename: map[string]string{"a": "z"}},
		{Keep: []string{"a"}, Set: map[string]string{"all": "[a, n, t]", "j": "toJSON(a)", "s": "string(t)"}},
		{Drop: []string{"a", ""}},
	}
	var programs []*mapping.Program
	for _, s := range specs {
		if p, err := mapping.Compile(s); err == nil {
			programs = append(programs, p)
		}
	}
	f.Fuzz(func(t *testing.T, data string) {
		valid := gjson.Valid(data)
		for _, p := range programs {
			for _, op := range []gapless.Op{gapless.OpUpsert, gapless.OpPatch} {
				var in, out gapless.Batch
				in.Append(gapless.Change{Op: op, Record: gapless.Record{Key: "k", Data: []byte(data)}})
				verdicts := 0
				if err := p.Apply(&in, &out, func(int, mapping.Verdict, error) { verdicts++ }); err != nil {
					t.Fatal(err)
				}
				if out.Len()+verdicts != 1 {
					t.Fatalf("%d rows, %d verdicts", out.Len(), verdicts)
				}
				if out.Len() == 1 && valid && !gjson.ValidBytes(out.Data(0)) {
					t.Fatalf("%q became %q", data, out.Data(0))
				}
				if !bytes.Equal(in.Data(0), []byte(data)) {
					t.Fatal("the incoming batch was altered")
				}
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`size < 1000 && lang == "en"`, `author.name ?? 'x'`, `let n = a; n[1:2]`, `filter(t, .x > 1) | len()`, `$env["a b"]?.c`,
		`a in [1, "x", nil]`, `if a { b } else { c }`, `{a: [1..3]}`, `-a ** 2`, `a?.b[0]!.c`, `b"bytes"`, `not (a matches "x")`, `let a = a; a`, `#`, `.x`, `1..9999999`,
	} {
		f.Add(s)
	}
	const data = `{"a":{"b":[1,2,{"c":"x"}]},"size":5,"lang":"en","t":[{"x":1}],"n":null}`
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range []mapping.Spec{{Filter: text}, {Set: map[string]string{"out": text}}, {Set: map[string]string{text: "a"}}} {
			p, err := mapping.Compile(s)
			if err != nil {
				if err.Error() == "" {
					t.Fatal("an error without text")
				}
				continue
			}
			again, err := mapping.Compile(s)
			if err != nil || again.Fingerprint() != p.Fingerprint() {
				t.Fatalf("fingerprint of %q is not stable", text)
			}
			if got := apply(t, p, gapless.OpUpsert, data); got != "filtered" && !strings.HasPrefix(got, "rejected") && !gjson.Valid(got) {
				t.Fatalf("%q gives %q", text, got)
			}
		}
	})
}
