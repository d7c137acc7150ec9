package engine

import (
	"bytes"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

func TestListedPartsAreCutOffToTheByte(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{}`, ` { } `, `{"a":1}`, "{\"a\": {\"b\": [1, 2]} }\n", `{"a":"gapless:parts"}`} {
		listed, err := listParts([]byte(data), []gapless.Part{{Name: "x", Type: "t", Version: "1"}, {Name: "}", Version: `"gapless:parts":`}})
		if err != nil || !gjson.ValidBytes(listed) {
			t.Fatalf("%q becomes %q, %v", data, listed, err)
		}
		plain, list := cutParts(listed)
		if string(plain) != data || len(gjson.ParseBytes(list).Array()) != 2 {
			t.Errorf("%q is cut to %q and %q", listed, plain, list)
		}
		again, err := settleParts(listed)
		if err != nil || !bytes.Equal(again, listed) {
			t.Errorf("%q is settled as %q, %v", listed, again, err)
		}
	}
	moved, err := settleParts([]byte(`{"gapless:parts":[{"name":"x","version":"1"}],"a":1}`))
	if err != nil || string(moved) != `{"a":1,"gapless:parts":[{"name":"x","version":"1"}]}` {
		t.Errorf("%s, %v", moved, err)
	}
	if _, err := listParts([]byte(`{"gapless:parts":1}`), []gapless.Part{{Name: "x", Version: "1"}}); err == nil {
		t.Error("a field of that name was taken for parts")
	}
	if _, err := listParts([]byte(`{}`), []gapless.Part{{Name: "x"}}); err == nil {
		t.Error("a part without a version was taken")
	}
	if plain, list := cutParts([]byte(`{"x":{"gapless:parts":1}}`)); list != nil || string(plain) != `{"x":{"gapless:parts":1}}` {
		t.Errorf("parts were found in %s", plain)
	}
	if plain, list := cutParts([]byte(`{"a":1}`)); list != nil || string(plain) != `{"a":1}` {
		t.Errorf("parts were found in %s", plain)
	}
}
