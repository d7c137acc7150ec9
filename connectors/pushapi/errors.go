package pushapi

import (
	"errors"
	"fmt"
	"net/http"
)

// What goes wrong, for [errors.Is].
var (
	// ErrServerUnavailable: the server cannot be reached, is overloaded, or
	// its reply was torn. Trying again later may help.
	ErrServerUnavailable = errors.New("the server is unavailable")
	// ErrInvalidConnector: the server does not know the connector's name.
	ErrInvalidConnector = errors.New("invalid connector name")
	// ErrInvalidParameter: the server or this package refuses an argument.
	ErrInvalidParameter = errors.New("invalid parameter")
	// ErrUnauthorized: login and password are missing or wrong.
	ErrUnauthorized = errors.New("login or password refused")
	// ErrSessionExists: a push session is open.
	ErrSessionExists = errors.New("a push session is open")
	// ErrSessionNotFound: no push session is open.
	ErrSessionNotFound = errors.New("no push session is open")
	// ErrSessionMismatch: the server restarted and may have lost what was not
	// synced.
	ErrSessionMismatch = errors.New("the push session is not the server's")
	// ErrUnknownSerial: the server does not know a serial.
	ErrUnknownSerial = errors.New("unknown serial")
	// ErrUnknownDocument: an update of a document that the server lacks.
	ErrUnknownDocument = errors.New("unknown document")
	// ErrTooLarge: a request is beyond the server's limits.
	ErrTooLarge = errors.New("too large")
	// ErrCheckpointMismatch: a checkpoint does not have the value that a
	// command made its condition; nothing was done.
	ErrCheckpointMismatch = errors.New("the checkpoint has another value")
	// ErrUnknownError is everything else.
	ErrUnknownError = errors.New("unknown error")
)

// ErrorType names a kind of error on the wire.
type ErrorType string

// The first three are of the protocol, and a client may know no others. The
// next are extensions that a server sends; the last are errors of a client.
const (
	TypeInvalidConnectorName ErrorType = "InvalidConnectorNameError"
	TypeInvalidParameter     ErrorType = "InvalidParameterError"
	TypeUnknown              ErrorType = "UnknownError"

	TypeUnauthorized    ErrorType = "UnauthorizedError"
	TypeSessionMismatch ErrorType = "SessionMismatchError"
	TypeUnknownDocument ErrorType = "UnknownDocumentError"
	TypeTooLarge        ErrorType = "TooLargeError"
	TypeUnavailable     ErrorType = "ServerUnavailableError"

	TypeCheckpointMismatch ErrorType = "CheckpointMismatchError"

	TypeSessionExists   ErrorType = "SessionExistsError"
	TypeSessionNotFound ErrorType = "SessionNotFoundError"
	TypeUnknownSerial   ErrorType = "UnknownSerialError"
)

// sentinel returns the error that stands for t; types that are not known are
// unknown errors.
func (t ErrorType) sentinel() error {
	switch t {
	case TypeInvalidConnectorName:
		return ErrInvalidConnector
	case TypeInvalidParameter:
		return ErrInvalidParameter
	case TypeUnauthorized:
		return ErrUnauthorized
	case TypeSessionMismatch:
		return ErrSessionMismatch
	case TypeUnknownDocument:
		return ErrUnknownDocument
	case TypeTooLarge:
		return ErrTooLarge
	case TypeUnavailable:
		return ErrServerUnavailable
	case TypeCheckpointMismatch:
		return ErrCheckpointMismatch
	case TypeSessionExists:
		return ErrSessionExists
	case TypeSessionNotFound:
		return ErrSessionNotFound
	case TypeUnknownSerial:
		return ErrUnknownSerial
	}
	return ErrUnknownError
}

// status returns the HTTP status that a server sends with an error of type t.
// Only 400 is documented to carry a body that old clients read.
func (t ErrorType) status() int {
	switch t {
	case TypeInvalidConnectorName, TypeInvalidParameter, TypeSessionMismatch, TypeUnknownDocument, TypeUnknownSerial, TypeCheckpointMismatch:
		return http.StatusBadRequest
	case TypeUnauthorized:
		return http.StatusUnauthorized
	case TypeTooLarge:
		return http.StatusRequestEntityTooLarge
	case TypeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Error is an error of the Push API.
type Error struct {
	Type ErrorType
	// Short is a few words, Message a sentence that names what is concerned.
	Short   string
	Message string
	// Status is the HTTP status; 0 if there was no reply. A server sends
	// [Error.HTTPStatus].
	Status int
	// Command that failed; empty for none.
	Command Command
	// URI of the document concerned; empty if there is none or it is not known.
	URI string
	// Err is the cause; nil if the server is.
	Err error
}

// Errorf returns an error of type t. A cause is given by %w.
func Errorf(t ErrorType, short, format string, args ...any) *Error {
	e := &Error{Type: t, Short: short}
	text := fmt.Errorf(format, args...)
	e.Message, e.Err = text.Error(), errors.Unwrap(text)
	return e
}

func invalid(uri, format string, args ...any) *Error {
	e := Errorf(TypeInvalidParameter, "invalid document", format, args...)
	e.URI = uri
	return e
}

// HTTPStatus returns the status to send: Status, or that of the type.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Type.status()
}

// Error returns command, document and message on one line.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = e.Short
	}
	if text == "" {
		text = e.Type.sentinel().Error()
	}
	if e.URI != "" {
		text = "document " + clip(e.URI) + ": " + text
	}
	if e.Command != "" {
		text = string(e.Command) + ": " + text
	}
	return text
}

// Is matches the sentinel of the error's type.
func (e *Error) Is(target error) bool { return target == e.Type.sentinel() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
