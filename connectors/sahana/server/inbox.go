package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/resolve"
)

// inbox keeps edits that were not taken, as records of the table sync_conflict.
// The same edit of the same record is kept once, however often it comes.
func (in *imports) inbox(ctx context.Context, w *writing, lost []loss) error {
	for _, l := range lost {
		r, err := l.record(in.repository, w.now)
		if err != nil {
			return err
		}
		known, err := w.find(ctx, ident{r.Name, r.UUID})
		if err != nil {
			return err
		}
		if known != nil {
			continue
		}
		if _, err := w.put(r, nil, ""); err != nil {
			return fmt.Errorf("keep a conflict of %s %s: %w", l.table, clip(l.uuid), err)
		}
	}
	return nil
}

// lostEdit is how the inbox keeps an edit.
type lostEdit struct {
	Field    string          `json:"field,omitempty"`
	Deletion bool            `json:"deletion,omitempty"`
	Side     resolve.Choice  `json:"side"`
	Time     string          `json:"time,omitempty"`
	Rule     string          `json:"rule"`
	Local    json.RawMessage `json:"local,omitempty"`
	Remote   json.RawMessage `json:"remote,omitempty"`
}

func (l *loss) record(repository string, now time.Time) (s3.Resource, error) {
	edits := make([]lostEdit, len(l.losers))
	for i, e := range l.losers {
		edits[i] = lostEdit{Field: e.Field, Deletion: e.Deletion, Side: e.Side, Rule: e.Rule, Local: e.Local, Remote: e.Remote}
		if !e.Stamp.Time.IsZero() {
			edits[i].Time = s3.FormatTime(e.Stamp.Time, s3.TimeNaive)
		}
	}
	list, err := json.Marshal(edits)
	if err != nil {
		return s3.Resource{}, fmt.Errorf("keep a conflict of %s %s: %w", l.table, clip(l.uuid), err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", repository, l.table, l.uuid, list))
	at := now.UTC().Truncate(time.Second)
	text := func(name, value string) s3.Field { return s3.Field{Name: name, Text: value} }
	return s3.Resource{
		Name: tableConflict, ModifiedOn: at, CreatedOn: at, MCI: new(0),
		UUID: urn(hex.EncodeToString(sum[:16])),
		Fields: []s3.Field{
			text("timestmp", s3.FormatTime(at, s3.TimeNaive)), text("repository", repository), text("resource_name", l.table),
			text("record_uuid", l.uuid), text("rule", l.rule), text("reason", l.reason), {Name: "edits", Value: list},
		},
	}, nil
}
