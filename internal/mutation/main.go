package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	only  string
	jobs  int
	limit time.Duration
	list  bool
	json  bool
	every bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("mutation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.only, "only", "", "mutants or rooms, separated by commas, instead of all")
	flags.IntVar(&o.jobs, "jobs", 1, "mutants judged at the same time")
	flags.DurationVar(&o.limit, "timeout", 3*time.Minute, "how long the tests of one mutant may take")
	flags.BoolVar(&o.list, "list", false, "list the catalogue and do nothing else")
	flags.BoolVar(&o.json, "json", false, "print the verdicts as JSON; what is under way goes to standard error")
	flags.BoolVar(&o.every, "every", false, "run all short tests of the package and show which of them notice")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.jobs < 1 || o.limit <= 0 {
		return o, fmt.Errorf("mutation: --jobs and --timeout are positive, and there is nothing behind the flags but %q", flags.Args())
	}
	return o, nil
}

// command runs the program and returns its exit code: 0, 1 if a mutant was not
// noticed or could not be judged, 2 for wrong usage.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var chosen []mutant
	if err == nil {
		chosen, err = catalogue()
	}
	if err == nil {
		chosen, err = choose(chosen, o.only)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	if o.list {
		for _, m := range chosen {
			fmt.Fprintf(stdout, "%-32s %-7s %s\n", m.ID, invariantsOf(m.Invariants), m.Keeps)
		}
		return 0
	}
	verdicts, err := judgeAll(ctx, o, chosen, stderr)
	if err == nil {
		err = report(o, verdicts, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "mutation:", err)
		return 1
	}
	for _, v := range verdicts {
		if v.Outcome != noticed {
			return 1
		}
	}
	return 0
}

func judgeAll(ctx context.Context, o options, chosen []mutant, stderr io.Writer) (verdicts []verdict, err error) {
	dir, err := os.MkdirTemp("", "gapless-mutation-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j := &judge{dir: dir, limit: o.limit, jobs: o.jobs, grace: 10 * time.Second, every: o.every, log: stderr}
	from, err := root(ctx)
	if err != nil {
		return nil, err
	}
	if err := copyTree(ctx, from, filepath.Join(dir, "tree")); err != nil {
		return nil, err
	}
	return j.all(ctx, chosen, func(v verdict) {
		fmt.Fprintf(stderr, "%-9s %5.1f s  %-32s %s\n", v.Outcome, v.Seconds, v.ID, strings.Join(v.By, " ")+v.Error)
	})
}

// report prints the verdicts.
func report(o options, verdicts []verdict, w io.Writer) error {
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		return e.Encode(struct {
			Mutants []verdict `json:"mutants"`
		}{verdicts})
	}
	counts := map[string]int{}
	for _, v := range verdicts {
		counts[v.Outcome]++
		if _, err := fmt.Fprintf(w, "%-9s %-32s %-7s %s\n", v.Outcome, v.ID, invariantsOf(v.Invariants), v.Keeps); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d mutants: %d noticed, %d survived, %d late, %d unjudged\n",
		len(verdicts), counts[noticed], counts[survived], counts[late], counts[unjudged])
	return err
}

func invariantsOf(list []int) string { return strings.Trim(fmt.Sprint(list), "[]") }
