package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The outcomes of a mutant.
const (
	noticed  = "noticed"  // a test failed
	survived = "survived" // none did
	late     = "late"     // the tests did not come to an end
	unjudged = "unjudged" // the catalogue is wrong, or the tests ended in another way
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
	grace time.Duration // for tests that do not end at their limit
	every bool          // all tests of the package, not just those named
	log   io.Writer
}

func (j *judge) tree() string { return filepath.Join(j.dir, "tree") }

// suite is the tests of one package that mutants of the catalogue name, and
// these mutants.
type suite struct {
	folder string
	list   []mutant
}

// suites divides mutants by the packages of their tests.
func suites(list []mutant) []suite {
	var all []suite
	for _, m := range list {
		i := slices.IndexFunc(all, func(s suite) bool { return s.folder == m.Package })
		if i < 0 {
			i, all = len(all), append(all, suite{folder: m.Package})
		}
		all[i].list = append(all[i].list, m)
	}
	return all
}

// all judges mutants and hands each verdict to told, in the order in which they
// come.
func (j *judge) all(ctx context.Context, list []mutant, told func(verdict)) ([]verdict, error) {
	var verdicts []verdict
	for _, s := range suites(list) {
		some, err := j.suite(ctx, s, told)
		if err != nil {
			return nil, fmt.Errorf("tests of %s: %w", s.folder, err)
		}
		verdicts = append(verdicts, some...)
	}
	slices.SortFunc(verdicts, func(a, b verdict) int { return strings.Compare(a.ID, b.ID) })
	return verdicts, nil
}

// suite judges the mutants of one package's tests: those that can be parts of
// one program by running that again and again, the others one by one.
func (j *judge) suite(ctx context.Context, s suite, told func(verdict)) (verdicts []verdict, err error) {
	dir, err := os.MkdirTemp(j.dir, "suite-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree := filepath.Join(dir, "tree")
	if err := os.CopyFS(tree, os.DirFS(j.tree())); err != nil {
		return nil, err
	}
	files, rest, err := combined(s.list, func(file string) (string, error) {
		text, err := os.ReadFile(filepath.Join(tree, filepath.FromSlash(file)))
		return string(text), err
	})
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "tests")
	if err := j.build(ctx, tree, s.folder, files, binary); err != nil {
		fmt.Fprintf(j.log, "the tests of %s with all mutants at once: %v\neach is judged alone\n", s.folder, err)
		rest = s.list
		if err := j.build(ctx, j.tree(), s.folder, nil, binary); err != nil {
			return nil, err
		}
	}
	p := program{binary: binary, folder: filepath.Join(tree, filepath.FromSlash(s.folder))}
	if err := j.sound(ctx, p, s); err != nil {
		return nil, err
	}
	parts := slices.DeleteFunc(slices.Clone(s.list), func(m mutant) bool {
		return slices.ContainsFunc(rest, func(r mutant) bool { return r.ID == m.ID })
	})
	verdicts = j.each(ctx, parts, told, func(m mutant) (result, error) { return j.run(ctx, p, m, m.ID) })
	return append(verdicts, j.each(ctx, rest, told, func(m mutant) (result, error) { return j.alone(ctx, m) })...), ctx.Err()
}

// sound makes sure that the tests named by the catalogue pass as the tree is.
func (j *judge) sound(ctx context.Context, p program, s suite) error {
	whole := mutant{limit: soundFactor * j.limit}
	for _, m := range s.list {
		whole.Tests = append(whole.Tests, m.Tests...)
	}
	r, err := j.run(ctx, p, whole, "")
	if err != nil || r.outcome != survived {
		return fmt.Errorf("as they are: %w: %s: %s\n%s", errors.Join(err, errUnsound), r.outcome, strings.Join(r.failed, ", "), r.text)
	}
	for _, name := range whole.Tests {
		if !strings.Contains(r.text, "--- PASS: "+name+" ") {
			return fmt.Errorf("as they are: %w: %s did not pass", errUnsound, name)
		}
	}
	return nil
}

// soundFactor is how much longer the tests of all mutants may take together.
const soundFactor = 10

var errUnsound = errors.New("the tests do not pass without any mutant")

// each has mutants judged, several at once.
func (j *judge) each(ctx context.Context, list []mutant, told func(verdict), judged func(mutant) (result, error)) []verdict {
	verdicts := make([]verdict, len(list))
	next := make(chan int)
	var mu sync.Mutex // one at a time is told
	var workers sync.WaitGroup
	for range j.jobs {
		workers.Go(func() {
			for i := range next {
				m, started := list[i], time.Now()
				v := verdict{ID: m.ID, Invariants: m.Invariants, Keeps: m.Keeps, File: m.File, Package: m.Package}
				r, err := judged(m)
				v.Outcome, v.By, v.Seconds = r.outcome, r.failed, time.Since(started).Seconds()
				if err != nil {
					v.Outcome, v.Error = unjudged, err.Error()
				}
				mu.Lock()
				verdicts[i] = v
				if ctx.Err() == nil {
					told(v)
				}
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

// alone judges a mutant in a copy and a program of its own.
func (j *judge) alone(ctx context.Context, m mutant) (r result, err error) {
	dir, err := os.MkdirTemp(j.dir, "mutant-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree := filepath.Join(dir, "tree")
	if err := os.CopyFS(tree, os.DirFS(j.tree())); err != nil {
		return r, err
	}
	text, err := os.ReadFile(filepath.Join(tree, filepath.FromSlash(m.File)))
	if err != nil {
		return r, err
	}
	changed, err := m.apply(string(text))
	if err != nil {
		return r, err
	}
	binary := filepath.Join(dir, "tests")
	if err := j.build(ctx, tree, m.Package, map[string]string{m.File: changed}, binary); err != nil {
		return r, err
	}
	return j.run(ctx, program{binary: binary, folder: filepath.Join(tree, filepath.FromSlash(m.Package))}, m, "")
}

// build builds the tests of a package in a tree in which some files are others.
func (j *judge) build(ctx context.Context, tree, folder string, files map[string]string, binary string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(tree, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
			return err
		}
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-vet=off", "-o", binary, "./"+folder)
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	return nil
}

// result is how a run of tests ended.
type result struct {
	outcome string
	failed  []string // tests, not those within them
	text    string
}

// program is tests that are built, and the folder that they run in.
type program struct{ binary, folder string }

// run runs the tests that a mutant names, with one in force or none. An error
// says that they could not be run.
func (j *judge) run(ctx context.Context, p program, m mutant, active string) (r result, err error) {
	scratch, err := os.MkdirTemp(j.dir, "scratch-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	limit := cmp.Or(m.limit, j.limit)
	args := []string{"-test.v", "-test.timeout", limit.String(), "-test.short=" + strconv.FormatBool(j.every)}
	if !j.every || active == "" {
		args = append(args, "-test.run", "^("+strings.Join(m.Tests, "|")+")$")
	}
	bounded, cancel := context.WithTimeout(ctx, limit+j.grace)
	defer cancel()
	run := exec.CommandContext(bounded, p.binary, args...)
	run.Dir = p.folder
	run.Env = append(environment(os.Environ()), "TMPDIR="+scratch, activeVariable+"="+active)
	run.WaitDelay = j.grace
	leadGroup(run)
	out, err := run.CombinedOutput()
	if run.Process != nil {
		err = errors.Join(err, killGroup(run.Process)) // what it has started, if that still runs
	}
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	r = read(string(out))
	switch {
	case bounded.Err() != nil || strings.Contains(r.text, "panic: test timed out after"):
		r.outcome = late
	case err == nil:
		r.outcome = survived
	case len(r.failed) > 0:
		r.outcome = noticed
	default:
		return r, fmt.Errorf("no test failed: %w\n%s", err, r.text)
	}
	// What a property test keeps of its failure would fail the next mutant.
	return r, os.RemoveAll(filepath.Join(p.folder, "testdata", "rapid"))
}

// environment is that of the process without what changes what tests do.
func environment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(v string) bool { return strings.HasPrefix(v, "GAPLESS_") })
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	crash   = regexp.MustCompile(`(?m)^(?:panic|fatal error): (.*)`)
)

// read finds out which tests failed. One that ends the process is none of
// them, and a process that the machine has no memory or no threads for has not
// failed.
func read(text string) result {
	r := result{text: text}
	for _, match := range failure.FindAllStringSubmatch(text, -1) {
		r.failed = append(r.failed, match[1])
	}
	slices.Sort(r.failed)
	ended := crash.FindStringSubmatch(text)
	if len(r.failed) == 0 && ended != nil && !strings.HasPrefix(ended[1], "runtime: ") && !strings.HasPrefix(ended[1], "newosproc") {
		r.failed = []string{"panic"}
	}
	return r
}
