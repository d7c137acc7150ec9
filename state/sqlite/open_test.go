package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

func mustOpen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustAcquire(t testing.TB, s *Store) state.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), "c", "h", time.Minute, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustExec(t testing.TB, s *Store, statement string, args ...any) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, code gapless.Code, kind gapless.Kind, err error) {
	t.Helper()
	e, ok := errors.AsType[*gapless.Error](err)
	if !ok || e.Code != code || gapless.KindOf(err) != kind {
		t.Errorf("got %v (%s), want code %s (%s)", err, gapless.KindOf(err), code, kind)
	}
}

func TestOpenCreatesForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "state ü?#%20&x=1")
	s := mustOpen(t, dir)
	mustAcquire(t, s)
	for name, want := range map[string]os.FileMode{"": 0o700, FileName: 0o600, FileName + "-wal": 0o600, FileName + "-shm": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

func TestStateSurvivesReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustOpen(t, dir)
	l := mustAcquire(t, first)
	if err := first.Commit(t.Context(), l, state.Commit{Partitions: []state.Partition{{Connector: "c", ID: "p", Seq: 7}}}); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir) // both have it open
	partitions, err := second.Partitions(t.Context(), "c")
	if err != nil || len(partitions) != 1 || partitions[0].Seq != 7 {
		t.Errorf("through the second store: %+v, %v", partitions, err)
	}
	if _, err := second.Acquire(t.Context(), "c", "h2", time.Minute, time.Now()); err == nil {
		t.Error("the second store does not see the lease")
	}
	if err := errors.Join(second.Release(t.Context(), l), second.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	third := mustOpen(t, dir)
	if next := mustAcquire(t, third); next.Epoch <= l.Epoch {
		t.Errorf("epoch %d after %d", next.Epoch, l.Epoch)
	}
}

// TestDurabilitySettings pins what the promise of Commit rests on: it cannot
// be seen by killing a process, only by cutting the power.
func TestDurabilitySettings(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := s.write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
	if _, err := s.read.ExecContext(t.Context(), "DELETE FROM connectors"); err == nil {
		t.Error("a reader can write")
	}
	if _, err := s.write.ExecContext(t.Context(), `INSERT INTO certificates VALUES ('nobody', x'', 1, '', x'')`); err == nil {
		t.Error("a certificate without its connector was stored")
	}
}

func TestSchemaVersionIsTheLastMigration(t *testing.T) {
	t.Parallel()
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	var last int
	if _, err := fmt.Sscanf(files[len(files)-1].Name(), "%d_", &last); err != nil || last != schemaVersion {
		t.Errorf("last migration is %d, %v, schemaVersion %d", last, err, schemaVersion)
	}
}

// makeOld leaves a store as it was before the first migration.
func makeOld(t *testing.T, dir string) {
	t.Helper()
	s := mustOpen(t, dir)
	mustExec(t, s, `DELETE FROM goose_db_version WHERE version_id > 0`)
	for _, table := range []string{"conflicts", "news", "entries", "collections", "dead_letters", "certificates", "plans", "runs", "partitions", "connectors"} {
		mustExec(t, s, "DROP TABLE "+table)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenMigratesAnOlderStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeOld(t, dir)
	mustAcquire(t, mustOpen(t, dir))
}

func TestMigrationKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	l := mustAcquire(t, s)
	want := state.Partition{Connector: "c", ID: "p", Seq: 7}
	if err := s.Commit(t.Context(), l, state.Commit{Partitions: []state.Partition{want}}); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"conflicts", "news", "entries", "collections"} { // of the second migration
		mustExec(t, s, "DROP TABLE "+table)
	}
	mustExec(t, s, `DELETE FROM goose_db_version WHERE version_id > 1`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	got, err := s.Partitions(t.Context(), "c")
	if err != nil || len(got) != 1 || got[0].Seq != want.Seq {
		t.Errorf("after the migration: %+v, %v", got, err)
	}
	if err := s.Stage(t.Context(), l, []state.News{{Collection: "a", Key: "k"}}); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir, file string)
		code  gapless.Code
		kind  gapless.Kind
	}{
		{"newer version", func(t *testing.T, dir, _ string) {
			s := mustOpen(t, dir)
			mustExec(t, s, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, TRUE)`, schemaVersion+1)
			_ = s.Close()
		}, gapless.CodeStoreVersion, gapless.KindMisconfigured},
		{"not a database", func(t *testing.T, _, file string) {
			if err := os.WriteFile(file, make([]byte, 8192), 0o600); err != nil {
				t.Fatal(err)
			}
		}, gapless.CodeStoreDamaged, gapless.KindUnrecoverable},
		{"cut off", func(t *testing.T, _, file string) {
			if err := os.Truncate(file, 4096); err != nil {
				t.Fatal(err)
			}
		}, gapless.CodeStoreDamaged, gapless.KindUnrecoverable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := mustOpen(t, dir)
			mustAcquire(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, dir, filepath.Join(dir, FileName))
			_, err := Open(t.Context(), dir)
			wantCode(t, test.code, test.kind, err)
		})
	}
}

func TestOpenNamesAFolderItCannotUse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), file); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("a file as folder: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); gapless.KindOf(err) != gapless.KindMisconfigured {
		t.Errorf("a folder as file: %v", err)
	}
}

func TestDamageFoundLaterIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	l := mustAcquire(t, s)
	var c state.Commit
	for i := range 500 {
		c.Partitions = append(c.Partitions, state.Partition{Connector: "c", ID: fmt.Sprint(i)})
	}
	if err := s.Commit(t.Context(), l, c); err != nil {
		t.Fatal(err)
	}
	var root, size int64
	query := `SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'partitions'`
	if err := errors.Join(s.read.QueryRowContext(t.Context(), query).Scan(&root, &size), s.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("XXXXXXXXXXXXXXXX"), (root-1)*size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	_, err = s.Partitions(t.Context(), "c")
	wantCode(t, gapless.CodeStoreDamaged, gapless.KindUnrecoverable, err)
}

func TestFullDiskIsNamedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	l := mustAcquire(t, s)
	var pages int
	if err := s.write.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s, fmt.Sprintf("PRAGMA max_page_count = %d", pages+2))
	letter := state.DeadLetter{Connector: "c", Partition: "p", Key: "k", Body: make([]byte, 1<<16)}
	large := state.Commit{Partitions: []state.Partition{{Connector: "c", ID: "p"}}, DeadLetters: []state.DeadLetter{letter}}
	err := s.Commit(t.Context(), l, large)
	wantCode(t, gapless.CodeStoreFull, gapless.KindRecoverable, err)
	if partitions, err := s.Partitions(t.Context(), "c"); err != nil || len(partitions) != 0 {
		t.Errorf("after the failure: %+v, %v", partitions, err)
	}
	mustExec(t, s, "PRAGMA max_page_count = 1000000")
	if err := s.Commit(t.Context(), l, large); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func TestLockedStoreIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder, s := mustOpen(t, dir), mustOpen(t, dir)
	l := mustAcquire(t, s)
	mustExec(t, s, "PRAGMA busy_timeout = 1")
	tx, err := holder.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, gapless.CodeStoreLocked, gapless.KindRecoverable, s.Commit(t.Context(), l, state.Commit{}))
	if _, err := s.Connectors(t.Context()); err != nil {
		t.Errorf("a reader was kept out: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), l, state.Commit{}); err != nil {
		t.Error(err)
	}
}

// TestCommitsQueue makes two stores write one file at once, as two processes
// do: nobody is turned away.
func TestCommitsQueue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 4 {
		s := mustOpen(t, dir)
		l, err := s.Acquire(t.Context(), fmt.Sprint(i), "h", time.Minute, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for range 30 {
				if err := s.Commit(t.Context(), l, state.Commit{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestAlteredCertificateIsNamed(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	mustAcquire(t, s)
	elsewhere := proof.Certificate{Connector: "c", Partition: "q"}
	elsewhere.Seal(nil)
	moved, err := elsewhere.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "{}", `{"id":"c-1"}`, string(moved)} {
		mustExec(t, s, `DELETE FROM certificates`)
		mustExec(t, s, `INSERT INTO certificates VALUES ('c', $1, 1, '', $2)`, []byte("p"), []byte(body))
		_, err := s.LastCertificate(t.Context(), "c", "p")
		wantCode(t, gapless.CodeTampered, gapless.KindUnrecoverable, err)
		var errs []error
		for _, err := range s.Certificates(t.Context(), "c") {
			errs = append(errs, err)
		}
		if len(errs) != 1 {
			t.Fatalf("sequence is %v", errs)
		}
		wantCode(t, gapless.CodeTampered, gapless.KindUnrecoverable, errs[0])
	}
}

func TestOpenIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	keeper := mustOpen(b, dir)
	mustAcquire(b, keeper)
	for b.Loop() {
		s, err := Open(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Connectors(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	l := mustAcquire(b, s)
	run := state.Run{ID: "r-1", Connector: "c"}
	c := state.Commit{Run: &run, Partitions: []state.Partition{{Connector: "c", ID: "p"}}}
	for b.Loop() {
		if err := s.Commit(b.Context(), l, c); err != nil {
			b.Fatal(err)
		}
	}
}
