package tabular

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

var partition = gapless.Partition{ID: "record", Collection: "record"}

// write puts text into a new file.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openAt opens a source whose clock is ahead of the file system's by lead.
func openAt(t testing.TB, c gapless.Connector, lead time.Duration, values map[string]any) *source {
	t.Helper()
	opened, err := c.Source.Open(t.Context(), values, gapless.Env{})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*source)
	s.clock = stamp.Clock{
		Now:  func() time.Time { return time.Now().Add(lead) },
		Wait: func(context.Context, time.Duration) error { return nil },
	}
	return s
}

// reading is what one ReadAll emitted, as text.
type reading struct {
	rows    []string // line key data
	rejects []string // line key: reason
	changes []gapless.Change
	marks   []gapless.Mark
	raw     []gapless.Rejection
}

func read(t testing.TB, s gapless.Source, after gapless.Mark) (reading, error) {
	t.Helper()
	var r reading
	out := gapless.NewOutput(t.Context(), partition, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Len() {
			c := b.Change(i)
			r.changes = append(r.changes, c)
			r.rows = append(r.rows, fmt.Sprintf("%d %s %s", c.Line, c.Key, c.Data))
		}
		for _, reject := range b.Rejects {
			r.raw = append(r.raw, reject)
			r.rejects = append(r.rejects, fmt.Sprintf("%d %s: %v", reject.Line, reject.Key, reject.Err))
		}
		if b.Mark != "" {
			r.marks = append(r.marks, b.Mark)
		}
		clear(b.Buf) // nobody may look at a batch that was handed on
		return b, nil
	})
	err := s.ReadAll(t.Context(), partition, after, out)
	return r, errors.Join(err, out.Flush())
}

func TestReadJSONL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		text    string
		values  map[string]any
		rows    []string
		rejects []string
	}{
		{name: "empty"},
		{name: "plain", text: "{\"id\":\"a\"}\n{\"id\":\"b\"}\n", rows: []string{`1 a {"id":"a"}`, `2 b {"id":"b"}`}},
		{name: "no last line break", text: `{"id":"a"}`, rows: []string{`1 a {"id":"a"}`}},
		{name: "blank lines and white space", text: "\n \t\n  {\"id\":\"a\"} \r\n\r\n", rows: []string{`3 a {"id":"a"}`}},
		{name: "byte order mark", text: "\xef\xbb\xbf{\"id\":1}\n", rows: []string{`1 1 {"id":1}`}},
		{name: "numbers are kept as written", text: `{"id":1.0e3}`, rows: []string{`1 1.0e3 {"id":1.0e3}`}},
		{name: "nested key", text: `{"meta":{"id":"x"}}`, values: map[string]any{"key": "meta.id"}, rows: []string{`1 x {"meta":{"id":"x"}}`}},
		{name: "key with a dot", text: `{"a.b":"x","a":{"b":"y"}}`, values: map[string]any{"key": `a\.b`}, rows: []string{`1 x {"a.b":"x","a":{"b":"y"}}`}},
		{name: "key that looks like a query", text: `{"#":"x","@this":2}`, values: map[string]any{"key": "#"}, rows: []string{`1 x {"#":"x","@this":2}`}},
		{name: "escaped key", text: `{"id":"\u00e9\n\ud83d\ude00"}` + "\n" + `{"id":"b"}`, rows: []string{"1 é\n😀 " + `{"id":"\u00e9\n\ud83d\ude00"}`, `2 b {"id":"b"}`}},
		{name: "first of duplicate fields", text: `{"id":"a","id":"b"}`, rows: []string{`1 a {"id":"a","id":"b"}`}},
		{
			name: "no records",
			text: strings.Join([]string{
				`{"id":"a"`, `[1]`, `"x"`, `{"ID":"a"}`, `{"id":null}`, `{"id":""}`, `{"id":{}}`, `{"id":true}`, "{\"id\":\"\xff\"}",
				`{"id":"` + strings.Repeat("k", gapless.MaxKeyBytes+1) + `"}`, `{"id":"\ud800"}`, `{"id":"ok"}`, `{"id":"a"}{"id":"b"}`,
			}, "\n"),
			rows: []string{`12 ok {"id":"ok"}`},
			rejects: []string{
				"1 : the line is not valid JSON: unexpected end of JSON input", "2 : the line is not a JSON object", "3 : the line is not a JSON object",
				"4 : the key field id is missing", "5 : the key field id is missing", "6 : the key field id is empty",
				"7 : the key field id is neither a string nor a number", "8 : the key field id is neither a string nor a number",
				"9 : the line is not valid UTF-8", "10 : the key field id has 4097 bytes, more than 4096", "11 : the key field id has half of a surrogate pair",
				"13 : the line is not valid JSON: invalid character '{' after top-level value",
			},
		},
		{
			name: "long line", text: `{"id":"a"}` + "\n" + `{"id":"` + strings.Repeat("x", 400_000) + "\"}\n" + `{"id":"b"}` + "\n" + strings.Repeat("y", 300_000),
			values: map[string]any{"max_line": "1KiB"}, rows: []string{`1 a {"id":"a"}`, `3 b {"id":"b"}`},
			rejects: []string{"2 : the line is longer than max_line (1KiB)", "4 : the line is longer than max_line (1KiB)"},
		},
		{
			name: "deep nesting", text: `{"id":"a","x":` + strings.Repeat("[", 3_000_000) + "\n" + `{"id":"b","x":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}",
			rows: []string{`2 b {"id":"b","x":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}"}, rejects: []string{"1 : the line is nested more than 10000 levels deep"},
		},
		{
			name: "bad stamps keep the key", text: `{"id":"a","v":[],"t":1}` + "\n" + `{"id":"\u0062","v":1,"t":"yesterday"}` + "\n" + `{"id":"c","v":"\u0031","t":null}`,
			values: map[string]any{"version": "v", "modified": "t"}, rows: []string{`3 c {"id":"c","v":"\u0031","t":null}`},
			rejects: []string{"1 a: the version field v is not a single value", "2 b: the modified field t is neither an RFC 3339 time nor a number of Unix seconds"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"path": write(t, "in.jsonl", test.text)}
			maps.Copy(values, test.values)
			got, err := read(t, openAt(t, JSONL(), time.Hour, values), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.rows, got.rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.rejects, got.rejects); diff != "" {
				t.Errorf("rejects (-want +got):\n%s", diff)
			}
			for _, r := range got.raw {
				if r.Origin != values["path"] || len(r.Raw) == 0 || len(r.Raw) > gapless.MaxRejectBytes {
					t.Errorf("reject of %s with %d bytes", r.Origin, len(r.Raw))
				}
			}
		})
	}
}

func TestReadStamps(t *testing.T) {
	t.Parallel()
	jsonl := openAt(t, JSONL(), time.Hour, map[string]any{"version": "v", "modified": "m.t", "path": write(t, "in.jsonl", `{"id":"\u0061","v":"\u0031","m":{"t":"2026-01-02T03:04:05.5Z"}}
{"id":2,"v":7,"m":{"t":1700000000.25}}
{"id":3,"v":null}`)})
	csv := openAt(t, CSV(), time.Hour, map[string]any{"version": "v", "modified": "t", "path": write(t, "in.csv", "id,v,t\na,1,2026-01-02T03:04:05.5Z\n2,7,1700000000.25\n3,,\n")})
	for _, s := range []*source{jsonl, csv} {
		got, err := read(t, s, "")
		if err != nil || len(got.changes) != 3 {
			t.Fatalf("%d records, %d rejects, %v", len(got.changes), len(got.rejects), err)
		}
		for i, want := range []gapless.Record{
			{Key: "a", Version: "1", Modified: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)},
			{Key: "2", Version: "7", Modified: time.Unix(1700000000, 25e7).UTC()},
			{Key: "3"},
		} {
			record := got.changes[i].Record
			record.Data = nil
			if diff := cmp.Diff(want, record); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}

func TestReadCSV(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		text    string
		values  map[string]any
		rows    []string
		rejects []string
	}{
		{name: "empty"},
		{name: "only a header", text: "id,x"},
		{name: "plain", text: "id,x\na,1\nb,2\n", rows: []string{`2 a {"id":"a","x":"1"}`, `3 b {"id":"b","x":"2"}`}},
		{name: "line breaks", text: "\xef\xbb\xbf\r\nid,x\r\n\r\na,1\r\nb,2", rows: []string{`4 a {"id":"a","x":"1"}`, `5 b {"id":"b","x":"2"}`}},
		{name: "quotes", text: "id,\"x\"\"y\"\n\"a\"\"b\",\"1,2\n3\"\"4\"\r\nc,\"\"\n", rows: []string{`2 a"b {"id":"a\"b","x\"y":"1,2\n3\"4"}`, `4 c {"id":"c","x\"y":""}`}},
		{name: "control characters", text: "id,x\na,\"\x00\t\\\"\n", rows: []string{`2 a {"id":"a","x":"\u0000\t\\"}`}},
		{name: "no quotes", text: "id\tx\na\t5\" \"disk\"\n", values: map[string]any{"quotes": false, "delimiter": "tab"}, rows: []string{`2 a {"id":"a","x":"5\" \"disk\""}`}},
		{name: "no header", text: "a;1\n", values: map[string]any{"header": false, "columns": []any{"id", "x"}, "delimiter": ";"}, rows: []string{`1 a {"id":"a","x":"1"}`}},
		{name: "last cell empty", text: "id,x\na,", rows: []string{`2 a {"id":"a","x":""}`}},
		{
			name: "no records", text: "id,x\na\nb,1,2\n,3\n\xff,4\nc\"d,5\n\"e\"f,6\nok,7\n\"open,8\nfine,9\n",
			rows: []string{`8 ok {"id":"ok","x":"7"}`, `10 fine {"id":"fine","x":"9"}`},
			rejects: []string{
				"2 : the row has 1 cells, the header 2", "3 : the row has 3 cells, the header 2", "4 : the key column id has 0 bytes, not 1 to 4096",
				"5 : the row is not valid UTF-8", "6 : a quote stands within a cell that is not quoted", "7 : text follows a closing quote", "9 : a quoted cell is never closed",
			},
		},
		{
			name: "long rows", text: "id,x\na," + strings.Repeat("1", 500_000) + "\n\"b\",\"" + strings.Repeat("2\n", 1000) + "\"\nc,3\n\"d,\n" + "e,4\n" + "f," + strings.Repeat("5", 2000), values: map[string]any{"max_line": "1KiB"},
			rows:    []string{`1004 c {"id":"c","x":"3"}`, `1006 e {"id":"e","x":"4"}`},
			rejects: []string{"2 : the line is longer than max_line (1KiB)", "3 : the line is longer than max_line (1KiB)", "1005 : the line is longer than max_line (1KiB)", "1007 : the line is longer than max_line (1KiB)"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"path": write(t, "in.csv", test.text)}
			maps.Copy(values, test.values)
			got, err := read(t, openAt(t, CSV(), time.Hour, values), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.rows, got.rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.rejects, got.rejects); diff != "" {
				t.Errorf("rejects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHundredMegabyteLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "in.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, io.MultiReader(strings.NewReader(`{"id":"a"}`+"\n"+`{"id":"`), io.LimitReader(endless('x'), 100<<20), strings.NewReader("\"}\n"+`{"id":"b"}`+"\n")))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []gapless.Connector{JSONL(), CSV()} {
		values := map[string]any{"path": path}
		if c.Name == "csv" {
			values["header"], values["columns"], values["quotes"] = false, "id", false
		}
		got, err := read(t, openAt(t, c, time.Hour, values), "")
		if err != nil || len(got.rows) != 2 || len(got.raw) != 1 || got.raw[0].Line != 2 || len(got.raw[0].Raw) != gapless.MaxRejectBytes {
			t.Errorf("%s: %d rows, rejects %v, %v", c.Name, len(got.rows), got.rejects, err)
		}
	}
}

type endless byte

func (c endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

func TestCompression(t *testing.T) {
	t.Parallel()
	var zipped, zstandard bytes.Buffer
	for _, part := range []string{"{\"id\":1}\n", "{\"id\":2}\n"} { // two members
		z := gzip.NewWriter(&zipped)
		_, err := z.Write([]byte(part))
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
	}
	z, err := zstd.NewWriter(&zstandard)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write([]byte("{\"id\":1}\n{\"id\":2}\n"))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, compression, text string
		rows, exit              int
	}{
		{"gzip", "auto", zipped.String(), 2, 0},
		{"gzip, named", "gzip", zipped.String(), 2, 0},
		{"zstd", "auto", zstandard.String(), 2, 0},
		{"zstd, named", "zstd", zstandard.String(), 2, 0},
		{"gzip, cut", "auto", zipped.String()[:zipped.Len()-9], 2, 55},
		{"gzip, garbage behind", "auto", zipped.String() + "garbage that is long enough", 2, 55},
		{"gzip, flipped", "auto", zipped.String()[:15] + "\x7f" + zipped.String()[16:], 0, 55},
		{"zstd, cut", "auto", zstandard.String()[:zstandard.Len()-5], 0, 55},
		{"not gzip at all", "gzip", "{\"id\":1}\n", 0, 55},
		{"short and plain", "auto", "{}", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := openAt(t, JSONL(), time.Hour, map[string]any{"path": write(t, "in", test.text), "compression": test.compression})
			got, err := read(t, s, "")
			if gapless.ExitCode(err) != test.exit || len(got.rows) != test.rows {
				t.Errorf("%d rows, %v", len(got.rows), err)
			}
			if err != nil && gapless.KindOf(err) != gapless.KindRecoverable {
				t.Errorf("%v: %v", gapless.KindOf(err), err)
			}
		})
	}
}

// TestBlockBoundaries lets every split of the input between two reads happen.
func TestBlockBoundaries(t *testing.T) {
	t.Parallel()
	jsonl := "{\"id\":\"\\u00e9\"}\r\n\n{\"id\":\"b\"}\nbroken\n{\"id\":\"ü\"}"
	rows := "id,x\r\n\"a\"\"b\",\"1\r\n2\"\r\n\nbro\"ken\nc,\"\"\"\"\nd,é"
	for _, test := range []struct {
		c    gapless.Connector
		text string
	}{{JSONL(), jsonl}, {CSV(), rows}} {
		var want reading
		for size := len(test.text); size > 0; size-- {
			s := openAt(t, test.c, time.Hour, map[string]any{"path": "-"})
			s.stdin = &slow{test.text, size}
			got, err := read(t, s, "")
			if err != nil {
				t.Fatal(err)
			}
			if size == len(test.text) {
				want = got
			}
			if diff := cmp.Diff(append(want.rows, want.rejects...), append(got.rows, got.rejects...)); diff != "" || len(got.rows) < 2 {
				t.Fatalf("%s, reads of %d bytes (-want +got):\n%s", test.c.Name, size, diff)
			}
		}
	}
}

type slow struct {
	text string
	size int
}

func (r *slow) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	n := copy(p, r.text[:min(r.size, len(r.text))])
	r.text = r.text[n:]
	return n, nil
}

func TestStandardInputIsReadOnce(t *testing.T) {
	t.Parallel()
	s := openAt(t, JSONL(), time.Hour, map[string]any{"path": "-"})
	s.stdin = strings.NewReader("{\"id\":1}\n{\"id\":2}\n")
	if p, err := s.Position(t.Context(), partition); p != "" || err != nil {
		t.Errorf("position %q, %v", p, err)
	}
	if got, err := read(t, s, ""); err != nil || len(got.rows) != 2 || got.changes[0].Line != 1 {
		t.Errorf("%v, %v", got.rows, err)
	}
	if got, err := read(t, s, ""); err == nil || len(got.rows) != 0 {
		t.Error("a second reading of standard input looks like an empty source")
	}
}

func TestFileThatChangesWhileReadIsNeverComplete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(path string) error
	}{
		{"rewritten", func(p string) error { return os.WriteFile(p, []byte(sample(2000)), 0o600) }},
		{"grown", func(p string) error { return os.WriteFile(p, []byte(sample(2001)), 0o600) }},
		{"cut", func(p string) error { return os.Truncate(p, 400_000) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "in.jsonl", sample(2000))
			past := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, past, past); err != nil {
				t.Fatal(err)
			}
			s := openAt(t, JSONL(), time.Hour, map[string]any{"path": path})
			changed := false
			out := gapless.NewOutput(t.Context(), partition, 100, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
				if !changed {
					changed = true
					if err := test.change(path); err != nil {
						t.Error(err)
					}
				}
				return b, nil
			})
			if err := s.ReadAll(t.Context(), partition, "", out); gapless.KindOf(err) != gapless.KindRecoverable || err == nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPathsAndPosition(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"a/1.jsonl": `{"id":1}`, "a/2.jsonl": `{"id":2}`, "b/3.jsonl": `{"id":3}`, "b/x.txt": "", "f": "", "[z].jsonl": `{"id":4}`} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "part"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("../a", filepath.Join(dir, "part", "good")), os.Symlink("bad", filepath.Join(dir, "part", "bad"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		path any
		keys string
		exit int
	}{
		{"a folder that cannot be searched", "part/*/*.jsonl", "", 51},
		{"file", "a/1.jsonl", "1", 0},
		{"pattern", "a/*.jsonl", "1 2", 0},
		{"folders too", "*/*.jsonl", "1 2 3", 0},
		{"list, each file once", []any{"b/*.jsonl", "a/2.jsonl", "*/*.jsonl"}, "3 2 1", 0},
		{"a name that looks like a pattern", "[z].jsonl", "4", 0},
		{"missing file", "a/9.jsonl", "", 51},
		{"pattern without a match", "a/*.csv", "", 51},
		{"folder of a pattern missing", "c/*.jsonl", "", 51},
		{"one of several missing", []any{"a/*.jsonl", "c.jsonl"}, "", 51},
		{"folder", "a", "", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opened, err := JSONL().Source.Open(t.Context(), map[string]any{"path": test.path}, gapless.Env{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t, opened, "")
			var keys []string
			for _, c := range got.changes {
				keys = append(keys, c.Key)
			}
			_, describe := opened.Describe(t.Context())
			if strings.Join(keys, " ") != test.keys || gapless.ExitCode(err) != test.exit || gapless.ExitCode(describe) != test.exit {
				t.Errorf("keys %v, %v, %v", keys, err, describe)
			}
		})
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		lead   time.Duration
		change func(path string) error
		same   bool
	}{
		{"nothing", time.Hour, func(string) error { return nil }, true},
		{"nothing, but fresh", -time.Hour, func(string) error { return nil }, false},
		{"replaced by an equal file", time.Hour, func(p string) error {
			return errors.Join(os.WriteFile(p+"x", []byte("one"), 0o600), os.Rename(p+"x", p))
		}, false},
		{"added and removed again", time.Hour, func(p string) error {
			return errors.Join(os.WriteFile(p+".jsonl", nil, 0o600), os.Remove(p+".jsonl"))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "in.jsonl", "one")
			s := openAt(t, JSONL(), test.lead, map[string]any{"path": filepath.Join(filepath.Dir(path), "*.jsonl")})
			before, err := s.Position(t.Context(), partition)
			if err != nil {
				t.Fatal(err)
			}
			tick(t, path)
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			after, err := s.Position(t.Context(), partition)
			if err != nil || (before == after) != test.same || before == "" {
				t.Errorf("%q then %q, want same %t, error %v", before, after, test.same, err)
			}
		})
	}
}

// tick returns once the file system's clock has moved on since path changed.
func tick(t *testing.T, path string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	for {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		was, err := os.Stat(path)
		is, err2 := os.Stat(probe)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if stamp.Of(is).Changed > stamp.Of(was).Changed {
			return
		}
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	for _, c := range []gapless.Connector{JSONL(), CSV()} {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			line := `{"id":"%d","x":"` + strings.Repeat("y", 100_000) + "\"}\n"
			text := ""
			if c.Name == "csv" {
				line = "%d,\"\n" + strings.Repeat("y", 100_000) + "\"\n"
				text = "id,x\n"
			}
			dir := t.TempDir()
			for i, n := range []int{700, 5} {
				var b strings.Builder
				b.WriteString(text)
				for j := range n {
					fmt.Fprintf(&b, line, i*1000+j)
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			values := map[string]any{"path": filepath.Join(dir, "*")}
			s := openAt(t, c, time.Hour, values)
			started, err := s.Position(t.Context(), partition)
			if err != nil {
				t.Fatal(err)
			}
			if records, size, err := s.Estimate(t.Context(), partition); records != -1 || size < 70_000_000 || err != nil {
				t.Errorf("estimates %d records, %d bytes, %v", records, size, err)
			}
			full, err := read(t, s, "")
			if err != nil || len(full.marks) != 1 || len(full.rows) != 705 {
				t.Fatalf("%d marks, %d rows, %v", len(full.marks), len(full.rows), err)
			}
			if ok, err := s.CanResume(t.Context(), partition, full.marks[0], started); !ok || err != nil {
				t.Fatalf("cannot resume: %v", err)
			}
			if ok, _ := s.CanResume(t.Context(), partition, full.marks[0], "other"); ok {
				t.Error("resumes what was started elsewhere")
			}
			rest, err := read(t, openAt(t, c, time.Hour, values), full.marks[0])
			if err != nil || len(rest.rows) == 0 || len(rest.rows) > 60 {
				t.Fatalf("%d rows, %v", len(rest.rows), err)
			}
			if diff := cmp.Diff(full.rows[705-len(rest.rows):], rest.rows); diff != "" {
				t.Errorf("rest differs")
			}
			if err := os.WriteFile(filepath.Join(dir, "2"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if ok, err := s.CanResume(t.Context(), partition, full.marks[0], started); ok || err != nil {
				t.Errorf("resumes changed files: %t %v", ok, err)
			}
			if rest, err := read(t, s, full.marks[0]); gapless.KindOf(err) != gapless.KindExpired || len(rest.rows) > 0 {
				t.Errorf("%d rows, %v", len(rest.rows), err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		c      gapless.Connector
		values map[string]any
		want   string
	}{
		{"no path", JSONL(), nil, "path"},
		{"empty path", JSONL(), map[string]any{"path": ""}, "path"},
		{"pattern", JSONL(), map[string]any{"path": "[a"}, "path"},
		{"key", JSONL(), map[string]any{"path": "x", "key": "a..b"}, "key"},
		{"no key", JSONL(), map[string]any{"path": "x", "key": ""}, "key"},
		{"max_line", JSONL(), map[string]any{"path": "x", "max_line": "65MiB"}, "max_line"},
		{"delimiter", CSV(), map[string]any{"path": "x", "delimiter": "ab"}, "delimiter"},
		{"columns beside a header", CSV(), map[string]any{"path": "x", "columns": "id"}, "columns"},
		{"no columns", CSV(), map[string]any{"path": "x", "header": false}, "columns"},
		{"key no column", CSV(), map[string]any{"path": "x", "header": false, "columns": "a"}, "columns"},
	} {
		_, err := test.c.Source.Open(t.Context(), test.values, gapless.Env{})
		if gapless.KindOf(err) != gapless.KindMisconfigured || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestHeaderErrors(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"a,b", "id,id", "id,", "id,\"x", "\xff,id", strings.Repeat("x", 17<<20)} {
		s := openAt(t, CSV(), time.Hour, map[string]any{"path": write(t, "in.csv", header+"\n1,2\n")})
		if _, err := read(t, s, ""); gapless.ExitCode(err) != 55 || !strings.Contains(err.Error(), "header") {
			t.Errorf("%.20q: %v", header, err)
		}
	}
}

// FuzzJSONL checks the reader against encoding/json, line by line.
func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{"{\"id\":1}\n{\"id\":\"\\u0061\"}", "{\"id\":\"\\ud800\"}\n\n[]\n{", "\xef\xbb\xbf{\"id\":\"x\",\"v\":{}}", "{\"id\":\"\xff\"}\r\n"} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		s := openAt(t, JSONL(), time.Hour, map[string]any{"path": "-", "version": "v", "max_line": 1000, "compression": "none"})
		s.stdin = &slow{text, 1 + size&63}
		got, err := read(t, s, "")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimPrefix(text, string(byteOrderMark)), "\n")
		blank := 0
		for _, line := range lines {
			if strings.Trim(line, " \t\r") == "" {
				blank++
			}
		}
		if len(got.rows)+len(got.rejects)+blank != len(lines) {
			t.Fatalf("%d rows, %d rejects and %d blank make not %d lines", len(got.rows), len(got.rejects), blank, len(lines))
		}
		for _, c := range got.changes {
			if want := strings.Trim(lines[c.Line-1], " \t\r"); string(c.Data) != want {
				t.Errorf("line %d is %q, not %q", c.Line, c.Data, want)
			}
			var fields map[string]any
			if err := json.Unmarshal(c.Data, &fields); err != nil {
				t.Errorf("accepted %q: %v", c.Data, err)
			}
			if c.Key == "" || len(c.Key) > gapless.MaxKeyBytes {
				t.Errorf("key of %d bytes", len(c.Key))
			}
		}
	})
}

// FuzzCSV checks the reader against encoding/csv where that accepts the text.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"a,b\nc,d\n", "\"a\"\"\",\"b\nc\"\r\n", "\"a\n\"b", "a\"b,c\n", ",\n\"\",\"\"", "\r\r\n"} {
		f.Add(seed, 2)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		s := openAt(t, CSV(), time.Hour, map[string]any{"path": "-", "header": false, "columns": []any{"id", "x"}, "compression": "none"})
		s.stdin = &slow{text, 1 + size&63}
		got, err := read(t, s, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got.changes {
			var fields map[string]string
			if err := json.Unmarshal(c.Data, &fields); err != nil || fields["id"] != c.Key || len(fields) != 2 {
				t.Errorf("row %q with key %q: %v", c.Data, c.Key, err)
			}
		}
		if strings.Contains(text, "\r") || strings.HasPrefix(text, string(byteOrderMark)) {
			return // encoding/csv rewrites line breaks within cells
		}
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = 2
		want, err := r.ReadAll()
		if err != nil || len(got.rejects) > 0 {
			return
		}
		if len(want) != len(got.changes) {
			t.Fatalf("%d rows, want %d", len(got.changes), len(want))
		}
		for i, c := range got.changes {
			var fields map[string]string
			if err := json.Unmarshal(c.Data, &fields); err != nil || fields["id"] != want[i][0] || fields["x"] != want[i][1] {
				t.Errorf("row %d is %q, want %q", i, c.Data, want[i])
			}
		}
	})
}
