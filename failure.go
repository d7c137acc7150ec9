package gapless

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind classifies a failure by what it means for the next run.
type Kind uint8

// The five failures. An error that is none of them counts as unrecoverable.
const (
	// KindUnrecoverable failures may have left a gap: the scope is read in
	// full next time.
	KindUnrecoverable Kind = iota
	// KindRecoverable failures leave no gap: the next run continues from the
	// last checkpoint.
	KindRecoverable
	// KindRejected means that one record cannot be synced.
	KindRejected
	// KindMisconfigured needs a person; nothing was written.
	KindMisconfigured
	// KindExpired means that the source no longer knows a position or mark.
	KindExpired
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	return [...]string{"unrecoverable", "recoverable", "rejected", "misconfigured", "expired"}[k]
}

// Cause says more closely what is wrong with the outside system.
type Cause uint8

// Causes map to the exit codes 50 to 55.
const (
	CauseUnknown Cause = iota
	// CauseUnreachable: connection refused, timeout, name not found.
	CauseUnreachable
	// CauseAuthentication: credentials are missing or wrong. Not retried.
	CauseAuthentication
	// CauseForbidden: the credentials do not suffice. Not retried.
	CauseForbidden
	// CauseInvalidParameter: the outside system refuses what was asked.
	CauseInvalidParameter
	// CauseUnreadable: what came back cannot be decoded.
	CauseUnreadable
)

// Failure is a classified error. Sources and destinations return it through
// the constructors below; [errors.As] and [KindOf] read it.
type Failure struct {
	Kind  Kind
	Cause Cause
	// Scope lists the ids of the partitions that an unrecoverable failure may
	// have left a gap in; empty means the partition being read.
	Scope []string
	// Key of the record, for a rejection.
	Key string
	Err error
}

// Error returns the text of the wrapped error: the class is for the engine.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the wrapped error.
func (f *Failure) Unwrap() error { return f.Err }

// Recoverable says that err cannot have left a gap.
func Recoverable(err error) error { return wrap(Failure{Kind: KindRecoverable, Err: err}) }

// Unrecoverable says that err may have left a gap in the partitions of scope;
// without scope, in the one being read.
func Unrecoverable(err error, scope ...string) error {
	return wrap(Failure{Kind: KindUnrecoverable, Scope: scope, Err: err})
}

// Reject says that the record of key cannot be synced because of err.
func Reject(key string, err error) error {
	return wrap(Failure{Kind: KindRejected, Key: key, Err: err})
}

// Misconfigured says that only a person can mend err.
func Misconfigured(err error) error { return wrap(Failure{Kind: KindMisconfigured, Err: err}) }

// Expired says that a position or mark is too old or unknown.
func Expired(err error) error { return wrap(Failure{Kind: KindExpired, Err: err}) }

// Because is Recoverable with a cause; authentication and forbidden stop the
// run at once instead of being retried.
func Because(c Cause, err error) error {
	return wrap(Failure{Kind: KindRecoverable, Cause: c, Err: err})
}

// Later is err with the time for which the outside system has asked to be left
// alone, as by Retry-After: whoever tries again waits that long, and gives up
// for now if that is too long. err keeps its class; without a time it is
// returned as it is.
func Later(wait time.Duration, err error) error {
	if err == nil || wait <= 0 {
		return err
	}
	return &laterError{wait, err}
}

// WaitOf returns how long err asks to wait, or 0; see [Later].
func WaitOf(err error) time.Duration {
	if later, ok := errors.AsType[*laterError](err); ok {
		return later.wait
	}
	return 0
}

type laterError struct {
	wait time.Duration
	err  error
}

// Error implements error.
func (e *laterError) Error() string { return e.err.Error() }

// Unwrap returns the error that was given a time.
func (e *laterError) Unwrap() error { return e.err }

func wrap(f Failure) error {
	if f.Err == nil {
		return nil
	}
	return &f
}

// KindOf returns the class of err: its own, or the one that follows from the
// exit code of its [Code]. Cancellation is recoverable; whatever is
// unclassified is unrecoverable.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrInterrupted) || errors.Is(err, ErrFenced) || errors.Is(err, ErrIncarnation) {
		return KindRecoverable
	}
	if e, ok := errors.AsType[*Error](err); ok {
		switch codes[e.Code].Exit {
		case ExitGuard, ExitRecoverable:
			return KindRecoverable
		case ExitUsage:
			return KindMisconfigured
		}
	}
	return KindUnrecoverable
}

// Sentinels that callers test with [errors.Is].
var (
	// ErrFenced: a newer epoch has taken over; this runner must stop.
	ErrFenced = errors.New("fenced: a newer runner has taken over this connector")
	// ErrIncarnation: the destination restarted and may have lost what was not
	// synced; the run ends and the next one pushes it again.
	ErrIncarnation = errors.New("the destination restarted during the run")
	// ErrChanged: somebody else has written the record since it was read; see
	// [ConditionalPusher].
	ErrChanged = errors.New("the record has changed in the meantime")
	// ErrNotFound: no such record, run, plan or certificate.
	ErrNotFound = errors.New("not found")
	// ErrInterrupted is the cancel cause of an orderly stop.
	ErrInterrupted = errors.New("interrupted")
)

// Exit codes of every command.
const (
	ExitComplete      = 0
	ExitUnknown       = 1
	ExitUsage         = 2
	ExitGuard         = 7
	ExitRecoverable   = 10
	ExitUnrecoverable = 20
	ExitSource        = 50 // plus the cause: 51 unreachable ... 55 unreadable data
	ExitInterrupted   = 130
)

// Code is a stable identifier of a user-facing error, such as GAP-1042; the
// table of all codes is in codes.go.
type Code int

// String returns the printed form, GAP-nnnn.
func (c Code) String() string { return fmt.Sprintf("GAP-%04d", int(c)) }

// Error is a user-facing error: what happened, to what, and what to do next.
type Error struct {
	Code Code
	// Subject is the connector, partition or key concerned; may be empty.
	Subject string
	// Hint says what to run or change next; empty means the code's own hint.
	Hint string
	Err  error
}

// Errorf returns an Error with the code's own hint.
func Errorf(c Code, subject, format string, args ...any) *Error {
	return &Error{Code: c, Subject: subject, Err: fmt.Errorf(format, args...)}
}

// WithHint returns e with a hint of its own.
func (e *Error) WithHint(format string, args ...any) *Error {
	d := *e
	d.Hint = fmt.Sprintf(format, args...)
	return &d
}

// Error returns subject and cause; code and hint are printed by the command
// line and stand apart in JSON.
func (e *Error) Error() string {
	if e.Subject == "" {
		return e.Err.Error()
	}
	return e.Subject + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns the exit code that err stands for; 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return ExitComplete
	}
	if errors.Is(err, ErrInterrupted) {
		return ExitInterrupted
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if exit := codes[e.Code].Exit; exit != 0 {
			return exit
		}
	}
	f, ok := errors.AsType[*Failure](err)
	switch {
	case !ok && KindOf(err) == KindRecoverable:
		return ExitRecoverable
	case !ok:
		return ExitUnknown
	case f.Cause != CauseUnknown:
		return ExitSource + int(f.Cause)
	case f.Kind == KindRecoverable, f.Kind == KindExpired:
		return ExitRecoverable
	case f.Kind == KindMisconfigured:
		return ExitUsage
	case f.Kind == KindRejected:
		return ExitSource + int(CauseUnreadable)
	}
	return ExitUnrecoverable
}
