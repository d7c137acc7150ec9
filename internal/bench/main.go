package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if text := os.Getenv(jobVariable); text != "" {
		os.Exit(work(context.Background(), text, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	records int
	runs    int
	cases   string
	dir     string
	out     string
	profile string
	check   bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var names []string
	for _, c := range cases() {
		names = append(names, c.name)
	}
	flags.IntVar(&o.records, "n", 1_000_000, "records of about 300 bytes; a hundredth as many files")
	flags.IntVar(&o.runs, "runs", 3, "measurements of each case")
	flags.StringVar(&o.cases, "cases", "", "cases to measure, separated by commas, instead of all: "+strings.Join(names, ", "))
	flags.StringVar(&o.dir, "dir", "", "folder on the disk to measure; by default the first of $TMPDIR, the cache folder and . that is not in memory")
	flags.StringVar(&o.out, "o", "", "file that the report is also written to")
	flags.StringVar(&o.profile, "profile", "", "folder for a processor and a heap profile of each measurement")
	flags.BoolVar(&o.check, "check", false, "compare with the targets; exit 1 if one is missed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.records < 1 || o.runs < 1 {
		return o, fmt.Errorf("bench: -n and -runs are at least 1, and there is nothing behind the flags but %q", flags.Args())
	}
	return o, nil
}

// command runs the program and returns its exit code: 0, 1 for a missed target
// or a failed measurement, 2 for wrong usage.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var chosen []benchCase
	if err == nil {
		chosen, err = choose(o.cases)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	missed, err := measureAll(ctx, o, chosen, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if missed > 0 {
		return 1
	}
	return 0
}

// measureAll measures and reports; it returns how many targets were missed.
func measureAll(ctx context.Context, o options, chosen []benchCase, stdout, stderr io.Writer) (missed int, err error) {
	dir, err := newFolder(o.dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return 0, err
		}
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return 0, err
		}
	}
	b := &bench{options: o, dir: dir, log: stderr, results: map[string][]round{}}
	if err := b.measure(ctx, chosen); err != nil {
		return 0, err
	}
	report := b.table(chosen)
	if o.check {
		verdicts, n := b.check()
		report, missed = report+"\n"+verdicts, n
	}
	if _, err := io.WriteString(stdout, report); err != nil {
		return 0, err
	}
	if o.out != "" {
		return missed, os.WriteFile(o.out, []byte(report), 0o644) //nolint:gosec // a report is for everybody to read
	}
	return missed, nil
}

// newFolder makes a folder on a disk: what is synced to memory costs nothing.
func newFolder(base string) (string, error) {
	candidates := []string{base}
	if base == "" {
		candidates = []string{os.TempDir(), "."}
		if cache, err := os.UserCacheDir(); err == nil && os.MkdirAll(cache, 0o700) == nil {
			candidates = slices.Insert(candidates, 1, cache)
		}
	}
	for _, candidate := range candidates {
		if base == "" && inMemory(fileSystem(candidate)) {
			continue
		}
		return os.MkdirTemp(candidate, "gapless-bench-")
	}
	return "", fmt.Errorf("none of %s is on a disk: name a folder with -dir", strings.Join(candidates, ", "))
}

func inMemory(fileSystem string) bool { return fileSystem == "tmpfs" || fileSystem == "ramfs" }
