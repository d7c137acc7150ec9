package tabular

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

func fieldsFor(t *testing.T, key string) jsonFields {
	t.Helper()
	opened, err := openJSONL(t.Context(), jsonlOptions{Path: []string{"x"}, Key: key, MaxLine: 1 << 20}, gapless.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*source).decoder().(*jsonDecoder).fields
}

// TestKeyIsFoundWhereverItStands compares the short way to a key that stands
// first with the search for any key.
func TestKeyIsFoundWhereverItStands(t *testing.T) {
	t.Parallel()
	quoted := []string{`"id"`, `"i"`, `"a"`, `"a.id"`, `"*"`, `"#"`, `"é"`, `"\u0069d"`, `"i\"d"`, `""`, `"id\\"`, `"x"`}
	values := append([]string{
		`1`, `-2.5e3`, `null`, `true`, `{}`, `[]`, `{"id":"in"}`, `{"a":{"id":7}}`, `["id","x"]`, `"a \\ long, \"text\""`,
	}, quoted...)
	var objects []string
	for _, name := range quoted {
		for _, value := range values {
			for _, gap := range []string{"", " ", "\t"} {
				field := name + ":" + gap + value
				objects = append(objects, "{"+field+"}", "{"+field+`,"id":2}`, `{"x":1,`+field+"}", "{"+gap+name+gap+":"+value+"}")
			}
		}
	}
	for _, name := range []string{"id", "i", "a.id", `a\.id`, "*", "#", "é"} {
		f := fieldsFor(t, name)
		for _, object := range objects {
			if !gjson.Valid(object) {
				t.Fatalf("%s is not valid", object)
			}
			want, got := gjson.Get(object, f.key), f.keyOf(object)
			if want.Type != got.Type || want.Raw != got.Raw || want.String() != got.String() || want.Index != got.Index {
				t.Errorf("key %s of %s: searched %+v, found %+v", name, object, want, got)
			}
		}
	}
}
