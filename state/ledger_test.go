package state

import "testing"

func TestSideIsWrittenAsItsWord(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		side Side
	}{{"this", This}, {"other", Other}} {
		text, err := test.side.MarshalText()
		if err != nil || string(text) != test.name || test.side.String() != test.name {
			t.Errorf("%d became %q, %v, and in print %s", test.side, text, err, test.side)
		}
		back := Side(9)
		if err := back.UnmarshalText(text); err != nil || back != test.side {
			t.Errorf("%q became %s, %v", text, back, err)
		}
	}
	if text, err := Side(2).MarshalText(); err == nil {
		t.Errorf("side 2 became %q", text)
	}
	for _, word := range []string{"", "This", "side(2)", "both"} {
		side := Other
		if err := side.UnmarshalText([]byte(word)); err == nil || side != Other {
			t.Errorf("%q became %s, %v", word, side, err)
		}
	}
}
