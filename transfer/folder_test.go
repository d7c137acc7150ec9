package transfer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		t.Skip(err)
	}
}

// TestFirstTransfersAtOnce opens a folder that is not there several times at the
// same moment: one gets it, the others are told to come later.
func TestFirstTransfersAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 {
		dir := filepath.Join(t.TempDir(), "target")
		folders, errs := make([]*folder, 4), make([]error, 4)
		start := make(chan struct{})
		var running sync.WaitGroup
		for i := range folders {
			running.Go(func() {
				<-start
				folders[i], errs[i] = openFolder(dir, true)
			})
		}
		close(start)
		running.Wait()
		got := 0
		for i, err := range errs {
			switch {
			case err == nil:
				got++
				if err := folders[i].close(); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, errLocked) || gapless.KindOf(err) != gapless.KindRecoverable:
				t.Error(err)
			}
		}
		if got != 1 {
			t.Fatalf("%d have the folder", got)
		}
	}
}

// TestNothingOutsideTheFolder plants links in the target.
func TestNothingOutsideTheFolder(t *testing.T) {
	t.Parallel()
	data := content("file", 50_000)
	for _, test := range []struct {
		name  string
		plant func(t *testing.T, dir, outside string)
		// fails is a part of the error; "" if the file comes.
		fails string
	}{
		{"a folder above is a link to outside", func(t *testing.T, dir, outside string) { link(t, outside, filepath.Join(dir, "a")) }, `"a/b/file": give the file its name: "a" is in the way`},
		{"a folder is a link to outside", func(t *testing.T, dir, outside string) { link(t, outside, filepath.Join(dir, "a/b")) }, `"a/b" is in the way`},
		{"a folder is a link to within", func(t *testing.T, dir, _ string) {
			write(t, filepath.Join(dir, "other", "x"), nil)
			link(t, "../other", filepath.Join(dir, "a/b"))
		}, `"a/b" is in the way`},
		{"a folder is a file", func(t *testing.T, dir, _ string) { write(t, filepath.Join(dir, "a"), nil) }, `"a" is in the way`},
		{"the file is a folder", func(t *testing.T, dir, _ string) { write(t, filepath.Join(dir, "a/b/file/x"), nil) }, `"a/b/file": give the file its name`},
		{"the file is a link to outside", func(t *testing.T, dir, outside string) {
			link(t, filepath.Join(outside, "kept"), filepath.Join(dir, "a/b/file"))
		}, ""},
		{"the file is a link to nowhere", func(t *testing.T, dir, _ string) { link(t, "nowhere", filepath.Join(dir, "a/b/file")) }, ""},
		{"the state folder is a link", func(t *testing.T, dir, outside string) { link(t, outside, filepath.Join(dir, ".gapless")) }, `".gapless" is in the way`},
		{"the state folder is a file", func(t *testing.T, dir, _ string) { write(t, filepath.Join(dir, ".gapless"), nil) }, `".gapless" is in the way`},
		{"the folder of parts is a link", func(t *testing.T, dir, outside string) { link(t, outside, filepath.Join(dir, ".gapless/parts")) }, `"parts" is in the way`},
		{"the journal is a link", func(t *testing.T, dir, outside string) {
			link(t, filepath.Join(outside, "kept"), filepath.Join(dir, ".gapless/journal"))
		}, "journal is not a file"},
		{"a part is a link", func(t *testing.T, dir, outside string) {
			link(t, filepath.Join(outside, "kept"), filepath.Join(dir, ".gapless/parts", partName("a/b/file")))
		}, ""},
		{"a validator is a link", func(t *testing.T, dir, outside string) {
			write(t, filepath.Join(dir, ".gapless/parts", partName("a/b/file")), data[:20_000])
			link(t, filepath.Join(outside, "kept"), filepath.Join(dir, ".gapless/parts", partName("a/b/file")+validatorSuffix))
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, outside := t.TempDir(), t.TempDir()
			write(t, filepath.Join(outside, "kept"), []byte("kept"))
			test.plant(t, dir, outside)
			_, err := Run(t.Context(), Job{Dir: dir, Files: listOf(fileOf("a/b/file", data)), Supplier: supplierFunc(set{"a/b/file": data}.supply)})
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if diff := cmp.Diff(set{"kept": []byte("kept")}, readFolder(t, outside)); diff != "" {
				t.Error(diff)
			}
			if test.fails == "" {
				if info, err := os.Lstat(filepath.Join(dir, "a/b/file")); err != nil || !info.Mode().IsRegular() {
					t.Error(info, err)
				}
				wantFolder(t, dir, set{"a/b/file": data})
			}
		})
	}
}

func TestPathsThatClash(t *testing.T) {
	t.Parallel()
	one, other := content("one", 10), content("other", 10)
	unsized := fileOf("a", one)
	unsized.Size = -1
	for _, test := range []struct {
		name  string
		fold  func(string) string
		files []File
		fails string
	}{
		{"apart", asItIs, []File{fileOf("a", one), fileOf("b/a", other), fileOf("b/c", one)}, ""},
		{"said twice", asItIs, []File{fileOf("a", one), unsized, fileOf("b", other)}, ""},
		{"two contents", asItIs, []File{fileOf("x", one), fileOf("a", one), fileOf("b", one), fileOf("a", other)}, `"a" and "a" are two files that would be one here`},
		{"said twice without a hash", asItIs, []File{{Path: "a", Size: 1}, {Path: "a", Size: 1}}, `"a" and "a" are two files`},
		{"file and folder", asItIs, []File{fileOf("a/b/c", one), fileOf("x", one), fileOf("a/b", other)}, `"a/b" cannot be a file and the folder of "a/b/c"`},
		{"file and folder above", asItIs, []File{fileOf("a", one), fileOf("a/b/c", one), fileOf("a/b/d", one)}, `"a" cannot be a file and the folder of "a/b/c"`},
		{"case, where it matters", asItIs, []File{fileOf("A/b", one), fileOf("a/B", other), fileOf("a/b", other)}, ""},
		{"case, where it does not", foldCase, []File{fileOf("A/b", one), fileOf("x", one), fileOf("a/B", other)}, `"A/b" and "a/B" are two files`},
		{"case of other scripts", foldCase, []File{fileOf("ÄΣ", one), fileOf("äς", other)}, `are two files`},
		{"case, the same content", foldCase, []File{fileOf("A", one), fileOf("a", one)}, ""},
		{"case of a folder", foldCase, []File{fileOf("A", one), fileOf("a/x", one)}, `"A" cannot be a file and the folder of "a/x"`},
		{"case of one folder in two ways", foldCase, []File{fileOf("A/x", one), fileOf("a/y", one)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := makePlan(t.Context(), listOf(test.files...), true)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.close(); err != nil {
					t.Error(err)
				}
			}()
			err = p.settle(t.Context(), test.fold, &journal{}, nil)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if test.fails != "" && gapless.ExitCode(err) != 55 {
				t.Errorf("exit %d", gapless.ExitCode(err))
			}
		})
	}
}

// TestRefusedBeforeAnythingIsFetched names what is wrong with a list.
func TestRefusedBeforeAnythingIsFetched(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	unhashed := fileOf("x", nil)
	unhashed.Algorithm, unhashed.Hash = "", ""
	huge := fileOf("huge", nil)
	huge.Size = 1 << 60
	for _, test := range []struct {
		name  string
		files []File
		fails string
		exit  int
	}{
		{"an unsafe path", []File{fileOf("a", nil), fileOf("../x", nil)}, `"../x" has`, 55},
		{"an unknown algorithm", []File{{Path: "x", Algorithm: "crc32", Hash: "00000000"}}, `"x": unknown hash algorithm "crc32"`, 55},
		{"no hash", []File{unhashed}, `"x" has no hash`, 55},
		{"a clash", []File{fileOf("a", nil), fileOf("a/b", nil)}, `"a" cannot be`, 55},
		{"too much", []File{huge}, `1048576TiB are wanted and `, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.exit == 10 && runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
				t.Skip("what is free is not known here")
			}
			_, err := Run(t.Context(), Job{Dir: t.TempDir(), Files: listOf(test.files...), Supplier: supplierFunc(func(context.Context, []Wanted, Deliver) error {
				t.Error("asked")
				return nil
			})})
			if err == nil || !strings.Contains(err.Error(), test.fails) || gapless.ExitCode(err) != test.exit {
				t.Errorf("%v (%d), want %q (%d)", err, gapless.ExitCode(err), test.fails, test.exit)
			}
		})
	}
	_, err := Run(t.Context(), Job{Dir: t.TempDir(), Files: func(yield func(File, error) bool) { yield(File{}, broken) }})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

// fullDisk takes some bytes and then no more.
type fullDisk struct {
	w    io.Writer
	left *int
}

func (d fullDisk) Write(p []byte) (int, error) {
	if len(p) > *d.left {
		n, _ := d.w.Write(p[:*d.left])
		*d.left = 0
		return n, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	*d.left -= len(p)
	return d.w.Write(p)
}

// TestFullDisk fills the disk in the middle of a file. Afterwards everything is
// continued, even though the last piece was written in part.
// TestFullDiskForTheList has no room where the list is put in order: that passes.
func TestFullDiskForTheList(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no disk that is always full")
	}
	defer full.Close()
	p := &plan{lines: full, out: bufio.NewWriterSize(full, 16)}
	sorting := &mentions{file: full, out: bufio.NewWriterSize(full, 16), buffer: []mention{{}}}
	for name, err := range map[string]error{"a file": p.add(fileOf("a", nil), false), "a run": sorting.spill()} {
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreFull || gapless.KindOf(err) != gapless.KindRecoverable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 100_000), "b": content("b", 3<<20), "c": content("c", 10)}
	for _, room := range []int{0, 1, 50_000, 150_001, 1_000_000, 3 << 20} {
		dir, left := t.TempDir(), room
		job := Job{Dir: dir, Files: listOf(fileOf("a", s["a"]), fileOf("b", s["b"]), fileOf("c", s["c"])), Supplier: supplierFunc(s.supply), Streams: 1}
		job.through = func(w io.Writer) io.Writer { return fullDisk{w, &left} }
		report, err := Run(t.Context(), job)
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreFull || gapless.ExitCode(err) != 10 {
			t.Errorf("room for %d: %v", room, err)
		}
		for path, data := range readFolder(t, dir) {
			if string(data) != string(s[path]) {
				t.Errorf("room for %d: %s is wrong", room, path)
			}
		}
		received := report.Received
		job.through = nil
		report, err = Run(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		wantFolder(t, dir, s)
		if twice := received + report.Received - (100_000 + 3<<20 + 10); twice > pieceSize {
			t.Errorf("room for %d: %d bytes twice", room, twice)
		}
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := "/sys/kernel"
	if os.Geteuid() != 0 {
		dir = t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	} else if runtime.GOOS != "linux" {
		t.Skip("root can write everywhere")
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	for _, dir := range []string{dir, file} {
		_, err := Run(t.Context(), Job{Dir: dir, Files: listOf(fileOf("a", nil)), Supplier: supplierFunc(set{}.supply)})
		if gapless.KindOf(err) != gapless.KindMisconfigured || gapless.ExitCode(err) != 2 || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, exit %d", dir, err, gapless.ExitCode(err))
		}
	}
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("there are no locks here")
	}
	s, dir := set{"a": content("a", 10)}, t.TempDir()
	job := Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(func(ctx context.Context, files []Wanted, deliver Deliver) error {
		_, err := Run(ctx, Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(s.supply)})
		if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreLocked || gapless.ExitCode(err) != 10 {
			t.Error(err)
		}
		return s.supply(ctx, files, deliver)
	})}
	if _, err := Run(t.Context(), job); err != nil {
		t.Error(err)
	}
}

// TestJournal damages the journal in every way: files are looked at again, but
// not fetched.
func TestJournal(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 1000), "b": content("b", 1000), "c/d": content("d", 1000)}
	for name, damage := range map[string]func(text string) string{
		"gone":     func(string) string { return "" },
		"torn":     func(text string) string { return text[:len(text)-20] },
		"foreign":  func(text string) string { return "{}\n\nx\n\x00\xff\n" + text + `{"path":"a"}` + "\n" },
		"too long": func(text string) string { return strings.Repeat("x", 1<<20) + "\n" + text + strings.Repeat("y", 1<<20) },
		"lying":    func(text string) string { return strings.ReplaceAll(text, `"sha256:`, `"sha256:0`) },
	} {
		dir := t.TempDir()
		job := Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(s.supply)}
		if _, err := Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, stateFolder, journalName)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte(damage(string(text))))
		for range 2 {
			report, err := Run(t.Context(), job)
			if err != nil || report.Present != 3 || report.Received != 0 {
				t.Errorf("%s: %+v %v", name, report, err)
			}
			if text, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
			known := map[string]bool{}
			for line := range strings.Lines(string(text)) {
				if f, err := parseLine([]byte(line)); err == nil && fulfils(f, fileOf(f.Path, s[f.Path])) {
					known[f.Path] = true
				}
			}
			if len(known) != 3 {
				t.Errorf("%s: the journal knows %v", name, known)
			}
		}
	}
}

// TestNoNameBeforeItIsDurable: if one of a batch cannot be made durable, none
// gets its name.
func TestNoNameBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	f, err := openFolder(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := f.parts.Open(".")
	if err == nil {
		err = closed.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var batch []finished
	for i := range 2 * fewFiles {
		file := finished{File: fileOf(strconv.Itoa(i), nil), part: strconv.Itoa(i)}
		batch = append(batch, file)
		if err := f.parts.WriteFile(file.part, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &committer{journal: &journal{}, tally: &tally{}, names: closed, placer: &placer{folder: f, real: map[string]bool{}, touched: map[string]bool{}}}
	if done, _ := syncSystem(closed); done {
		if err := c.commit(batch); err == nil {
			t.Error("all at once: no error")
		}
	}
	if err := f.parts.Remove("3"); err != nil {
		t.Fatal(err)
	}
	if err := c.commit(batch[:5]); err == nil {
		t.Error("one by one: no error")
	}
	if got := readFolder(t, f.dir); len(got) > 0 {
		t.Errorf("%d files have names", len(got))
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// TestChangedFiles: what was changed after it was verified is seen by its time,
// or by reading it.
func TestChangedFiles(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 1000), "b": content("b", 1000), "c": content("c", 1000), "d": content("d", 1000)}
	at := time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)
	files := s.files("")
	for i := range files {
		files[i].Modified = at
	}
	dir := t.TempDir()
	job := Job{Dir: dir, Files: listOf(files...), Supplier: supplierFunc(s.supply)}
	if _, err := Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || !info.ModTime().Equal(at) {
		t.Error(info.ModTime(), err)
	}
	write(t, filepath.Join(dir, "a"), content("x", 1000))
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "c"), content("y", 1000))
	if err := os.Chtimes(filepath.Join(dir, "c"), at, at); err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]string{}
	look := job
	look.Supplier = nil
	look.Events = func(e Event) {
		if e.Path != "" {
			verdicts[e.Path] = e.Kind.String()
			if e.Err != nil {
				verdicts[e.Path] += ": " + e.Err.Error()
			}
		}
	}
	before := readFolder(t, dir)
	look.DryRun = true
	report, err := Run(t.Context(), look)
	if err != nil || report.Missing != 2 || report.Present != 2 {
		t.Errorf("%+v %v", report, err)
	}
	if diff := cmp.Diff(map[string]string{"a": "missing", "b": "missing", "c": "present", "d": "present"}, verdicts); diff != "" {
		t.Error(diff)
	}
	look.DryRun, look.VerifyOnly = false, true
	report, err = Run(t.Context(), look)
	if gapless.ExitCode(err) == 0 || report.Failed != 3 || report.Present != 1 {
		t.Errorf("%+v %v", report, err)
	}
	wrong := "failed: its sha256 is not the one that was promised"
	if diff := cmp.Diff(map[string]string{"a": wrong, "b": "failed: it is not there", "c": wrong, "d": "present"}, verdicts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, readFolder(t, dir)); diff != "" {
		t.Error(diff)
	}
	if report, err := Run(t.Context(), job); err != nil || report.Fetched != 2 || report.Present != 2 {
		t.Errorf("%+v %v", report, err)
	}
}

// TestLooksOnly writes nothing, not even the folder.
func TestLooksOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "target")
	job := Job{Dir: dir, Files: listOf(fileOf("a", nil)), DryRun: true}
	if report, err := Run(t.Context(), job); err != nil || report.Missing != 1 {
		t.Error(report, err)
	}
	job.DryRun, job.VerifyOnly = false, true
	if report, err := Run(t.Context(), job); gapless.ExitCode(err) != 10 || report.Failed != 1 {
		t.Error(report, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), job); err == nil {
		t.Error("a missing file was verified")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Error(names, err)
	}
}

// TestFilesThatAreHere are taken as they are, and get their time.
func TestFilesThatAreHere(t *testing.T) {
	t.Parallel()
	s, dir := set{"a/b": content("b", 2<<20), "c": nil}, t.TempDir()
	for path, data := range s {
		write(t, filepath.Join(dir, path), data)
	}
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	files := s.files("")
	for i := range files {
		files[i].Modified, files[i].Size = at, -1
	}
	var received int64
	for range 2 {
		report, err := Run(t.Context(), Job{Dir: dir, Files: listOf(files...), Supplier: supplierFunc(s.supply)})
		if err != nil || report.Present != 2 {
			t.Error(report, err)
		}
		received += report.Received
	}
	if info, err := os.Stat(filepath.Join(dir, "a/b")); err != nil || !info.ModTime().Equal(at) || received > 0 {
		t.Error(info.ModTime(), err, received)
	}
}

// hooked is a context that calls a function each time somebody asks whether it
// has ended.
type hooked struct {
	context.Context
	asked func()
}

func (h hooked) Err() error {
	h.asked()
	return h.Context.Err()
}

// TestChangedWhileRead: a file that is changed behind the place that is being
// read is not what was read.
func TestChangedWhileRead(t *testing.T) {
	t.Parallel()
	dir, data := t.TempDir(), content("a", 3*pieceSize)
	write(t, filepath.Join(dir, "a"), data)
	f, err := openFolder(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	s := &stream{run: &run{folder: f, tally: &tally{}, done: make(chan finished, 1)}, buf: make([]byte, pieceSize)}
	asked := 0
	ctx := hooked{t.Context(), func() {
		if asked++; asked != 2 { // one piece was read
			return
		}
		write(t, filepath.Join(dir, "a"), append([]byte{data[0] + 1}, data[1:]...))
	}}
	for _, modified := range []time.Time{{}, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)} {
		asked = 0
		p := &pending{File: fileOf("a", data)}
		p.Modified = modified
		if err := s.lookInPlace(ctx, p); err == nil || p.done {
			t.Errorf("%v: it is taken for right", modified)
		}
		write(t, filepath.Join(dir, "a"), data)
		for len(s.done) > 0 {
			<-s.done
		}
	}
	if asked < 2 {
		t.Error("nobody asked the context")
	}
	p := &pending{File: fileOf("a", data)}
	if err := s.lookInPlace(t.Context(), p); err != nil || !p.done {
		t.Error(err)
	}
}
