package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/state"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaVersion is the number of the last file in migrations/.
const schemaVersion = 2

// FileName of the database within its folder. SQLite keeps files with the
// suffixes -wal and -shm beside it while it is open.
const FileName = "state.db"

// lockName is an empty file that is locked while the schema changes.
const lockName = "state.lock"

// Pragmas of every connection. Another process may hold the write lock for as
// long as a commit takes. What a two-way connector stages may be many times
// what fits SQLite's own cache of 2 MiB: it goes through one of 64 MiB, and the
// WAL into the file no sooner than every 32 MiB.
const (
	commonPragmas = "_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)"
	writePragmas  = commonPragmas + "&_pragma=synchronous(FULL)&_txlock=immediate" +
		"&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(8192)"
	readPragmas    = commonPragmas + "&_pragma=query_only(1)"
	migratePragmas = commonPragmas + "&_pragma=locking_mode(EXCLUSIVE)&_pragma=synchronous(FULL)"
)

// readers is how many reads run at once.
const readers = 4

// Store is a [state.Store] in one SQLite file.
type Store struct {
	path        string
	read, write *sql.DB
}

var _ state.Store = (*Store)(nil)

// Open opens the store in folder dir and creates both if they do not exist,
// for the owner alone. Several stores, in one process or several, may have the
// same folder open.
//
// A store of an older version is migrated, which fails with
// [gapless.CodeStoreLocked] while another process has it open. A store of a
// newer version is refused with [gapless.CodeStoreVersion], a file that is no
// database with [gapless.CodeStoreDamaged].
func Open(ctx context.Context, dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	s := &Store{path: filepath.Join(dir, FileName)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, gapless.Misconfigured(fmt.Errorf("open state: %w", err))
	}
	if s.read, err = connect(s.path, readPragmas, readers); err == nil {
		s.write, err = connect(s.path, writePragmas, 1)
	}
	if err == nil {
		err = s.ensureSchema(ctx)
	}
	if err != nil {
		return nil, errors.Join(s.failed(ctx, "open state", err), s.Close())
	}
	return s, nil
}

// Close waits for what is under way and closes the file.
func (s *Store) Close() error {
	var err error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// connect returns a pool; nothing is opened before its first use.
func connect(path, pragmas string, connections int) (*sql.DB, error) {
	escaped := (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+escaped+"?"+pragmas)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// ensureSchema costs one small query if the schema is current.
func (s *Store) ensureSchema(ctx context.Context) error {
	_, err := os.Stat(s.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gapless.Misconfigured(err)
	}
	if err == nil {
		if current, err := s.current(ctx, s.read); err != nil || current {
			return err
		}
	}
	return s.migrate(ctx)
}

// current reports whether the schema is of this version; false means older or
// none.
func (s *Store) current(ctx context.Context, db *sql.DB) (bool, error) {
	var version int
	err := db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+goose.DefaultTablename).Scan(&version)
	if e, ok := errors.AsType[*driver.Error](err); ok && e.Code() == sqlite3.SQLITE_ERROR {
		return false, nil // no such table
	}
	if err == nil && version > schemaVersion {
		return false, gapless.Errorf(gapless.CodeStoreVersion, s.path,
			"open state: schema version is %d, this program knows up to %d", version, schemaVersion)
	}
	return version == schemaVersion, err
}

// migrate brings the schema up to date. Of several processes one does it, the
// others wait and find it done.
func (s *Store) migrate(ctx context.Context) error {
	s.read.SetMaxIdleConns(0) // whoever waits must not keep the file open
	defer s.read.SetMaxIdleConns(readers)
	return s.alone(ctx, func() error {
		if current, err := s.current(ctx, s.read); err != nil || current {
			return err
		}
		return s.migrateAlone(ctx)
	})
}

// alone runs do while no other process is in alone. The lock is that of a
// transaction on an empty database beside the store, so that it ends with the
// process. The store itself cannot serve: two that wait for its exclusive lock
// keep each other out.
func (s *Store) alone(ctx context.Context, do func() error) (err error) {
	db, err := connect(filepath.Join(filepath.Dir(s.path), lockName), writePragmas, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	return do()
}

// migrateAlone locks the file for as long as it works, so that no program of
// another version has it open.
func (s *Store) migrateAlone(ctx context.Context) (err error) {
	db, err := connect(s.path, migratePragmas, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "BEGIN EXCLUSIVE; COMMIT"); err != nil {
		return err
	}
	if err := os.Chmod(s.path, 0o600); err != nil { // the files beside it inherit the mode
		return gapless.Misconfigured(err)
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if !strings.EqualFold(mode, "wal") {
		return gapless.Misconfigured(fmt.Errorf("%s: journal mode is %s, this file system cannot do WAL", s.path, mode))
	}
	return up(ctx, db)
}

func up(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
