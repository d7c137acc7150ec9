package tabular

import (
	"context"
	"errors"

	"github.com/gapless-sync/gapless"
)

type stub struct {
	Path string `option:"path" help:"x."`
}

func openCSVStore(context.Context, stub, gapless.Env) (gapless.Destination, error) {
	return nil, errors.New("stub")
}

func openJSONLStore(context.Context, stub, gapless.Env) (gapless.Destination, error) {
	return nil, errors.New("stub")
}
