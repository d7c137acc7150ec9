package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/gapless-sync/gapless/durable"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "state")
	if err := durable.WriteBytes(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteBytes(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "two")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestWriteThatFails leaves the file as it was, and nothing beside it.
func TestWriteThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := durable.WriteBytes(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("half of it")
	err := durable.Write(path, func(w io.Writer) error {
		_, err := w.Write([]byte("ne"))
		return errors.Join(err, cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	holds(t, path, "old")
	if err := durable.WriteBytes(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("a file was taken for a folder")
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteBytes(filepath.Join(dir, "folder"), nil); err == nil {
		t.Error("a folder was replaced by a file")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != want {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
}

func TestSyncFolderThatIsNotThere(t *testing.T) {
	t.Parallel()
	if err := durable.SyncFolder(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
