package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// scan fills variables with the columns of one row.
type scan func(dest ...any) error

// transact runs do in one transaction of the writer.
func (s *Store) transact(ctx context.Context, doing string, do func(tx *sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.failed(ctx, doing, err)
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // the error that led here is the one to tell
		return s.failed(ctx, doing, err)
	}
	return s.failed(ctx, doing, tx.Commit())
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// eachRow calls read for every row of a query.
func eachRow(ctx context.Context, db querier, read func(scan) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// list reads all rows of a query.
func list[T any](ctx context.Context, db querier, read func(scan) (T, error), query string, args ...any) ([]T, error) {
	var all []T
	err := eachRow(ctx, db, func(row scan) error {
		one, err := read(row)
		all = append(all, one)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// each runs one prepared statement per item.
func each[T any](ctx context.Context, tx *sql.Tx, statement string, items []T, do func(*sql.Stmt, *T) error) error {
	if len(items) == 0 {
		return nil
	}
	prepared, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for i := range items {
		if err := do(prepared, &items[i]); err != nil {
			return err
		}
	}
	return nil
}

// upsert returns the statement that inserts a row, or updates the columns
// replaced of the row that is there by the conflict target.
func upsert(table, columns, target, replaced string) string {
	names := strings.Split(columns, ", ")
	places := make([]string, len(names))
	for i := range names {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	var sets []string
	for name := range strings.SplitSeq(replaced, ", ") {
		sets = append(sets, name+" = excluded."+name)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT %s DO UPDATE SET %s",
		table, columns, strings.Join(places, ", "), target, strings.Join(sets, ", "))
}

// instant reads and writes a time as nanoseconds since 1970, 0 for the zero
// time.
type instant struct{ t *time.Time }

// Scan implements [sql.Scanner].
func (i instant) Scan(src any) error {
	nanos, ok := src.(int64)
	if !ok {
		return fmt.Errorf("time is %T", src)
	}
	*i.t = time.Time{}
	if nanos != 0 {
		*i.t = time.Unix(0, nanos).UTC()
	}
	return nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// text makes s storable where only UTF-8 without NUL is.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// encodeKeys returns nil for no keys.
func encodeKeys(keys []string) []byte {
	var encoded []byte
	for _, key := range keys {
		encoded = binary.AppendUvarint(encoded, uint64(len(key)))
		encoded = append(encoded, key...)
	}
	return encoded
}

var errKeys = errors.New("list of keys is damaged")

func decodeKeys(encoded []byte) ([]string, error) {
	var keys []string
	for len(encoded) > 0 {
		size, n := binary.Uvarint(encoded)
		if n <= 0 || size > uint64(len(encoded)-n) {
			return nil, errKeys
		}
		keys = append(keys, string(encoded[n:n+int(size)]))
		encoded = encoded[n+int(size):]
	}
	return keys, nil
}
