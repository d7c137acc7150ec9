package proof_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
)

func hashes() *rapid.Generator[gapless.Hash128] {
	return rapid.Custom(func(t *rapid.T) gapless.Hash128 {
		return gapless.Hash128{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	})
}

func digestOf(list []gapless.Hash128) (d proof.Digest) {
	for _, h := range list {
		d.Add(h)
	}
	return d
}

func TestDigestDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(hashes(), 0, 20).Draw(t, "rows")
		cut := rapid.IntRange(0, len(list)).Draw(t, "cut")
		whole, left, right := digestOf(list), digestOf(list[:cut]), digestOf(list[cut:])
		if got := digestOf(rapid.Permutation(list).Draw(t, "order")); !got.Equal(whole) {
			t.Errorf("in another order %v, want %v", got, whole)
		}
		merged := left
		merged.Merge(right)
		if !merged.Equal(whole) {
			t.Errorf("merged %v, want %v", merged, whole)
		}
		if got := whole.Minus(right); !got.Equal(left) {
			t.Errorf("without the second half %v, want %v", got, left)
		}
		for _, h := range slices.Backward(list) {
			whole.Remove(h)
		}
		if whole != (proof.Digest{}) {
			t.Errorf("emptied %v", whole)
		}
	})
}

func TestDigestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       proof.Digest
		wrong      bool
	}{
		{name: "nothing", text: "0:00000000000000000000000000000000"},
		{name: "some", text: "7:00000000000000ff0123456789abcdef", want: proof.Digest{Count: 7, Hi: 255, Lo: 0x0123456789abcdef}},
		{name: "largest", text: "18446744073709551615:ffffffffffffffffffffffffffffffff", want: proof.Digest{Count: 1<<64 - 1, Hi: 1<<64 - 1, Lo: 1<<64 - 1}},
		{name: "empty", text: "", wrong: true},
		{name: "no sum", text: "7", wrong: true},
		{name: "no count", text: ":00000000000000000000000000000000", wrong: true},
		{name: "short sum", text: "7:0", wrong: true},
		{name: "upper case", text: "7:00000000000000FF0123456789abcdef", wrong: true},
		{name: "sign in count", text: "+7:00000000000000ff0123456789abcdef", wrong: true},
		{name: "sign in sum", text: "7:00000000000000ff+123456789abcdef", wrong: true},
		{name: "leading zero", text: "07:00000000000000ff0123456789abcdef", wrong: true},
		{name: "count too large", text: "18446744073709551616:00000000000000000000000000000000", wrong: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kept := proof.Digest{Count: 1}
			got := kept
			err := got.UnmarshalText([]byte(tt.text))
			if tt.wrong {
				if err == nil || got != kept {
					t.Fatalf("read as %v, error %v", got, err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Fatalf("error %v (-want +got):\n%s", err, diff)
			}
			if got.String() != tt.text {
				t.Errorf("written as %s", got)
			}
		})
	}
}
