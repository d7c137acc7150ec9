package sqlite

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestKeysComeBackUnchanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOf(rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "keys")
		got, err := decodeKeys(encodeKeys(keys))
		if err != nil || !slices.Equal(got, keys) {
			t.Errorf("got %q, %v, want %q", got, err, keys)
		}
	})
}

func FuzzDecodeKeys(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(encodeKeys([]string{"a", "", strings.Repeat("k", 300)}))
	f.Add([]byte{5, 'a'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		keys, err := decodeKeys(encoded)
		if err != nil {
			return
		}
		again, err := decodeKeys(encodeKeys(keys))
		if err != nil || !slices.Equal(keys, again) {
			t.Errorf("%q became %q, %v", keys, again, err)
		}
	})
}

func FuzzTextIsStorable(f *testing.F) {
	f.Add("a\x00b\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got := text(s); !utf8.ValidString(got) || strings.Contains(got, "\x00") || text(got) != got {
			t.Errorf("%q became %q", s, got)
		}
	})
}
