package resolve_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gapless-sync/gapless/resolve"
)

func TestDecodePolicy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		values   map[string]any
		want     resolve.Policy
		mistakes []string
	}{
		{name: "nothing", want: resolve.Policy{Compat: resolve.Strict, Conflict: resolve.AcceptFields, Deletes: resolve.DeleteNewer, Tolerance: resolve.DefaultTolerance}},
		{
			name: "everything",
			values: map[string]any{
				"compat": "eden-2.1", "strategy": []any{"create", "update"}, "default_resolution": "newer", "conflict": "inbox", "tolerance": "1h",
				"resolution": map[string]any{"name": "this", "code": "mastercopy"},
			},
			want: resolve.Policy{
				Compat: resolve.Eden21, Strategy: []resolve.Method{resolve.Create, resolve.Update}, Default: resolve.Newer, Conflict: resolve.AcceptNone,
				Fields: map[string]resolve.Resolution{"name": resolve.This, "code": resolve.MasterCopy}, Deletes: resolve.DeleteNewer, Tolerance: time.Hour,
			},
		},
		{
			name:   "default as Eden writes it, strategy empty",
			values: map[string]any{"strategy": []any{}, "resolution": map[string]any{"__default__": "newer", "n": "expr: local"}},
			want: resolve.Policy{
				Compat: resolve.Strict, Strategy: []resolve.Method{}, Default: resolve.Newer, Conflict: resolve.AcceptFields,
				Fields: map[string]resolve.Resolution{"n": "expr: local"}, Deletes: resolve.DeleteNewer, Tolerance: resolve.DefaultTolerance,
			},
		},
		{name: "unknown option", values: map[string]any{"resolutio": "newer"}, mistakes: []string{`option resolutio: is not known; did you mean resolution?`}},
		{name: "unknown resolution", values: map[string]any{"resolution": "newr"}, mistakes: []string{`option resolution: "newr" is not one of this,`, `did you mean newer?`}},
		{name: "unknown resolution of a field", values: map[string]any{"resolution": map[string]any{"a": "unoin"}}, mistakes: []string{`option resolution.a: "unoin"`, `did you mean union?`}},
		{name: "unknown method", values: map[string]any{"strategy": []any{"updat"}}, mistakes: []string{`did you mean update?`}},
		{name: "no deletions in 2010", values: map[string]any{"compat": "eden-1.8", "strategy": []any{"delete"}}, mistakes: []string{`"delete" is not one of create, update`}},
		{name: "ours are none of Eden's", values: map[string]any{"compat": "eden", "resolution": "union"}, mistakes: []string{`"union" is not one of this, other, newer, master`}},
		{name: "given twice", values: map[string]any{"default_resolution": "newer", "resolution": map[string]any{"__default__": "this"}}, mistakes: []string{"is given twice"}},
		{name: "empty resolution of a field", values: map[string]any{"resolution": map[string]any{"a": ""}}, mistakes: []string{"resolution.a: is empty"}},
		{name: "several", values: map[string]any{"conflict": "x", "deletes": "y", "compat": "z"}, mistakes: []string{"option compat", "option conflict", "option deletes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, mistakes := resolve.DecodePolicy(test.values)
			var texts []string
			for _, m := range mistakes {
				texts = append(texts, m.Error())
			}
			all := strings.Join(texts, "\n")
			for _, want := range test.mistakes {
				if !strings.Contains(all, want) {
					t.Errorf("%q does not say %q", all, want)
				}
			}
			if len(test.mistakes) > 0 {
				return
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(resolve.Policy{}, "Hook")); diff != "" || all != "" {
				t.Errorf("%s (-want +got):\n%s", all, diff)
			}
			if _, err := resolve.Compile(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		policy resolve.Policy
		want   string
	}{
		{"unknown line", resolve.Policy{Compat: "edne"}, `"edne" is not one of`},
		{"unknown resolution", resolve.Policy{Resolution: "x"}, `"x" is not one of`},
		{"unknown default", resolve.Policy{Default: "x"}, "option default_resolution"},
		{"unknown conflict policy", resolve.Policy{Conflict: "x"}, "option conflict"},
		{"unknown delete policy", resolve.Policy{Deletes: "x"}, "option deletes"},
		{"for all and by field", resolve.Policy{Resolution: resolve.This, Fields: map[string]resolve.Resolution{"a": resolve.This}}, "default_resolution"},
		{"negative tolerance", resolve.Policy{Tolerance: -1}, "negative"},
		{"hook without function", resolve.Policy{Resolution: resolve.ByHook}, "needs a function"},
		{"expression with a mistake", resolve.Policy{Resolution: "expr: local +"}, "resolution:"},
		{"expression of the unknown", resolve.Policy{Resolution: "expr: lokal"}, "unknown name lokal"},
		{"expression that reads the clock", resolve.Policy{Resolution: "expr: now()"}, "now"},
		{"expression without end", resolve.Policy{Resolution: resolve.Resolution("expr: " + strings.Repeat("1+", 20000) + "1")}, "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := resolve.Compile(test.policy); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestEveryRuleIsListed compares the table with itself and with the format
// of the page.
func TestEveryRuleIsListed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, r := range resolve.Rules() {
		if r.ID == "" || r.Facts == "" || r.Decision == "" || seen[r.ID] || strings.Contains(r.Facts+r.Decision, "|") {
			t.Errorf("row %d: %+v", i, r)
		}
		seen[r.ID] = true
		if row := "| " + r.ID + " | " + r.Facts + " | " + r.Decision + " |\n"; !strings.Contains(resolve.RulesTable(), row) {
			t.Errorf("the table lacks %s", row)
		}
	}
}
