package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/files"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// The kill test runs this test binary again as a child that syncs a real
// folder into a real hub with a real state, and dies at the n-th durable step.
const (
	killDir  = "GAPLESS_TEST_KILL_DIR"
	killStep = "GAPLESS_TEST_KILL_STEP"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		os.Exit(child(dir))
	}
	flag.Parse()
	if testing.Short() {
		_ = flag.Set("rapid.checks", "15")
	}
	code := m.Run()
	if dir, err := emptyState(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func child(dir string) int {
	step, err := dying()
	if err != nil {
		return 2
	}
	sync := syncFolder
	if _, err := os.Stat(filepath.Join(dir, "this")); err == nil {
		sync = syncHubs
	}
	s, err := sync(context.Background(), dir, step)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.Partitions[0].Rule)
	return 0
}

// dying returns what kills this child at its step.
func dying() (step func(string), err error) {
	at, err := strconv.Atoi(os.Getenv(killStep))
	return func(string) {
		if at--; at == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}, err
}

// syncFolder is one run from dir/tree into dir/hub.
func syncFolder(ctx context.Context, dir string, step func(string)) (engine.Summary, error) {
	source, err := files.Connector().Source.Open(ctx, map[string]any{"path": filepath.Join(dir, "tree")}, gapless.Env{Dir: dir})
	if err != nil {
		return engine.Summary{}, err
	}
	h, err := hub.Open(ctx, hub.Options{Dir: filepath.Join(dir, "hub")})
	if err != nil {
		return engine.Summary{}, err
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "state"))
	if err != nil {
		return engine.Summary{}, errors.Join(err, h.Close())
	}
	e, err := engine.New(engine.Config{
		Connector: connector, Source: source, Destination: h, Store: store, Dir: filepath.Join(dir, "fingerprints"),
		Settings: engine.Settings{BatchRows: 4, SyncRecords: 8, GuardRecords: 1000},
	})
	if err != nil {
		return engine.Summary{}, err
	}
	e.OnStep(step)
	s, err := e.Run(ctx, engine.RunOptions{})
	report, proveErr := e.Prove(ctx)
	if err == nil && proveErr == nil && !report.OK {
		proveErr = errors.New(report.Text())
	}
	return s, errors.Join(err, proveErr, h.Close(), store.Close())
}

func TestKilledAtEveryDurableStep(t *testing.T) {
	t.Parallel()
	seeds := 50
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			killStory(t, rand.New(rand.NewPCG(uint64(seed), 1)), seed)
		})
	}
}

// killStory edits a folder and syncs it, dying again and again: seed n first
// dies at step n, so that the seeds together die at every step of a first run
// and of the runs after it.
func killStory(t *testing.T, r *rand.Rand, seed int) {
	dir := t.TempDir()
	edit(t, r, dir, 20)
	for round := range 4 {
		at := 1 + (seed+round*7)%50
		for range 2 {
			runChild(t, dir, at)
			edit(t, r, dir, 2)
			at = 1 + r.IntN(30)
		}
		runChild(t, dir, -1)
		compareFolder(t, dir)
	}
}

func runChild(t *testing.T, dir string, at int) {
	t.Helper()
	runDying(t, at, "", killDir+"="+dir)
}

// runDying runs a test of this binary again, as a child that dies at a step; it
// reports whether it did.
func runDying(t *testing.T, at int, test string, variables ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(append(os.Environ(), killStep+"="+strconv.Itoa(at)), variables...)
	out, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if failed && at > 0 && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("a child to be killed at step %d: %v\n%s", at, err, out)
	}
	return false
}

// edit writes, rewrites and removes files, also back to what they were.
func edit(t *testing.T, r *rand.Rand, dir string, n int) {
	t.Helper()
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range n {
		path := filepath.Join(tree, []string{"", "sub"}[r.IntN(2)], fmt.Sprintf("f%02d.txt", r.IntN(25)))
		if r.IntN(4) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("x", r.IntN(5))+fmt.Sprint(r.IntN(3))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// compareFolder compares the contents of the hub with those of the folder.
func compareFolder(t *testing.T, dir string) {
	t.Helper()
	want := map[string]string{}
	tree := os.DirFS(filepath.Join(dir, "tree"))
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		want[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Open(t.Context(), hub.Options{Dir: filepath.Join(dir, "hub")})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() // only read
	session, err := h.Open(t.Context(), connector, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	p := gapless.Partition{ID: "file", Collection: "file"}
	err = session.(gapless.Enumerator).Enumerate(t.Context(), p, func(key, _ []byte) error {
		record, err := session.(gapless.Getter).Get(t.Context(), p, string(key))
		if err != nil {
			return err
		}
		text, err := readPart(t.Context(), record.Parts[0])
		got[string(key)] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("hub differs from the folder (-folder +hub):\n%s", diff)
	}
}

func readPart(ctx context.Context, p gapless.Part) (string, error) {
	r, err := p.Open(ctx)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), errors.Join(err, r.Close())
}
