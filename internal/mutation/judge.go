package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The outcomes of a mutant.
const (
	noticed  = "noticed"  // a test failed
	survived = "survived" // none did
	late     = "late"     // the tests did not come to an end
	unjudged = "unjudged" // the catalogue is wrong
)

// verdict is what became of a mutant.
type verdict struct {
	ID         string   `json:"id"`
	Invariants []int    `json:"invariants"`
	Keeps      string   `json:"keeps"`
	File       string   `json:"file"`
	Package    string   `json:"package"`
	Outcome    string   `json:"outcome"`
	By         []string `json:"by,omitempty"`    // the tests that failed
	Error      string   `json:"error,omitempty"` // why it is unjudged
	Seconds    float64  `json:"seconds"`
}

// judge runs tests in copies of the tree below dir.
type judge struct {
	dir   string // holds the copy that the others are made of, and the others
	limit time.Duration
	jobs  int
	every bool // all tests of the package, not just those named
}

func (j *judge) tree() string { return filepath.Join(j.dir, "tree") }

// sound makes sure that the tests named by the catalogue pass as the tree is;
// each package is built and run once.
func (j *judge) sound(ctx context.Context, list []mutant) error {
	type suite struct {
		folder string
		long   bool
	}
	suites := map[suite]map[string]bool{}
	for _, m := range list {
		s := suite{m.Package, m.Long}
		if suites[s] == nil {
			suites[s] = map[string]bool{}
		}
		for _, name := range m.Tests {
			suites[s][name] = true
		}
	}
	for s, names := range suites {
		tests := slices.Sorted(maps.Keys(names))
		r, err := j.test(ctx, j.tree(), mutant{Package: s.folder, Tests: tests, Long: s.long})
		switch {
		case err != nil:
			return fmt.Errorf("%s as it is: %w", s.folder, err)
		case r.outcome != survived:
			return fmt.Errorf("%s as it is: %s: %s\n%s", s.folder, r.outcome, strings.Join(r.failed, ", "), r.text)
		}
		for _, name := range tests {
			if !strings.Contains(r.text, "--- PASS: "+name+" ") {
				return fmt.Errorf("%s as it is: test %s did not pass", s.folder, name)
			}
		}
	}
	return nil
}

// all judges mutants, several at once, and hands each verdict to told in the
// order in which they come.
func (j *judge) all(ctx context.Context, list []mutant, told func(verdict)) []verdict {
	verdicts := make([]verdict, len(list))
	next := make(chan int)
	var mu sync.Mutex // one at a time is told
	var workers sync.WaitGroup
	for range j.jobs {
		workers.Go(func() {
			for i := range next {
				v := j.one(ctx, list[i])
				mu.Lock()
				verdicts[i] = v
				told(v)
				mu.Unlock()
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	workers.Wait()
	return verdicts
}

// one judges one mutant in a copy of its own.
func (j *judge) one(ctx context.Context, m mutant) verdict {
	started := time.Now()
	v := verdict{ID: m.ID, Invariants: m.Invariants, Keeps: m.Keeps, File: m.File, Package: m.Package}
	r, err := j.mutated(ctx, m)
	v.Outcome, v.By, v.Seconds = r.outcome, r.failed, time.Since(started).Seconds()
	if err != nil {
		v.Outcome, v.Error = unjudged, err.Error()
	}
	return v
}

func (j *judge) mutated(ctx context.Context, m mutant) (r result, err error) {
	dir, err := os.MkdirTemp(j.dir, "mutant-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, os.DirFS(j.tree())); err != nil {
		return r, err
	}
	file := filepath.Join(dir, filepath.FromSlash(m.File))
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	changed, err := m.apply(string(text))
	if err != nil {
		return r, err
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return r, err
	}
	return j.test(ctx, dir, m)
}

// result is how a run of tests ended.
type result struct {
	outcome string
	failed  []string // tests, not those within them
	text    string
}

// test builds the tests of a mutant's package in dir and runs those named. An
// error says that they could not be run.
func (j *judge) test(ctx context.Context, dir string, m mutant) (r result, err error) {
	scratch, err := os.MkdirTemp(j.dir, "scratch-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	binary := filepath.Join(scratch, "tests")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-vet=off", "-o", binary, "./"+m.Package)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return r, fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	args := []string{"-test.v", "-test.timeout", j.limit.String(), "-test.short=" + fmt.Sprint(!m.Long)}
	if !j.every {
		args = append(args, "-test.run", "^("+strings.Join(m.Tests, "|")+")$")
	}
	bounded, cancel := context.WithTimeout(ctx, j.limit+10*time.Second)
	defer cancel()
	run := exec.CommandContext(bounded, binary, args...)
	run.Dir = filepath.Join(dir, filepath.FromSlash(m.Package))
	run.Env = append(environment(os.Environ()), "TMPDIR="+scratch)
	out, err := run.CombinedOutput()
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	r = read(string(out))
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return r, fmt.Errorf("run the tests: %w", err)
	}
	switch {
	case bounded.Err() != nil || strings.Contains(r.text, "panic: test timed out after"):
		r.outcome = late
	case err != nil:
		r.outcome = noticed
	default:
		r.outcome = survived
	}
	return r, nil
}

// environment is that of the process without what changes what tests do.
func environment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(v string) bool { return strings.HasPrefix(v, "GAPLESS_") })
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// read finds out which tests failed. One that ends the process is none of
// them.
func read(text string) result {
	r := result{text: text}
	for _, match := range failure.FindAllStringSubmatch(text, -1) {
		r.failed = append(r.failed, match[1])
	}
	slices.Sort(r.failed)
	if len(r.failed) == 0 && strings.Contains(text, "panic: ") {
		r.failed = []string{"panic"}
	}
	return r
}
