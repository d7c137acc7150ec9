package pushapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gapless-sync/gapless"
)

// Connector declares Push API servers as a source and as a destination.
func Connector() gapless.Connector {
	return gapless.Connector{
		Name:        "pushapi",
		Summary:     "Servers of the Push API, version 4: push any source to them, or list what they hold",
		Help:        help,
		Example:     example,
		Source:      gapless.OpenSource(openSource),
		Destination: gapless.OpenDestination(openDestination),
	}
}

// sourceOptions of the source.
type sourceOptions struct {
	Host       string         `option:"host,required" help:"Host name or address of the server." example:"search.example.com"`
	Port       int            `option:"port" default:"10002" help:"Port of the server."`
	Name       string         `option:"name,required" help:"Name of the connector at the server whose documents are listed." example:"wiki"`
	Path       string         `option:"path" help:"Folder of URIs below which documents are listed; all of them without it." example:"space/home"`
	Collection string         `option:"collection" default:"document" help:"Collection that the records belong to."`
	Login      string         `option:"login" help:"Login, together with a password." example:"gapless"`
	Password   gapless.Secret `option:"password" help:"Password, together with a login." example:"${PUSHAPI_PASSWORD}"`
	TLS        bool           `option:"tls" default:"false" help:"Connect by HTTPS."`
	CA         string         `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Dialect    string         `option:"dialect" default:"standard" enum:"standard,legacy" help:"Spelling of requests; legacy is that of clients of the first generation."`
	Timeout    time.Duration  `option:"timeout" default:"30s" help:"How long the server may be silent."`
}

// destinationOptions of the destination.
type destinationOptions struct {
	Host     string         `option:"host,required" help:"Host name or address of the server." example:"search.example.com"`
	Port     int            `option:"port" default:"10002" help:"Port of the server."`
	Name     string         `option:"name" help:"Name of the connector at the server; without it, the name of the connector here." example:"wiki"`
	Type     string         `option:"type" default:"papi" help:"Type of the connector, which servers use for checks of their licence."`
	Login    string         `option:"login" help:"Login, together with a password." example:"gapless"`
	Password gapless.Secret `option:"password" help:"Password, together with a login." example:"${PUSHAPI_PASSWORD}"`
	TLS      bool           `option:"tls" default:"false" help:"Connect by HTTPS."`
	CA       string         `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Dialect  string         `option:"dialect" default:"standard" enum:"standard,legacy" help:"Spelling of requests; legacy is that of clients of the first generation."`
	Timeout  time.Duration  `option:"timeout" default:"30s" help:"How long the server may be silent."`
}

const example = `pushapi:
  host: search.example.com
  port: 10002
  name: wiki
  login: gapless
  password: ${PUSHAPI_PASSWORD}
`

const help = `Speaks the Push API, version 4, to a server: another Gapless or the search engine
that the protocol comes from.

### As a destination

Each record is one document:

* **URI**: the collection, a slash and the record's key;
* **stamp**: the record's version;
* **metas**: the fields of its data, in their order. A text is one value, a
  number or a boolean its text, an array one value per element, and whatever is
  nested its JSON. Fields named ` + "`$directive:NAME`" + ` become directives, and
  ` + "`$part:NAME`" + ` the directives of a part;
* **parts**: its parts, with their media type as ` + "`mimeHint`" + `.

A patch updates the metas and parts that it names; one that removes a field is
rejected, for the protocol has no way to. The run's checkpoints are named
checkpoints at the server, behind the data that they stand for, and saved with
them. The server's session id is the destination's incarnation: if it restarts
during a run, the run ends, and the next one pushes again what was not saved.

The number that fences runners off is a checkpoint too. A Gapless server checks
it with every write. Other servers cannot; there it is read before every write,
so that an old runner is stopped, but not one that takes over within the same
moment.

### As a source

The protocol gives back which documents a server holds, and their stamps; not
their metas, nor their parts. Each document is one record with the URI as its
key, the stamp as its version, and both as its data. That is enough to compare
two servers, or to feed a list. Documents without stamps cannot be seen to
change.

An enumeration that breaks off ends the run and deletes nothing.

### As a server

` + "`gapless serve`" + ` answers clients of the protocol if the configuration has a block
` + "`pushapi:`" + `; their documents land in the hub. What it takes, what it adds, and the
status and error that each kind of bad input is answered with are in tables in
[the page about the wire](../wire/pushapi.md).
`

func openSource(_ context.Context, o sourceOptions, env gapless.Env) (gapless.Source, error) {
	server := serverOptions{host: o.Host, port: o.Port, login: o.Login, password: o.Password, tls: o.TLS, ca: o.CA, dialect: o.Dialect, timeout: o.Timeout}
	connect, err := server.connect(env)
	if err != nil {
		return nil, err
	}
	api, err := connect(o.Name, "")
	if err != nil {
		return nil, err
	}
	return &source{api: api, collection: o.Collection, path: o.Path}, nil
}

func openDestination(_ context.Context, o destinationOptions, env gapless.Env) (gapless.Destination, error) {
	server := serverOptions{host: o.Host, port: o.Port, login: o.Login, password: o.Password, tls: o.TLS, ca: o.CA, dialect: o.Dialect, timeout: o.Timeout}
	connect, err := server.connect(env)
	if err != nil {
		return nil, err
	}
	if _, err := connect(cmp.Or(o.Name, env.Connector, "name"), o.Type); err != nil {
		return nil, err
	}
	d := &destination{dialect: server.spelling()}
	d.connect = func(connector string) (PushAPI, error) { return connect(cmp.Or(o.Name, connector), o.Type) }
	return d, nil
}

// serverOptions say where a server is and how to speak to it.
type serverOptions struct {
	host, login string
	port        int
	password    gapless.Secret
	tls         bool
	ca, dialect string
	timeout     time.Duration
}

func (o *serverOptions) spelling() Dialect {
	if o.dialect == "legacy" {
		return DialectLegacy
	}
	return DialectStandard
}

// connect returns what makes clients. Its errors name the option at fault.
func (o *serverOptions) connect(env gapless.Env) (func(name, kind string) (PushAPI, error), error) {
	options := HTTPOptions{Dialect: o.spelling(), Timeout: o.timeout}
	if o.ca != "" && !o.tls {
		return nil, invalidOption("ca", errors.New("is of no use without tls: true"))
	}
	if o.tls {
		pool, err := o.authorities(env)
		if err != nil {
			return nil, invalidOption("ca", err)
		}
		options.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	if (o.login == "") != (o.password == "") {
		return nil, invalidOption("login", errors.New("login and password are both given or both left out"))
	}
	return func(name, kind string) (PushAPI, error) {
		c, err := NewHTTP(PAPIV4, o.host, strconv.Itoa(o.port), name, kind, o.login, o.password.Reveal(), options)
		switch {
		case errors.Is(err, ErrInvalidConnector):
			return nil, invalidOption("name", err)
		case err != nil:
			return nil, gapless.Misconfigured(gapless.Errorf(gapless.CodeInvalidOption, env.Connector, "%w", err))
		}
		return c, nil
	}, nil
}

// authorities returns nil for those of the system.
func (o *serverOptions) authorities(env gapless.Env) (*x509.CertPool, error) {
	if o.ca == "" {
		return nil, nil
	}
	path := o.ca
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

func invalidOption(option string, err error) error {
	return gapless.Misconfigured(gapless.OptionError{Option: option, Problem: err.Error(), Code: gapless.CodeInvalidOption})
}
