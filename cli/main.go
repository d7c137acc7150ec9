package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/config"
)

// Main is the whole program: it executes the command line of this process with
// the connectors of a catalogue and returns the exit code, one of the Exit
// constants of package gapless. The first interrupt ends a run in good order,
// the second at once.
func Main(c catalog.Catalog) int {
	stop, abort := interrupts()
	dir, err := os.Getwd()
	w := &world{
		args: os.Args[1:], dir: dir, lookup: os.LookupEnv, out: os.Stdout, err: os.Stderr,
		catalog: c, stop: stop, abort: abort,
	}
	w.color, w.width = terminal(os.Stdout, os.LookupEnv)
	w.progress = newProgress(os.Stderr)
	if err == nil {
		err = c.Err()
	}
	if err != nil {
		w.report(err)
		return exitOf(err)
	}
	return w.execute(context.Background())
}

// interrupts returns two channels: the first is closed by the first interrupt
// or termination, the second by the second.
func interrupts() (stop, abort <-chan struct{}) {
	first, second := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		close(first)
		<-signals
		close(second)
	}()
	return first, second
}

// terminal returns whether f shows colours and how wide it is.
func terminal(f *os.File, lookup config.Lookup) (color bool, width int) {
	if !cwriter.IsTerminal(int(f.Fd())) {
		return false, 0
	}
	width, _, err := cwriter.GetSize(int(f.Fd()))
	if err != nil {
		width = 80
	}
	no, _ := lookup("NO_COLOR")
	dumb, _ := lookup("TERM")
	return no == "" && dumb != "dumb", width
}

// execute parses and executes the command line and returns the exit code.
func (w *world) execute(ctx context.Context) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	defer close(ended)
	w.orderly = &atomic.Bool{}
	go w.obey(cancel, ended)
	root := newRoot(w)
	root.SetArgs(w.args)
	root.SetOut(w.out)
	root.SetErr(w.err)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return gapless.ExitComplete
	case !w.started:
		err = asUsage(err)
	case errors.Is(context.Cause(ctx), gapless.ErrInterrupted) && !errors.Is(err, gapless.ErrInterrupted):
		err = fmt.Errorf("%w: %w", gapless.ErrInterrupted, err)
	}
	w.report(err)
	return exitOf(err)
}

// obey cancels the command: at once when asked to, and already when asked for
// an orderly end if the command knows none.
func (w *world) obey(cancel context.CancelCauseFunc, ended <-chan struct{}) {
	select {
	case <-w.stop:
		if !w.orderly.Load() {
			cancel(gapless.ErrInterrupted)
		}
	case <-w.abort:
		cancel(gapless.ErrInterrupted)
	case <-ended:
		return
	}
	select {
	case <-w.abort:
		cancel(gapless.ErrInterrupted)
	case <-ended:
	}
}

func asUsage(err error) error {
	if _, ok := errors.AsType[*gapless.Error](err); ok {
		return err
	}
	return usage("%w", err)
}

// newRoot builds the command tree of one invocation.
func newRoot(w *world) *cobra.Command {
	root := &cobra.Command{
		Use:   "gapless",
		Short: "Keep destinations in step with sources, and prove it",
		Long: `Gapless keeps destinations in step with sources and can say, with proof, what
it has not synced.

Commands work on a project: a folder with a gapless.yaml. Name it with --config
or as the first argument; without, it is the one that $GAPLESS_CONFIG names, the
one in the current folder, or the one that was last named in this folder.

Exit codes: 0 complete, 1 unknown, 2 usage or configuration, 7 stopped by a
guard, 10 recoverable failure, 20 unrecoverable failure or unproved, 50 to 55
the outside system (50 unknown, 51 unreachable, 52 authentication, 53 forbidden,
54 invalid parameter, 55 unreadable data), 130 interrupted.`,
		Example: `  gapless init
  gapless run
  gapless search "memory model"`,
		SilenceUsage: true, SilenceErrors: true,
		Args:              noArgs,
		PersistentPreRun:  func(*cobra.Command, []string) { w.started = true },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.PersistentFlags().BoolVar(&w.json, "json", false, "print JSON for machines")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w", err).WithHint("see %s --help", cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "project", Title: "Project"},
		&cobra.Group{ID: "sync", Title: "Sync"},
		&cobra.Group{ID: "account", Title: "Account"},
		&cobra.Group{ID: "data", Title: "Data"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("project", newInit(w), newValidate(w), newCheck(w), newConnectors(w), newSchema(w), newHashPassword(w))
	add("sync", newPlan(w), newRun(w), newUndo(w), newRepair(w), newServe(w))
	add("account", newStatus(w), newWhy(w), newProve(w), newVerify(w), newDeadletters(w), newConflicts(w), newEvents(w))
	add("data", newSearch(w), newRecords(w), newQuery(w), newDownload(w))
	root.AddCommand(newVersion(w))
	return root
}

// noArgs refuses arguments, and suggests the command that was meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := usage("%s has no command %s", cmd.CommandPath(), args[0])
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if fix := gapless.DidYouMean(args[0], names); fix != "" {
		return e.WithHint("%s", fix)
	}
	return e.WithHint("see %s --help", cmd.CommandPath())
}

// between refuses too few or too many arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("an argument is missing: %s", cmd.UseLine()).WithHint("see %s --help", cmd.CommandPath())
		case len(args) > most:
			return usage("unexpected argument %s", args[most]).WithHint("see %s --help", cmd.CommandPath())
		}
		return nil
	}
}

// toFile opens the file that output goes to instead of standard output. In the
// daemon it already goes there: whoever called has opened it.
func (w *world) toFile(path string) (closer func() error, err error) {
	if path == "" || w.daemon != nil {
		return func() error { return nil }, nil
	}
	file, err := os.OpenFile(w.abs(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, usage("create the file: %w", err)
	}
	old := w.out
	w.out = io.Writer(file)
	return func() error {
		w.out = old
		return file.Close()
	}, nil
}
