package mapping_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

func compile(t testing.TB, s mapping.Spec) *mapping.Program {
	t.Helper()
	p, err := mapping.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// apply runs one change through a program: its data, or how it did not pass.
func apply(t testing.TB, p *mapping.Program, op gapless.Op, data string) string {
	t.Helper()
	var in, out gapless.Batch
	in.Append(gapless.Change{Op: op, Record: gapless.Record{Key: "k", Data: []byte(data)}})
	said := ""
	err := p.Apply(&in, &out, func(_ int, v mapping.Verdict, err error) {
		said = map[mapping.Verdict]string{mapping.Filtered: "filtered", mapping.Rejected: "rejected: " + fmt.Sprint(err)}[v]
	})
	if err != nil {
		t.Fatal(err)
	}
	if said != "" {
		if out.Len() != 0 || len(out.Buf) != 0 || len(out.Rejects) != strings.Count(said, "rejected") {
			t.Errorf("%s, but %d rows and %d rejects", said, out.Len(), len(out.Rejects))
		}
		return said
	}
	return string(out.Data(0))
}

func TestSet(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) mapping.Spec {
		s := mapping.Spec{Set: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			s.Set[pairs[i]] = pairs[i+1]
		}
		return s
	}
	tests := []struct {
		name string
		spec mapping.Spec
		in   string
		want string
	}{
		{"appends", set("title", "name"), `{"name":"a"}`, `{"name":"a","title":"a"}`},
		{"replaces where it stands", set("b", `"new"`), `{"a":1, "b" : 2 ,"c":3}`, `{"a":1,"b":"new","c":3}`},
		{"in the order of names", set("z", "1", "y", "2"), `{}`, `{"y":2,"z":1}`},
		{"nested path", set("x", "a.b"), `{"a":{"c":1,"b":[ 1 , 2 ]}}`, `{"a":{"c":1,"b":[ 1 , 2 ]},"x":[ 1 , 2 ]}`},
		{"element", set("x", "a[1].b"), `{"a":[0,{"b":7}]}`, `{"a":[0,{"b":7}],"x":7}`},
		{"element out of range", set("x", "a[9]"), `{"a":[0]}`, `{"a":[0]}`},
		{"optional chain", set("x", "a?.b?.c"), `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":1}},"x":1}`},
		{"names that are no identifiers", set("x", `$env["content-type"]`), `{"content-type":"t"}`, `{"content-type":"t","x":"t"}`},
		{"names of functions", set("x", "type", "y", "len", "z", "now"), `{"type":1,"len":2,"now":3}`, `{"type":1,"len":2,"now":3,"x":1,"y":2,"z":3}`},
		{"huge numbers untouched", set("x", "n"), `{"n":1e400,"m":12345678901234567890}`, `{"n":1e400,"m":12345678901234567890,"x":1e400}`},
		{"huge number through a default", set("x", "a ?? n"), `{"n":12345678901234567890}`, `{"n":12345678901234567890,"x":12345678901234567890}`},
		{"missing field", set("x", "nope"), `{"a":1}`, `{"a":1}`},
		{"missing field removes", set("a", "nope"), `{"a":1,"b":2}`, `{"b":2}`},
		{"null is copied", set("x", "a"), `{"a":null}`, `{"a":null,"x":null}`},
		{"default for null", set("x", "a ?? 'none'"), `{"a":null}`, `{"a":null,"x":"none"}`},
		{"condition chooses", set("x", "size > 10 ? 'big' : 'small'"), `{"size":11}`, `{"size":11,"x":"big"}`},
		{"condition as value", set("x", "size > 10 and not hidden"), `{"size":11}`, `{"size":11,"x":true}`},
		{"constants", set("a", "'it''s'", "b", "nil", "c", "-5", "d", "[1,'x']", "e", "{k: 1.5}"), `{}`, `rejected`},
		{"constant kinds", set("a", `'it\'s'`, "b", "nil", "c", "-5", "d", "[1,'<x>']", "e", "{k: 1.5}"), `{}`, `{"a":"it's","b":null,"c":-5,"d":[1,"<x>"],"e":{"k":1.5}}`},
		{"arithmetic", set("kb", "size / 1024", "n", "size + 1"), `{"size":1536}`, `{"size":1536,"kb":1.5,"n":1537}`},
		{"functions", set("x", "upper(name)", "y", "len(tags)", "z", "name | trim() | lower()"), `{"name":" Ab","tags":[1,2]}`, `{"name":" Ab","tags":[1,2],"x":" AB","y":2,"z":"ab"}`},
		{"closures", set("x", "filter(posts, .n > 1)", "y", "map(posts, #.n)"), `{"posts":[{"n":1},{"n":2}]}`, `{"posts":[{"n":1},{"n":2}],"x":[{"n":2}],"y":[1,2]}`},
		{"variables", set("x", "let n = size * 2; n + 1"), `{"size":3}`, `{"size":3,"x":7}`},
		{"variable over a field", set("x", "let size = size * 2; size + 1"), `{"size":3}`, `{"size":3,"x":7}`},
		{"reads the incoming record", set("a", "b", "b", "a"), `{"a":1,"b":2}`, `{"a":2,"b":1}`},
		{"escapes in keys", set("x", "ab"), `{"a\u0062":1}`, `{"a\u0062":1,"x":1}`},
		{"quotes in keys", set(`say "x"`, "a"), `{"a":1}`, `{"a":1,"say \"x\"":1}`},
		{"first of duplicates", set("x", "a", "b", "0"), `{"a":1,"a":2,"b":3,"b":4}`, `{"a":1,"a":2,"b":0,"x":1}`},
		{"first of nested duplicates", set("x", "a.b", "y", "len(a) + a.b"), `{"a":{"b":1,"b":2}}`, `{"a":{"b":1,"b":2},"x":1,"y":2}`},
		{"first of decoded duplicates", set("x", "get(a, 'b')"), `{"a":{"b":1,"b":2}}`, `{"a":{"b":1,"b":2},"x":1}`},
		{"keeps white space", set("x", "a"), " {\n  \"a\": 1,\n  \"b\": 2\n} ", " {\n  \"a\": 1,\n  \"b\": 2,\"x\":1\n} "},
		{"empty object", set("x", "1"), `{ }`, `{ "x":1}`},
		{"text with invalid UTF-8", set("x", "upper(a)"), "{\"a\":\"\xff\"}", "{\"a\":\"\xff\",\"x\":\"\uFFFD\"}"},
		{"control characters", set("x", `a + "\u0001\n"`), `{"a":"\""}`, `{"a":"\"","x":"\"\u0001\n"}`},
		{"division by zero", set("x", "a / 0"), `{"a":1}`, "rejected: map record: map.x: a / 0: the result is not a finite number"},
		{"type mismatch", set("x", "a + 1"), `{"a":"s"}`, "rejected: map record: map.x: a + 1: invalid operation: string + int"},
		{"missing in arithmetic", set("x", "a.b + 1"), `{"a":{}}`, "rejected: map record: map.x: a.b + 1: invalid operation: <nil> + int, because the record has no a.b"},
		{"memory", set("x", "len(map(1..n, 1..n))"), `{"n":3000}`, "rejected: map record: map.x: len(map(1..n, 1..n)): memory budget exceeded"},
		{"rejected late", set("w", "1", "x", "a + 1"), `{"a":"s"}`, "rejected: map record: map.x: a + 1: invalid operation: string + int"},
		{"no object", set("x", "1"), `[1]`, "rejected: map record: the data is not a JSON object"},
		{"deep value", set("x", "len(a)"), `{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, "rejected: map record: map.x: len(a): a: the value is nested too deeply"},
		{"deep value untouched", set("x", "1"), `{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, `{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `,"x":1}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := mapping.Compile(test.spec)
			if test.want == "rejected" {
				if err == nil {
					t.Error("compiled")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := apply(t, p, gapless.OpUpsert, test.in)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(got, "rejected") && !gjson.Valid(got) {
				t.Errorf("not valid: %s", got)
			}
		})
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	const in = `{"a":1, "b" : 2 ,"c":3}`
	tests := []struct {
		name string
		spec mapping.Spec
		in   string
		want string
	}{
		{"rename", mapping.Spec{Rename: map[string]string{"b": "x"}}, in, `{"a":1,"x":2,"c":3}`},
		{"rename replaces", mapping.Spec{Rename: map[string]string{"c": "a"}}, in, `{"b" : 2,"a":3}`},
		{"rename of nothing replaces nothing", mapping.Spec{Rename: map[string]string{"z": "a"}}, in, in},
		{"exchange", mapping.Spec{Rename: map[string]string{"a": "c", "c": "a"}}, in, `{"c":1,"b" : 2,"a":3}`},
		{"rename the first of duplicates", mapping.Spec{Rename: map[string]string{"a": "x"}}, `{"a":1,"a":2}`, `{"x":1}`},
		{"rename to itself", mapping.Spec{Rename: map[string]string{"a": "a"}}, in, in},
		{"rename and set", mapping.Spec{Rename: map[string]string{"a": "x"}, Set: map[string]string{"a": "b"}}, in, `{"x":1,"b" : 2 ,"c":3,"a":2}`},
		{"drop", mapping.Spec{Drop: []string{"a", "nope"}}, in, `{"b" : 2 ,"c":3}`},
		{"drop in the middle", mapping.Spec{Drop: []string{"b"}}, in, `{"a":1,"c":3}`},
		{"drop all duplicates", mapping.Spec{Drop: []string{"a"}}, `{"a":1,"a":2}`, `{}`},
		{"drop everything", mapping.Spec{Drop: []string{"a", "b", "c"}}, in, `{}`},
		{"keep", mapping.Spec{Keep: []string{"c", "a"}}, in, `{"a":1,"c":3}`},
		{"keep none", mapping.Spec{Keep: []string{}, Set: map[string]string{"t": "b"}}, in, `{"t":2}`},
		{"keep and rename", mapping.Spec{Keep: []string{"a"}, Rename: map[string]string{"c": "x"}}, in, `{"a":1,"x":3}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, apply(t, compile(t, test.spec), gapless.OpUpsert, test.in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	const in = `{"size":100,"big":12345678901234567890,"f":1.5,"lang":"en","esc":"e\u006e","t":true,"no":false,"null":null,"o":{"k":"v"},"tags":["a","b"]}`
	tests := []struct {
		filter string
		want   string // pass, filtered, or a part of the rejection
	}{
		{`size < 101`, "pass"},
		{`size < 100`, "filtered"},
		{`100 <= size`, "pass"},
		{`100.5 > size`, "pass"},
		{`size == 100.0`, "pass"},
		{`f >= 1`, "pass"},
		{`big > 5`, "pass"},
		{`size < 1000000 && lang == "en"`, "pass"},
		{`esc == "en"`, "pass"},
		{`lang > "de"`, "pass"},
		{`lang != "en"`, "filtered"},
		{`lang in ["de", "en"]`, "pass"},
		{`lang not in ["de", "en"]`, "filtered"},
		{`size in [1, 2.5, 100]`, "pass"},
		{`lang startsWith "e" and lang endsWith "n" and lang contains "en"`, "pass"},
		{`absent contains "x"`, "filtered"},
		{`lang == 5`, "filtered"},
		{`t`, "pass"},
		{`no`, "filtered"},
		{`not no`, "pass"},
		{`absent`, "filtered"},
		{`!absent`, "pass"},
		{`null`, "filtered"},
		{`absent == nil && null == nil && size != nil`, "pass"},
		{`t == true`, "pass"},
		{`o.k == "v"`, "pass"},
		{`o.k.deeper == "v"`, "filtered"},
		{`o == "v"`, "filtered"},
		{`tags[1] == "b"`, "pass"},
		{`"b" in tags`, "pass"},
		{`len(tags) == 2 || absent < 5`, "pass"},
		{`any(tags, # == "b")`, "pass"},
		{`(absent ?? 7) < 10`, "pass"},
		{`absent ?? t`, "pass"},
		{`t ? lang == "en" : absent < 3`, "pass"},
		{`lang matches "^e."`, "pass"},
		{`true`, "pass"},
		{`false`, "filtered"},
		{`absent < 5`, "because the record has no absent"},
		{`lang < 5`, "invalid operation: string < int"},
		{`size`, "100 is neither true nor false"},
		{`lang && t`, `"en" is neither true nor false`},
		{`absent ?? lang`, `"en" is neither true nor false`},
	}
	for _, test := range tests {
		t.Run(test.filter, func(t *testing.T) {
			t.Parallel()
			got := apply(t, compile(t, mapping.Spec{Filter: test.filter}), gapless.OpUpsert, in)
			switch test.want {
			case "pass":
				if got != in {
					t.Errorf("got %s", got)
				}
			case "filtered":
				if got != "filtered" {
					t.Errorf("got %s", got)
				}
			default:
				if !strings.HasPrefix(got, "rejected") || !strings.Contains(got, test.want) {
					t.Errorf("got %s, want a rejection with %s", got, test.want)
				}
			}
		})
	}
}

// TestPatch asserts that a part of a record is never mapped as if it were all
// of it.
func TestPatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		spec mapping.Spec
		in   string
		want string
	}{
		{"a filter cannot judge it", mapping.Spec{Filter: "a == 1"}, `{"a":1}`, "rejected"},
		{"field that is there", mapping.Spec{Set: map[string]string{"x": "a"}}, `{"a":1}`, `{"a":1,"x":1}`},
		{"field that is not there", mapping.Spec{Set: map[string]string{"x": "a"}}, `{"b":1}`, `{"b":1}`},
		{"own field is not let through", mapping.Spec{Set: map[string]string{"x": "a"}}, `{"x":1}`, `{}`},
		{"removed field", mapping.Spec{Set: map[string]string{"x": "a"}}, `{"a":null}`, `{"a":null,"x":null}`},
		{"removed nested field", mapping.Spec{Set: map[string]string{"x": "a.b"}}, `{"a":{}}`, `{"a":{},"x":null}`},
		{"constant", mapping.Spec{Set: map[string]string{"x": "1"}}, `{"a":1}`, `{"a":1,"x":1}`},
		{"half of what is read", mapping.Spec{Set: map[string]string{"x": "a + b"}}, `{"a":1}`, "rejected"},
		{"all of what is read", mapping.Spec{Set: map[string]string{"x": "a + b"}}, `{"a":1,"b":2}`, `{"a":1,"b":2,"x":3}`},
		{"renamed", mapping.Spec{Rename: map[string]string{"a": "b"}}, `{"a":1}`, `{"b":1}`},
		{"in doubt what was renamed", mapping.Spec{Rename: map[string]string{"a": "b"}}, `{"b":1}`, "rejected"},
		{"dropped", mapping.Spec{Drop: []string{"a"}}, `{"a":1}`, `{}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var in, out gapless.Batch
			in.Append(gapless.Change{Op: gapless.OpPatch, Record: gapless.Record{Key: "k", Data: []byte(test.in)}})
			if err := compile(t, test.spec).Apply(&in, &out, nil); err != nil {
				t.Fatal(err)
			}
			if test.want == "rejected" {
				if len(out.Rejects) != 1 || !errors.Is(out.Rejects[0].Err, mapping.ErrPatch) {
					t.Errorf("rejects %+v", out.Rejects)
				}
				return
			}
			if len(out.Rejects) != 0 {
				t.Fatal(out.Rejects[0].Err)
			}
			if diff := cmp.Diff(test.want, string(out.Data(0))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestApplyKeepsTheRest asserts that everything but the data goes along, that
// nothing vanishes, and that the incoming batch is left as it is.
func TestApplyKeepsTheRest(t *testing.T) {
	t.Parallel()
	changes := []gapless.Change{
		{Line: 1, Record: gapless.Record{Key: "a", Version: "v1", Modified: time.Unix(5, 6).UTC(), Data: []byte(`{"n":1}`), Parts: []gapless.Part{{Name: "p", Size: 3}}}},
		{Line: 2, Record: gapless.Record{Key: "b", Data: []byte(`{"n":9}`)}},
		{Line: 3, Record: gapless.Record{Key: "c", Data: []byte(`{"n":"x"}`)}},
		{Line: 4, Op: gapless.OpDelete, Record: gapless.Record{Key: "d", Data: []byte(`{"n":9}`)}},
		{Line: 5, Record: gapless.Record{Key: "only a key", Version: "v5"}},
		{Line: 6, Record: gapless.Record{Key: "f", Version: "v6", Data: []byte(`{"n":2}`), Parts: []gapless.Part{{Name: "q"}, {Name: "r"}}}},
	}
	in := &gapless.Batch{
		Partition: gapless.Partition{ID: "p", Collection: "c"}, Origin: "file", Mark: "m",
		Rejects: []gapless.Rejection{{Key: "early"}},
	}
	for _, c := range changes {
		in.Append(c)
	}
	before := bytes.Clone(in.Buf)
	var out gapless.Batch
	verdicts := map[int]mapping.Verdict{}
	err := compile(t, mapping.Spec{Filter: "n < 5", Set: map[string]string{"m": "n"}}).Apply(in, &out, func(row int, v mapping.Verdict, err error) {
		verdicts[row] = v
		if (v == mapping.Rejected) != (err != nil) {
			t.Errorf("row %d: verdict %d with error %v", row, v, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]mapping.Verdict{1: mapping.Filtered, 2: mapping.Rejected}, verdicts); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	var got []gapless.Change
	for i := range out.Len() {
		got = append(got, out.Change(i))
	}
	want := []gapless.Change{changes[0], changes[3], changes[4], changes[5]}
	want[0].Data, want[3].Data = []byte(`{"n":1,"m":1}`), []byte(`{"n":2,"m":2}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if out.Partition != in.Partition || out.Origin != "file" || out.Mark != "m" {
		t.Errorf("batch %+v", out)
	}
	if len(out.Rejects) != 2 || out.Rejects[0].Key != "early" {
		t.Fatalf("rejects %+v", out.Rejects)
	}
	r := out.Rejects[1]
	if r.Key != "c" || r.Line != 3 || r.Origin != "file" || string(r.Raw) != `{"n":"x"}` || gapless.KindOf(r.Err) != gapless.KindRejected {
		t.Errorf("rejection %+v", r)
	}
	if !bytes.Equal(before, in.Buf) || in.Len() != len(changes) {
		t.Error("the incoming batch was altered")
	}
	if err := compile(t, mapping.Spec{}).Apply(in, in, nil); err == nil {
		t.Error("a batch was mapped onto itself")
	}
}

func TestMappedRecordStaysBelowTheLimit(t *testing.T) {
	t.Parallel()
	p := compile(t, mapping.Spec{Set: map[string]string{"b": "a"}})
	data := `{"a":"` + strings.Repeat("x", gapless.MaxDataBytes/2) + `"}`
	if got := apply(t, p, gapless.OpUpsert, data); !strings.HasPrefix(got, "rejected: map record: the mapped record is larger than") {
		t.Errorf("got %.100s", got)
	}
}

func TestNilProgramIsIdentity(t *testing.T) {
	t.Parallel()
	var p *mapping.Program
	if !p.IsIdentity() || p.Fingerprint() != "" || p.Fields() != nil {
		t.Error("nil is not the identity")
	}
	if got := apply(t, p, gapless.OpUpsert, `no JSON at all`); got != `no JSON at all` {
		t.Errorf("got %s", got)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	p := compile(t, mapping.Spec{
		Filter: `size < 5 and author.name == "x" and $env["content-type"] != "y"`,
		Set:    map[string]string{"a": "size", "b": "tags[0]", "c": `author["first name"]`, "d": "1"},
	})
	want := []string{`$env["content-type"]`, `author.name`, `author["first name"]`, `size`, `tags[0]`}
	if diff := cmp.Diff(want, p.Fields()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
