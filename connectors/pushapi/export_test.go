package pushapi

import (
	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// Impatient are the options of a client that waits no longer than it is told to
// between its attempts.
func Impatient(o HTTPOptions) HTTPOptions {
	o.sleep = gaplesstest.NoBackoff
	return o
}

// DestinationOf returns the connector's destination with clients of these
// options.
func DestinationOf(host, port string, o HTTPOptions) gapless.Destination {
	return &destination{dialect: o.Dialect, connect: func(connector string) (PushAPI, error) {
		return NewHTTP(PAPIV4, host, port, connector, "", "", "", o)
	}}
}

// SourceOf returns the connector's source with a client of these options.
func SourceOf(host, port, connector string, o HTTPOptions) (gapless.Source, error) {
	api, err := NewHTTP(PAPIV4, host, port, connector, "", "", "", o)
	if err != nil {
		return nil, err
	}
	return &source{api: api, collection: "document"}, nil
}
