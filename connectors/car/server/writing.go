package server

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
)

// Why rows were retired.
const (
	reasonDeleted  = "deleted"
	reasonInactive = "inactive"
	reasonFull     = "full import"
	reasonRemoved  = "source deleted"
)

// writing collects the changes of one commit.
type writing struct {
	at      time.Time
	version string
	batches []*gapless.Batch
	retired int // rows
}

func newWriting(at time.Time, generation uint64) *writing {
	return &writing{at: at, version: strconv.FormatUint(generation, 10)}
}

// batch returns that of a collection. Batches are few.
func (w *writing) batch(collection string) *gapless.Batch {
	for _, b := range w.batches {
		if b.Partition.Collection == collection {
			return b
		}
	}
	b := &gapless.Batch{Partition: gapless.Partition{ID: collection, Collection: collection}, Origin: "car"}
	w.batches = append(w.batches, b)
	return b
}

func (w *writing) upsert(collection, key string, data []byte) {
	b := w.batch(collection)
	b.AppendRow(gapless.Row{
		Op: gapless.OpUpsert, Key: b.AppendBytes([]byte(key)), Version: b.AppendBytes([]byte(w.version)),
		Data: b.AppendBytes(data), Modified: w.at.UnixNano(),
	})
}

func (w *writing) delete(collection, key string) {
	b := w.batch(collection)
	b.AppendRow(gapless.Row{Op: gapless.OpDelete, Key: b.AppendBytes([]byte(key))})
}

// retire moves a row into the history of its collection.
func (w *writing) retire(collection, key string, data []byte, reason string) {
	w.retired++
	w.delete(collection, key)
	ms := strconv.FormatInt(w.at.UnixMilli(), 10)
	text := append([]byte(`{"row":`), data...)
	text = append(text, `,"retired":`+ms+`,"reason":"`+reason+`"}`...)
	w.upsert(collection+query.HistorySuffix, key+"@"+ms, text)
}

// lastRetired returns the row of a key as it was retired last, or nil.
func lastRetired(ctx context.Context, n Snapshot, collection, key string) (row []byte, err error) {
	var at int64
	err = n.Records(ctx, collection+query.HistorySuffix, key+"@", "", func(r gapless.Record) error {
		ms, err := strconv.ParseInt(strings.TrimPrefix(r.Key, key+"@"), 10, 64)
		if err != nil || ms < at {
			return nil //nolint:nilerr // the row of another key that begins like this one
		}
		row, at = []byte(gjson.GetBytes(r.Data, "row").Raw), ms
		return nil
	})
	return row, err
}
