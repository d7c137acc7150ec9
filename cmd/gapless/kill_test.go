package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// durable is the system calls behind which a state on disk may lie.
const durable = "fsync,fdatasync,rename,renameat,renameat2,ftruncate,unlinkat,pwrite64,sync_file_range"

// TestBinaryKilledAtAnySystemCall kills the real binary by SIGKILL at the n-th
// call of a thread that makes something durable, then runs it again and
// compares the destination with the source. strace does the killing.
func TestBinaryKilledAtAnySystemCall(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is not installed: apt-get install strace")
		}
		t.Skip("strace is not installed")
	}
	bin := filepath.Join(t.TempDir(), "gapless")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	seeds := 50
	if testing.Short() {
		seeds = 3
	}
	kills := 0
	for seed := range seeds {
		s := &killStory{T: t, rand: rand.New(rand.NewPCG(uint64(seed), 2)), bin: bin, strace: strace, dir: t.TempDir()}
		kills += s.play(seed)
	}
	t.Logf("killed %d times in %d stories", kills, seeds)
	if kills < seeds {
		t.Errorf("killed %d times in %d stories: the test does not bite", kills, seeds)
	}
}

type killStory struct {
	*testing.T
	rand             *rand.Rand
	bin, strace, dir string
	records          map[string]string
}

const killConfig = `
hub: {search: false}
connectors:
  lines:
    from: {jsonl: {path: in.jsonl, collection: line}}
    to: {jsonl: {path: out.jsonl}}
    sync: {every_records: 20}
    batch: {rows: 7}
    deletes: {max_records: 1000}
  stored:
    from: {jsonl: {path: in.jsonl, collection: line}}
    to: hub
    sync: {every_records: 20}
    batch: {rows: 7}
    deletes: {max_records: 1000}
`

// play edits the source, runs and kills the program again and again, and
// returns how often it was killed.
func (s *killStory) play(seed int) (kills int) {
	s.Helper()
	s.write("gapless.yaml", killConfig)
	s.records = map[string]string{}
	s.edit(60)
	for round := range 2 {
		for range 2 {
			if s.runKilled(1 + (seed+round*5+s.rand.IntN(12))%40) {
				kills++
			}
			s.edit(5)
		}
		s.gapless("run", "lines", "stored")
		s.gapless("prove")
		s.compare()
	}
	return kills
}

func (s *killStory) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// edit changes records and writes the source anew, as exporters do.
func (s *killStory) edit(n int) {
	s.Helper()
	for range n {
		key := fmt.Sprintf("k%03d", s.rand.IntN(80))
		if s.rand.IntN(4) == 0 {
			delete(s.records, key)
			continue
		}
		s.records[key] = fmt.Sprintf(`{"id":%q,"v":%d}`, key, s.rand.IntN(3))
	}
	s.write("in.jsonl.new", s.source())
	if err := os.Rename(filepath.Join(s.dir, "in.jsonl.new"), filepath.Join(s.dir, "in.jsonl")); err != nil {
		s.Fatal(err)
	}
}

func (s *killStory) source() string {
	var lines []string
	for _, line := range s.records {
		lines = append(lines, line+"\n")
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func (s *killStory) runKilled(at int) bool {
	s.Helper()
	inject := "inject=" + durable + ":signal=SIGKILL:when=" + strconv.Itoa(at)
	cmd := exec.CommandContext(s.Context(), s.strace, "-f", "-qqq", "-o", os.DevNull, "-e", "trace="+durable, "-e", inject, s.bin, "run", "lines", "stored")
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		s.Fatalf("run to be killed: %v\n%s", err, out)
	}
	return err != nil
}

func (s *killStory) gapless(args ...string) []byte {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.bin, args...)
	cmd.Dir = s.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.Fatalf("gapless %s: %v\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// compare compares what both destinations hold with the source.
func (s *killStory) compare() {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "out.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	sort.Strings(lines)
	if diff := cmp.Diff(s.source(), strings.Join(lines, "")); diff != "" {
		s.Fatalf("out.jsonl differs (-source +destination):\n%s", diff)
	}
	stored := map[string]string{}
	records := json.NewDecoder(bytes.NewReader(s.gapless("records", "list", "stored", "--limit", "0", "--json")))
	for records.More() {
		var r struct {
			Key  string
			Data json.RawMessage
		}
		if err := records.Decode(&r); err != nil {
			s.Fatal(err)
		}
		stored[r.Key] = string(r.Data)
	}
	if diff := cmp.Diff(s.records, stored); diff != "" {
		s.Fatalf("hub differs (-source +hub):\n%s", diff)
	}
}
