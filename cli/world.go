package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gapless-sync/gapless/catalog"
	"github.com/gapless-sync/gapless/service"
)

// world is what one invocation may know of the world around it. The daemon
// builds one from a request; [Main] builds one from the process.
type world struct {
	args []string
	// dir is the folder that relative paths of the command line are relative
	// to.
	dir      string
	lookup   func(name string) (string, bool)
	out, err io.Writer
	// color says whether out is a terminal that shows colours, width how many
	// characters fit there; 0 if it is none.
	color    bool
	width    int
	catalog  catalog.Catalog
	progress progress
	// stop is closed to ask for an orderly end, abort to end at once.
	stop, abort <-chan struct{}
	// orderly is set by a command that ends by itself when stop is closed.
	orderly *atomic.Bool
	// daemon is what executes this; nil in a process of its own.
	daemon *service.Service
	// pinned is the project that a caller of the daemon has found; nil in a
	// process of its own.
	pinned *pinned
	// json is the flag of that name, which every command has.
	json bool
	// named are the connectors that the command line names.
	named []string
	// started is set once the command line has been understood.
	started bool
}

func (w *world) printf(format string, args ...any) { fmt.Fprintf(w.out, format, args...) }

// note tells something on the side that is not the command's result.
func (w *world) note(format string, args ...any) {
	if !w.json {
		fmt.Fprintf(w.err, format+"\n", args...)
	}
}

// printJSON prints a result as an indented document.
func (w *world) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintf(w.out, "%s\n", text)
	return err
}

// printLine prints a value as one line of JSON.
func (w *world) printLine(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintf(w.out, "%s\n", text)
	return err
}

func (w *world) style(code, s string) string {
	if !w.color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (w *world) bold(s string) string  { return w.style("1", s) }
func (w *world) dim(s string) string   { return w.style("2", s) }
func (w *world) red(s string) string   { return w.style("31", s) }
func (w *world) green(s string) string { return w.style("32", s) }

// pinned is a project found by the caller of the daemon.
type pinned struct{ path string }
