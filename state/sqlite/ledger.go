package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// collectionID selects the number of a collection, none if nothing was ever
// stored of it.
const collectionID = `(SELECT id FROM collections WHERE connector = $1 AND name = $2)`

// collections finds the numbers of collections and gives new ones.
type collections struct {
	tx        *sql.Tx
	connector string
	known     map[string]int64
}

func (c *collections) number(ctx context.Context, name string) (int64, error) {
	id, known := c.known[name]
	if known {
		return id, nil
	}
	_, err := c.tx.ExecContext(ctx, `
		INSERT INTO collections (id, connector, name) VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM collections), $1, $2)
		ON CONFLICT (connector, name) DO NOTHING`, c.connector, []byte(name))
	if err == nil {
		err = c.tx.QueryRowContext(ctx, `SELECT `+collectionID, c.connector, []byte(name)).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("collection %s: %w", name, err)
	}
	c.known[name] = id
	return id, nil
}

// saveEntries stores entries and forgets the news of their keys.
func saveEntries(ctx context.Context, tx *sql.Tx, connector string, entries []state.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	const columns = "live_this, live_other, open, value"
	save, err := tx.PrepareContext(ctx, upsert("entries", "collection, record_key, "+columns, "(collection, record_key)", columns))
	if err != nil {
		return err
	}
	defer save.Close()
	remove, err := tx.PrepareContext(ctx, `DELETE FROM entries WHERE collection = $1 AND record_key = $2`)
	if err != nil {
		return err
	}
	defer remove.Close()
	forget, err := tx.PrepareContext(ctx, `DELETE FROM news WHERE collection = $1 AND seen IN (FALSE, TRUE) AND record_key = $2`)
	if err != nil {
		return err
	}
	defer forget.Close()
	// A statement that can be cancelled costs a goroutine; the transaction
	// ends with ctx anyway.
	ctx = context.WithoutCancel(ctx)
	numbers := collections{tx, connector, map[string]int64{}}
	for _, e := range inOrder(entries) {
		id, err := numbers.number(ctx, e.Collection)
		if err == nil && len(e.Value) > 0 {
			_, err = save.ExecContext(ctx, id, []byte(e.Key), e.Live[state.This], e.Live[state.Other], e.Open, e.Value)
		} else if err == nil {
			_, err = remove.ExecContext(ctx, id, []byte(e.Key))
		}
		if err == nil {
			_, err = forget.ExecContext(ctx, id, []byte(e.Key))
		}
		if err != nil {
			return fmt.Errorf("entry of %s in %s: %w", e.Key, e.Collection, err)
		}
	}
	return nil
}

// inOrder sorts entries by key, because neighbours share pages.
func inOrder(entries []state.Entry) []state.Entry {
	return slices.SortedStableFunc(slices.Values(entries), func(a, b state.Entry) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Key, b.Key))
	})
}

// keysAtOnce is how many keys one statement asks for.
const keysAtOnce = 64

// Entries implements [state.LedgerReader].
func (s *Store) Entries(ctx context.Context, connector, collection string, keys []string) (map[string]state.Entry, error) {
	entries := make(map[string]state.Entry, len(keys))
	read := func(row scan) error {
		e := state.Entry{Collection: collection}
		err := row(&e.Key, &e.Live[state.This], &e.Live[state.Other], &e.Open, &e.Value)
		entries[e.Key] = e
		return err
	}
	for keys := range slices.Chunk(keys, keysAtOnce) {
		args := []any{connector, []byte(collection)}
		var places []string
		for _, key := range keys {
			args = append(args, []byte(key))
			places = append(places, fmt.Sprintf("$%d", len(args)))
		}
		query := `SELECT record_key, live_this, live_other, open, value FROM entries
			WHERE collection = ` + collectionID + ` AND record_key IN (` + strings.Join(places, ", ") + `)`
		if err := eachRow(ctx, s.read, read, query, args...); err != nil {
			return nil, s.failed(ctx, "read entries of "+connector, err)
		}
	}
	return entries, nil
}

// Unsettled implements [state.LedgerReader].
func (s *Store) Unsettled(
	ctx context.Context, connector, collection, after string, all bool, limit int,
) ([]state.Unsettled, error) {
	const behind = ` WHERE collection = ` + collectionID + ` AND record_key > $3`
	const first = ` ORDER BY record_key LIMIT $4)`
	const news = `SELECT record_key FROM (SELECT DISTINCT record_key FROM news` + behind + ` AND seen = FALSE` + first
	const open = ` UNION SELECT record_key FROM (SELECT record_key FROM entries` + behind + ` AND open` + first
	const rest = ` UNION SELECT record_key FROM (SELECT DISTINCT record_key FROM news` + behind + ` AND seen = TRUE` + first +
		` UNION SELECT record_key FROM (SELECT record_key FROM entries` + behind + first
	keys := news + open
	if all {
		keys = news + rest
	}
	query := `
		WITH page AS (` + keys + ` ORDER BY record_key LIMIT $4)
		SELECT page.record_key, e.value, COALESCE(n.side, 0), COALESCE(n.seen, FALSE), n.body FROM page
		LEFT JOIN entries AS e ON e.collection = ` + collectionID + ` AND e.record_key = page.record_key
		LEFT JOIN news AS n ON n.collection = ` + collectionID + ` AND n.seen IN (FALSE, TRUE) AND n.record_key = page.record_key
		ORDER BY page.record_key, n.batch`
	var page []state.Unsettled
	err := eachRow(ctx, s.read, func(row scan) error {
		var key, entry, body sql.RawBytes
		var side int64
		var seen bool
		if err := row(&key, &entry, &side, &seen, &body); err != nil {
			return err
		}
		if last := len(page) - 1; last < 0 || page[last].Key != string(key) {
			page = append(page, state.Unsettled{Key: string(key), Entry: bytes.Clone(entry)})
		}
		if body == nil {
			return nil
		}
		return addNews(&page[len(page)-1], collection, side, seen, body)
	}, query, connector, []byte(collection), []byte(after), limit)
	return page, s.failed(ctx, "read what is unsettled of "+connector, err)
}

func scanKey(row scan) (string, error) {
	var key string
	err := row(&key)
	return key, err
}

// Unseen implements [state.LedgerReader].
func (s *Store) Unseen(
	ctx context.Context, connector, collection string, side state.Side, prefix, after string, limit int,
) ([]string, error) {
	query := `SELECT record_key FROM entries AS e` + liveEntries + ` AND record_key > $6 AND NOT ` + hasNews +
		` ORDER BY record_key LIMIT $7`
	args := append(liveArguments(connector, collection, side, prefix), []byte(after), limit)
	keys, err := list(ctx, s.read, scanKey, query, args...)
	return keys, s.failed(ctx, "read unseen keys of "+connector, err)
}

// CountUnseen implements [state.LedgerReader].
func (s *Store) CountUnseen(
	ctx context.Context, connector, collection string, side state.Side, prefix string,
) (unseen, live uint64, err error) {
	const query = `
		SELECT COUNT(*), COALESCE(SUM(CASE WHEN ` + hasNews + ` THEN 0 ELSE 1 END), 0) FROM entries AS e` + liveEntries
	err = s.read.QueryRowContext(ctx, query, liveArguments(connector, collection, side, prefix)...).Scan(&live, &unseen)
	return unseen, live, s.failed(ctx, "count unseen keys of "+connector, err)
}

// Conditions of liveArguments. Two lookups are quicker than one of either kind
// of news.
const (
	liveEntries = `
		WHERE collection = ` + collectionID + ` AND record_key >= $3 AND record_key < $4
		AND CASE $5 WHEN 0 THEN live_this WHEN 1 THEN live_other END`
	hasNews = `(EXISTS (` + newsOfEntry + ` AND n.seen = TRUE) OR EXISTS (` + newsOfEntry + ` AND n.seen = FALSE))`

	newsOfEntry = `SELECT 1 FROM news AS n WHERE n.collection = e.collection AND n.record_key = e.record_key AND n.side = $5`
)

func liveArguments(connector, collection string, side state.Side, prefix string) []any {
	return []any{connector, []byte(collection), []byte(prefix), behind(prefix), side}
}

// behind returns a key that is above all that begin with prefix and, if there
// are any, not above the others that are.
func behind(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return slices.Repeat([]byte{0xff}, 1+gapless.MaxKeyBytes)
}

// Ledgered implements [state.LedgerReader].
func (s *Store) Ledgered(ctx context.Context, connector string) ([]string, error) {
	names, err := list(ctx, s.read, scanKey, `
		SELECT name FROM collections AS c
		WHERE connector = $1 AND EXISTS (SELECT 1 FROM entries AS e WHERE e.collection = c.id) ORDER BY name`, connector)
	return names, s.failed(ctx, "read collections of "+connector, err)
}
