package transfer

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gapless-sync/gapless"
)

const (
	hexMD5    = "0123456789abcdef0123456789abcdef"
	hexSHA256 = hexMD5 + hexMD5
)

func readAll(text string, base string) ([]File, error) {
	var files []File
	var at *url.URL
	if base != "" {
		at, _ = url.Parse(base)
	}
	for f, err := range ReadList(strings.NewReader(text), at) {
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func TestReadList(t *testing.T) {
	t.Parallel()
	const base = "https://host/top/list.txt"
	for _, test := range []struct {
		name, text, base string
		want             []File
		fails            string
	}{
		{name: "empty"},
		{name: "blank lines and comments", text: "\n# x\r\n   \n\t# y", base: base},
		{name: "all of a file", text: `{"path":"a/b","size":5,"hash":"SHA256:` + strings.ToUpper(hexSHA256) + `","url":"http://h/x?y=1","modified":"2026-01-02T03:04:05Z","more":1}`,
			want: []File{{Path: "a/b", Size: 5, Algorithm: "sha256", Hash: hexSHA256, Modified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Origin: "http://h/x?y=1"}}},
		{name: "only a path", text: `{"path":"a b/ü"}`, base: "https://host/top", want: []File{{Path: "a b/ü", Size: -1, Origin: "https://host/top/a%20b/%C3%BC"}}},
		{name: "percents", text: `{"path":"100%/%2e%2e"}`, base: "https://host/top?q#f", want: []File{{Path: "100%/%2e%2e", Size: -1, Origin: "https://host/top/100%25/%252e%252e?q#f"}}},
		{name: "a relative URL", text: `{"path":"a","url":"../x"}`, base: base, want: []File{{Path: "a", Size: -1, Origin: "https://host/x"}}},
		{name: "sums", text: hexMD5 + "  ./a?b\r\n" + hexSHA256 + " *c\n\\" + hexMD5 + `  d\n\\e`, base: "http://h/t/",
			want: []File{
				{Path: "a?b", Size: -1, Algorithm: "md5", Hash: hexMD5, Origin: "http://h/t/a%3Fb"},
				{Path: "c", Size: -1, Algorithm: "sha256", Hash: hexSHA256, Origin: "http://h/t/c"},
				{Path: "d\n\\e", Size: -1, Algorithm: "md5", Hash: hexMD5, Origin: "http://h/t/d%0A%5Ce"},
			}},
		{name: "no URL", text: `{"path":"a"}`, fails: `line 1: "a" has no URL`},
		{name: "a relative URL without a base", text: `{"path":"a","url":"x"}`, fails: `line 1: "a": want an http or https URL`},
		{name: "a file URL", text: `{"path":"a","url":"file:///etc/passwd"}`, base: base, fails: `want an http or https URL`},
		{name: "a broken URL", text: `{"path":"a","url":"http://user:secret@h:x/"}`, fails: `"a": `},
		{name: "no path", text: "\n{}", fails: "line 2: a path is empty"},
		{name: "above", text: `{"path":"../a","url":"http://h"}`, fails: `".." element`},
		{name: "a negative size", text: `{"path":"a","size":-5,"url":"http://h"}`, fails: "-5 is no size"},
		{name: "a size in words", text: `{"path":"a","size":"5"}`, fails: "not a JSON object of a file"},
		{name: "cut JSON", text: `{"path":"a"`, fails: "line 1: not a JSON object"},
		{name: "a hash without algorithm", text: `{"path":"a","hash":"` + hexMD5 + `"}`, fails: "want a hash as"},
		{name: "an unknown algorithm", text: `{"path":"a","hash":"crc32:00000000"}`, fails: `unknown hash algorithm "crc32"`},
		{name: "a hash too short", text: `{"path":"a","hash":"sha256:` + hexMD5 + `"}`, fails: "want 64 hexadecimal digits"},
		{name: "a sum of unknown length", text: "0123  a", base: base, fails: "4 digits are the hash of no known algorithm"},
		{name: "a sum with one space", text: hexMD5 + " a", base: base, fails: "want a JSON object, or"},
		{name: "a sum without a path", text: hexMD5, base: base, fails: "want a JSON object, or"},
		{name: "a line too long", text: "# x\n" + strings.Repeat("x", MaxLine+1), fails: "line 2: longer than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := readAll(test.text, test.base)
			if test.fails == "" {
				if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
					t.Error(diff, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(test.fails, `".."`, "..")) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeFileList || gapless.ExitCode(err) != 55 {
				t.Errorf("%v: %d", err, gapless.ExitCode(err))
			}
		})
	}
}

func TestReadListStops(t *testing.T) {
	t.Parallel()
	for f, err := range ReadList(strings.NewReader(hexMD5+"  a\nbroken"), &url.URL{Scheme: "http", Host: "h"}) {
		if f.Path != "a" || err != nil {
			t.Error(f, err)
		}
		break
	}
	broken := errors.New("broken")
	for _, err := range ReadList(failing{broken}, nil) {
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for path, fails := range map[string]string{
		"a": "", "a/b.c": "", "..a/b..": "", " ": "", "ü/日本": "", ".gaplessx/a": "", "a/.gapless": "", strings.Repeat("x/", 2047) + "y": "",
		strings.Repeat("x", 255): "", `a\b`: "", "a\nb": "",
		"": "empty", ".": "empty", "/": "absolute", "/a": "absolute", "a/": "empty, a . or a ..", "a//b": "empty, a .", "./a": "empty, a .", "a/../b": "empty, a .",
		"..": "empty, a .", "a\x00b": "cannot be a name", "\xff": "not UTF-8", strings.Repeat("x/", 2048) + "y": "longer than 4096", strings.Repeat("ü", 128): "more than 255",
		".gapless": "is taken", ".Gapless/journal": "is taken",
	} {
		err := CheckPath(path)
		if fails == "" && err != nil || fails != "" && (err == nil || !strings.Contains(err.Error(), fails)) {
			t.Errorf("%.50q: %v, want %q", path, err, fails)
		}
	}
	if f, err := (File{Path: "a", Size: -1, Algorithm: "MD5", Hash: strings.ToUpper(hexMD5)}).Check(); err != nil || f.Hash != hexMD5 || f.Algorithm != "md5" {
		t.Error(f, err)
	}
	for _, f := range []File{
		{Path: "a", Size: -2}, {Path: "a", Algorithm: "md5"}, {Path: "a", Hash: hexMD5}, {Path: "a", Algorithm: "md5", Hash: hexSHA256},
		{Path: "a", Algorithm: "md5", Hash: strings.Repeat("g", 32)}, {Path: "a", Algorithm: "crc", Hash: "00"},
	} {
		if _, err := f.Check(); err == nil {
			t.Errorf("%+v passed", f)
		}
	}
}

// TestLines writes any file and reads the same.
func TestLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := File{
			Path: rapid.StringN(1, 50, 200).Draw(t, "path"), Size: rapid.Int64Range(-1, 1<<62).Draw(t, "size"), Origin: rapid.String().Draw(t, "origin"),
			Modified: time.Unix(rapid.Int64Range(0, 1<<34).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC(),
		}
		if rapid.Bool().Draw(t, "hashed") {
			f.Algorithm, f.Hash = "md5", hexMD5
		}
		text, err := appendLine(nil, f)
		if err != nil || bytes.Count(text, []byte("\n")) != 1 {
			t.Fatal(text, err)
		}
		got, err := parseLine(text)
		if diff := cmp.Diff(f, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

func FuzzReadList(f *testing.F) {
	f.Add(`{"path":"a/b","size":5,"hash":"sha256:`+hexSHA256+`","url":"http://h/x","modified":"2026-01-02T03:04:05Z"}`, "http://h/")
	f.Add("# x\n\n"+hexMD5+"  a\n\\"+hexMD5+` *b\n`, "https://h/t")
	f.Add(`{"path":"../a"}`, "")
	f.Fuzz(func(t *testing.T, text, base string) {
		files, err := readAll(text, base)
		if err != nil {
			if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeFileList {
				t.Error(err)
			}
		}
		for _, file := range files {
			again, err := file.Check()
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(file, again); diff != "" {
				t.Error(diff)
			}
			if u, err := url.Parse(file.Origin); err != nil || u.Host == "" {
				t.Errorf("%q: %v", file.Origin, err)
			}
		}
	})
}
