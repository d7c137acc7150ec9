package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// cursor is what a repository has got of a table.
type cursor struct {
	// Base is the sequence number up to which it has everything, and Met when
	// it was found to have, in seconds; 0 if never.
	Base uint64 `json:"base"`
	Met  int64  `json:"met,omitempty"`
	// Sent is the sequence number up to which the last answer went. Asked was
	// the msince of its question, and Latest, in seconds, is the time of the
	// latest record in it; Records is how many there were.
	Sent    uint64 `json:"sent"`
	Asked   string `json:"asked,omitempty"`
	Latest  int64  `json:"latest,omitempty"`
	Records int    `json:"records,omitempty"`
	// Filters of the question: for others nothing is known.
	Filters string `json:"filters,omitempty"`
}

func cursorKey(repository, table string) string { return table + " " + repository }

// cursor returns that of a repository and a table, or nil.
func (v view) cursor(ctx context.Context, repository, table string) (*cursor, error) {
	record, err := v.Get(ctx, collectionCursor, cursorKey(repository, table))
	if errors.Is(err, gapless.ErrNotFound) {
		return nil, nil //nolint:nilnil // it has never asked
	}
	var c cursor
	if err == nil {
		err = json.Unmarshal(record.Data, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("read what %s has of %s: %w", clip(repository), table, err)
	}
	return &c, nil
}

// cursor returns that of a repository and a table, synced or not: one that a
// crash takes back says less, and so does no harm.
func (s *Server) cursor(ctx context.Context, repository, table string) (*cursor, error) {
	v, err := s.view(ctx, true)
	if err != nil {
		return nil, err
	}
	c, err := v.cursor(ctx, repository, table)
	return c, errors.Join(err, v.Close())
}

// progress is a cursor while a question is answered.
type progress struct {
	repository, table string
	// old is what was known before, unless the repository is new; now is what
	// will be.
	old, now cursor
	isNew    bool
}

// follow sets what the question of a registered repository is about, from what
// it has got so far.
func (c *exchange) follow(v view, q *question) (*progress, error) {
	repository := c.query.Get("repository")
	state, err := v.numbers(c.r.Context())
	if err != nil {
		return nil, err
	}
	old, err := c.s.cursor(c.r.Context(), repository, c.table)
	if err != nil {
		return nil, err
	}
	p := &progress{repository: repository, table: c.table, isNew: old == nil}
	if old != nil {
		p.old = *old
	}
	asked := ""
	at, _, err := s3.ParseMSince(c.query.Get("msince"))
	if err == nil {
		asked = s3.FormatTime(at, s3.TimeNaive)
	}
	p.now, q.since = p.old.next(asked, at, c.s.opts.Now())
	if p.isNew || p.old.Filters != q.spelling {
		p.now, q.since = cursor{}, since{} // what it has got is not known
	}
	p.now.Sent, p.now.Asked, p.now.Filters = state.sequence, asked, q.spelling
	return p, nil
}

// next returns what a repository has got that now asks since a time, and what
// to send.
//
// An Eden sets the time to a second after that of the latest record it got, and
// leaves it where it is if it got none, or failed. So a time that has moved to
// there says that it took the last answer; so does one that has moved on by
// less, from somebody who lets his questions overlap. One that is where it was
// does not, nor one from anywhere else: then the last answer is sent again, in
// the latter case with everything from that time on.
func (c cursor) next(asked string, at, now time.Time) (cursor, since) {
	n := c
	if asked == "" {
		return cursor{}, since{}
	}
	expected := time.Unix(c.Latest, 0).UTC().Add(time.Second)
	moved := asked > c.Asked && !at.After(expected)
	exact := asked != c.Asked && at.Equal(expected)
	taken := c.Records == 0 && asked == c.Asked || c.Records > 0 && (exact || moved)
	if taken {
		n.Base, n.Met = c.Sent, now.Unix()
	}
	if n.Base == 0 || exact || asked == c.Asked {
		return n, since{sequence: n.Base}
	}
	return n, since{sequence: n.Base, at: at}
}

// answered notes what was sent.
func (p *progress) answered(e *export) {
	p.now.Latest, p.now.Records = e.latest, e.results
	if e.results == 0 {
		p.now.Base = p.now.Sent
	}
}

// saveCursor stores a cursor, unless nothing but the last sequence number is
// new in it.
func (s *Server) saveCursor(ctx context.Context, p *progress) error {
	if p.now.Records == 0 && p.old.Records == 0 && p.now.Asked == p.old.Asked && p.now.Filters == p.old.Filters && !p.isNew {
		return nil
	}
	w, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	current, err := w.view.cursor(ctx, p.repository, p.table)
	if err != nil {
		return err
	}
	if current != nil && (p.isNew || *current != p.old) {
		// Two answers at a time: which of them is taken will not be known.
		p.now = cursor{Base: min(current.Base, p.old.Base), Records: 1, Filters: p.now.Filters}
	}
	data, err := json.Marshal(p.now)
	if err != nil {
		return fmt.Errorf("note what was sent: %w", err)
	}
	w.change(collectionCursor, gapless.Change{Op: gapless.OpUpsert, Record: gapless.Record{Key: cursorKey(p.repository, p.table), Data: data}})
	return w.commit(ctx)
}
