package pushapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// ServerOptions say what a [Server] serves, to whom, and within which bounds.
type ServerOptions struct {
	// Store keeps the documents. Required.
	Store Store
	// Connectors are the names that are served; any valid name if empty.
	Connectors []string
	// Credentials of clients; without any, everybody is let in.
	Credentials []Credential
	// Limits of one request; those of [DefaultLimits] where 0.
	Limits Limits
	// BodyBytes bounds the body of one request. Defaults to 4 GiB.
	BodyBytes int64
	// Requests is how many are served at a time, each of which may hold
	// Limits.TextBytes and a few MiB more in memory; the others are told to
	// come back. Defaults to 256.
	Requests int
	// Stall is how long a client may send or take nothing while its request is
	// being served. Defaults to one minute; without it if negative.
	Stall time.Duration
	// Logger hears of what the store fails with; nobody if nil.
	Logger *slog.Logger
}

// Server is the server's side of the Push API, as an [http.Handler] for the
// paths below /papi/4/connectors/ and for "OPTIONS *". It knows both dialects
// and clients that speak HTTP/1.0.
//
// The listener has to bound headers; [http.Server] does. Give that server
// DisableGeneralOptionsHandler, so that clients of the first generation get
// the answer to "OPTIONS *" from here and see HTTP/1.1.
type Server struct {
	store  Store
	limits Limits
	body   int64
	stall  time.Duration
	names  []string
	auth   *Gatekeeper
	slots  chan struct{}
	log    *slog.Logger
}

// NewServer returns a server. The errors name the option that cannot be used.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Store == nil {
		return nil, gapless.Misconfigured(errors.New("a Push API server needs a store"))
	}
	for _, name := range o.Connectors {
		if err := checkPathName(name); err != nil {
			return nil, gapless.Misconfigured(err)
		}
	}
	auth, err := NewGatekeeper(o.Credentials)
	if err != nil {
		return nil, gapless.Misconfigured(err)
	}
	o.setDefaults()
	if min(o.Limits.Documents, o.Limits.Fields, o.Requests) < 0 || min(o.Limits.TextBytes, o.Limits.PartBytes, o.BodyBytes) < 0 {
		return nil, gapless.Misconfigured(errors.New("a limit of the Push API server is negative"))
	}
	return &Server{
		store: o.Store, limits: o.Limits, body: o.BodyBytes, stall: o.Stall, names: slices.Clone(o.Connectors),
		auth: auth, slots: make(chan struct{}, o.Requests), log: o.Logger,
	}, nil
}

func (o *ServerOptions) setDefaults() {
	limits := DefaultLimits()
	o.Limits.Documents = cmp.Or(o.Limits.Documents, limits.Documents)
	o.Limits.Fields = cmp.Or(o.Limits.Fields, limits.Fields)
	o.Limits.TextBytes = cmp.Or(o.Limits.TextBytes, limits.TextBytes)
	o.Limits.PartBytes = cmp.Or(o.Limits.PartBytes, limits.PartBytes)
	o.BodyBytes = cmp.Or(o.BodyBytes, 4<<30)
	o.Requests = cmp.Or(o.Requests, 256)
	o.Stall = cmp.Or(o.Stall, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// ServeHTTP implements [http.Handler]. A reply that cannot be completed ends
// the connection with [http.ErrAbortHandler]: it never looks complete.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newExchange(s, w, r)
	defer c.finish()
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		w.WriteHeader(http.StatusOK)
		return
	}
	if err := s.serve(c); err != nil {
		c.fail(err)
	}
}

// serve answers the request, or returns why it cannot.
func (s *Server) serve(c *exchange) error {
	if !s.auth.admits(c.r) {
		return Errorf(TypeUnauthorized, "login or password refused", "this server asks for a login and password that are right")
	}
	c.trusted = true
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return Errorf(TypeUnavailable, "server overloaded", "%d requests are being served; come back later", cap(s.slots))
	}
	run, err := s.route(c)
	if err != nil {
		return err
	}
	if c.params, err = ParseQuery(c.r.URL.RawQuery, s.limits); err != nil {
		return err
	}
	if err := c.checkSession(); err != nil {
		return err
	}
	if c.corpus, err = s.store.Corpus(c.r.Context(), c.connector); err != nil {
		return err
	}
	return run(c)
}

// route reads the path and returns what answers the command.
func (s *Server) route(c *exchange) (func(*exchange) error, error) {
	name, segment, err := splitPath(c.r.URL)
	if err != nil {
		return nil, err
	}
	c.connector = name
	if len(s.names) > 0 && !slices.Contains(s.names, name) {
		return nil, Errorf(TypeInvalidConnectorName, "unknown connector", "this server knows no connector %q", clip(name))
	}
	command, ok := ParseCommand(segment)
	if !ok {
		return nil, Errorf(TypeInvalidParameter, "unknown command", "there is no command %q", clip(segment))
	}
	c.command = command
	if !command.Allows(c.r.Method) {
		return nil, wrongVerb(c.w.Header(), command, c.r.Method)
	}
	return s.commands()[command], nil
}

// commands returns what answers each command.
func (s *Server) commands() map[Command]func(*exchange) error {
	return map[Command]func(*exchange) error{
		CommandPing:              s.ping,
		CommandSession:           s.session,
		CommandAdd:               s.addDocuments,
		CommandUpdate:            s.updateDocuments,
		CommandDelete:            s.deleteDocuments,
		CommandDeleteRootPath:    s.deleteRootPath,
		CommandDeletePrefix:      s.deletePrefix,
		CommandStatus:            s.documentsStatus,
		CommandSetCheckpoint:     s.setCheckpoint,
		CommandGetCheckpoint:     s.getCheckpoint,
		CommandGetCheckpointInfo: s.getCheckpoint,
		CommandClearCheckpoints:  s.clearCheckpoints,
		CommandCheckpoints:       s.enumerateCheckpoints,
		CommandStatedCheckpoints: s.enumerateCheckpoints,
		CommandEnumerate:         s.enumerateEntries,
		CommandCount:             s.countEntries,
		CommandSync:              s.sync,
		CommandTriggerIndexing:   s.sync,
		CommandSearchable:        s.documentsSearchable,
		CommandCapabilities:      s.capabilities,
		CommandChanges:           s.changes,
		CommandStanding:          s.standing,
	}
}

// splitPath returns connector and command of a path. Segments are separated
// before they are unescaped, so that %2F separates nothing.
func splitPath(u *url.URL) (connector, command string, err error) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), pathVersion4)
	name, segment, found := strings.Cut(rest, "/")
	if !ok || !found {
		e := Errorf(TypeInvalidParameter, "unknown path", "%q is not %sCONNECTOR/COMMAND", clip(u.Path), pathVersion4)
		e.Status = http.StatusNotFound
		return "", "", e
	}
	if connector, err = url.PathUnescape(name); err != nil {
		return "", "", Errorf(TypeInvalidConnectorName, "invalid connector name", "%q cannot be the name of a connector", clip(name))
	}
	if command, err = url.PathUnescape(segment); err != nil {
		command = segment
	}
	return connector, command, checkPathName(connector)
}

// checkPathName is [CheckConnectorName], but takes a plus: clients of the
// first generation write a space so, and it stands for itself.
func checkPathName(name string) error {
	if err := CheckConnectorName(strings.ReplaceAll(name, "+", "_")); err != nil {
		return CheckConnectorName(name)
	}
	return nil
}

// wrongVerb says which verbs a command takes.
func wrongVerb(h http.Header, command Command, method string) error {
	verbs := http.MethodPost
	if command.Reads() {
		verbs = "GET, HEAD, POST"
	}
	h.Set("Allow", verbs)
	e := Errorf(TypeInvalidParameter, "wrong method", "the method is %s, not one of %s", clip(method), verbs)
	e.Status = http.StatusMethodNotAllowed
	return e
}

func (s *Server) ping(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	return c.text(http.StatusOK, "")
}

func (s *Server) session(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	return c.text(http.StatusOK, s.store.Incarnation())
}

// sync makes everything accepted before it durable. What is synced is indexed
// without being asked, so that to trigger indexing is to sync.
func (s *Server) sync(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	in, err := c.intent()
	if err != nil {
		return err
	}
	in.Sync = true
	if _, err := c.carryOut(in); err != nil {
		return err
	}
	return c.text(http.StatusOK, "")
}

func (s *Server) documentsSearchable(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	text, err := c.required(ParamSerial)
	if err != nil {
		return err
	}
	serial, err := ParseSerial(text)
	if err != nil {
		return err
	}
	answer := SearchableNo
	switch found, err := s.store.Searchable(c.r.Context(), serial); {
	case errors.Is(err, gapless.ErrNotFound):
		answer = SearchableUnknown
	case err != nil:
		return err
	case found:
		answer = SearchableYes
	}
	return c.text(http.StatusOK, answer.String())
}

// asError returns err as the error that is sent, and whether it is the
// store's own and should be logged.
func asError(err error) (e *Error, internal bool) {
	for cause := err; errors.As(cause, &e); cause = e.Err {
		if e.Type != TypeUnknown {
			return e, false
		}
	}
	switch {
	case errors.Is(err, gapless.ErrFenced):
		return Errorf(TypeInvalidConnectorName, "connector in use", "this connector belongs to a runner of the server itself"), true
	case errors.Is(err, ErrCheckpointMismatch):
		return Errorf(TypeCheckpointMismatch, "checkpoint mismatch", "the checkpoint has another value than the request depends on"), false
	case gapless.KindOf(err) == gapless.KindExpired:
		return Errorf(TypeUnknownSerial, "unknown serial", "%w", err), false
	case errors.Is(err, context.Canceled), gapless.KindOf(err) == gapless.KindRecoverable:
		return Errorf(TypeUnavailable, "store unavailable", "the store cannot do this now; come back later"), true
	}
	return Errorf(TypeUnknown, "unexpected error", "the store failed; the server's log says why"), true
}

// describe names the request in a log line.
func (c *exchange) describe() string {
	return fmt.Sprintf("%s %s/%s", c.r.Method, c.connector, c.command)
}
