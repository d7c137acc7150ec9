package car

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Connector declares CAR services as a source and as a destination.
func Connector() gapless.Connector {
	return gapless.Connector{
		Name:        "car",
		Summary:     "CAR services (Connect Asset & Risk): import any source into their graph of assets, or read it",
		Help:        help,
		Example:     example,
		Source:      gapless.OpenSource(openSource),
		Destination: gapless.OpenDestination(openDestination),
	}
}

// sourceOptions of the source.
type sourceOptions struct {
	URL         string            `option:"url,required" help:"Address of the service, with its segment v2." example:"https://car.example.com/api/car/v2"`
	Key         string            `option:"key" help:"Key of the service's credentials, together with a password." example:"gapless"`
	Password    gapless.Secret    `option:"password" help:"Password, together with a key." example:"${CAR_SERVICE_PASSWORD}"`
	Token       gapless.Secret    `option:"token" help:"Token, instead of key and password." example:"${CAR_SERVICE_AUTHTOKEN}"`
	Source      string            `option:"source,required" help:"Id of the source whose rows are read." example:"cmdb"`
	Collections []string          `option:"collections" help:"Collections to read; all core ones, and those of the extension, without it." example:"[asset, ipaddress, asset_ipaddress]"`
	Fields      map[string]string `option:"fields" help:"Fields to ask for in a collection, separated by commas. Needed only for services that tell no schema." example:"{asset: \"name,asset_type\"}"`
	Extension   string            `option:"extension" help:"JSON file of a schema extension whose collections are read too." example:"./extension.json"`
	PageRows    int               `option:"page_rows" default:"2000" help:"How many rows one query asks for."`
	CA          string            `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Timeout     time.Duration     `option:"timeout" default:"60s" help:"How long the service may be silent."`
}

// destinationOptions of the destination.
type destinationOptions struct {
	URL           string           `option:"url,required" help:"Address of the service, with its segment v2." example:"https://car.example.com/api/car/v2"`
	Key           string           `option:"key" help:"Key of the service's credentials, together with a password." example:"gapless"`
	Password      gapless.Secret   `option:"password" help:"Password, together with a key." example:"${CAR_SERVICE_PASSWORD}"`
	Token         gapless.Secret   `option:"token" help:"Token, instead of key and password." example:"${CAR_SERVICE_AUTHTOKEN}"`
	Source        string           `option:"source" help:"Unique id of the source at the service; without it, the name of the connector here." example:"cmdb"`
	Description   string           `option:"description" help:"Description of the source at the service." example:"configuration database"`
	Extension     string           `option:"extension" help:"JSON file of a schema extension, with key, owner, version and schema, that is stored at the service." example:"./extension.json"`
	PageRows      int              `option:"page_rows" default:"2000" help:"How many rows one import has at most."`
	PageSize      gapless.ByteSize `option:"page_size" default:"7680KiB" help:"How large one import is at most; services take 8 MiB."`
	InFlight      int              `option:"in_flight" default:"4" help:"How many imports are sent at once."`
	ApproveShrink bool             `option:"approve_shrink" default:"false" help:"Let a full import end although it has far fewer rows than the one before."`
	CA            string           `option:"ca" help:"PEM file of the authorities that are trusted instead of the system's." example:"./ca.pem"`
	Timeout       time.Duration    `option:"timeout" default:"60s" help:"How long the service may be silent."`
	JobTimeout    time.Duration    `option:"job_timeout" default:"30m" help:"How long an import, or another job of the service, may take."`
}

const example = `car:
  url: https://car.example.com/api/car/v2
  key: gapless
  password: ${CAR_SERVICE_PASSWORD}
  source: cmdb
`

const help = `Speaks the protocol of CAR services, in which assets, addresses, applications and
vulnerabilities are the vertices of a graph and what joins two of them is an
edge: to the product that it comes from, or to another Gapless.

### As a destination

Each collection of the source is one of the service's; ` + "`asset_ipaddress`" + ` is one of
edges, because its name joins two others. A record's key is the id of the
vertex: its ` + "`_key`" + ` in ` + "`ipaddress`, `hostname` and `macaddress`" + `, its
` + "`external_id`" + ` in all others. The key of an edge is the ids of its ends with a bar
between them, such as ` + "`17|10.0.0.1`" + `. Fields that say so are added where they are
missing, and refused where they contradict the key. Edges also get ` + "`source`" + ` and
` + "`report`" + `, and ` + "`active` and `timestamp`" + ` if they have none.

Rows are imported in pages, several at once, and none is forgotten before the
service has said that it is complete. An import that fails for a while is sent
again; one that is refused for good is taken apart until the rows at fault are
found, which become dead letters with the service's words.

Deletes wait for all imports before them. Vertices are deleted by their ids, and
the service retires their edges; edges become inactive. A patch changes an edge,
or the ` + "`name` or `pending_update`" + ` of a vertex; any other is refused, and the source
has to send whole records.

A run that reads everything is a full import: at its end the service retires
what was not in it. It is ended only if every row was taken. If a collection
came out more than 10 % and more than 20 rows smaller than the last time, or all
of it empty, the run stops with exit code 7 and nothing is retired;
` + "`approve_shrink: true`" + ` lets it end.

What the service holds is listed by queries for ids, so that rows that are gone
from the source are found also where it cannot tell deletes, or where one
partition alone was read in full.

The checkpoints of all partitions stand in the source's ` + "`model_state_id`" + `, with the
number that fences older runners off. It is read before every write, so an old
runner is stopped, but not one that takes over within the same moment.

### As a source

Rows are read by queries, in pages where the service takes ` + "`limit` and `order_by`" + `,
and otherwise a collection at once. Keys are the ids without the source's name.
A Gapless service gives each row as it was imported; of others, the fields are
asked for that their schema of imports names, or ` + "`fields`" + `.

An enumeration that breaks off ends the run and deletes nothing. Pages end with an
empty one only if it is empty again when it is asked for once more, also where a
destination lists what the service holds.

### As a server

` + "`gapless serve`" + ` is such a service if the configuration has a block ` + "`car:`" + `; its rows
land in the hub. What it answers, and how it refuses each kind of bad input, is in
tables in [the page about the wire](../wire/car.md); its queries have
[a page](../wire/car-query.md) too.

### What replies mean

| reply | what follows |
|---|---|
| no connection, silence, 408, 429, 500, 502, 503, 504 | tried again with growing waits, or after ` + "`Retry-After`" + `; then the run fails recoverably (exit 10) |
| 401, 403 | the run stops at once and may be repeated (exit 52, 53) |
| 404 for the source | it has no state: the next run is full |
| any other status for the source | not an absent state: the run fails recoverably |
| 400, 409, 413, 422 for an import, or such a code of its job | the page is taken apart; rows at fault become dead letters |
| any other code of an import's job | sent again; then the run fails recoverably |
| a failed or unreadable answer about an import | asked again; then the run fails recoverably, and nothing counts as imported |
| an import that the service does not know | sent again |
| any other refusal | the run fails unrecoverably (exit 20): the next one is full |
| a refusal to retire that many rows | exit 7; approve it at the service |
`

func openSource(_ context.Context, o sourceOptions, env gapless.Env) (gapless.Source, error) {
	c, err := connect(ClientOptions{URL: o.URL, Key: o.Key, Password: o.Password, Token: o.Token, Timeout: o.Timeout}, o.CA, env)
	if err != nil {
		return nil, err
	}
	opts := SourceOptions{Source: o.Source, Collections: o.Collections, PageRows: o.PageRows, Fields: map[string][]string{}}
	for name, list := range o.Fields {
		for field := range strings.SplitSeq(list, ",") {
			opts.Fields[name] = append(opts.Fields[name], strings.TrimSpace(field))
		}
	}
	if opts.Extension, err = readExtension(o.Extension, env); err != nil {
		return nil, err
	}
	s, err := NewSource(c, opts)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return s, nil
}

func openDestination(_ context.Context, o destinationOptions, env gapless.Env) (gapless.Destination, error) {
	c, err := connect(ClientOptions{
		URL: o.URL, Key: o.Key, Password: o.Password, Token: o.Token, Timeout: o.Timeout, JobTimeout: o.JobTimeout,
	}, o.CA, env)
	if err != nil {
		return nil, err
	}
	opts := DestinationOptions{
		Source: cmp.Or(o.Source, env.Connector), Description: o.Description, State: env.State,
		PageRows: o.PageRows, PageBytes: int64(o.PageSize), InFlight: o.InFlight, ApproveShrink: o.ApproveShrink,
	}
	if opts.Extension, err = readExtension(o.Extension, env); err != nil {
		return nil, err
	}
	d, err := NewDestination(c, opts)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return d, nil
}

func connect(o ClientOptions, ca string, env gapless.Env) (*Client, error) {
	if ca != "" {
		path := absolute(ca, env)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, invalidOption("ca", fmt.Errorf("cannot be read: %w", err))
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, invalidOption("ca", fmt.Errorf("%s holds no certificate", path))
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return NewClient(o)
}

// readExtension reads the file of a schema extension; none has no path.
func readExtension(path string, env gapless.Env) (*Extension, error) {
	if path == "" {
		return nil, nil
	}
	body, err := os.ReadFile(absolute(path, env))
	if err != nil {
		return nil, invalidOption("extension", fmt.Errorf("cannot be read: %w", err))
	}
	e, err := decodeExtension(body)
	if err == nil && (e.Key == "" || len(e.Schema) == 0) {
		err = errors.New("it has no key or no schema")
	}
	if err != nil {
		return nil, invalidOption("extension", fmt.Errorf("is not a schema extension: %w", err))
	}
	return &e, nil
}

func absolute(path string, env gapless.Env) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(env.Dir, path)
}
