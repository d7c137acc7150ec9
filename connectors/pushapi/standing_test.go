package pushapi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStandingLines(t *testing.T) {
	t.Parallel()
	for _, s := range []Standing{
		{Stage: StageSearchable},
		{Stage: StageSynced, Reason: "not yet\nindexed"},
		{Stage: StageSearchable, Parts: []UnreadPart{{"master", "encrypted \\n"}, {"a b", "too large"}}},
	} {
		if got, err := ReadStanding(bytes.NewReader(AppendStanding(nil, s))); err != nil || !cmp.Equal(got, s) {
			t.Error(got, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "torn": "synced", "stage": "lost\n", "part": "synced\nmaster\n"} {
		if got, err := ReadStanding(strings.NewReader(text)); err == nil {
			t.Error(name, got)
		}
	}
}

func FuzzReadStanding(f *testing.F) {
	f.Add("synced why\nmaster reason\n")
	f.Add("absent\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadStanding(strings.NewReader(text))
		if err != nil {
			return
		}
		if again, err := ReadStanding(bytes.NewReader(AppendStanding(nil, s))); err != nil || !cmp.Equal(again, s) {
			t.Errorf("%+v became %+v, %v", s, again, err)
		}
	})
}
