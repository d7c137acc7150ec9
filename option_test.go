package gapless_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

type options struct {
	Path   string            `option:"path,required" help:"Where." example:"./docs"`
	Every  time.Duration     `option:"every" help:"How often." default:"5m"`
	Size   gapless.ByteSize  `option:"size" help:"How much." default:"8MiB"`
	Policy string            `option:"policy" help:"What to do." default:"skip" enum:"skip,follow"`
	Count  int               `option:"count" help:"How many."`
	Ratio  float64           `option:"ratio" help:"How likely."`
	On     bool              `option:"on" help:"Whether."`
	Token  gapless.Secret    `option:"token" help:"Who."`
	List   []string          `option:"list" help:"Which." default:"a,b"`
	Map    map[string]string `option:"map" help:"What is what."`
	Other  int
}

func TestDecodeOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		values   map[string]any
		want     options
		mistakes []string
	}{
		{
			name:   "defaults",
			values: map[string]any{"path": "x"},
			want:   options{Path: "x", Every: 5 * time.Minute, Size: 8 << 20, Policy: "skip", List: []string{"a", "b"}},
		},
		{
			name: "all given",
			values: map[string]any{
				"path": "x", "every": "90s", "size": 512, "policy": "follow", "count": uint64(3), "ratio": 0.5, "on": true,
				"token": "t", "list": []any{"one", 2}, "map": map[string]any{"k": 1},
			},
			want: options{
				Path: "x", Every: 90 * time.Second, Size: 512, Policy: "follow", Count: 3, Ratio: 0.5, On: true,
				Token: "t", List: []string{"one", "2"}, Map: map[string]string{"k": "1"},
			},
		},
		{
			name:   "a list of one",
			values: map[string]any{"path": "x", "list": "one"},
			want:   options{Path: "x", Every: 5 * time.Minute, Size: 8 << 20, Policy: "skip", List: []string{"one"}},
		},
		{
			name:   "days",
			values: map[string]any{"path": "x", "every": "7d"},
			want:   options{Path: "x", Every: 168 * time.Hour, Size: 8 << 20, Policy: "skip", List: []string{"a", "b"}},
		},
		{
			name:   "days and hours",
			values: map[string]any{"path": "x", "every": "1d12h"},
			want:   options{Path: "x", Every: 36 * time.Hour, Size: 8 << 20, Policy: "skip", List: []string{"a", "b"}},
		},
		{
			name:     "no number of days",
			values:   map[string]any{"path": "x", "every": "d"},
			mistakes: []string{`option every: want a duration such as 30s, 5m or 24h, not "d"`},
		},
		{
			name: "every mistake at once",
			values: map[string]any{
				"pth": "x", "every": "soon", "size": "-1", "policy": "folow", "count": "many", "on": "perhaps", "list": map[string]any{}, "map": 1,
			},
			mistakes: []string{
				`option count: want a whole number, not "many"`,
				`option every: want a duration such as 30s, 5m or 24h, not "soon"`,
				"option list: want a single value, not a block",
				"option map: want names with values, not a single value",
				`option on: want true or false, not "perhaps"`,
				"option path: is required; for example path: ./docs",
				`option policy: "folow" is not one of skip, follow; did you mean follow?`,
				"option pth: is not known; did you mean path?",
				`option size: want a size such as 512, 64KiB or 8MiB, not "-1"`,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got options
			var mistakes []string
			for _, m := range gapless.DecodeOptions(&got, test.values) {
				mistakes = append(mistakes, m.Error())
			}
			if diff := cmp.Diff(test.mistakes, mistakes); diff != "" {
				t.Fatalf("mistakes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got); len(mistakes) == 0 && diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	o := options{Token: "hunter2"}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "token", o.Token)
	for _, shown := range []string{string(text), log.String(), fmt.Sprintf("%v %+v %#v %s %q", o, o, o, o.Token, o.Token)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("shown in %s", shown)
		}
	}
	if o.Token.Reveal() != "hunter2" {
		t.Error("revealed value differs")
	}
}

func TestByteSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]gapless.ByteSize{
		"0": 0, "512": 512, "64KiB": 64 << 10, "8 MiB": 8 << 20, "1GiB": 1 << 30, "10MB": 10_000_000, "3B": 3,
	} {
		got, err := gapless.ParseByteSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5MiB", "9999999999TiB", "MiB"} {
		if got, err := gapless.ParseByteSize(text); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}

func FuzzParseByteSize(f *testing.F) {
	for _, seed := range []string{"1", "64KiB", "8 MiB", "-1", "99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := gapless.ParseByteSize(text)
		if err != nil {
			return
		}
		if again, err := gapless.ParseByteSize(n.String()); err != nil || again != n {
			t.Errorf("%q is %d, printed as %s, which is %d (%v)", text, n, n, again, err)
		}
	})
}
