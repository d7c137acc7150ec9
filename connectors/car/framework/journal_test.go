package framework

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// writeJournal makes a complete journal of n rows in each lane.
func writeJournal(t *testing.T, dir string, n int) (*journal, seal) {
	t.Helper()
	j, err := createJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	for l := range lanes {
		for i := range n {
			f := frame{kind: frameUpsert, key: fmt.Sprintf("%s/%d", l.file(), i), data: []byte(fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("x", i%200)))}
			if err := j.append(l, f); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.end(l); err != nil {
			t.Fatal(err)
		}
	}
	s := seal{Source: "s", Position: "7", Counts: map[string]*counts{"asset": {Rows: n}}}
	if err := errors.Join(j.complete(s), j.close()); err != nil {
		t.Fatal(err)
	}
	return j, s
}

// readLane returns the keys of a lane from an offset on, and where each frame
// begins.
func readLane(t *testing.T, j *journal, l lane, from int64) (keys []string, begins []int64) {
	t.Helper()
	r := laneReader{file: j.lanes[l].file, offset: from}
	for r.offset < j.lanes[l].size {
		chunk, err := r.next(j.lanes[l].size)
		if err != nil {
			t.Fatal(err)
		}
		for at := r.offset - int64(len(chunk)); len(chunk) > 0; {
			f, size, err := cutFrame(chunk)
			if err != nil {
				t.Fatal(err)
			}
			keys, begins = append(keys, string(f.key)), append(begins, at)
			at, chunk = at+int64(size), chunk[size:]
		}
	}
	return keys, begins
}

func TestJournalCanBeReadFromEveryFrame(t *testing.T) {
	t.Parallel()
	written, s := writeJournal(t, t.TempDir(), 40)
	j, got, err := openJournal(written.dir, place{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	s.Lanes = got.Lanes
	if diff := cmp.Diff(s, got); diff != "" {
		t.Errorf("the seal differs (-want +got):\n%s", diff)
	}
	all, begins := readLane(t, j, laneEdges, 0)
	if len(all) != 40 || all[0] != "edges/0" || all[39] != "edges/39" {
		t.Fatalf("read %d keys: %v", len(all), all)
	}
	for i, at := range append(begins, j.lanes[laneEdges].size) {
		again, _, err := openJournal(written.dir, place{laneEdges: at})
		if err != nil {
			t.Fatalf("from frame %d: %v", i, err)
		}
		keys, _ := readLane(t, again, laneEdges, at)
		if !cmp.Equal(keys, all[i:], cmp.Transformer("nil", func(s []string) string { return strings.Join(s, " ") })) {
			t.Errorf("from frame %d: %v", i, keys)
		}
		_ = again.close()
	}
	for at := int64(1); at < begins[1]; at++ {
		if again, _, err := openJournal(written.dir, place{laneEdges: at}); err == nil {
			_ = again.close()
			t.Errorf("opened in the middle of a frame, at byte %d", at)
		}
	}
}

// TestTornJournalIsNoJournal damages a journal at every byte of every file, in
// every way that a crash or a full disk can.
func TestTornJournalIsNoJournal(t *testing.T) {
	t.Parallel()
	written, _ := writeJournal(t, t.TempDir(), 3)
	files := []string{"vertices", "edges", "rest", sealFile}
	for _, name := range files {
		path := filepath.Join(written.dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, content []byte) {
			t.Helper()
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if j, _, err := openJournal(written.dir, place{}); err == nil {
				_ = j.close()
				t.Errorf("%s: opened although %s", name, what)
			}
		}
		for n := range whole {
			refused(fmt.Sprintf("cut after %d bytes", n), whole[:n])
			if name != sealFile {
				refused(fmt.Sprintf("zeros from byte %d on", n), append(bytes.Clone(whole[:n]), make([]byte, len(whole)-n)...))
				flipped := bytes.Clone(whole)
				flipped[n] ^= 0x20
				refused(fmt.Sprintf("byte %d is another", n), flipped)
			}
		}
		if name != sealFile {
			refused("more follows", append(bytes.Clone(whole), 'u'))
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openJournal(written.dir, place{}); err == nil {
			t.Errorf("%s: opened although it is not there", name)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, _, err := openJournal(written.dir, place{})
	if err != nil {
		t.Fatalf("the whole journal: %v", err)
	}
	_ = j.close()
}

func TestMarks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := &journal{dir: filepath.Join(dir, "import-123")}
	p := place{7, 0, 1 << 40}
	folder, got, err := parseMark(dir, p.mark(j))
	if err != nil || folder != j.dir || got != p {
		t.Errorf("got %s %v %v", folder, got, err)
	}
	for _, mark := range []string{"", "import-1", "import-1:1:2", "import-1:1:2:x", "import-1:1:2:-3", "import-1:1:2:3:4", "../import-1:1:2:3", "import-/../x:1:2:3", "other:1:2:3"} {
		if _, _, err := parseMark(dir, mark); err == nil {
			t.Errorf("%q is taken for a mark", mark)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{kind: frameUpsert, key: "asset/1", data: []byte("{}")}.append(nil))
	f.Add(frame{kind: frameDelete, key: "asset/1"}.append(nil))
	f.Add([]byte("u\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"))
	f.Add([]byte("r\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, size, err := cutFrame(b)
		if err != nil {
			return
		}
		again := frame{kind: got.kind, key: string(got.key), data: got.data}.append(nil)
		f2, n, err := cutFrame(again)
		if err != nil || n != len(again) || size < n || !bytes.Equal(f2.key, got.key) || !bytes.Equal(f2.data, got.data) {
			t.Errorf("%x came back as %x: %v", b[:size], again, err)
		}
	})
}

func TestLargeFrames(t *testing.T) {
	t.Parallel()
	j, err := createJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	large := bytes.Repeat([]byte("x"), 3*chunkBytes)
	for _, data := range [][]byte{[]byte("{}"), large, []byte("{}")} {
		if err := j.append(laneVertices, frame{kind: frameUpsert, key: "a/1", data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.end(laneVertices); err != nil {
		t.Fatal(err)
	}
	keys, _ := readLane(t, j, laneVertices, 0)
	if len(keys) != 3 {
		t.Errorf("%d frames", len(keys))
	}
}

func TestFullDiskIsRecoverable(t *testing.T) {
	t.Parallel()
	j, err := createJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no device that is always full: ", err)
	}
	_ = j.lanes[laneEdges].file.Close()
	j.lanes[laneEdges].file = full
	if err := j.append(laneEdges, frame{kind: frameDelete, key: "a/1"}); err != nil {
		t.Fatal(err)
	}
	if got := exitCode(storeFailure(j.end(laneEdges))); got != gapless.ExitRecoverable {
		t.Errorf("exit code %d", got)
	}
}

func TestCanResume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := writeJournal(t, dir, 3)
	mark := gapless.Mark(place{}.mark(j))
	for _, tt := range []struct {
		name, source string
		mark         gapless.Mark
		started      gapless.Position
		want         bool
	}{
		{"this import", "s", mark, "7", true},
		{"of another state", "s", mark, "8", false},
		{"of another source", "t", mark, "7", false},
		{"another journal", "s", "import-0:0:0:0", "7", false},
		{"no mark", "s", "0", "7", false},
	} {
		i := &importer{source: tt.source, dir: dir, log: slog.New(slog.DiscardHandler)}
		if got, err := i.CanResume(t.Context(), gapless.Partition{}, tt.mark, tt.started); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
	if err := os.Truncate(filepath.Join(j.dir, "edges"), 10); err != nil {
		t.Fatal(err)
	}
	i := &importer{source: "s", dir: dir, log: slog.New(slog.DiscardHandler)}
	if got, err := i.CanResume(t.Context(), gapless.Partition{}, mark, "7"); err != nil || got {
		t.Errorf("torn: %v, %v", got, err)
	}
	if err := i.ReadAll(t.Context(), gapless.Partition{}, mark, nil); gapless.KindOf(err) != gapless.KindExpired {
		t.Errorf("torn between plan and reading: %v", err)
	}
}
