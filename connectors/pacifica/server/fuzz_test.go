package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/transfer"
)

// FuzzOrder decodes anything: an order that is taken is safe, comes back from
// the shelf as it went there, and can be laid out as an archive.
func FuzzOrder(f *testing.F) {
	const file = `{"id":1100,"path":"/a//é","hashsum":"ff76f367a83e55752a5503f7e9659e514798d0ae","hashtype":"SHA1"}`
	for _, seed := range []string{
		``, `{}`, `[]`, `{"fileids":[` + file + `]}`, `{"fileids":[` + file + `,` + file + `],"bundle":"yes","x":[{}]}`,
		`{"fileids":[` + strings.Replace(file, "1100", `"../../x"`, 1) + `]}`, `{"fileids":[` + strings.Replace(file, "/a", `../a`, 1) + `]} x`,
		`{"fileids":[` + strings.Replace(file, "/a", `\ud800\u0000`, 1) + `]}`, `{"fileids":[` + strings.Replace(file, "1100", `1e9`, 1) + `]}`,
	} {
		f.Add([]byte(seed))
	}
	shelf, err := openShelf(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = shelf.close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		const limit = 20
		o, err := readOrder(bytes.NewReader(text), limit)
		if err != nil {
			if p, ok := errors.AsType[*problem](err); !ok || p.status < 400 || p.status > 413 {
				t.Fatal(err)
			}
			return
		}
		if len(o.entries) == 0 || len(o.entries) > limit || !json.Valid(text) {
			t.Fatalf("%d files of %s", len(o.entries), text)
		}
		seen := map[string]bool{}
		for _, e := range o.entries {
			if !filepath.IsLocal(e.Path) || seen[e.Path] || e.ID == "" || transfer.CheckHash(e.Algorithm, e.Hash) != nil {
				t.Fatalf("%+v", e)
			}
			seen[e.Path] = true
		}
		for path := range seen {
			for i := range path {
				if path[i] == '/' && seen[path[:i]] {
					t.Fatalf("%q is a file and a folder", path[:i])
				}
			}
		}
		l := label{Format: cartFormat, UID: "x", Files: len(o.entries)}
		if err := shelf.put(l, o.entries); err != nil {
			t.Fatal(err)
		}
		_, again, err := shelf.read(key{"", "x"}.file())
		if diff := cmp.Diff(o.entries, again); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		if _, err := newArchive("root", o.entries); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzName gives an archive any name: what it is called and its top folder are
// safe, or it is refused.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"filename=data", "filename=x.tar.gz", "filename=", "", "filename=../../up", "filename=..tar.", "filename=a%0d%0ab", "filename=%00", "filename=a&filename=b", "x=%zz", "filename=.tar/.tar."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		name, root, err := names(query, label{})
		if err != nil {
			return
		}
		if root != "" && (!filepath.IsLocal(root) || strings.HasPrefix(root, "/") || slices.Contains(strings.Split(root, "/"), "..")) {
			t.Fatalf("%q is the folder", root)
		}
		if d := disposition(name); strings.ContainsAny(d, "\r\n\x00") || !strings.HasPrefix(d, "attachment") {
			t.Fatalf("%q", d)
		}
		if _, err := newArchive(root, []entry{{Path: "a", Algorithm: "md5"}}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzCart reads anything as the file of a cart.
func FuzzCart(f *testing.F) {
	name := key{"o", "u"}.file()
	f.Add([]byte(`{"cart":1,"owner":"o","uid":"u","files":1}` + "\n" + `{"id":"1","path":"p"}` + "\n"))
	f.Add([]byte(`{"cart":1,"owner":"o","uid":"u","files":1}` + "\n" + `{"id":"1","pa`))
	f.Add([]byte(``))
	shelf, err := openShelf(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = shelf.close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := shelf.root.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(file, bytes.NewReader(text))
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		l, entries, err := shelf.read(name)
		if err != nil && !errors.Is(err, errDamaged) || err == nil && len(entries) != l.Files {
			t.Fatal(len(entries), l.Files, err)
		}
	})
}
