package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

func testSchema(t testing.TB) *schema {
	t.Helper()
	e, err := decodeExtension([]byte(`{"key":"u","owner":"o","version":"1","schema":{"vertices":[{"name":"site"}],"edges":[{"end1":"site","end2":"asset"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	return newSchema(map[string]*extension{"u": e})
}

// FuzzImport: whatever is taken is rows that a store can keep and a reader can
// read, under the key that their ids say.
func FuzzImport(f *testing.F) {
	const head = `{"source":{"_key":"s"},"report":{"_key":1.5},`
	for _, seed := range []string{
		`"asset":[{"external_id":"1","name":"x"}]}`, `"asset":[{"external_id":17},{"external_id":"\ud800"}]}`,
		`"ipaddress":[{"_key":"0/::1"}],"hostname":[{"host_name":"h"}]}`, `"asset_ipaddress":[{"_from_external_id":"a|b%","_to":"ipaddress/1"}]}`,
		`"site_asset":[{"_from":"1","_to":2,"active":false}]}`, `"asset":[{"external_id":"1","tag":["a"],"untag":[]}]}`,
		`"asset":[{"external_id":"1","external_id":"2"}]}`, `"source_report":[1],"asset":[1,{}]}`, `"a":{}}`, strings.Repeat(`"a":[`, 100),
	} {
		f.Add([]byte(head + seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := testSchema(t)
		e, problems, err := decodeEnvelope(body, s)
		if err != nil {
			if p, _ := asProblem(err); p.status != http.StatusBadRequest && p.status != http.StatusRequestEntityTooLarge {
				t.Fatalf("%d: %v", p.status, err)
			}
			return
		}
		if problems.count > 0 {
			if problems.message() == "" || !json.Valid(encode(problems.first)) {
				t.Fatal("problems without words")
			}
			return
		}
		for _, r := range e.rows {
			checkRows(t, r)
		}
	})
}

func checkRows(t *testing.T, r *rows) {
	for i := range r.batch.Rows {
		key, data := r.batch.Key(i), r.batch.Data(i)
		if len(key) == 0 || len(key) > gapless.MaxKeyBytes-64 || !utf8.Valid(key) {
			t.Fatalf("key %q", key)
		}
		var row map[string]any
		if err := json.Unmarshal(data, &row); err != nil {
			t.Fatalf("row %s: %v", data, err)
		}
		if r.edge {
			if from, to, ok := wire.SplitEdgeKey(string(key)); !ok || from == "" || to == "" {
				t.Fatalf("key %q of an edge", key)
			}
		}
	}
}

// FuzzList: the parts of a list are what was between its commas, and a list
// that was escaped comes back.
func FuzzList(f *testing.F) {
	for _, seed := range []string{"1,2,3", "a%2Cb,c", "%", "a+b,%20", ",,", "a&keys=b", "external_ids=x", "%ff", "ü", "a;b", "a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := &exchange{r: &http.Request{URL: &url.URL{RawQuery: "external_ids=" + text}}}
		parts, set, err := c.list("external_ids", "keys")
		if !set || err == nil && strings.Count(text, ",")+strings.Count(text, "&")+1 < len(parts) {
			t.Fatalf("%q: %q %v %v", text, parts, set, err)
		}
		for _, part := range parts {
			if part == "" || !utf8.ValidString(part) {
				t.Fatalf("%q has part %q", text, part)
			}
		}
		if text == "" || !utf8.ValidString(text) {
			return
		}
		c.r.URL.RawQuery = "keys=" + url.PathEscape(text) + ",x"
		c.r.URL.RawQuery = strings.NewReplacer("&", "%26", "+", "%2B", ",x", ",x").Replace(c.r.URL.RawQuery)
		escaped := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(c.r.URL.RawQuery, "keys="), ",x"), ",", "%2C")
		c.r.URL.RawQuery = "keys=" + escaped + ",x"
		parts, _, err = c.list("keys")
		if err != nil || len(parts) != 2 || parts[0] != text || parts[1] != "x" {
			t.Fatalf("%q escaped as %q came back as %q, %v", text, escaped, parts, err)
		}
	})
}

// FuzzExtension: what is taken declares names that can be collections, and
// comes back from a store as it was.
func FuzzExtension(f *testing.F) {
	for _, seed := range []string{
		`{"vertices":[{"name":"site","properties":{"a":{"type":"text"}}}],"edges":[{"end1":"site","end2":"asset"}]}`,
		`"{\"vertices\":[]}"`, `{"vertices":[{"name":"a b"}]}`, `{"edges":[{"end1":"a"}]}`, `[]`, `{"vertices":null}`,
	} {
		f.Add([]byte(`{"key":"u-1","owner":"o","version":"1","schema":` + seed + `}`))
	}
	f.Add([]byte(`{"key":"../","version":1e9}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := decodeExtension(body)
		if err != nil {
			return
		}
		s := newSchema(map[string]*extension{e.Key: e})
		vertices, edges := s.collections()
		for _, name := range append(vertices, edges...) {
			if !wire.IsName(name) || isReserved(name) {
				t.Fatalf("%q declares %q", body, name)
			}
		}
		again, err := decodeExtension(encode(e))
		if err != nil || !bytes.Equal(encode(again), encode(e)) {
			t.Fatalf("%s came back as %s, %v", encode(e), encode(again), err)
		}
	})
}

// FuzzDepth: what is not too deep can be parsed by anybody.
func FuzzDepth(f *testing.F) {
	for _, seed := range []string{`{"a":[{"b":"]]\"[["}]}`, strings.Repeat("[", 70), strings.Repeat("[]", 70), `"`, `\`, `"\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			_ = tooDeep(text)
			return
		}
		depth, most := 0, 0
		d := json.NewDecoder(bytes.NewReader(text))
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			if delim, ok := token.(json.Delim); ok && (delim == '{' || delim == '[') {
				depth++
				most = max(most, depth)
			} else if ok {
				depth--
			}
		}
		if tooDeep(text) != (most > maxDepth) {
			t.Fatalf("depth %d of %q", most, text)
		}
	})
}
