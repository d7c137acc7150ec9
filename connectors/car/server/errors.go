package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gapless-sync/gapless"
)

// Codes of errors that are sent. The first is the one that a reply of the
// original service was seen with.
const (
	codeMalformed    = "data_mal_formed"
	codeUnauthorized = "unauthorized"
	codeNotFound     = "not_found"
	codeMethod       = "method_not_allowed"
	codeTooLarge     = "too_large"
	codeConflict     = "conflict"
	codeNotOffered   = "not_offered"
	codeUnavailable  = "unavailable"
	codeInternal     = "internal_error"
)

// problem is an error that is sent to the client.
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.message }

func refuse(status int, code, format string, args ...any) *problem {
	return &problem{status, code, fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *problem {
	return refuse(http.StatusBadRequest, codeMalformed, format, args...)
}

func notFound(format string, args ...any) *problem {
	return refuse(http.StatusNotFound, codeNotFound, format, args...)
}

// body returns the reply; trace names the request in the log.
func (p *problem) body(trace string) map[string]any {
	return map[string]any{
		"errors": []any{map[string]any{"code": p.code, "message": p.message}},
		"trace":  trace,
	}
}

// asProblem returns what is sent for err, and whether the log has to say more.
// Nothing of the store's own words goes to clients. Statuses are such that the
// original framework repeats what can succeed later.
func asProblem(err error) (p *problem, internal bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, false
	}
	switch {
	case errors.Is(err, gapless.ErrFenced):
		return refuse(http.StatusConflict, codeConflict, "this source belongs to a runner of the server itself"), true
	case errors.Is(err, context.Canceled), errors.Is(err, errClosing), gapless.KindOf(err) == gapless.KindRecoverable:
		return refuse(http.StatusServiceUnavailable, codeUnavailable, "the store cannot do this now; try again later"), true
	}
	return refuse(http.StatusInternalServerError, codeInternal, "the store failed; the server's log says why"), true
}

var errClosing = errors.New("the server is being stopped")

// clip shortens what a client sent for a message.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		return fmt.Sprintf("%.*s...", most, text)
	}
	return text
}

// encode returns the JSON of a value that always has one.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return []byte(`null`)
	}
	return text
}
