package framework

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const smallSchema = `{
  "$id": "car/schema.json", "type": "object", "additionalProperties": true,
  "properties": {
    "source": {"type": "object", "required": ["_key"]},
    "asset": {"type": "array", "items": {
      "type": "object",
      "properties": {
        "external_id": {"type": "string", "indexed": true, "description": "id"},
        "name": {"type": "string", "minLength": 1},
        "alias": {"type": "string", "format": "uri"},
        "risk": {"type": "number", "minimum": 0, "maximum": 10, "error_message": "no"},
        "count": {"type": "integer"},
        "kind": {"type": ["string", "null"], "enum": ["a", "b", null]},
        "tag": {"type": "array", "items": {"type": "string"}},
        "properties": {"type": "object", "properties": {}}
      },
      "required": ["external_id", "name"]}},
    "ipaddress": {"type": "array", "items": {
      "type": "object",
      "properties": {"_key": {"type": "string"}, "name": {"type": "string", "pattern": "^[a-fA-F0-9:\\.]+$", "minLength": 1}},
      "required": ["_key"]}},
    "hostname": {"type": "array", "items": {
      "type": "object", "properties": {"host_name": {"type": "string"}}, "required": ["host_name", "external_id"]}},
    "port": {"type": "array", "items": {"$ref": "#/$defs/port"}}
  },
  "$defs": {"port": {"type": "object", "required": ["port_number"]}}
}`

func TestRules(t *testing.T) {
	t.Parallel()
	rules, err := compileRules(json.RawMessage(smallSchema))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, collection, row string
		// problem is part of the reason; empty if there is none.
		problem string
	}{
		{"complete", "asset", `{"external_id":"1","name":"a","risk":3,"count":2}`, ""},
		{"without a required field", "asset", `{"external_id":"1"}`, "name"},
		{"another type", "asset", `{"external_id":1,"name":"a"}`, "string"},
		{"too large", "asset", `{"external_id":"1","name":"a","risk":11}`, "11"},
		{"an integer with a fraction of zero", "asset", `{"external_id":"1","name":"a","count":2.0}`, ""},
		{"a fraction for an integer", "asset", `{"external_id":"1","name":"a","count":2.5}`, "integer"},
		{"null where it is allowed", "asset", `{"external_id":"1","name":"a","kind":null}`, ""},
		{"null where it is not", "asset", `{"external_id":"1","name":null}`, "string"},
		{"not in the list", "asset", `{"external_id":"1","name":"a","kind":"c"}`, "enum"},
		{"items of another type", "asset", `{"external_id":"1","name":"a","tag":[1]}`, "string"},
		{"items", "asset", `{"external_id":"1","name":"a","tag":["x"]}`, ""},
		{"own fields", "asset", `{"external_id":"1","name":"a","x":{"y":[]}}`, ""},
		{"too short", "asset", `{"external_id":"1","name":""}`, "minLength"},
		{"a rule that is not simple", "asset", `{"external_id":"1","name":"a","alias":1}`, "string"},
		{"the address is made of the key", "ipaddress", `{"_key":"10.0.0.1"}`, ""},
		{"no address", "ipaddress", `{"_key":"web-1"}`, "pattern"},
		{"the host name is made of the key", "hostname", `{"_key":"web-1"}`, ""},
		{"by reference", "port", `{"port_number":1}`, ""},
		{"by reference, wrong", "port", `{}`, "port_number"},
		{"a collection that the schema does not know", "site", `{}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := rules.check(tt.collection, []byte(tt.row))
			if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
		})
	}
	if rules.rows["asset"].quick == nil || rules.rows["port"] != nil {
		t.Error("what can be decided on quickly is another than expected")
	}
}

func TestTrivialSchemas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"type":"object"}`, `{"$id":"x","type":"object","title":"t"}`} {
		rules, err := compileRules(json.RawMessage(text))
		if rules != nil || err != nil {
			t.Errorf("%s: %v, %v", text, rules, err)
		}
		if err := rules.check("asset", []byte(`{}`)); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{`{"type":"array"}`, `{"required":["asset"]}`} {
		rules, err := compileRules(json.RawMessage(text))
		if rules == nil || err != nil {
			t.Errorf("%s: %v, %v", text, rules, err)
		}
	}
	for _, text := range []string{``, `[]`, `{"properties":{"asset":{"pattern":"("}}}`, `{"$ref":"elsewhere.json"}`} {
		if _, err := compileRules(json.RawMessage(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// TestQuickRulesNeverAllowWhatTheSchemaRefuses draws rows at random.
func TestQuickRulesNeverAllowWhatTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	rules, err := compileRules(json.RawMessage(smallSchema))
	if err != nil {
		t.Fatal(err)
	}
	asset := rules.rows["asset"]
	if !asset.certain([]byte(`{"name":"a","external_id":"1","risk":10,"other":[]}`)) {
		t.Error("a row that satisfies all rules is not certain")
	}
	value := rapid.SampledFrom([]string{`"a"`, `""`, `"\u0061"`, `1`, `-1`, `1.0`, `1e1`, `2.5`, `11`, `null`, `true`, `[]`, `["x"]`, `[1]`, `{}`, `{"a":1}`})
	field := rapid.SampledFrom([]string{"external_id", "name", "alias", "risk", "count", "kind", "tag", "properties", "other"})
	rapid.Check(t, func(t *rapid.T) {
		parts := []string{`"external_id": "1"`, `"name": "a"`}[:rapid.IntRange(0, 2).Draw(t, "required")]
		for _, name := range rapid.SliceOfN(field, 0, 6).Draw(t, "fields") {
			parts = append(parts, `"`+name+`": `+value.Draw(t, name))
		}
		row := []byte("{" + strings.Join(parts, ",") + "}")
		if !asset.certain(row) {
			return
		}
		var fields map[string]any
		if err := json.Unmarshal(row, &fields); err != nil {
			t.Fatal(err)
		}
		if err := asset.schema.Validate(fields); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
	})
}

func BenchmarkRules(b *testing.B) {
	text := []byte(smallSchema)
	if path := os.Getenv("CAR_IMPORT_SCHEMA"); path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			b.Fatal(err)
		}
	}
	rules, err := compileRules(text)
	if err != nil {
		b.Fatal(err)
	}
	row := []byte(`{"name": "asset0.domain.com", "initial_value": 2000.0, "external_id": "1", "assetid": "1", "asset_type": "Other"}`)
	slow := *rules
	slow.rows = nil
	for name, r := range map[string]*struct{ check func(string, []byte) error }{"quick": {rules.check}, "schema": {slow.check}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.check("asset", row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSchemasThatReferToThemselves: a validation by them would not end, and
// take the process with it.
func TestSchemasThatReferToThemselves(t *testing.T) {
	t.Parallel()
	for text, refused := range map[string]bool{
		`{"$ref":"#"}`:             true,
		`{"allOf":[{"$ref":"#"}]}`: true,
		`{"properties":{"asset":{"type":"array","items":{"$ref":"#"}}}}`:                                                                                                         true,
		`{"properties":{"asset":{"items":{"$ref":"#/$defs/a"}}},"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"$ref":"#/$defs/a"}}}`:                                        true,
		`{"properties":{"asset":{"items":{"$ref":"#/$defs/a~1b"}}},"$defs":{"a/b":{"not":{"$ref":"#/$defs/a~1b"}}}}`:                                                             true,
		`{"properties":{"asset":{"items":{"$dynamicRef":"#x"}}}}`:                                                                                                                true,
		`{"$id":"https://h/s","properties":{"asset":{"items":{"$ref":"https://h/s#/properties/asset/items"}}}}`:                                                                  true,
		`{"properties":{"asset":{"items":{"allOf":[{"$ref":"#/properties/asset/items/allOf/0"}]}}}}`:                                                                             true,
		`{"properties":{"asset":{"type":"array","items":{"$ref":"#/$defs/a"}},"site":{"type":"array","items":{"$ref":"#/$defs/a"}}},"$defs":{"a":{"required":["external_id"]}}}`: false,
	} {
		r, err := compileRules(json.RawMessage(text))
		if (err != nil) != refused {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && (r.check("asset", []byte(`{"external_id":"1"}`)) != nil || r.check("site", []byte(`{}`)) == nil) {
			t.Errorf("%s is not applied", text)
		}
	}
}
