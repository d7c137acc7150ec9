package config

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/mapping"
)

// FileName is the configuration that [Load] looks for in a folder.
const FileName = "gapless.yaml"

// Config is one checked configuration.
type Config struct {
	// File is the path it was read from, and Dir that file's folder: paths in
	// the configuration are relative to it.
	File, Dir string
	// State is the folder in which the project keeps what survives runs. It
	// may not exist yet.
	State string
	Hub   Hub
	// PushAPI is a server of documents that gapless serve starts.
	PushAPI PushAPI
	// CAR is a service of assets and risks that gapless serve starts.
	CAR CAR
	// Sahana is a service of Sahana Eden's synchronisation that gapless serve
	// starts.
	Sahana Sahana
	// Cart is a service of files for clients of Pacifica that gapless serve
	// starts.
	Cart Cart
	// Events are taken, and acted on, by gapless serve.
	Events Events
	// Connectors in the order of the file; names are unique.
	Connectors []Connector
}

// ReconcileNever turns key enumerations off: deletes are then not noticed.
const ReconcileNever time.Duration = -1

// Hub configures the embedded destination.
type Hub struct {
	Search bool `option:"search" default:"true" help:"Keep a full-text index of what is synced."`
}

// PushAPI configures the server of the Push API: what its clients push lands in
// the hub, each connector of theirs by its own name.
type PushAPI struct {
	Listen     string            `option:"listen" help:"Address to serve it at, HOST:PORT. Without one it is not served." example:"127.0.0.1:10002"`
	Connectors []string          `option:"connectors" help:"Names that clients may push to. Without any, all names."`
	Users      map[string]string `option:"users" help:"Hash of each user's password, as gapless hash-password prints it; bcrypt and argon2id are understood as well. Without users everybody is let in, which is refused beyond loopback."`
	TLSCert    string            `option:"tls_cert" help:"File with the server's certificate, PEM, and those that sign it." example:"./server.crt"`
	TLSKey     string            `option:"tls_key" help:"File with the certificate's key, PEM." example:"./server.key"`
	MaxPart    gapless.ByteSize  `option:"max_part" default:"64MiB" help:"Largest part of a document."`
	MaxBody    gapless.ByteSize  `option:"max_body" default:"4GiB" help:"Largest request."`
}

// CAR configures the service that CAR connectors import into: each source of
// theirs lands in the hub under its own name.
type CAR struct {
	Listen  string            `option:"listen" help:"Address to serve it at, HOST:PORT. Without one it is not served." example:"127.0.0.1:10003"`
	Users   map[string]string `option:"users" help:"Hash of the password of each key, as gapless hash-password prints it. Without users and tokens everybody is let in, which is refused beyond loopback."`
	Tokens  map[string]string `option:"tokens" help:"Hash of each token, as gapless hash-password prints it, by a name of your own."`
	TLSCert string            `option:"tls_cert" help:"File with the server's certificate, PEM, and those that sign it." example:"./server.crt"`
	TLSKey  string            `option:"tls_key" help:"File with the certificate's key, PEM." example:"./server.key"`
	MaxBody gapless.ByteSize  `option:"max_body" default:"20MiB" help:"Largest request."`
}

// Connector is one configured route from a source to a destination, or between
// two sides.
type Connector struct {
	// Name is made of lower case letters, digits and dashes.
	Name string
	// Line of the configuration that it starts at, counted from 1.
	Line     int
	From, To Endpoint
	// Between makes it a two-way connector, which has neither From nor To nor
	// Mapping; nil otherwise.
	Between *Between
	// Mapping holds the filter and the field mapping; its zero value passes
	// everything as it is.
	Mapping mapping.Spec
	Deletes Deletes
	// Reconcile is the period of key enumerations of a source that cannot see
	// deletes: 0 means with every run, [ReconcileNever] never.
	Reconcile time.Duration
	Sync      Sync
	// Parallel is how many partitions are read at once, at least 1.
	Parallel int
	Batch    Batch
	Retry    Retry
}

// Deletes is the guard of deletes: a run that would delete more than both
// bounds of a partition, or a canary, stops instead. What a run replaces and
// deletes nevertheless can be kept for a while.
type Deletes struct {
	MaxPercent float64 `option:"max_percent" default:"10" help:"Percentage of a partition's records that a run may delete unasked."`
	MaxRecords int     `option:"max_records" default:"20" help:"Number of records of a partition that a run may always delete unasked."`
	// Keep is how long a destination keeps what a run replaces and deletes; 0
	// keeps nothing.
	Keep   time.Duration `option:"keep" example:"7d" help:"How long what a run replaces and deletes is kept, so that gapless undo can bring it back. The destination has to be able to: the hub is."`
	Canary []string      `option:"canary" example:"[readme]" help:"Keys that the source must have, as KEY or COLLECTION/KEY: a run that would delete anything while one of them is missing stops."`
}

// Sync says how often pushed records are made durable during a run; whichever
// bound is reached first. The end of a partition always is one.
type Sync struct {
	EveryRecords int           `option:"every_records" default:"500000" help:"Records between two syncs."`
	Every        time.Duration `option:"every" default:"5s" help:"Time between two syncs."`
}

// Batch bounds what is handed on at once; whichever bound is reached first.
type Batch struct {
	Rows int              `option:"rows" default:"4096" help:"Changes in one batch."`
	Size gapless.ByteSize `option:"size" default:"1MiB" help:"Bytes in one batch."`
}

// Retry bounds how often a recoverable failure is tried again within a run.
type Retry struct {
	Attempts int           `option:"attempts" default:"5" help:"Attempts altogether; 1 never tries again."`
	MaxWait  time.Duration `option:"max_wait" default:"30s" help:"Longest wait between two attempts."`
}

// Endpoint is one end of a connector: a kind of the catalogue and the values
// of its options, ready for [gapless.Opener]. Printing one hides secrets.
type Endpoint struct {
	Kind string
	// Options by name, references resolved. Values are string, []any,
	// map[string]any or nil.
	Options map[string]any
	// secret names the options whose values must not be shown.
	secret map[string]bool
}

// String lists kind and options, secrets hidden.
func (e Endpoint) String() string {
	var b strings.Builder
	b.WriteString(e.Kind)
	for _, name := range slices.Sorted(maps.Keys(e.Options)) {
		var value any = gapless.Secret("")
		if !e.secret[name] {
			value = e.Options[name]
		}
		fmt.Fprintf(&b, " %s=%v", name, value)
	}
	return b.String()
}

// GoString is String, so that no verb shows a secret.
func (e Endpoint) GoString() string { return e.String() }

// MarshalText is String, so that no encoder shows a secret.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// LogValue is String, so that no log shows a secret.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// Env returns what the connector of a name may know about where it is opened.
func (c *Config) Env(name string) gapless.Env {
	return gapless.Env{Connector: name, Dir: c.Dir, State: c.State}
}

// Names returns the names of the connectors in the order of the file.
func (c *Config) Names() []string {
	names := make([]string, len(c.Connectors))
	for i := range c.Connectors {
		names[i] = c.Connectors[i].Name
	}
	return names
}

// Connector returns the connector of a name, or an error with
// [gapless.CodeUnknownName] that suggests the closest.
func (c *Config) Connector(name string) (Connector, error) {
	for _, connector := range c.Connectors {
		if connector.Name == name {
			return connector, nil
		}
	}
	e := gapless.Errorf(gapless.CodeUnknownName, name, "%s configures no connector of that name", c.File)
	names := c.Names()
	if fix := gapless.DidYouMean(name, names); fix != "" {
		return Connector{}, e.WithHint("%s", fix)
	}
	return Connector{}, e.WithHint("it configures %s", strings.Join(names, ", "))
}
