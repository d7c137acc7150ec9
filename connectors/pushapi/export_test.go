package pushapi

import (
	"context"
	"time"

	"github.com/gapless-sync/gapless"
)

// Impatient are the options of a client that waits for nothing between its
// attempts.
func Impatient(o HTTPOptions) HTTPOptions {
	o.sleep = func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
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
