package files

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/stamp"
)

var partition = gapless.Partition{ID: "file", Collection: "file"}

// plant writes files below a new folder; a value "-> X" makes a link to X.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openAt opens a source whose clock is ahead of the file system's by lead, so
// that nothing, or everything, counts as fresh.
func openAt(t *testing.T, lead time.Duration, values map[string]any) *source {
	t.Helper()
	opened, err := Connector().Source.Open(t.Context(), values, gapless.Env{})
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

// reading is what one ReadAll emitted.
type reading struct {
	changes []gapless.Change
	rejects map[string]string
	marks   []gapless.Mark
}

func (r reading) keys() []string {
	var keys []string
	for _, c := range r.changes {
		keys = append(keys, c.Key)
	}
	return keys
}

func read(t *testing.T, s gapless.Source, after gapless.Mark) (reading, error) {
	t.Helper()
	r := reading{rejects: map[string]string{}}
	out := gapless.NewOutput(t.Context(), partition, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Len() {
			r.changes = append(r.changes, b.Change(i))
		}
		for _, reject := range b.Rejects {
			r.rejects[reject.Key] = reject.Err.Error()
		}
		if b.Mark != "" {
			r.marks = append(r.marks, b.Mark)
		}
		return b, nil
	})
	err := s.ReadAll(t.Context(), partition, after, out)
	return r, errors.Join(err, out.Flush())
}

func text(t *testing.T, p gapless.Part) (string, error) {
	t.Helper()
	r, err := p.Open(t.Context())
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func TestReadAllSelects(t *testing.T) {
	t.Parallel()
	outside := plant(t, map[string]string{"secret.md": "s", "sub/x.md": "x"})
	dir := plant(t, map[string]string{
		"a.md": "a", "a/b.md": "b", "a/c.txt": "c", "a-b.md": "d", ".git/HEAD": "h", "sub/.git/x.md": "x",
		"docs/deep/er/e.md": "e", "z/link.md": "-> ../a.md", "z/dir": "-> ../docs", "z/loop": "-> ..",
		"z/out.md": "-> " + outside + "/secret.md", "z/outdir": "-> " + outside, "z/nowhere": "-> gone", "z/self": "-> self",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"everything", nil, "a/b.md a/c.txt a-b.md a.md docs/deep/er/e.md"},
		{"name at any depth", map[string]any{"include": "*.md"}, "a/b.md a-b.md a.md docs/deep/er/e.md"},
		{"anchored", map[string]any{"include": "/*.md"}, "a-b.md a.md"},
		{"folder covers", map[string]any{"include": "docs"}, "docs/deep/er/e.md"},
		{"double star", map[string]any{"include": "docs/**/e.md"}, "docs/deep/er/e.md"},
		{"exclusion wins", map[string]any{"include": "*.md", "exclude": []any{"a*", ".git"}}, "docs/deep/er/e.md"},
		{"own exclusion replaces", map[string]any{"exclude": "*.md"}, ".git/HEAD a/c.txt"},
		{
			"links", map[string]any{"symlinks": "follow", "exclude": []any{".git", "a*"}},
			"docs/deep/er/e.md z/dir/deep/er/e.md z/link.md",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"path": dir}
			maps.Copy(values, test.values)
			got, err := read(t, openAt(t, time.Hour, values), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, strings.Join(got.keys(), " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !slices.IsSortedFunc(got.keys(), func(a, b string) int {
				if pathLess(a, b) {
					return -1
				}
				return 1
			}) {
				t.Error("not in the order that marks rely on")
			}
		})
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	odd := "sub/q\"uo\\te\n.tar.GZ"
	dir := plant(t, map[string]string{odd: "content", "README": "r", ".hidden": ""})
	when := time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, odd), when, when); err != nil {
		t.Fatal(err)
	}
	got, err := read(t, openAt(t, time.Hour, map[string]any{"path": dir, "collection": "doc"}), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.changes) != 3 {
		t.Fatalf("%d records", len(got.changes))
	}
	c := got.changes[2]
	var data map[string]any
	if err := json.Unmarshal(c.Data, &data); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"path": odd, "name": base(odd), "ext": ".GZ", "size": 7.0,
		"modified": "2024-02-29T12:00:00.123456789Z", "type": "application/gzip",
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	part := c.Parts[0]
	body, err := text(t, part)
	if c.Key != odd || !c.Modified.Equal(when) || part.Size != 7 || part.Type != "application/gzip" || part.Version != c.Version || err != nil || body != "content" {
		t.Errorf("record %+v with content %q, %v", c, body, err)
	}
	if got.changes[1].Parts[0].Type != "text/plain" || got.changes[0].Parts[0].Type != "" {
		t.Error("types of README and .hidden")
	}
}

func TestRejects(t *testing.T) {
	t.Parallel()
	dir := plant(t, map[string]string{"big": strings.Repeat("x", 2000), "bad\xff": "b", "denied": "d", "fine": "f", "gone": "g"})
	s := openAt(t, time.Hour, map[string]any{"path": dir, "max_size": "1KiB"})
	s.tree.fault = func(step, path string) error {
		switch step + " " + path {
		case "stat denied":
			return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrPermission}
		case "stat gone":
			return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
		}
		return nil
	}
	got, err := read(t, s, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fine"}, got.keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{"big": "max_size (1KiB)", "bad\uFFFD": "UTF-8", "denied": dir + "/denied"} {
		if !strings.Contains(got.rejects[key], want) {
			t.Errorf("%s: rejected with %q, want it to say %q", key, got.rejects[key], want)
		}
	}
	if len(got.rejects) != 3 {
		t.Errorf("rejects: %v", got.rejects)
	}
}

func TestFolderThatCannotBeListedIsNeverComplete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fault func(dir string) error
		looks int // at the tree afterwards, each with another position
	}{
		{"vanishes midway", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "b")) }, 1},
		{"no permission", func(string) error { return fs.ErrPermission }, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := plant(t, map[string]string{"a/1": "", "b/2": "", "b/c/3": "", "d/4": ""})
			s := openAt(t, time.Hour, map[string]any{"path": dir})
			before, err := s.Position(t.Context(), partition)
			if err != nil {
				t.Fatal(err)
			}
			s.tree.fault = func(step, path string) error {
				if step == "list" && path == "b/c" {
					return test.fault(dir)
				}
				return nil
			}
			got, err := read(t, s, "")
			if gapless.KindOf(err) != gapless.KindRecoverable || !strings.Contains(err.Error(), dir+"/b/c") {
				t.Errorf("error %v (%v)", err, gapless.KindOf(err))
			}
			for _, key := range []string{"a/1", "d/4"} {
				if !slices.Contains(got.keys(), key) {
					t.Errorf("%s was not emitted", key)
				}
			}
			for range test.looks {
				after, err := s.Position(t.Context(), partition)
				if err != nil || after == before {
					t.Errorf("position %q did not change, %v", after, err)
				}
				before = after
			}
		})
	}
}

func TestRootMissing(t *testing.T) {
	t.Parallel()
	s := openAt(t, 0, map[string]any{"path": filepath.Join(t.TempDir(), "none")})
	_, describe := s.Describe(t.Context())
	_, position := s.Position(t.Context(), partition)
	_, all := read(t, s, "")
	for _, err := range []error{describe, position, all} {
		if gapless.ExitCode(err) != 51 || gapless.KindOf(err) != gapless.KindRecoverable {
			t.Errorf("%v: exit %d", err, gapless.ExitCode(err))
		}
	}
}

func TestContentVouchesForItself(t *testing.T) {
	t.Parallel()
	old := strings.Repeat("old ", 50_000)
	for _, test := range []struct {
		name       string
		beforeOpen bool
		change     func(path string) error
	}{
		{"rewritten between listing and opening", true, func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("new ", 50_000)), 0o600) }},
		{"replaced by a pipe", true, func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) }},
		{"removed", true, os.Remove},
		{"rewritten while read", false, func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("new ", 50_000)), 0o600) }},
		{"grown", false, func(p string) error { return os.WriteFile(p, []byte(old+"more"), 0o600) }},
		{"cut short", false, func(p string) error { return os.Truncate(p, 100) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := plant(t, map[string]string{"f": old})
			past := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, "f"), past, past); err != nil {
				t.Fatal(err)
			}
			got, err := read(t, openAt(t, time.Hour, map[string]any{"path": dir}), "")
			if err != nil {
				t.Fatal(err)
			}
			part := got.changes[0].Parts[0]
			if test.beforeOpen {
				if err := test.change(filepath.Join(dir, "f")); err != nil {
					t.Fatal(err)
				}
				_, err = text(t, part)
			} else {
				r, openErr := part.Open(t.Context())
				if openErr != nil {
					t.Fatal(openErr)
				}
				defer r.Close()
				if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if err := test.change(filepath.Join(dir, "f")); err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil || gapless.KindOf(err) != gapless.KindRejected {
				t.Errorf("read succeeded or failed as %v: %v", gapless.KindOf(err), err)
			}
		})
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		lead   time.Duration
		change func(dir string) error
		same   bool
	}{
		{name: "nothing", lead: time.Hour, change: func(string) error { return nil }, same: true},
		{name: "nothing, but fresh", lead: -time.Hour, change: func(string) error { return nil }},
		{name: "excluded file written", lead: time.Hour, same: true, change: func(d string) error { return os.WriteFile(d+"/.git/x", []byte("yy"), 0o600) }},
		{name: "same size, times set back", lead: time.Hour, change: func(d string) error {
			info, err := os.Stat(d + "/a/f")
			return errors.Join(err, os.WriteFile(d+"/a/f", []byte("two"), 0o600), os.Chtimes(d+"/a/f", info.ModTime(), info.ModTime()))
		}},
		{name: "added", lead: time.Hour, change: func(d string) error { return os.WriteFile(d+"/a/g", nil, 0o600) }},
		{name: "removed", lead: time.Hour, change: func(d string) error { return os.Remove(d + "/a/f") }},
		{name: "renamed", lead: time.Hour, change: func(d string) error { return os.Rename(d+"/a/f", d+"/a/h") }},
		{name: "added and removed again", lead: time.Hour, change: func(d string) error {
			return errors.Join(os.WriteFile(d+"/a/g", nil, 0o600), os.Remove(d+"/a/g"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := plant(t, map[string]string{"a/f": "one", ".git/x": "x"})
			age(t, dir)
			s := openAt(t, test.lead, map[string]any{"path": dir})
			before, err := s.Position(t.Context(), partition)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			after, err := s.Position(t.Context(), partition)
			if err != nil || (before == after) != test.same {
				t.Errorf("%q then %q, want same %t, error %v", before, after, test.same, err)
			}
		})
	}
}

// age returns once the file system's clock has moved on, so that a change from
// now on shows in the times.
func age(t *testing.T, dir string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	first := changed(t, filepath.Join(dir, "a"))
	for changed(t, probe) <= first {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func changed(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return stamp.Of(info).Changed
}

func TestPositionWaitsForTheClock(t *testing.T) {
	t.Parallel()
	s := openAt(t, 0, map[string]any{"path": plant(t, map[string]string{"a/f": "one"})})
	now := time.Now()
	waits := 0
	s.clock.Now = func() time.Time { return now }
	s.clock.Wait = func(_ context.Context, d time.Duration) error {
		now = time.Now().Add(d)
		waits++
		return nil
	}
	before, err := s.Position(t.Context(), partition)
	if err != nil || waits != 1 || strings.Contains(string(before), "~") {
		t.Fatalf("%q after %d waits, %v", before, waits, err)
	}
	if after, err := s.Position(t.Context(), partition); err != nil || after != before || waits != 1 {
		t.Errorf("%q then %q after %d waits, %v", before, after, waits, err)
	}
}

func TestFreshVersionsNeverRepeat(t *testing.T) {
	t.Parallel()
	dir := plant(t, map[string]string{"f": "one"})
	for _, test := range []struct {
		name string
		lead time.Duration
		hash bool
		same bool
	}{
		{"settled", time.Hour, false, true},
		{"fresh", -time.Hour, false, false},
		{"fresh but hashed", -time.Hour, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := openAt(t, test.lead, map[string]any{"path": dir, "content_hash": test.hash})
			first, err := read(t, s, "")
			second, err2 := read(t, s, "")
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			if (first.changes[0].Version == second.changes[0].Version) != test.same {
				t.Errorf("versions %q and %q", first.changes[0].Version, second.changes[0].Version)
			}
		})
	}
}

func TestStepOfTheClock(t *testing.T) {
	t.Parallel()
	second := time.Unix(1000, 0)
	for _, test := range []struct {
		name    string
		changed time.Time
		seen    time.Time
		fresh   bool
	}{
		{"fine, just now", second.Add(5), second.Add(time.Millisecond), true},
		{"fine, a step ago", second.Add(5), second.Add(25 * time.Millisecond), false},
		{"whole second, half a second ago", second, second.Add(500 * time.Millisecond), true},
		{"whole second, three seconds ago", second, second.Add(3 * time.Second), false},
		{"ahead of us", second.Add(time.Hour + 1), second, true},
	} {
		if got := (stamp.Stamp{Changed: test.changed.UnixNano()}).Fresh(test.seen); got != test.fresh {
			t.Errorf("%s: fresh %t", test.name, got)
		}
	}
}

func TestContentHashRejectsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	s := openAt(t, time.Hour, map[string]any{"path": plant(t, map[string]string{"a": "1", "b": "2", "c": "1"}), "content_hash": true})
	s.tree.fault = func(step, path string) error {
		if step == "open" && path == "b" {
			return fs.ErrPermission
		}
		return nil
	}
	got, err := read(t, s, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "c"}, got.keys()); diff != "" || got.rejects["b"] == "" {
		t.Errorf("rejects %v, keys (-want +got):\n%s", got.rejects, diff)
	}
	if got.changes[0].Version != got.changes[1].Version {
		t.Error("equal content, different version")
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range markEvery + 100 {
		files["d"+string(rune('a'+i%7))+"/"+strings.Repeat("x", i/700)+string(rune('0'+i%10))+string(rune('a'+i%11))+string(rune('a'+i%13))+string(rune('a'+i%17))] = ""
	}
	dir := plant(t, files)
	s := openAt(t, time.Hour, map[string]any{"path": dir})
	started, err := s.Position(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	if records, size, err := s.Estimate(t.Context(), partition); records != int64(len(files)) || size != 0 || err != nil {
		t.Errorf("estimates %d files with %d bytes, %v", records, size, err)
	}
	full, err := read(t, s, "")
	if err != nil || len(full.marks) != len(full.changes)/markEvery {
		t.Fatalf("%d marks, %d records, %v", len(full.marks), len(full.changes), err)
	}
	mark := full.marks[0]
	again := openAt(t, time.Hour, map[string]any{"path": dir})
	if ok, err := again.CanResume(t.Context(), partition, mark, started); !ok || err != nil {
		t.Fatalf("cannot resume: %v", err)
	}
	if ok, _ := again.CanResume(t.Context(), partition, mark, "other"); ok {
		t.Error("resumes what was started elsewhere")
	}
	rest, err := read(t, again, mark)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full.keys()[markEvery:], rest.keys()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "da", "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := again.CanResume(t.Context(), partition, mark, started); ok || err != nil {
		t.Errorf("resumes a changed tree: %t, %v", ok, err)
	}
	rest, err = read(t, again, mark)
	if gapless.KindOf(err) != gapless.KindExpired || len(rest.changes) > 0 {
		t.Errorf("read %d records of a changed tree: %v", len(rest.changes), err)
	}
}

func TestReadAllStopsWhenTheRunIsOver(t *testing.T) {
	t.Parallel()
	s := openAt(t, time.Hour, map[string]any{"path": plant(t, map[string]string{"a/b": ""})})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gapless.ErrInterrupted)
	out := gapless.NewOutput(ctx, partition, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) { return b, nil })
	if err := s.ReadAll(ctx, partition, "", out); !errors.Is(err, gapless.ErrInterrupted) {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"pattern", map[string]any{"path": "x", "include": "[a"}, "include"},
		{"empty pattern", map[string]any{"path": "x", "exclude": "/"}, "exclude"},
		{"no path", nil, "path"},
		{"policy", map[string]any{"path": "x", "symlinks": "folow"}, "follow"},
	} {
		_, err := Connector().Source.Open(t.Context(), test.values, gapless.Env{})
		if gapless.KindOf(err) != gapless.KindMisconfigured || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
