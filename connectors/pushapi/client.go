package pushapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless/httpx"
)

// HTTPOptions are the optional arguments of [NewHTTP]. The zero value is
// useful.
type HTTPOptions struct {
	// TLS speaks HTTPS with this configuration; nil is plain HTTP.
	TLS *tls.Config
	// Client replaces the client of our own, TLS and ConnectTimeout with it;
	// with TLS not nil it is addressed by https. It follows no redirects.
	Client *http.Client
	// Dialect is how requests are spelled.
	Dialect Dialect
	// ConnectTimeout bounds the making of a connection. Defaults to 3 s.
	ConnectTimeout time.Duration
	// Timeout is how long the server may be silent. Defaults to 30 s.
	Timeout time.Duration
	// Retries is how often a call is sent again that may be, if the server is
	// unavailable. Defaults to 4; negative means never.
	Retries int
	// BatchDocuments and BatchBytes bound one request with documents.
	// Default to 1,000 and 8 MiB. A larger document is sent alone.
	BatchDocuments int
	BatchBytes     int64
	// ListURIs and ListBytes bound one request with URIs in its address.
	// Default to 500 and 256 KiB.
	ListURIs  int
	ListBytes int64

	sleep    func(ctx context.Context, d time.Duration) error
	boundary func() (string, error)
}

func (o *HTTPOptions) setDefaults() {
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 3*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Retries = max(0, cmp.Or(o.Retries, 4))
	o.BatchDocuments = cmp.Or(o.BatchDocuments, 1000)
	o.BatchBytes = cmp.Or(o.BatchBytes, 8<<20)
	o.ListURIs = cmp.Or(o.ListURIs, 500)
	o.ListBytes = cmp.Or(o.ListBytes, 256<<10)
	if o.sleep == nil {
		o.sleep = httpx.Sleep
	}
	if o.boundary == nil {
		o.boundary = newBoundary
	}
}

// HTTPPushAPI speaks the Push API to a server.
type HTTPPushAPI struct {
	base            *url.URL
	connector       string
	connectorType   string
	login, password string
	http            *http.Client
	opts            HTTPOptions

	mu           sync.Mutex // guards what follows
	session      SessionID
	asked        bool // capabilities are known
	capabilities []Capability
}

var _ PushAPI = (*HTTPPushAPI)(nil)

// NewHTTP returns a client of the server at host and port for one connector;
// it connects when it is first used. Login and password are both given or both
// empty. Errors are [ErrInvalidParameter] and [ErrInvalidConnector].
func NewHTTP(version Version, host, port, connectorName, connectorType, login, password string, opts HTTPOptions) (*HTTPPushAPI, error) {
	if version != PAPIV4 {
		return nil, Errorf(TypeInvalidParameter, "unknown version", "there is no version %d of the protocol, only %d", version, PAPIV4)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, Errorf(TypeInvalidParameter, "invalid port", "%q is no port", clip(port))
	}
	if host == "" || strings.ContainsAny(host, "/?#@ ") {
		return nil, Errorf(TypeInvalidParameter, "invalid host", "%q is no host", clip(host))
	}
	if err := CheckConnectorName(connectorName); err != nil {
		return nil, err
	}
	if (login == "") != (password == "") || strings.Contains(login, ":") {
		return nil, Errorf(TypeInvalidParameter, "invalid credentials", "login and password are both given, the login without a colon, or both empty")
	}
	if strings.ContainsFunc(connectorType, isControl) {
		return nil, Errorf(TypeInvalidParameter, "invalid connector type", "%q is no type of connector", clip(connectorType))
	}
	opts.setDefaults()
	c := &HTTPPushAPI{
		connector: connectorName, connectorType: cmp.Or(connectorType, DefaultConnectorType),
		login: login, password: password, opts: opts,
		base: &url.URL{Scheme: "http", Host: net.JoinHostPort(strings.Trim(host, "[]"), port)},
	}
	if opts.TLS != nil {
		c.base.Scheme = "https"
	}
	c.http = newHTTPClient(&opts)
	return c, nil
}

func newHTTPClient(opts *HTTPOptions) *http.Client {
	client := &http.Client{}
	if opts.Client != nil {
		*client = *opts.Client
	} else {
		client.Transport = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: opts.ConnectTimeout}).DialContext,
			TLSHandshakeTimeout: opts.ConnectTimeout,
			TLSClientConfig:     opts.TLS,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     time.Minute,
			WriteBufferSize:     64 << 10,
			ReadBufferSize:      64 << 10,
		}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// SourceName returns the name of the connector.
func (c *HTTPPushAPI) SourceName() string { return c.connector }

// Session returns the id of the open push session, or "".
func (c *HTTPPushAPI) Session() SessionID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Close drops idle connections.
func (c *HTTPPushAPI) Close(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// Ping implements [Connection].
func (c *HTTPPushAPI) Ping(ctx context.Context) error {
	return c.run(ctx, &call{command: CommandPing})
}

// StartPushSession implements [Connection].
func (c *HTTPPushAPI) StartPushSession(ctx context.Context) (SessionID, error) {
	if c.Session() != "" {
		return "", errSessionExists()
	}
	id, err := c.currentSession(ctx)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != "" {
		return "", errSessionExists()
	}
	c.session = id
	return id, nil
}

func errSessionExists() error {
	return &Error{Type: TypeSessionExists, Short: ErrSessionExists.Error(), Message: "stop the push session that is open before starting another"}
}

func errSessionNotFound() error {
	return &Error{Type: TypeSessionNotFound, Short: ErrSessionNotFound.Error(), Message: "there is no push session to stop"}
}

// currentSession asks for the server's session id.
func (c *HTTPPushAPI) currentSession(ctx context.Context) (SessionID, error) {
	text, _, err := c.ask(ctx, &call{command: CommandSession})
	if err != nil {
		return "", err
	}
	id, err := ParseSessionID(text)
	return id, c.unreadable(CommandSession, err)
}

// StopPushSession implements [Connection].
func (c *HTTPPushAPI) StopPushSession(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == "" {
		return errSessionNotFound()
	}
	c.session = ""
	return nil
}

// maxAddressValue is how many bytes of values stand in an address if there is a
// choice: some servers and most proxies take no more than 8 KiB of it.
const maxAddressValue = 2048

// SetCheckpoint implements [CheckpointStore].
func (c *HTTPPushAPI) SetCheckpoint(ctx context.Context, value string, opts CheckpointOptions) (uint64, error) {
	request := &call{command: CommandSetCheckpoint, query: url.Values{
		ParamCheckpoint: {value}, ParamName: {opts.Name}, ParamSync: {strconv.FormatBool(opts.Sync)},
	}}
	if len(value)+len(opts.Name) > maxAddressValue && c.has(ctx, CapabilityForm) {
		request.query, request.form = nil, request.query
	}
	text, _, err := c.ask(ctx, request)
	if err != nil {
		return 0, err
	}
	serial, err := ParseSerial(text)
	return serial, c.unreadable(CommandSetCheckpoint, err)
}

// GetCheckpoint implements [CheckpointStore].
func (c *HTTPPushAPI) GetCheckpoint(ctx context.Context, query CheckpointQuery) (string, bool, error) {
	request := &call{command: CommandGetCheckpoint, query: url.Values{ParamName: {query.Name}}}
	if query.Pushed {
		if err := c.standardOnly(CommandGetCheckpointInfo); err != nil {
			return "", false, err
		}
		request.command = CommandGetCheckpointInfo
		request.query.Set(ParamSynchronizedOnly, "false")
	}
	text, status, err := c.ask(ctx, request)
	return text, err == nil && status != http.StatusNoContent, err
}

// standardOnly refuses a command that the older dialect lacks.
func (c *HTTPPushAPI) standardOnly(command Command) error {
	if c.opts.Dialect != DialectLegacy {
		return nil
	}
	e := Errorf(TypeInvalidParameter, "no such command", "servers of the older dialect have no %s", command)
	e.Command = command
	return e
}

// ClearAllCheckpoints implements [CheckpointStore].
func (c *HTTPPushAPI) ClearAllCheckpoints(ctx context.Context) error {
	return c.run(ctx, &call{command: CommandClearCheckpoints})
}

// EnumerateCheckpointsInfo implements [CheckpointStore].
func (c *HTTPPushAPI) EnumerateCheckpointsInfo(ctx context.Context, query CheckpointQuery) iter.Seq2[CheckpointInfo, error] {
	request := &call{command: CommandCheckpoints}
	if query.Pushed {
		request.command = CommandStatedCheckpoints
		request.query = url.Values{ParamSynchronizedOnly: {"false"}}
		if err := c.standardOnly(CommandStatedCheckpoints); err != nil {
			return func(yield func(CheckpointInfo, error) bool) { yield(CheckpointInfo{}, err) }
		}
	}
	return enumerate(c, ctx, request, ReadCheckpoints)
}

// EnumerateSyncedEntries implements [EntryReader].
func (c *HTTPPushAPI) EnumerateSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) iter.Seq2[SyncedEntry, error] {
	return enumerate(c, ctx, &call{command: CommandEnumerate, query: c.subset(rootPath, mode)}, ReadEntries)
}

// CountSyncedEntries implements [EntryReader].
func (c *HTTPPushAPI) CountSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) (uint64, error) {
	text, _, err := c.ask(ctx, &call{command: CommandCount, query: c.subset(rootPath, mode)})
	if err != nil {
		return 0, err
	}
	n, err := ParseSerial(text)
	return n, c.unreadable(CommandCount, err)
}

func (c *HTTPPushAPI) subset(rootPath string, mode EnumerationMode) url.Values {
	return url.Values{ParamRootPath: {rootPath}, c.opts.Dialect.modeParameter(): {mode.String()}}
}

// Sync implements [Indexer].
func (c *HTTPPushAPI) Sync(ctx context.Context) error {
	return c.run(ctx, &call{command: CommandSync})
}

// TriggerIndexingJob implements [Indexer].
func (c *HTTPPushAPI) TriggerIndexingJob(ctx context.Context) error {
	return c.run(ctx, &call{command: CommandTriggerIndexing})
}

// AreDocumentsSearchable implements [Indexer].
func (c *HTTPPushAPI) AreDocumentsSearchable(ctx context.Context, serial uint64) (Searchable, error) {
	text, _, err := c.ask(ctx, &call{command: CommandSearchable, query: url.Values{ParamSerial: {FormatSerial(serial)}}})
	if err != nil {
		return SearchableUnknown, err
	}
	answer, err := ParseSearchable(strings.TrimSpace(text))
	if err == nil && answer == SearchableUnknown {
		return answer, errUnknownSerial(serial)
	}
	return answer, c.unreadable(CommandSearchable, err)
}

func errUnknownSerial(serial uint64) error {
	return &Error{
		Type: TypeUnknownSerial, Short: ErrUnknownSerial.Error(), Command: CommandSearchable,
		Message: fmt.Sprintf("the server does not know serial %d; it was reset or is another one", serial),
	}
}

// run carries out a call whose reply does not matter.
func (c *HTTPPushAPI) run(ctx context.Context, request *call) error {
	r, err := c.send(ctx, request)
	if err != nil {
		return err
	}
	defer r.close()
	return nil
}

// ask carries out a call whose reply is short.
func (c *HTTPPushAPI) ask(ctx context.Context, request *call) (text string, status int, err error) {
	r, err := c.send(ctx, request)
	if err != nil {
		return "", 0, err
	}
	defer r.close()
	text, err = r.text()
	if err != nil {
		return "", 0, c.torn(request.command, err)
	}
	return text, r.StatusCode, nil
}

// unreadable says that a reply makes no sense.
func (c *HTTPPushAPI) unreadable(command Command, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Type: TypeUnknown, Short: "unreadable reply", Message: fmt.Sprintf("the reply of %s cannot be read: %s", c.base.Host, err), Command: command, Err: errors.Unwrap(err)}
}

// torn says that a reply broke off.
func (c *HTTPPushAPI) torn(command Command, err error) error {
	return &Error{Type: TypeUnavailable, Short: "torn reply", Message: fmt.Sprintf("the reply of %s broke off: %s", c.base.Host, err), Command: command, Err: err}
}
