package sahana

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
)

func TestSourceOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("nothing"), 0o600))
	tests := []struct {
		name    string
		values  map[string]any
		problem string
	}{
		{"least", map[string]any{}, ""},
		{"all", map[string]any{
			"login": "a@b", "password": "p", "via": "sync", "repository": "u", "overlap": "1m", "page_rows": int64(100), "files": true, "timeout": "1m",
			"filters": map[string]any{organisations: "~.acronym__like=A*&organisation.name=x%20y"},
		}, ""},
		{"no tables", map[string]any{"tables": []any{}}, "tables"},
		{"no table", map[string]any{"tables": []any{"organisation"}}, "no name of a table"},
		{"peer without a name", map[string]any{"via": "sync"}, "repository"},
		{"filters of 2010", map[string]any{"via": "sync-2010", "repository": "u", "filters": map[string]any{organisations: "~.a=b"}}, "2010"},
		{"filter of another table", map[string]any{"filters": map[string]any{offices: "~.a=b"}}, "not among the tables"},
		{"filter without a dot", map[string]any{"filters": map[string]any{organisations: "limit=5"}}, "not of the form"},
		{"no overlap", map[string]any{"overlap": "0s"}, "overlap"},
		{"no page", map[string]any{"page_rows": int64(0)}, "page_rows"},
		{"login alone", map[string]any{"login": "a@b"}, "login"},
		{"login of two", map[string]any{"login": "a:b", "password": "p"}, "colon"},
		{"two lines", map[string]any{"login": "a", "password": "p\nq"}, "one line"},
		{"other way", map[string]any{"via": "ftp"}, "via"},
		{"no authority", map[string]any{"ca": "none.pem"}, "ca"},
		{"empty authority", map[string]any{"ca": "ca.pem"}, "no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"url": "https://h/eden", "tables": []any{organisations}}
			maps.Copy(values, tt.values)
			s, err := Connector().Source.Open(t.Context(), values, gapless.Env{Dir: dir})
			checkOpened(t, s == nil, err, tt.problem)
		})
	}
}

func TestDestinationOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		values  map[string]any
		problem string
	}{
		{"least", map[string]any{}, ""},
		{"all", map[string]any{"repository": "u", "import_rows": int64(1000), "verify": "sample", "timeout": "1m"}, ""},
		{"too many", map[string]any{"import_rows": int64(1001)}, "import_rows"},
		{"none", map[string]any{"import_rows": int64(0)}, "import_rows"},
		{"repository", map[string]any{"repository": " u"}, "repository"},
		{"nobody", map[string]any{"login": ""}, "login"},
		{"other verification", map[string]any{"verify": "some"}, "verify"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"url": "https://h/eden", "login": "a@b", "password": "p"}
			maps.Copy(values, tt.values)
			d, err := Connector().Destination.Open(t.Context(), values, gapless.Env{})
			checkOpened(t, d == nil, err, tt.problem)
		})
	}
}

func checkOpened(t *testing.T, none bool, err error, problem string) {
	t.Helper()
	switch {
	case problem == "" && (err != nil || none):
		t.Error(err)
	case problem != "" && (err == nil || !none || !strings.Contains(err.Error(), problem) || gapless.ExitCode(err) != gapless.ExitUsage):
		t.Errorf("exit %d, %v", gapless.ExitCode(err), err)
	}
}
