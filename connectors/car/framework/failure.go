package framework

import (
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
)

// ErrIncrementalNotPossible is returned, wrapped or not, by any hook of an
// [IncrementalImport] that cannot tell what changed. What the import collected
// is forgotten and a full import follows in the same run.
var ErrIncrementalNotPossible = errors.New("an incremental import is not possible")

// Exit codes of a [DatasourceFailure].
const (
	CodeUnknown    = gapless.ExitSource
	CodeConnect    = gapless.ExitSource + int(gapless.CauseUnreachable)
	CodeAuth       = gapless.ExitSource + int(gapless.CauseAuthentication)
	CodeForbidden  = gapless.ExitSource + int(gapless.CauseForbidden)
	CodeParameter  = gapless.ExitSource + int(gapless.CauseInvalidParameter)
	CodeProcessing = gapless.ExitSource + int(gapless.CauseUnreadable)
)

// RecoverableFailure says that err cannot have left a gap: the next run
// repeats the same delta. The run exits with 10.
func RecoverableFailure(err error) error { return gapless.Recoverable(err) }

// UnrecoverableFailure says that err may have left a gap: the model state id
// is taken back, and the next run is full. The run exits with 20.
func UnrecoverableFailure(err error) error { return gapless.Unrecoverable(err) }

// DatasourceFailure says that the data source failed: the next run repeats the
// same delta. The run exits with code, one of [CodeUnknown] to
// [CodeProcessing]; any other counts as CodeUnknown.
func DatasourceFailure(err error, code int) error {
	if err == nil {
		return nil
	}
	if code < CodeUnknown || code > CodeProcessing {
		code = CodeUnknown
	}
	return &datasourceError{code: code, err: gapless.Because(gapless.Cause(code-CodeUnknown), err)}
}

// datasourceError carries the one code that a cause cannot stand for.
type datasourceError struct {
	code int
	err  error
}

func (e *datasourceError) Error() string { return e.err.Error() }

func (e *datasourceError) Unwrap() error { return e.err }

// exitCode returns the exit code that err stands for; 0 for nil.
func exitCode(err error) int {
	if errors.Is(err, gapless.ErrInterrupted) {
		return gapless.ExitInterrupted
	}
	if e, ok := errors.AsType[*datasourceError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*car.Error](err); ok && gapless.KindOf(err) == gapless.KindRecoverable {
		return gapless.ExitRecoverable // its causes are those of a data source elsewhere
	}
	return gapless.ExitCode(err)
}

// panicError is what a panic of the author's code is turned into. It has no
// class, so that the next run is full.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
