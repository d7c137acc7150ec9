package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// remove deletes the records that the request names, by the path or by a filter
// of their uuid. Nothing else selects records to be deleted: a mistake in it
// would take a whole table.
func (c *exchange) remove(record string) error {
	q := question{table: c.table, domain: c.s.opts.Domain}
	if err := q.filtersOf(c.query, false); err != nil {
		return err
	}
	filters := q.filters[ownTable]
	named := []string{record}
	if record == "" {
		named = nil
		for _, f := range filters {
			if f.selector == (selector{field: "uuid"}) && (f.op == "eq" || f.op == "belongs") {
				named = append(named, f.values...)
			}
		}
	}
	if len(named) == 0 {
		return refuse(http.StatusBadRequest, "a deletion has to name records: add a filter such as ~.uuid=UUID, or the number or uuid to the path")
	}
	deleted, err := c.delete(named, filters)
	if err != nil {
		return err
	}
	if deleted == 0 {
		return notFound("there is no such %s", c.table)
	}
	return c.succeed(fmt.Sprintf("%d records deleted", deleted))
}

// delete deletes those of the named records that pass the filters.
func (c *exchange) delete(named []string, filters []filter) (int, error) {
	ctx := c.r.Context()
	w, err := c.s.write(ctx)
	if err != nil {
		return 0, err
	}
	defer w.close()
	deleted := 0
	var failed error
	look := func(id ident) *s3.Resource {
		found, err := w.view.find(ctx, id)
		failed = errors.Join(failed, err)
		if err != nil || found == nil || found.resource.Deleted {
			return nil
		}
		return &found.resource
	}
	for _, name := range named {
		id := ident{c.table, c.s.localUUID(name)}
		found, err := w.view.byName(ctx, id)
		if err != nil {
			return 0, err
		}
		if found == nil || found.resource.Deleted {
			continue
		}
		passed := passes(filters, found.id, &found.resource, look)
		if failed != nil {
			return 0, failed
		}
		if !passed {
			continue
		}
		if w.pending[ident{c.table, found.resource.UUID}] != nil {
			continue // named twice
		}
		gone := found.resource
		gone.Deleted, gone.ModifiedOn = true, w.now.UTC().Truncate(time.Second)
		if _, err := w.put(gone, found, ""); err != nil {
			return 0, err
		}
		deleted++
	}
	if err := w.commit(ctx); err != nil {
		return 0, err
	}
	if err := c.s.opts.Store.Sync(ctx); err != nil {
		return 0, fmt.Errorf("make the deletion durable: %w", err)
	}
	return deleted, nil
}
