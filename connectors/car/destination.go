package car

import (
	"github.com/gapless-sync/gapless"
)

// DestinationOptions say what a destination imports as.
type DestinationOptions struct {
	// Source is the unique id of the source at the service.
	Source      string
	Description string
	// SourceFields and ReportFields are further fields of the objects that
	// describe the source and the report in every import.
	SourceFields map[string]any
	ReportFields map[string]any
	// Model says that the records come from the one partition [Model].
	Model bool
	// State is the folder in which a small file remembers what the service has
	// no place for: the run of the last checkpoint, a full import that is
	// open, and how many rows the last one had. Without it a broken full
	// import begins anew and its size is not compared.
	State string
	// PageRows and PageBytes bound one import. Default to 2,000 and 7.5 MiB; a
	// larger row is sent alone.
	PageRows  int
	PageBytes int64
	// InFlight is how many imports are sent at once. Defaults to 4.
	InFlight int
	// Extension is stored at the service unless it is there; nil for none.
	Extension *Extension
	// ApproveShrink lets a full import end that has far fewer rows than the
	// one before.
	ApproveShrink bool
}

// Destination imports into one source of a service.
type Destination struct {
	client *Client
	opts   DestinationOptions
}

// NewDestination returns a destination of client's service. Its sessions are
// [gapless.FullRunner]s. Errors are [gapless.Misconfigured].
func NewDestination(client *Client, opts DestinationOptions) (*Destination, error) {
	return &Destination{client, opts}, nil
}

var _ = gapless.ErrFenced
