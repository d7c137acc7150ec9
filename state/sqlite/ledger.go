package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

const (
	newsKey     = "connector, collection, record_key, side"
	newsContent = "seen, op, version, modified, data"
	newsDigest  = "row_count, sum0, sum1, sum2, sum3"
)

// Stage implements [state.Stager].
func (s *Store) Stage(ctx context.Context, l state.Lease, news []state.News) error {
	doing := "stage what " + l.Connector + " read"
	for i := range news {
		if err := stageable(&news[i]); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	var sums string
	for column := range strings.SplitSeq(newsDigest, ", ") {
		sums += fmt.Sprintf(", %s = news.%[1]s + excluded.%[1]s", column)
	}
	columns := strings.Join([]string{newsKey, newsContent, newsDigest}, ", ")
	seen := upsert("news", columns, "("+newsKey+")", "side") + sums
	read := upsert("news", columns, "("+newsKey+")", newsContent) + sums
	return s.transact(ctx, doing, func(tx *sql.Tx) error {
		if err := current(ctx, tx, l, `commits = commits + 1`); err != nil {
			return err
		}
		for _, kind := range []struct {
			statement string
			seen      bool
		}{{read, false}, {seen, true}} {
			err := each(ctx, tx, kind.statement, news, func(stmt *sql.Stmt, n *state.News) error {
				if n.Seen != kind.seen {
					return nil
				}
				_, err := stmt.ExecContext(ctx, append([]any{l.Connector}, newsFields(n)...)...)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func newsFields(n *state.News) []any {
	d := &n.Digest
	return []any{
		[]byte(n.Collection), []byte(n.Key), n.Side, n.Seen, n.Op, []byte(n.Version), nanos(n.Modified), n.Data,
		d.Count, d.Lo & 0xffffffff, d.Lo >> 32, d.Hi & 0xffffffff, d.Hi >> 32,
	}
}

// stageable reports what is wrong with news.
func stageable(n *state.News) error {
	switch {
	case n.Collection == "" || n.Key == "":
		return fmt.Errorf("news of key %q in collection %q: both need a name", n.Key, n.Collection)
	case n.Side > state.Other:
		return fmt.Errorf("news of key %q: there is no %s", n.Key, n.Side)
	case n.Op != gapless.OpUpsert && n.Op != gapless.OpDelete:
		return fmt.Errorf("news of key %q: %s is not staged", n.Key, n.Op)
	case n.Seen && (n.Op != gapless.OpUpsert || n.Version != "" || !n.Modified.IsZero() || n.Data != nil):
		return fmt.Errorf("news of key %q: it was just seen and has content", n.Key)
	}
	return nil
}

// Unstage implements [state.Stager].
func (s *Store) Unstage(ctx context.Context, l state.Lease) error {
	return s.transact(ctx, "forget what "+l.Connector+" read", func(tx *sql.Tx) error {
		if err := current(ctx, tx, l, `commits = commits + 1`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM news WHERE connector = $1`, l.Connector)
		return err
	})
}

func saveEntries(ctx context.Context, tx *sql.Tx, connector string, entries []state.Entry) error {
	const columns = "connector, collection, record_key, live_this, live_other, open, value"
	save := upsert("entries", columns, "(connector, collection, record_key)", "live_this, live_other, open, value")
	err := each(ctx, tx, save, entries, func(stmt *sql.Stmt, e *state.Entry) error {
		if len(e.Value) == 0 {
			return nil
		}
		_, err := stmt.ExecContext(ctx, connector, []byte(e.Collection), []byte(e.Key), e.Live[state.This], e.Live[state.Other], e.Open, e.Value)
		return err
	})
	if err != nil {
		return err
	}
	const where = ` WHERE connector = $1 AND collection = $2 AND record_key = $3`
	err = each(ctx, tx, `DELETE FROM entries`+where, entries, func(stmt *sql.Stmt, e *state.Entry) error {
		if len(e.Value) != 0 {
			return nil
		}
		_, err := stmt.ExecContext(ctx, connector, []byte(e.Collection), []byte(e.Key))
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, tx, `DELETE FROM news`+where, entries, func(stmt *sql.Stmt, e *state.Entry) error {
		_, err := stmt.ExecContext(ctx, connector, []byte(e.Collection), []byte(e.Key))
		return err
	})
}

// Entries implements [state.LedgerReader].
func (s *Store) Entries(ctx context.Context, connector, collection string, keys []string) (map[string]state.Entry, error) {
	doing := "read entries of " + connector
	const query = `
		SELECT live_this, live_other, open, value FROM entries WHERE connector = $1 AND collection = $2 AND record_key = $3`
	prepared, err := s.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, s.failed(ctx, doing, err)
	}
	defer prepared.Close()
	entries := map[string]state.Entry{}
	for _, key := range keys {
		e := state.Entry{Collection: collection, Key: key}
		err := prepared.QueryRowContext(ctx, connector, []byte(collection), []byte(key)).
			Scan(&e.Live[state.This], &e.Live[state.Other], &e.Open, &e.Value)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, s.failed(ctx, doing, err)
		}
		entries[key] = e
	}
	return entries, nil
}

// Unsettled implements [state.LedgerReader].
func (s *Store) Unsettled(
	ctx context.Context, connector, collection, after string, all bool, limit int,
) ([]state.Unsettled, error) {
	news, open := " AND NOT seen", " AND open"
	if all {
		news, open = "", ""
	}
	const from = ` WHERE connector = $1 AND collection = $2 AND record_key > $3`
	query := `
		WITH page AS (
			SELECT record_key FROM (SELECT DISTINCT record_key FROM news` + from + news + ` ORDER BY record_key LIMIT $4) AS n
			UNION SELECT record_key FROM (SELECT record_key FROM entries` + from + open + ` ORDER BY record_key LIMIT $4) AS e
			ORDER BY record_key LIMIT $4)
		SELECT page.record_key, e.value, COALESCE(n.side, -1), COALESCE(n.seen, FALSE), COALESCE(n.op, 0), n.version,
			COALESCE(n.modified, 0), n.data, COALESCE(n.row_count, 0),
			COALESCE(n.sum0, 0), COALESCE(n.sum1, 0), COALESCE(n.sum2, 0), COALESCE(n.sum3, 0)
		FROM page
		LEFT JOIN entries AS e ON e.connector = $1 AND e.collection = $2 AND e.record_key = page.record_key
		LEFT JOIN news AS n ON n.connector = $1 AND n.collection = $2 AND n.record_key = page.record_key
		ORDER BY page.record_key, n.side`
	doing := "read what is unsettled of " + connector
	rows, err := s.read.QueryContext(ctx, query, connector, []byte(collection), []byte(after), limit)
	if err != nil {
		return nil, s.failed(ctx, doing, err)
	}
	defer rows.Close()
	var page []state.Unsettled
	for rows.Next() {
		var u state.Unsettled
		n := state.News{Collection: collection}
		var side int
		var sums [4]uint64
		err := rows.Scan(&u.Key, &u.Entry, &side, &n.Seen, &n.Op, &n.Version, instant{&n.Modified}, &n.Data,
			&n.Digest.Count, &sums[0], &sums[1], &sums[2], &sums[3])
		if err != nil {
			return nil, s.failed(ctx, doing, err)
		}
		if last := len(page) - 1; last < 0 || page[last].Key != u.Key {
			page = append(page, u)
		}
		if side >= 0 {
			n.Key, n.Side = u.Key, state.Side(side)
			n.Digest = digest(n.Digest.Count, sums)
			page[len(page)-1].News[side] = &n
		}
	}
	return page, s.failed(ctx, doing, rows.Err())
}

// digest adds up what was stored as 32 bits each.
func digest(count uint64, sums [4]uint64) proof.Digest {
	lo, carry := bits.Add64(sums[0], sums[1]<<32, 0)
	hi, _ := bits.Add64(sums[1]>>32, sums[2], carry)
	return proof.Digest{Count: count, Hi: hi + sums[3]<<32, Lo: lo}
}

// Unseen implements [state.LedgerReader].
func (s *Store) Unseen(
	ctx context.Context, connector, collection string, side state.Side, prefix, after string, limit int,
) ([]string, error) {
	from, args := live(connector, collection, side, prefix)
	args = append(args, side, []byte(after), limit)
	query := `SELECT record_key FROM entries AS e` + from + fmt.Sprintf(`
		AND record_key > $%d AND NOT EXISTS (`+newsOf+`) ORDER BY record_key LIMIT $%d`, len(args)-1, len(args)-2, len(args))
	keys, err := list(ctx, s.read, func(row scan) (string, error) {
		var key string
		err := row(&key)
		return key, err
	}, query, args...)
	return keys, s.failed(ctx, "read unseen keys of "+connector, err)
}

// CountUnseen implements [state.LedgerReader].
func (s *Store) CountUnseen(
	ctx context.Context, connector, collection string, side state.Side, prefix string,
) (unseen, total uint64, err error) {
	from, args := live(connector, collection, side, prefix)
	args = append(args, side)
	query := fmt.Sprintf(`
		SELECT COUNT(*), COALESCE(SUM(CASE WHEN EXISTS (`+newsOf+`) THEN 0 ELSE 1 END), 0) FROM entries AS e`, len(args)) + from
	err = s.read.QueryRowContext(ctx, query, args...).Scan(&total, &unseen)
	return unseen, total, s.failed(ctx, "count unseen keys of "+connector, err)
}

// newsOf selects the news of an entry's key; its verb is the number of the
// argument that is the side.
const newsOf = `
	SELECT 1 FROM news AS n
	WHERE n.connector = e.connector AND n.collection = e.collection AND n.record_key = e.record_key AND n.side = $%d`

// live returns the condition for entries that are live on a side and begin
// with prefix, and its arguments.
func live(connector, collection string, side state.Side, prefix string) (string, []any) {
	where := ` WHERE connector = $1 AND collection = $2 AND record_key >= $3 AND ` + []string{"live_this", "live_other"}[side]
	args := []any{connector, []byte(collection), []byte(prefix)}
	if end := behind(prefix); end != nil {
		where += ` AND record_key < $4`
		args = append(args, end)
	}
	return where, args
}

// behind returns the first key that is above all that begin with prefix; nil
// if there is none.
func behind(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// Ledgered implements [state.LedgerReader].
func (s *Store) Ledgered(ctx context.Context, connector string) ([]string, error) {
	const query = `SELECT collection FROM entries WHERE connector = $1 AND collection > $2 ORDER BY collection LIMIT 1`
	var collections []string
	last := []byte{}
	for {
		err := s.read.QueryRowContext(ctx, query, connector, last).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return collections, nil
		}
		if err != nil {
			return nil, s.failed(ctx, "read collections of "+connector, err)
		}
		collections = append(collections, string(last))
	}
}
