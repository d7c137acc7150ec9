package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/transfer"
)

// CartFiles returns the parts of a hub's records as the files of a cart server.
// In is CONNECTOR/COLLECTION. The id of a file is the key of a record that has
// one part, or the key, a slash and the name of the part; only what is synced
// is found.
func CartFiles(h *hub.Hub, in string) (server.Files, error) {
	connector, collection, ok := strings.Cut(in, "/")
	if !ok || connector == "" || collection == "" {
		return nil, fmt.Errorf("%q does not name the records: want CONNECTOR/COLLECTION", in)
	}
	return cartFiles{h, connector, collection}, nil
}

type cartFiles struct {
	hub                   *hub.Hub
	connector, collection string
}

func (f cartFiles) Open(ctx context.Context, wanted transfer.File) (server.Content, error) {
	r, part, err := f.find(ctx, wanted.Origin)
	if err != nil {
		return server.Content{}, err
	}
	body, err := part.Open(ctx)
	if err != nil {
		return server.Content{}, err
	}
	return server.Content{Size: part.Size, Modified: r.Modified, Version: part.Version, Body: body}, nil
}

// find returns the record and the part of an id.
func (f cartFiles) find(ctx context.Context, id string) (gapless.Record, gapless.Part, error) {
	r, err := f.hub.Get(ctx, f.connector, f.collection, id)
	if err == nil && len(r.Parts) == 1 {
		return r, r.Parts[0], nil
	}
	slash := strings.LastIndexByte(id, '/')
	if slash < 0 {
		return r, gapless.Part{}, absent(err)
	}
	if r, err = f.hub.Get(ctx, f.connector, f.collection, id[:slash]); err != nil {
		return r, gapless.Part{}, err
	}
	for _, p := range r.Parts {
		if p.Name == id[slash+1:] {
			return r, p, nil
		}
	}
	return r, gapless.Part{}, gapless.ErrNotFound
}

// absent is the error for a record that has several parts, or none.
func absent(err error) error {
	if err == nil {
		return gapless.ErrNotFound
	}
	return err
}
