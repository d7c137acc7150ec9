package wire

import (
	"testing"

	"pgregory.net/rapid"
)

func TestEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, edge string
		extra      []string
		from, to   string
		ok         bool
	}{
		{"core", "asset_ipaddress", nil, "asset", "ipaddress", true},
		{"extension", "site_asset", []string{"site"}, "site", "asset", true},
		{"underscore in an end", "my_site_asset", []string{"my_site"}, "my_site", "asset", true},
		{"unknown ends", "a_b_c", nil, "a", "b_c", true},
		{"a vertex", "asset", nil, "", "", false},
		{"nothing before", "_asset", nil, "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, to, ok := Ends(tt.edge, tt.extra...)
			if from != tt.from || to != tt.to || ok != tt.ok {
				t.Errorf("got %q %q %v", from, to, ok)
			}
		})
	}
}

func TestEdgeKeysAreDistinct(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.StringOf(rapid.SampledFrom([]rune("a%|27C5#")))
		from, to := end.Draw(t, "from"), end.Draw(t, "to")
		gotFrom, gotTo, ok := SplitEdgeKey(EdgeKey(from, to))
		if !ok || gotFrom != from || gotTo != to {
			t.Fatalf("%q %q came back as %q %q %v", from, to, gotFrom, gotTo, ok)
		}
	})
}

func TestEndID(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, collection, value, want string }{
		{"plain", "asset", "17", "17"},
		{"with its collection", "ipaddress", "ipaddress/1.2.3.4", "1.2.3.4"},
		{"with its region", "ipaddress", "0/1.2.3.4", "1.2.3.4"},
		{"a slash of its own", "asset", "a/b", "a/b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := EndID(tt.collection, tt.value); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
