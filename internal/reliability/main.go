package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := command(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	page, only string
	jobs       int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("reliability", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.page, "page", "docs/reliability.md", "page that the tables stand on")
	flags.StringVar(&o.only, "only", "", "tables, separated by commas, instead of all")
	flags.IntVar(&o.jobs, "jobs", 1, "mutants judged at the same time")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.jobs < 1 {
		return o, errors.New("reliability: --jobs is positive")
	}
	if flags.NArg() > 0 {
		return o, errors.New("reliability: there is nothing behind the flags")
	}
	return o, nil
}

// command runs the program and returns its exit code: 0, 1 for a table that
// could not be made, 2 for wrong usage.
func command(ctx context.Context, args []string, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var chosen []section
	if err == nil {
		chosen, err = choose(o.only)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	for i := range chosen {
		fmt.Fprintln(stderr, chosen[i].shown())
		if err := update(ctx, &chosen[i], o, stderr); err != nil {
			fmt.Fprintf(stderr, "reliability: %s: %v\n", chosen[i].name, err)
			return 1
		}
	}
	return 0
}

func choose(only string) ([]section, error) {
	all := sections()
	if only == "" {
		return all, nil
	}
	var chosen []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no table is called %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// update measures what a section shows and writes it to the page.
func update(ctx context.Context, s *section, o options, stderr io.Writer) error {
	rows, from, err := s.measure(ctx, o, stderr)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New("there are no rows")
	}
	table, err := s.render(rows)
	if err != nil {
		return err
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		return err
	}
	text, err := exchange(string(page), s.name, fmt.Sprintf("```console\n$ %s\n```\n\n%s\n\n%s", s.shown(), from, table))
	if err != nil {
		return err
	}
	return os.WriteFile(o.page, []byte(text), 0o644) //nolint:gosec // a page is for everybody to read
}

// measure runs the section's command and returns its rows, and where they come
// from: the tree as it was before the first of them.
func (s *section) measure(ctx context.Context, o options, stderr io.Writer) (_ []row, from string, err error) {
	if from, err = provenance(ctx); err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "gapless-reliability-")
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := s.command[1:]
	if s.jobs {
		args = append(slices.Clone(args), "--jobs", strconv.Itoa(o.jobs))
	}
	report := filepath.Join(dir, "rows")
	var out bytes.Buffer
	run := exec.CommandContext(ctx, s.command[0], args...)
	run.Env = append(append(os.Environ(), s.environment...), "GAPLESS_REPORT="+report)
	run.Stdout, run.Stderr = &out, stderr
	failed := run.Run()
	text := out.Bytes()
	if !s.stdout {
		if text, err = os.ReadFile(report); err != nil {
			return nil, "", errors.Join(failed, err, errors.New(out.String()))
		}
	}
	if failed != nil {
		return nil, "", fmt.Errorf("%w\n%s", failed, &out)
	}
	rows, err := s.read(text)
	return rows, from, err
}

func (s *section) read(text []byte) ([]row, error) {
	if s.stdout {
		return readDocument(text)
	}
	return readLines(bytes.NewReader(text), s)
}

// provenance says what is measured from now on, and on which machine.
func provenance(ctx context.Context) (string, error) {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "", fmt.Errorf("find the commit: %w", err)
	}
	return fmt.Sprintf("Commit `%s`, %s, %d cores, %s.", strings.TrimSpace(string(commit)), processor(), runtime.NumCPU(), runtime.Version()), nil
}

// processor names the processor, as the system does.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOOS + "/" + runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOOS + "/" + runtime.GOARCH
}
