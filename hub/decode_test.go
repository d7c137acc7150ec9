package hub

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

func TestStoredRecordsRoundTrip(t *testing.T) {
	t.Parallel()
	manifest := encodeManifest([]storedPart{{name: "p", media: "text/plain", version: "1", size: 1 << 40, hash: gapless.Hash128{Hi: 1, Lo: 2}, blob: newPushID(1, 2).blob(3)}})
	tests := []struct {
		name   string
		record stored
	}{
		{"least", stored{data: []byte(`{}`)}},
		{"all", stored{serial: 1 << 60, modified: -1, version: []byte("v\x00"), manifest: manifest, data: []byte(`{"x":1}`)}},
		{"long version", stored{serial: 127, version: bytes.Repeat([]byte("v"), 300), data: []byte(`{}`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			value := tt.record.append(nil)
			if len(value) != tt.record.size() {
				t.Errorf("%d bytes, announced were %d", len(value), tt.record.size())
			}
			got, err := decodeStored(value)
			if diff := cmp.Diff(tt.record, got, cmp.AllowUnexported(stored{})); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func FuzzDecodeStored(f *testing.F) {
	whole := stored{serial: 300, modified: 5, version: []byte("v"), manifest: encodeManifest([]storedPart{{name: "p", size: 9}}), data: []byte(`{"x":1}`)}
	f.Add(whole.append(nil))
	f.Add([]byte{7, 1})
	f.Add([]byte{255})
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := decodeStored(value)
		if err != nil {
			return
		}
		again, err := decodeStored(s.append(nil))
		if err != nil || !bytes.Equal(again.data, s.data) || !bytes.Equal(again.version, s.version) || again.serial != s.serial {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
		parts, err := decodeManifest(s.manifest)
		if err == nil && !bytes.Equal(encodeManifest(parts), s.manifest) && !gotLonger(s.manifest, parts) {
			t.Errorf("manifest %x became %x", s.manifest, encodeManifest(parts))
		}
	})
}

// gotLonger allows for varints that were longer than they have to be.
func gotLonger(manifest []byte, parts []storedPart) bool {
	return len(encodeManifest(parts)) < len(manifest)
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add(feedKey(1, 2), []byte("\x00\x01\x02\x00\x01a\x02\x01b"))
	f.Add(feedKey(1, 2), (&feedEntry{op: gapless.OpDelete, key: []byte("k"), modified: -1, version: []byte("v")}).append([]byte("\x00\x01\x01")))
	f.Add(feedKey(1, 2), (&feedEntry{op: gapless.OpDelete, key: []byte("k"), version: []byte("v")}).append([]byte("\x00\x01\x01")))
	f.Add(feedKey(1, 2), []byte{})
	f.Add([]byte("short"), []byte("\x00\x01\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		b, err := decodeBlock(key, value)
		if err != nil {
			return
		}
		n := uint64(0)
		err = b.each(0, func(e feedEntry) error {
			n++
			again := e.append(nil)
			block := feedBlock{serial: e.serial, ordinal: e.ordinal, collection: e.collection, count: 1, entries: again}
			return block.each(e.serial-1, func(same feedEntry) error {
				if diff := cmp.Diff(e, same, cmp.AllowUnexported(feedEntry{}), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("entry %x (-want +got):\n%s", again, diff)
				}
				return nil
			})
		})
		if err == nil && b.serial > 0 && b.serial < 1<<62 && n != b.count {
			t.Errorf("%d entries of %d", n, b.count)
		}
	})
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add(encodeCheckpoint(&gapless.Checkpoint{Position: "p\xff", Mark: "m", Target: "t", Run: "r", Seq: 3, Epoch: 4}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := decodeCheckpoint(value)
		if err != nil {
			return
		}
		if again, err := decodeCheckpoint(encodeCheckpoint(&c)); err != nil || again != c {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

func FuzzMergeObjects(f *testing.F) {
	f.Add([]byte(`{"a":1, "b":{"c":[2]}}`), []byte(`{"b":null,"d":"e"}`))
	f.Add([]byte(`{"a":1,"a":2}`), []byte(`{"\u0061":3}`))
	f.Add([]byte(`{}`), []byte(``))
	f.Add([]byte(`[]`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, data, patch []byte) {
		merged, err := mergeObjects(data, patch)
		if err != nil || len(patch) == 0 {
			return
		}
		if !gjson.ValidBytes(merged) {
			t.Fatalf("%s with %s is %s", data, patch, merged)
		}
		again, err := mergeObjects(merged, patch)
		if err != nil || !bytes.Equal(again, merged) {
			t.Errorf("%s with %s is %s, and again %s, %v", data, patch, merged, again, err)
		}
	})
}

func TestWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"ascii", "Hello, World-42 foo_bar", "hello world 42 foo bar"},
		{"accents", "Ünïcode É", "ünïcode é"},
		{"combining", "e\u0301a", "e\u0301a"},
		{"ideographs", "abc東京def", "abc 東 京 def"},
		{"greek and cyrillic", "Σίσυφος ПРИВЕТ", "σίσυφος привет"},
		{"too long", strings.Repeat("x", maxWordBytes+1) + " y", "y"},
		{"invalid", "a\xffb\xc3", "a b"},
		{"nothing", " \t.\x00", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(wordsOf(tt.text), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzText checks that no text can break indexing or highlighting.
func FuzzText(f *testing.F) {
	f.Add([]byte("<p>Hello <b>wor</b>ld</p>"), "hello -world \"a b\"")
	f.Add([]byte("<script><style></script"), "\"")
	f.Add([]byte("a\x00東京\xff<!-- "), "京")
	f.Add([]byte(strings.Repeat("needle ", 200)), "needle")
	f.Fuzz(func(t *testing.T, text []byte, query string) {
		terms, err := parseQuery(query)
		if err != nil {
			return
		}
		clean := textOf([]byte("key"), &stored{}, []partText{{text: text}, {text: text}}).body
		if !utf8.Valid(clean) {
			t.Errorf("%q became %q", text, clean)
		}
		tokens := analyzer{}.Analyze(clean)
		for i, token := range tokens {
			if len(token.Term) == 0 || i > 0 && token.Position <= tokens[i-1].Position {
				t.Errorf("token %d of %q is %q", i, clean, token.Term)
			}
		}
		for _, fragment := range fragments(clean, wanted(terms)) {
			if !utf8.ValidString(fragment.Text) || len(fragment.Marks) == 0 {
				t.Errorf("fragment %+v of %q", fragment, clean)
			}
			_ = bracket(fragment) // panics if marks are out of order or bounds
		}
	})
}

func TestDeepAndWideDataIsIndexedWithinBounds(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"x":[`, 100_000) + `"bottom"` + strings.Repeat(`]}`, 100_000)
	text := textOf([]byte("key"), &stored{data: []byte(deep)}, nil)
	if len(text.body) != 0 {
		t.Errorf("%d bytes of text", len(text.body))
	}
	wide := `{"x":"` + strings.Repeat("ü", dataTextBytes) + `","y":"more"}`
	text = textOf([]byte("key"), &stored{data: []byte(wide)}, nil)
	if len(text.body) > dataTextBytes+8 || !utf8.Valid(text.body) {
		t.Errorf("%d bytes of text", len(text.body))
	}
}
