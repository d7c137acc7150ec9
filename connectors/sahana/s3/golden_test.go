package s3

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// decodeAll reads a document that must be read without an error.
func decodeAll(t testing.TB, f Format, text string) (Document, []Resource) {
	t.Helper()
	d := NewDecoder(strings.NewReader(text), f, DecodeOptions{})
	var list []Resource
	for r, err := range d.Resources() {
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		list = append(list, r)
	}
	return d.Document(), list
}

// encodeAll writes a document that must be written without an error.
func encodeAll(t testing.TB, f Format, root Document, list []Resource) string {
	t.Helper()
	var b strings.Builder
	e := NewEncoder(&b, f, root, EncodeOptions{})
	for i := range list {
		if err := e.Encode(&list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestGolden shows what becomes of recorded documents: in both notations, as
// records, and back.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"organisation.xml", "organisation.s3json", "sync.xml", "everything.xml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			format := S3XML
			if strings.HasSuffix(name, ".s3json") {
				format = S3JSON
			}
			root, list := decodeAll(t, format, string(in))
			list = byTable(list)
			var out bytes.Buffer
			for _, f := range []Format{S3XML, S3JSON} {
				text := encodeAll(t, f, root, list)
				fmt.Fprintf(&out, "-- %s --\n%s", f, text)
				againRoot, again := decodeAll(t, f, text)
				if diff := cmp.Diff(root, againRoot); diff != "" {
					t.Errorf("root through %s: %s", f, diff)
				}
				if diff := cmp.Diff(groupAll(list), groupAll(again)); diff != "" {
					t.Errorf("resources through %s: %s", f, diff)
				}
			}
			for i := range list {
				change, err := list[i].Change()
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "-- %s %s %s %s --\n%s\n", change.Op, list[i].Name, change.Key, change.Version, change.Data)
				again, err := FromRecord(list[i].Name, change.Record)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(group(list[i]), again); diff != "" {
					t.Errorf("through a record: %s", diff)
				}
			}
			compareGolden(t, filepath.Join("testdata", name+".golden"), out.Bytes())
		})
	}
}

func compareGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func groupAll(list []Resource) []Resource {
	var out []Resource
	for _, r := range list {
		out = append(out, group(r))
	}
	return out
}

// group returns a resource with the components of each table together, as all
// but S3XML has them.
func group(r Resource) Resource {
	r.Components = groupAll(byTable(r.Components))
	var references []Reference
	for _, f := range r.References {
		f.Inline = groupAll(byTable(f.Inline))
		references = append(references, f)
	}
	r.References = references
	return r
}
