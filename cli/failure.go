package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
)

// exitError carries an exit code whose reason was already printed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitOf returns the exit code that err stands for.
func exitOf(err error) int {
	if exit, ok := errors.AsType[exitError](err); ok {
		return int(exit)
	}
	return gapless.ExitCode(err)
}

// usage is a mistake on the command line.
func usage(format string, args ...any) *gapless.Error {
	return gapless.Errorf(gapless.CodeUsage, "", format, args...)
}

// explain names the connector of an error that does not say what to do next,
// and says it.
func explain(connector string, err error) error {
	if _, ok := errors.AsType[*gapless.Error](err); ok || err == nil || errors.Is(err, gapless.ErrInterrupted) {
		return err
	}
	e := gapless.Errorf(gapless.CodeRunFailed, connector, "%w", err)
	if f, ok := errors.AsType[*gapless.Failure](err); ok {
		switch f.Cause {
		case gapless.CauseUnreachable:
			return e.WithHint("check that the path or address is right and can be reached, then try again")
		case gapless.CauseAuthentication:
			return e.WithHint("check the credentials, then try again")
		case gapless.CauseForbidden:
			return e.WithHint("have the rights granted, then try again")
		case gapless.CauseInvalidParameter:
			return e.WithHint("correct the configuration: gapless connectors shows what each option means")
		case gapless.CauseUnknown, gapless.CauseUnreadable:
		}
	}
	return e
}

// failureReport is an error in JSON.
type failureReport struct {
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	Subject string `json:"subject,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit"`
}

// report prints an error the one way errors are printed: for people on
// standard error, for machines as the last line of standard output.
func (w *world) report(err error) {
	if _, printed := errors.AsType[exitError](err); printed || err == nil {
		return
	}
	r := failureReport{Type: "error", Message: err.Error(), Exit: exitOf(err)}
	if e, ok := errors.AsType[*gapless.Error](err); ok {
		r.Code, r.Subject, r.Hint = e.Code.String(), e.Subject, gapless.HintFor(e)
	}
	if r.Hint == "" && errors.Is(err, gapless.ErrInterrupted) {
		r.Hint = "run it again: it goes on where it can, and begins anew where it cannot"
	}
	if w.json {
		_ = w.printLine(r) // nowhere else to say it
		return
	}
	head := w.red("error")
	if r.Code != "" {
		head += " " + r.Code
	}
	fmt.Fprintf(w.err, "%s: %s\n", head, cleanLines(r.Message))
	if r.Hint != "" {
		fmt.Fprintf(w.err, "  -> %s\n", cleanLines(r.Hint))
	}
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, line := range lines {
		lines[i] = clean(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
