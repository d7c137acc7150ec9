package car

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/wire"
)

func FuzzImportStatus(f *testing.F) {
	for _, seed := range []string{
		`{"complete_imports":[{"id":"a"}],"incomplete_imports":null,"notfound_imports":["b"],"error_imports":[{"id":"a","error":{"x":1},"statusCode":"422","rows":[{"collection":"asset","index":-1,"id":"1","error":"e"}]}]}`,
		`{"complete_imports":["a","b"]}`, `{}`, `[]`, `{"error_imports":[null,5]}`, `{"error_imports":[{"id":"b","statusCode":1e9}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decodeImportStatus(body, []string{"a", "b"})
		if err != nil {
			return
		}
		all := slices.Concat(s.Complete, s.Incomplete, s.Unknown)
		for i := range s.Failed {
			all = append(all, s.Failed[i].ID)
			if len(s.Failed[i].Message) > 1000 {
				t.Errorf("a message of %d bytes", len(s.Failed[i].Message))
			}
			p := &page{rows: []row{{collection: &collection{name: "asset"}}}}
			(&flight{}).named(p, &s.Failed[i])
		}
		slices.Sort(all)
		if !slices.Equal(all, []string{"a", "b"}) {
			t.Errorf("of a and b, the reply tells of %q", all)
		}
	})
}

// FuzzReplies: whatever a service says, a decoder returns a value that makes
// sense or an error.
func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		`{"databases":[{"is_ready":true}]}`, `{"databases":[null]}`, `{"model_state_id":null,"gapless":{"generation":1,"full_import":true}}`,
		`{"status":"ERROR","error":[1],"statusCode":"500","code":"GAP-3001"}`, `{"job_id":"x"}`, `{"version":"1","schema":{}}`,
		`{"data":{},"errors":[{"message":{}}]}`, `null`, `"x"`, `{"vertices":[{"name":"a"}],"edges":[{"end1":"a","end2":"b"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = decodeDatabases(body)
		if d, err := decodeSource(body); err == nil && d.Fields == nil {
			t.Error("a document without fields")
		}
		if id, err := decodeJobID(body); err == nil && id == "" {
			t.Error("a job without id")
		}
		if j, err := decodeJob(body); err == nil && (j.Status == "" || j.failure("x") == nil) {
			t.Error("a job without status")
		}
		if e, err := decodeExtension(body); err == nil && e.Version == "" {
			t.Error("an extension without version")
		}
		if data, err := decodeQuery(body); err == nil && !strings.HasPrefix(string(data), "{") {
			t.Errorf("data %s", data)
		}
		l := decodeLedger(ledgerPrefix + string(body))
		if again := decodeLedger(l.encode()); again.Epoch != l.Epoch || len(again.Checkpoints) != len(l.Checkpoints) {
			t.Error("a ledger does not survive")
		}
		_, _ = newCollections(&Extension{Schema: body})
		for _, name := range schemaFields(body, "asset") {
			if strings.ContainsAny(name, " {}()") {
				t.Errorf("field %q", name)
			}
		}
	})
}

// FuzzRow: a row as it is sent is one object with one id, whatever the data.
func FuzzRow(f *testing.F) {
	for _, seed := range [][2]string{
		{"1", `{"external_id":1}`}, {"1|2", `{"_from":"asset/1"}`}, {"a", `{"_key":"a","x":{"external_id":"q"}}`}, {"a", ` {"x" : [1 , {"y":null}] } `},
		{"\"|\n", `{"\u0065xternal_id":"z"}`}, {"a", `{},{}`}, {"a", `{"a":"` + "\xff" + `"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	e, err := newEnvelope(&DestinationOptions{Source: "s"}, "1.5")
	if err != nil {
		f.Fatal(err)
	}
	known, err := newCollections(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, data string) {
		if id = strings.ToValidUTF8(id, ""); id == "" {
			id = "x"
		}
		for _, name := range []string{"asset", "ipaddress", "asset_ipaddress"} {
			c := known.byName[name]
			row, err := e.appendRow([]byte("["), c, id, data)
			if err != nil {
				continue
			}
			row = append(row, ']')
			if !gjson.ValidBytes(row) || len(gjson.ParseBytes(row).Array()) != 1 {
				t.Fatalf("%s %q %q became %s", name, id, data, row)
			}
			got := gjson.GetBytes(row, "0."+c.id)
			if c.edge {
				from, _, _ := wire.SplitEdgeKey(id)
				if got := gjson.GetBytes(row, "0._from_external_id").String() + gjson.GetBytes(row, "0._from").String(); !strings.Contains(got, from) {
					t.Fatalf("%q became %s", id, row)
				}
			} else if got.String() != id && !strings.Contains(data, `\`) {
				t.Fatalf("%q became %s", id, row)
			}
		}
	})
}
