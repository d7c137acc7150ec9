package event_test

import (
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
)

func TestSubscription(t *testing.T) {
	t.Parallel()
	e, err := event.Decode([]byte(`{"cloudEventsVersion":"0.1","eventType":"ingest","source":"/a","eventID":"1","extensions":{"Team":"blue"},"data":[
		{"destinationTable":"Transactions._id","value":67},{"destinationTable":"Files","_id":9007199254740993},{"destinationTable":"Files","_id":"x"},
		{"destinationTable":"Files","_id":"x"},{"destinationTable":"Broken","_id":null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		rule    event.Rule
		matches bool
		keys    []string
	}{
		{"everything", event.Rule{}, true, nil},
		{"type", event.Rule{Types: []string{"other", "ingest"}}, true, nil},
		{"another type", event.Rule{Types: []string{"ingest.more"}}, false, nil},
		{"source", event.Rule{Source: "/a"}, true, nil},
		{"another source", event.Rule{Source: "/"}, false, nil},
		{"data", event.Rule{JSONPath: `$.data[?@.destinationTable=='Transactions._id' && @.value==67]`}, true, nil},
		{"other data", event.Rule{JSONPath: `$.data[?@.value==68]`}, false, nil},
		{"extension", event.Rule{JSONPath: `$[?@=='blue']`}, true, nil},
		{"attribute by its name of 1.0", event.Rule{JSONPath: `$.type`}, true, nil},
		{"attribute by its old name", event.Rule{JSONPath: `$.eventType`}, false, nil},
		{"type right, path wrong", event.Rule{Types: []string{"ingest"}, JSONPath: `$.nothing`}, false, nil},
		{"keys", event.Rule{Keys: `$.data[?@.destinationTable=='Files']._id`}, true, []string{"9007199254740993", "x"}},
		{"keys that are nothing", event.Rule{Keys: `$.data[*].nothing`}, true, nil},
		{"keys that are no keys", event.Rule{Keys: `$.data[*]._id`}, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := tt.rule.Compile()
			if err != nil {
				t.Fatal(err)
			}
			if s.Matches(e) != tt.matches {
				t.Errorf("matches: %t", !tt.matches)
			}
			if diff := cmp.Diff(tt.keys, s.KeysOf(e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRulesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		rule event.Rule
		want string
	}{
		{"path", event.Rule{JSONPath: "$.["}, "jsonpath: "},
		{"keys", event.Rule{Keys: "data"}, "keys: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := tt.rule.Compile()
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || gapless.KindOf(err) != gapless.KindMisconfigured {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzSubscription looks for paths and data that do harm.
func FuzzSubscription(f *testing.F) {
	f.Add("$.data[*]", `[1,"a",{}]`)
	f.Add("$..*", `{"a":{"b":[null]}}`)
	f.Add("$.data[?match(@.a, 'x.*')]", `[{"a":"xyz"}]`)
	f.Add("$.data[-1:0:-1]", `[1,2]`)
	f.Fuzz(func(t *testing.T, path, data string) {
		if strings.Count(path, "..") > 3 || len(path) > 200 || len(data) > 1000 {
			t.Skip("an operator's own paths may be slow")
		}
		s, err := event.Rule{JSONPath: path, Keys: path}.Compile()
		if err != nil {
			return
		}
		e, err := event.Decode([]byte(`{"specversion":"1.0","type":"t","source":"s","id":"1","data":` + data + `}`))
		if err != nil {
			return
		}
		if len(s.KeysOf(e)) > 0 && !s.Matches(e) {
			t.Errorf("%s finds keys %q, but does not match", path, s.KeysOf(e))
		}
	})
}
