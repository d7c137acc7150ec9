package framework

import (
	"context"

	"github.com/gapless-sync/gapless/connectors/car"
)

// AssetServer is the data source.
type AssetServer interface {
	// TestConnection returns nil if the data source can be used. An error ends
	// a connection test with its exit code: 1 if it has no class. It makes no
	// request to the CAR service.
	TestConnection(ctx context.Context) error
}

// FullImport reads everything that the data source has. What it does not hand
// over is retired by the service.
//
// The hooks of one import are called one after the other, and once: whoever
// reads a data source decides there what is worth a second attempt. An error
// that is none of [RecoverableFailure], [UnrecoverableFailure] and
// [DatasourceFailure] counts as unrecoverable; so does a panic.
type FullImport interface {
	// NewModelStateID returns an id for the state that the data source is in
	// now. It is called once per run, before anything is read and before it is
	// decided how; if the run completes, the next one gets it as the last
	// state. Without an id (the empty string) the next run is full.
	NewModelStateID(ctx context.Context) (string, error)
	// ImportVertices hands over vertices, and may hand over edges.
	ImportVertices(ctx context.Context, data *DataHandler) error
	// ImportEdges hands over the edges that ImportVertices has not.
	ImportEdges(ctx context.Context, data *DataHandler) error
}

// IncrementalImport reads what has changed between two states. Any of its
// hooks may return [ErrIncrementalNotPossible].
type IncrementalImport interface {
	// DataForDelta finds out what has changed after the state last, up to next
	// at least.
	DataForDelta(ctx context.Context, last, next string) error
	// ImportVertices hands over vertices that are new or changed.
	ImportVertices(ctx context.Context, data *DataHandler) error
	// ImportEdges hands over edges that are new or changed, and calls
	// [DataHandler.DisableEdges] or [DataHandler.DisableVanished] for those
	// that are gone while both of their ends stay.
	ImportEdges(ctx context.Context, data *DataHandler) error
	// DeleteVertices calls [DataHandler.DeleteVertices] for vertices that are
	// gone. Their edges go with them.
	DeleteVertices(ctx context.Context, data *DataHandler) error
}

// SchemaExtension declares collections and fields beyond the core ones.
type SchemaExtension = car.Extension

// Connector is what an author's Setup returns.
type Connector struct {
	// AssetServer may be nil if there is nothing to test.
	AssetServer AssetServer
	Full        FullImport
	// Incremental is nil if every import is full.
	Incremental IncrementalImport
	// Extension is stored in the service before the first import and whenever
	// its version is higher than the stored one; nil if there is none.
	Extension *SchemaExtension
	// Description of the source, for people.
	Description string
	// SourceFields and ReportFields are further fields of the two objects that
	// every import begins with.
	SourceFields, ReportFields map[string]any
}
