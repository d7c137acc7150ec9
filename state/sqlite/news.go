package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

// Stage implements [state.Stager].
func (s *Store) Stage(ctx context.Context, l state.Lease, news []state.News) error {
	doing := "stage what " + l.Connector + " read"
	for i := range news {
		if err := stageable(&news[i]); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	merged := merge(news)
	return s.transact(ctx, doing, func(tx *sql.Tx) error {
		if err := current(ctx, tx, l, `commits = commits + 1`); err != nil {
			return err
		}
		return stage(ctx, tx, l.Connector, merged)
	})
}

// stageable reports what is wrong with news.
func stageable(n *state.News) error {
	var wrong string
	switch {
	case n.Collection == "":
		wrong = "no collection"
	case n.Key == "" || len(n.Key) > gapless.MaxKeyBytes:
		wrong = fmt.Sprintf("key has %d bytes", len(n.Key))
	case n.Side > state.Other:
		wrong = fmt.Sprintf("there is no %s", n.Side)
	case n.Op != gapless.OpUpsert && n.Op != gapless.OpDelete:
		wrong = fmt.Sprintf("op is %s", n.Op)
	case n.Seen && (n.Op != gapless.OpUpsert || n.Version != "" || !n.Modified.IsZero() || len(n.Data) > 0):
		wrong = "it was just seen and has content"
	default:
		return nil
	}
	return fmt.Errorf("news of %q in %q: %s", n.Key, n.Collection, wrong)
}

// merge returns news in the order in which they are stored, those of the same
// side and key as one.
func merge(news []state.News) []state.News {
	sorted := slices.Clone(news)
	slices.SortStableFunc(sorted, func(a, b state.News) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Side, b.Side))
	})
	merged := sorted[:0]
	for _, n := range sorted {
		if last := len(merged) - 1; last >= 0 &&
			merged[last].Collection == n.Collection && merged[last].Key == n.Key && merged[last].Side == n.Side {
			follow(&merged[last], n)
			continue
		}
		merged = append(merged, n)
	}
	return merged
}

// follow lets later news of the same side and key count.
func follow(n *state.News, later state.News) {
	digest := n.Digest
	digest.Merge(later.Digest)
	if !later.Seen {
		*n = later
	}
	n.Digest = digest
}

func stage(ctx context.Context, tx *sql.Tx, connector string, news []state.News) error {
	var batch int64
	err := tx.QueryRowContext(ctx, `SELECT commits FROM connectors WHERE name = $1`, connector).Scan(&batch)
	if err != nil {
		return err
	}
	numbers := collections{tx, connector, map[string]int64{}}
	const statement = `INSERT INTO news (collection, seen, record_key, side, batch, body) VALUES ($1, $2, $3, $4, $5, $6)`
	// A statement that can be cancelled costs a goroutine each; the
	// transaction ends with ctx anyway.
	ctx = context.WithoutCancel(ctx)
	var body []byte
	return each(ctx, tx, statement, news, func(stmt *sql.Stmt, n *state.News) error {
		id, err := numbers.number(ctx, n.Collection)
		if err == nil {
			body = appendBody(body[:0], n)
			_, err = stmt.ExecContext(ctx, id, n.Seen, []byte(n.Key), int64(n.Side), batch, body)
		}
		if err != nil {
			return fmt.Errorf("news of %s in %s: %w", n.Key, n.Collection, err)
		}
		return nil
	})
}

// Unstage implements [state.Stager].
func (s *Store) Unstage(ctx context.Context, l state.Lease) error {
	return s.transact(ctx, "forget what "+l.Connector+" read", func(tx *sql.Tx) error {
		if err := current(ctx, tx, l, `commits = commits + 1`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			DELETE FROM news WHERE collection IN (SELECT id FROM collections WHERE connector = $1)`, l.Connector)
		return err
	})
}

// addNews adds stored news to those of its key that were stored before.
func addNews(u *state.Unsettled, collection string, side int64, seen bool, body []byte) error {
	n := state.News{Collection: collection, Key: u.Key, Seen: seen}
	if err := decodeBody(body, &n); err != nil || side < 0 || side > int64(state.Other) {
		return fmt.Errorf("news of %s in %s: %w", u.Key, collection, errNews)
	}
	n.Side = state.Side(side)
	if earlier := u.News[side]; earlier != nil {
		follow(earlier, n)
	} else {
		u.News[side] = &n
	}
	return nil
}

// Body of news: how many rows their digest stands for and its sum, 8 bytes each;
// unless just seen, then the op in one byte, the time in 8 (nanoseconds since
// 1970, 0 for none), the version behind its length as a uvarint, and the data.
// All numbers are big-endian.
func appendBody(to []byte, n *state.News) []byte {
	to = binary.BigEndian.AppendUint64(to, n.Digest.Count)
	to = binary.BigEndian.AppendUint64(to, n.Digest.Hi)
	to = binary.BigEndian.AppendUint64(to, n.Digest.Lo)
	if n.Seen {
		return to
	}
	to = append(to, byte(n.Op))
	to = binary.BigEndian.AppendUint64(to, uint64(nanos(n.Modified)))
	to = binary.AppendUvarint(to, uint64(len(n.Version)))
	to = append(to, n.Version...)
	return append(to, n.Data...)
}

var errNews = errors.New("staged news are damaged")

// decodeBody fills in what appendBody wrote; it does not keep body.
func decodeBody(body []byte, n *state.News) error {
	const digestBytes, headBytes = 24, 33
	if len(body) < digestBytes || n.Seen != (len(body) == digestBytes) || !n.Seen && len(body) < headBytes {
		return errNews
	}
	n.Digest.Count = binary.BigEndian.Uint64(body)
	n.Digest.Hi = binary.BigEndian.Uint64(body[8:])
	n.Digest.Lo = binary.BigEndian.Uint64(body[16:])
	if n.Seen {
		return nil
	}
	n.Op = gapless.Op(body[digestBytes])
	if nanos := int64(binary.BigEndian.Uint64(body[digestBytes+1:])); nanos != 0 {
		n.Modified = time.Unix(0, nanos).UTC()
	}
	body = body[headBytes:]
	size, read := binary.Uvarint(body)
	if read <= 0 || size > uint64(len(body)-read) {
		return errNews
	}
	n.Version = string(body[read : read+int(size)])
	if data := body[read+int(size):]; len(data) > 0 {
		n.Data = bytes.Clone(data)
	}
	return nil
}
