package tabular

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

const connector = "test"

func openStore(t testing.TB, c gapless.Connector, values map[string]any) *store {
	t.Helper()
	d, err := c.Destination.Open(t.Context(), values, gapless.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*store)
}

func begin(t testing.TB, s *store, epoch uint64) *session {
	t.Helper()
	opened, err := s.Open(t.Context(), connector, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*session)
}

// batch makes a batch of changes written as "+key version data", "-key" and
// "~key version patch".
func batch(p gapless.Partition, changes ...string) *gapless.Batch {
	b := &gapless.Batch{Partition: p, Origin: "test"}
	for i, text := range changes {
		parts := append(strings.SplitN(text[1:], " ", 3), "", "")
		c := gapless.Change{Record: gapless.Record{Key: parts[0], Version: parts[1], Data: []byte(parts[2])}, Line: i + 1}
		switch text[0] {
		case '-':
			c.Op = gapless.OpDelete
		case '~':
			c.Op = gapless.OpPatch
		}
		b.Append(c)
	}
	return b
}

func push(t testing.TB, s *session, changes ...string) {
	t.Helper()
	receipt, err := s.Push(t.Context(), batch(partition, changes...))
	if err != nil || len(receipt.Rejected) > 0 {
		t.Fatalf("rejected %v, %v", receipt.Rejected, err)
	}
}

func checkpoint(seq uint64) gapless.Checkpoint {
	return gapless.Checkpoint{Partition: partition.ID, Position: gapless.Position(fmt.Sprintf("p\xff%d", seq)), Run: "run", Seq: seq, Epoch: 1}
}

func finish(t testing.TB, s *session, seq uint64) {
	t.Helper()
	_, err := s.Sync(t.Context(), []gapless.Checkpoint{checkpoint(seq)})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// content returns the published text, decompressed.
func content(t testing.TB, s *store) string {
	t.Helper()
	in, err := openStream(input{path: s.path}, compressionAuto, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// enumerate returns "key=version" in the order listed.
func enumerate(t testing.TB, s *session, p gapless.Partition) []string {
	t.Helper()
	var list []string
	err := s.Enumerate(t.Context(), p, func(key, version []byte) error {
		list = append(list, string(key)+"="+string(version))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPublish(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		file string
		runs [][]string
		want string
		keys string
	}{
		{"first load", "o.jsonl", [][]string{{`+b 1 {"x":1}`, `+a 2 {"x":2}`}}, "{\"x\":1}\n{\"x\":2}\n", "a=2 b=1"},
		{"later line wins", "o.jsonl", [][]string{{`+a 1 {"x":1}`, `+b 1 {}`, `+a 2 {"x":2}`}}, "{}\n{\"x\":2}\n", "a=2 b=1"},
		{"deleted at once", "o.jsonl", [][]string{{`+a 1 {"x":1}`, `+b 1 {}`, `-a`}}, "{}\n", "b=1"},
		{"deleted and back", "o.jsonl", [][]string{{`+a 1 {"x":1}`, `-a`, `+a 3 {"x":3}`}}, "{\"x\":3}\n", "a=3"},
		{"nothing left", "o.jsonl", [][]string{{`+a 1 {}`}, {`-a`, `-never`}}, "", ""},
		{"changes", "o.jsonl", [][]string{{`+a 1 {"x":1}`, `+b 1 {"x":1}`, `+c 1 {"x":1}`}, {`+b 2 {"y":2}`, `-c`, `+d 1 {"z":1}`}}, "{\"x\":1}\n{\"y\":2}\n{\"z\":1}\n", "a=1 b=2 d=1"},
		{"no change", "o.jsonl", [][]string{{`+a 1 {"x":1}`}, {}}, "{\"x\":1}\n", "a=1"},
		{"line breaks within", "o.jsonl", [][]string{{"+a 1 {\n \"x\":\r\n1}", "+b 1 {}"}}, "{ \"x\":\r1}\n{}\n", "a=1 b=1"},
		{
			"patches", "o.jsonl",
			[][]string{{`+a 1 {"x":1,"y":{"z":1},"w":0}`, `+b 1 {}`}, {`~a 2 {"y":2,"w":null,"n\"":"v","none":null}`, `~c 1 {"new":1,"gone":null}`}, {`~a 3 {"x":[3]}`, `-b`, `~b 9 {"again":true}`}},
			`{"new":1}` + "\n" + `{"x":[3],"y":2,"n\"":"v"}` + "\n" + `{"again":true}` + "\n", "a=3 b=9 c=1",
		},
		{"patches in one run", "o.jsonl", [][]string{{`+a 1 {"x":1}`, `~a 2 {"y":2}`, `+b 1 {}`, `~a 3 {"x":null}`}}, "{}\n{\"y\":2}\n", "a=3 b=1"},
		{"gzip", "o.jsonl.gz", [][]string{{`+a 1 {"x":1}`, `+b 1 {}`}, {`+a 2 {"x":2}`}}, "{}\n{\"x\":2}\n", "a=2 b=1"},
		{"zstd", "o.jsonl.zst", [][]string{{`+a 1 {"x":1}`, `+b 1 {}`}, {`+a 2 {"x":2}`}}, "{}\n{\"x\":2}\n", "a=2 b=1"},
		{
			"csv", "o.csv", [][]string{
				{`+a 1 {"id":"a","x":"one, \"two\"\nthree","other":9}`, `+b 1 {"id":"b","x":null}`, `+c 1 {"id":"c","x":{"y":[1]}}`},
				{`~a 2 {"x":true}`, `-b`, `~d 1 {"id":"d"}`},
			},
			"id,x\nc,\"{\"\"y\"\":[1]}\"\na,true\nd,\n", "a=2 c=1 d=1",
		},
		{"csv, zipped", "o.csv.gz", [][]string{{`+a 1 {"id":"a"}`}, {`+b 1 {"id":"b"}`}}, "id,x\na,\nb,\n", "a=1 b=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, values := JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), test.file)}
			if strings.Contains(test.file, "csv") {
				c, values["columns"] = CSV(), []any{"id", "x"}
			}
			s := openStore(t, c, values)
			for i, run := range test.runs {
				opened := begin(t, s, uint64(i+1))
				push(t, opened, run...)
				finish(t, opened, uint64(i+1))
			}
			if diff := cmp.Diff(test.want, content(t, s)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
			opened := begin(t, s, 9)
			if diff := cmp.Diff(test.keys, strings.Join(enumerate(t, opened, partition), " ")); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			status, err := opened.Status(t.Context())
			if err != nil || !status.Checkpoints[partition.ID].Same(checkpoint(uint64(len(test.runs)))) || !status.Holds || status.Incarnation != "0" {
				t.Errorf("status %+v, %v", status, err)
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
			if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 3 {
				t.Errorf("left in the folder: %v, %v", entries, err)
			}
		})
	}
}

func TestPushRejects(t *testing.T) {
	t.Parallel()
	for _, c := range []gapless.Connector{JSONL(), CSV()} {
		values := map[string]any{"path": filepath.Join(t.TempDir(), "o")}
		if c.Name == "csv" {
			values["columns"] = "id"
		}
		opened := begin(t, openStore(t, c, values), 1)
		receipt, err := opened.Push(t.Context(), batch(partition, `+ 1 {}`, `+a 1 {"id":1}`, `+empty 1 `, `~p 1 [1]`, `+b 1 {"id":2}`))
		var keys []string
		for _, r := range receipt.Rejected {
			keys = append(keys, fmt.Sprintf("%d %q", r.Line, r.Key))
		}
		if diff := cmp.Diff([]string{`1 ""`, `3 "empty"`, `4 "p"`}, keys); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		finish(t, opened, 1)
		if got := enumerate(t, begin(t, openStore(t, c, values), 2), partition); len(got) != 2 {
			t.Errorf("%s holds %v", c.Name, got)
		}
	}
}

// TestRawLines pushes what the reader makes of a file: runs of lines are copied
// as bytes, whatever lies between them.
func TestRawLines(t *testing.T) {
	t.Parallel()
	text := "{\"id\":1}\n{\"id\":2}\r\n\n  {\"id\":3}\nbroken\n{\"id\":\"\\u0034\"}\n{\"id\":5}\n{\"id\":6}"
	for _, rows := range []int{1, 2, 0} {
		in := openAt(t, JSONL(), 0, map[string]any{"path": write(t, "in.jsonl", text)})
		s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "out.jsonl")})
		opened := begin(t, s, 1)
		out := gapless.NewOutput(t.Context(), partition, rows, 0, func(ctx context.Context, b *gapless.Batch) (*gapless.Batch, error) {
			receipt, err := opened.Push(ctx, b)
			if len(receipt.Rejected) > 0 {
				t.Errorf("rejected %v", receipt.Rejected)
			}
			clear(b.Buf)
			return b, err
		})
		if err := errors.Join(in.ReadAll(t.Context(), partition, "", out), out.Flush()); err != nil {
			t.Fatal(err)
		}
		finish(t, opened, 1)
		want := "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":\"\\u0034\"}\n{\"id\":5}\n{\"id\":6}\n"
		if diff := cmp.Diff(want, content(t, s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestLineBreaksInARun: a record that spans lines looks like part of a run.
func TestLineBreaksInARun(t *testing.T) {
	t.Parallel()
	b := &gapless.Batch{Partition: partition}
	for _, object := range []string{`{"id":1}`, "{\"id\":\n2}", `{"id":3}`} {
		row := gapless.Row{Data: b.AppendBytes([]byte(object))}
		b.AppendBytes([]byte("\n"))
		row.Key = gapless.Span{Off: row.Data.Off + row.Data.Len - 2, Len: 1}
		b.AppendRow(row)
	}
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")})
	opened := begin(t, s, 1)
	if _, err := opened.Push(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	push(t, opened, "-1") // lines are found by their lengths
	finish(t, opened, 1)
	if diff := cmp.Diff("{\"id\":2}\n{\"id\":3}\n", content(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnsyncedTailIsNotPublished(t *testing.T) {
	t.Parallel()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")})
	opened := begin(t, s, 1)
	push(t, opened, `+a 1 {"id":"a"}`)
	if _, err := opened.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	push(t, opened, `+b 1 {"id":"`+strings.Repeat("b", 2*writeBuffer)+`"}`)
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s); got != "{\"id\":\"a\"}\n" {
		t.Errorf("published %d bytes", len(got))
	}
}

func TestReadersSeeWholeFilesOnly(t *testing.T) {
	t.Parallel()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")})
	opened := begin(t, s, 1)
	push(t, opened, `+a 1 {"x":1}`)
	unfinished := checkpoint(1)
	unfinished.Mark, unfinished.Target, unfinished.Position = "m", "p", ""
	if _, err := opened.Sync(t.Context(), []gapless.Checkpoint{unfinished}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished first load is published: %v", err)
	}
	if got := enumerate(t, opened, partition); len(got) != 1 {
		t.Errorf("synced but not listed: %v", got)
	}
	push(t, opened, `+b 1 {"x":2}`)
	if got := enumerate(t, opened, partition); len(got) != 1 {
		t.Errorf("listed but not synced: %v", got)
	}
	if _, err := opened.Sync(t.Context(), []gapless.Checkpoint{checkpoint(2)}); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	push(t, opened, `-a`)
	finish(t, opened, 3)
	text, err := io.ReadAll(old)
	if want := "{\"x\":1}\n{\"x\":2}\n"; err != nil || string(text) != want {
		t.Errorf("a reader of the old file sees %q, %v", text, err)
	}
	if got := content(t, s); got != "{\"x\":2}\n" {
		t.Errorf("a new reader sees %q", got)
	}
}

func TestFencing(t *testing.T) {
	t.Parallel()
	values := map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")}
	for _, epoch := range []uint64{5, 6} { // taken over by the same epoch, too
		old := begin(t, openStore(t, JSONL(), values), 5)
		push(t, old, `+a 1 {}`)
		newer := begin(t, openStore(t, JSONL(), values), epoch)
		_, status := old.Status(t.Context())
		_, pushed := old.Push(t.Context(), batch(partition, `+b 1 {}`))
		_, synced := old.Sync(t.Context(), []gapless.Checkpoint{checkpoint(1)})
		enumerated := old.Enumerate(t.Context(), partition, func(_, _ []byte) error { return nil })
		for i, err := range []error{status, pushed, synced, enumerated} {
			if !errors.Is(err, gapless.ErrFenced) || gapless.KindOf(err) != gapless.KindRecoverable {
				t.Errorf("call %d of an old session: %v", i, err)
			}
		}
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		push(t, newer, `+c 1 {}`)
		if got, err := newer.Status(t.Context()); err != nil || len(got.Checkpoints) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if epoch == 6 {
			finish(t, newer, 2)
		}
	}
	_, err := openStore(t, JSONL(), values).Open(t.Context(), connector, 5)
	if !errors.Is(err, gapless.ErrFenced) || gapless.ExitCode(err) != 10 {
		t.Errorf("opened with an old epoch: %v", err)
	}
	if got := enumerate(t, begin(t, openStore(t, JSONL(), values), 7), partition); strings.Join(got, " ") != "c=1" {
		t.Errorf("holds %v", got)
	}
}

func TestReadingOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(dir, "o.jsonl")})
	look, err := s.Open(t.Context(), connector, 0)
	if err != nil {
		t.Fatal(err)
	}
	status, err := look.Status(t.Context())
	if entries, dirErr := os.ReadDir(dir); err != nil || dirErr != nil || status.Holds || len(entries) != 0 {
		t.Errorf("looking at nothing: %+v, %v, left %v", status, err, entries)
	}
	writer := begin(t, s, 5)
	push(t, writer, `+a 1 {}`)
	if _, err := look.Push(t.Context(), batch(partition, `+b 1 {}`)); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("pushed: %v", err)
	}
	if _, err := look.Sync(t.Context(), nil); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("synced: %v", err)
	}
	if _, err := s.Open(t.Context(), connector, 0); err != nil {
		t.Error(err)
	}
	for seq := range uint64(3) { // the writer is not fenced
		if _, err := writer.Sync(t.Context(), []gapless.Checkpoint{checkpoint(seq)}); err != nil {
			t.Fatal(err)
		}
		push(t, writer, fmt.Sprintf(`+%d 1 {}`, seq))
		status, err := look.Status(t.Context())
		n := 0
		listErr := look.(gapless.Enumerator).Enumerate(t.Context(), partition, func(_, _ []byte) error { n++; return nil })
		if err := errors.Join(err, listErr); err != nil || n != int(seq)+1 || status.Checkpoints[partition.ID].Seq != seq {
			t.Errorf("lists %d records at checkpoint %d, %+v, %v", n, seq, status, err)
		}
	}
	if err := errors.Join(look.Close(), writer.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Open(t.Context(), "other", 0); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("another connector: %v", err)
	}
}

// TestFailedSessionStaysFailed: what was pushed before a failed write is lost
// with it, so going on would leave a gap.
func TestFailedSessionStaysFailed(t *testing.T) {
	t.Parallel()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")})
	opened := begin(t, s, 1)
	push(t, opened, `+a 1 {}`)
	s.disk.fault = func(step, _ string) error {
		if step == stepSync {
			return syscall.EIO
		}
		return nil
	}
	_, err := opened.Sync(t.Context(), []gapless.Checkpoint{checkpoint(1)})
	if !errors.Is(err, syscall.EIO) || gapless.KindOf(err) != gapless.KindRecoverable || errors.Is(err, gapless.ErrIncarnation) {
		t.Errorf("synced: %v", err)
	}
	s.disk.fault = nil
	_, pushed := opened.Push(t.Context(), batch(partition, `+b 1 {}`))
	_, synced := opened.Sync(t.Context(), []gapless.Checkpoint{checkpoint(2)})
	for _, err := range []error{pushed, synced} {
		if !errors.Is(err, gapless.ErrIncarnation) || !errors.Is(err, syscall.EIO) {
			t.Errorf("goes on: %v", err)
		}
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	if status, err := begin(t, s, 2).Status(t.Context()); err != nil || status.Holds || status.Incarnation != "1" {
		t.Errorf("%+v, %v", status, err)
	}
}

// TestFencedBetweenCheckAndCommit takes over after the session has looked.
func TestFencedBetweenCheckAndCommit(t *testing.T) {
	t.Parallel()
	values := map[string]any{"path": filepath.Join(t.TempDir(), "o.jsonl")}
	s := openStore(t, JSONL(), values)
	old := begin(t, s, 1)
	push(t, old, `+a 1 {}`)
	taken := false
	s.disk.fault = func(step, _ string) error {
		if step == stepSync && !taken {
			taken = true
			begin(t, openStore(t, JSONL(), values), 2)
		}
		return nil
	}
	if _, err := old.Sync(t.Context(), []gapless.Checkpoint{checkpoint(1)}); !errors.Is(err, gapless.ErrFenced) {
		t.Errorf("synced: %v", err)
	}
	if status, err := begin(t, openStore(t, JSONL(), values), 3).Status(t.Context()); err != nil || status.Holds {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestWhoseFile(t *testing.T) {
	t.Parallel()
	fill := func(t *testing.T, s *store) gapless.Status {
		t.Helper()
		opened := begin(t, s, 2)
		push(t, opened, `+a 1 {"id":"a"}`)
		finish(t, opened, 1)
		opened = begin(t, s, 2)
		defer opened.Close()
		status, err := opened.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, s *store) *store
	}{
		{"edited", func(t *testing.T, s *store) *store {
			t.Helper()
			if err := os.WriteFile(s.path, []byte("{\"id\":\"edited\"}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return s
		}},
		{"deleted", func(t *testing.T, s *store) *store {
			t.Helper()
			if err := os.Remove(s.path); err != nil {
				t.Fatal(err)
			}
			return s
		}},
		{"other columns", func(t *testing.T, s *store) *store {
			t.Helper()
			return openStore(t, CSV(), map[string]any{"path": s.path, "columns": []any{"id", "more"}})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, CSV(), map[string]any{"path": filepath.Join(t.TempDir(), "o.csv"), "columns": "id"})
			before := fill(t, s)
			s = test.change(t, s)
			opened := begin(t, s, 2)
			after, err := opened.Status(t.Context())
			if err != nil || after.ID == before.ID || after.Holds || len(after.Checkpoints) > 0 {
				t.Errorf("%+v became %+v, %v", before, after, err)
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
			fill(t, s)
			if got := content(t, s); !strings.HasSuffix(got, "\na\n") && !strings.HasSuffix(got, "\na,\n") {
				t.Errorf("file %q", got)
			}
		})
	}
	t.Run("somebody else's", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, JSONL(), map[string]any{"path": write(t, "precious.txt", "do not overwrite")})
		if _, err := s.Open(t.Context(), connector, 1); gapless.KindOf(err) != gapless.KindMisconfigured {
			t.Errorf("opened: %v", err)
		}
		if got := content(t, s); got != "do not overwrite" {
			t.Errorf("file %q", got)
		}
	})
	t.Run("another connector's", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o")})
		fill(t, s)
		if _, err := s.Open(t.Context(), "other", 9); gapless.KindOf(err) != gapless.KindMisconfigured {
			t.Errorf("opened: %v", err)
		}
	})
	t.Run("folder missing", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "none", "o")})
		if _, err := s.Open(t.Context(), connector, 9); gapless.ExitCode(err) != 2 {
			t.Errorf("opened: %v", err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o")})
		fill(t, s)
		if err := os.WriteFile(filepath.Join(s.dir, metaName), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Open(t.Context(), connector, 9)
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreDamaged {
			t.Errorf("opened: %v", err)
		}
	})
}

func TestIncarnation(t *testing.T) {
	t.Parallel()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o")})
	for i, test := range []struct {
		name string
		end  func(*session)
		want string // in the next session
	}{
		{"nothing pushed", func(o *session) { _ = o.Close() }, "0"},
		{"synced", func(o *session) { push(t, o, `+a 1 {}`); finish(t, o, 1) }, "0"},
		{"pushed, not synced", func(o *session) { push(t, o, `+lost 1 {}`); _ = o.Close() }, "1"},
		{"synced, then pushed", func(o *session) {
			push(t, o, `+b 1 {}`)
			_, _ = o.Sync(t.Context(), nil)
			push(t, o, `+lost 1 {}`)
			_ = o.Close()
		}, "2"},
		{"died", func(*session) {}, "3"},
		{"closed", func(o *session) { _ = o.Close() }, "3"},
	} {
		test.end(begin(t, s, uint64(2*i+1)))
		next := begin(t, s, uint64(2*i+2))
		status, err := next.Status(t.Context())
		if err != nil || status.Incarnation != test.want {
			t.Errorf("%s: incarnation %s, want %s, %v", test.name, status.Incarnation, test.want, err)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(enumerate(t, begin(t, s, 99), partition), " "); got != "a=1 b=1" {
		t.Errorf("holds %s", got)
	}
}

func TestPartitionsAndCollections(t *testing.T) {
	t.Parallel()
	s := openStore(t, JSONL(), map[string]any{"path": filepath.Join(t.TempDir(), "o")})
	opened := begin(t, s, 1)
	one, two := gapless.Partition{ID: "c/1", Collection: "c"}, gapless.Partition{ID: "c/2", Collection: "c"}
	other := gapless.Partition{ID: "d", Collection: "d"}
	for _, b := range []*gapless.Batch{
		batch(one, `+a 1 {}`, `+m 1 {}`), batch(two, `+b 1 {}`, `+m 2 {}`), batch(other, `+a 9 {}`), batch(one, `-b`),
	} {
		if _, err := opened.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, opened, 1)
	opened = begin(t, s, 2)
	for p, want := range map[gapless.Partition]string{
		one: "a=1", two: "m=2", other: "a=9", {ID: "c/3", Collection: "c"}: "", {ID: "x", Collection: "c", Prefix: "m"}: "m=2",
	} {
		if got := strings.Join(enumerate(t, opened, p), " "); got != want {
			t.Errorf("%v: %s, want %s", p, got, want)
		}
	}
	if n := strings.Count(content(t, s), "\n"); n != 3 {
		t.Errorf("%d lines", n)
	}
}

var errCrash = errors.New("crash")

// crasher makes a store die at its n-th step, with the power: what was not
// synced is cut off somewhere.
type crasher struct {
	steps, at int
	err       error
	sizes     map[string]int64 // as synced
	last      string
}

func (c *crasher) fault(step, path string) error {
	c.steps++
	if c.steps >= c.at {
		if c.last == "" {
			c.last = step + " " + filepath.Base(path)
		}
		return c.err
	}
	switch step {
	case stepCreate:
		c.sizes[path] = 0
	case stepSync:
		if info, err := os.Stat(path); err == nil {
			c.sizes[path] = info.Size()
		}
	}
	return nil
}

func (c *crasher) crash(t testing.TB, dir string, keep func(int64) int64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if synced, ok := c.sizes[path]; ok && info.Size() > synced && filepath.Base(path) != metaName {
			if err := os.Truncate(path, synced+keep(info.Size()-synced)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// script is a fixed life of a store: each step is synced under its own number.
var script = [][]string{
	{`+a 1 {"id":"a","x":1}`, `+b 1 {"id":"b"}`, `+c 1 {"id":"c"}`, `+a 2 {"id":"a","x":2}`},
	{`-b`, `+d 3 {"id":"d"}`},
	{`~a 4 {"y":1}`, `+e 4 {"id":"e"}`, `-d`},
	{`+b 5 {"id":"b"}`, `~b 6 {"z":null}`},
}

// states returns what is held after each step of the script.
func states() []map[string]string {
	held := map[string]string{}
	list := []map[string]string{{}}
	for _, step := range script {
		apply(held, step)
		list = append(list, maps.Clone(held))
	}
	return list
}

// apply keeps key=version: the versions tell the states apart.
func apply(held map[string]string, changes []string) {
	for _, c := range changes {
		parts := append(strings.SplitN(c[1:], " ", 3), "")
		if c[0] == '-' {
			delete(held, parts[0])
		} else {
			held[parts[0]] = parts[1]
		}
	}
}

func listed(held map[string]string) string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(held)) {
		keys = append(keys, k+"="+held[k])
	}
	return strings.Join(keys, " ")
}

// live runs the script from a step on, one session for every two steps.
func live(t testing.TB, s *store, from int, epoch uint64) error {
	t.Helper()
	for i := from; i < len(script); {
		opened, err := s.Open(t.Context(), connector, epoch)
		if err != nil {
			return err
		}
		for n := 0; n < 2 && i < len(script); i, n = i+1, n+1 {
			if _, err := opened.Push(t.Context(), batch(partition, script[i]...)); err != nil {
				return errors.Join(err, ignore(opened.Close()))
			}
			if _, err := opened.Sync(t.Context(), []gapless.Checkpoint{checkpoint(uint64(i + 1))}); err != nil {
				return errors.Join(err, ignore(opened.Close()))
			}
		}
		if err := opened.Close(); err != nil {
			return err
		}
	}
	return nil
}

func ignore(error) error { return nil }

// TestFaultAtEveryStep makes the store fail at its n-th step, for every n: it
// dies with the power, or the disk is full. Afterwards it must hold exactly
// what its checkpoint says, and the file must be whole.
func TestFaultAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{errCrash, syscall.ENOSPC} {
		for _, file := range []string{"o.jsonl", "o.jsonl.gz"} {
			t.Run(fmt.Sprint(cause, " ", file), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					if at > 1000 {
						t.Fatal("there is no end of it")
					}
					values := map[string]any{"path": filepath.Join(memoryDir(t), file)}
					s := openStore(t, JSONL(), values)
					c := &crasher{at: at, err: cause, sizes: map[string]int64{}}
					s.disk.fault = c.fault
					err := live(t, s, 0, 1)
					if err == nil && c.last == "" {
						if at < 50 {
							t.Errorf("only %d steps", at)
						}
						return
					}
					if err != nil && !errors.Is(err, cause) || err != nil && gapless.KindOf(err) != gapless.KindRecoverable {
						t.Fatalf("step %d, %s: %v (%v)", at, c.last, err, gapless.KindOf(err))
					}
					if errors.Is(cause, syscall.ENOSPC) && err != nil && !isFull(err) {
						t.Fatalf("step %d, %s: not reported as a full disk: %v", at, c.last, err)
					}
					if errors.Is(cause, errCrash) {
						c.crash(t, s.dir, func(n int64) int64 { return n / 2 })
					}
					checkAfterFault(t, openStore(t, JSONL(), values), fmt.Sprintf("step %d, %s", at, c.last))
				}
			})
		}
	}
}

// memoryDir returns a folder in memory where there is one: loops over every
// step sync thousands of times, and crashes are simulated anyway.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gapless-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func isFull(err error) bool {
	e, ok := errors.AsType[*gapless.Error](err)
	return ok && e.Code == gapless.CodeStoreFull && gapless.ExitCode(err) == 10
}

func checkAfterFault(t *testing.T, s *store, when string) {
	t.Helper()
	want := states()
	if _, err := os.Stat(s.path); err == nil {
		whole := false
		for _, state := range want {
			whole = whole || holdsKeys(content(t, s), state)
		}
		if !whole {
			t.Fatalf("%s: a reader sees %q", when, content(t, s))
		}
	}
	opened := begin(t, s, 2)
	status, err := opened.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seq := status.Checkpoints[partition.ID].Seq
	if got := strings.Join(enumerate(t, opened, partition), " "); got != listed(want[seq]) {
		t.Fatalf("%s: checkpoint %d, but holds %s, not %s", when, seq, got, listed(want[seq]))
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path); seq > 0 && (err != nil || !holdsKeys(content(t, s), want[seq])) {
		t.Fatalf("%s: closed at checkpoint %d with another file: %v", when, seq, err)
	}
	if err := live(t, s, int(seq), 3); err != nil {
		t.Fatalf("%s: going on: %v", when, err)
	}
	if got := content(t, s); !holdsKeys(got, want[len(script)]) {
		t.Fatalf("%s: in the end the file is %q", when, got)
	}
}

// holdsKeys reports whether text has one valid line for every key.
func holdsKeys(text string, held map[string]string) bool {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		lines = nil
	}
	seen := map[string]bool{}
	for _, line := range lines {
		key := gjson.Get(line, "id").String()
		if _, ok := held[key]; !ok || seen[key] || !gjson.Valid(line) {
			return false
		}
		seen[key] = true
	}
	return len(seen) == len(held) && (text == "" || strings.HasSuffix(text, "\n"))
}

// TestCSVRoundTrip reads back what was written.
func TestCSVRoundTrip(t *testing.T) {
	t.Parallel()
	s := openStore(t, CSV(), map[string]any{"path": filepath.Join(t.TempDir(), "o.csv"), "columns": []any{"id", "a b", "x\"y"}, "delimiter": ";"})
	opened := begin(t, s, 1)
	push(t, opened, `+1 1 {"id":"1","a b":"semi;colon","x\"y":"quo\"te"}`, `+2 1 {"id":"2","a b":"line\r\nbreak"}`, `+3 1 {"id":"3","x\"y":" space , "}`)
	finish(t, opened, 1)
	r := csv.NewReader(strings.NewReader(strings.ReplaceAll(content(t, s), "\r\n", "\\r\\n")))
	r.Comma = ';'
	rows, err := r.ReadAll()
	want := [][]string{{"id", "a b", "x\"y"}, {"1", "semi;colon", "quo\"te"}, {"2", "line\\r\\nbreak", ""}, {"3", "", " space , "}}
	if diff := cmp.Diff(want, rows); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err := read(t, openAt(t, CSV(), 0, map[string]any{"path": s.path, "delimiter": ";"}), "")
	if err != nil || len(got.rows) != 3 || gjson.Get(string(got.changes[1].Data), "a b").String() != "line\r\nbreak" {
		t.Errorf("%v, %v", got.rows, err)
	}
}
