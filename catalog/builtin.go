package catalog

import (
	"github.com/gapless-sync/gapless/connectors/car"
	"github.com/gapless-sync/gapless/connectors/files"
	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/connectors/sahana"
	"github.com/gapless-sync/gapless/connectors/tabular"
	"github.com/gapless-sync/gapless/hub"
)

// Builtin returns the connectors that every Gapless has.
func Builtin() Catalog {
	hubs := hub.NewPool()
	return Catalog{hubs: hubs}.With(
		files.Connector(),
		tabular.JSONL(),
		tabular.CSV(),
		hub.Connector(hubs),
		pushapi.Connector(),
		car.Connector(),
		sahana.Connector(),
		pacifica.Connector(),
	)
}
