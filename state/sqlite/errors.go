package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gapless-sync/gapless"
)

// failed turns the outcome of doing something with the store into the error
// that the caller sees. Errors that are classified already pass unchanged, so
// does nil.
func (s *Store) failed(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, classified := errors.AsType[*gapless.Error](err); classified {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if errors.Is(err, sql.ErrNoRows) {
		return gapless.Errorf(gapless.CodeNotFound, "", "%s: %w", doing, gapless.ErrNotFound)
	}
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch e.Code() & 0xff { // the low byte is the primary result code
	case sqlite3.SQLITE_FULL:
		return gapless.Errorf(gapless.CodeStoreFull, s.path, "%s: %w", doing, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return gapless.Errorf(gapless.CodeStoreLocked, s.path, "%s: %w", doing, gapless.Recoverable(err))
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return gapless.Errorf(gapless.CodeStoreDamaged, s.path, "%s: %w", doing, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%s: %s: %w", s.path, doing, gapless.Misconfigured(err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}
