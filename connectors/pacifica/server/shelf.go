package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/gapless-sync/gapless/transfer"
)

// state says how far a cart is, in the words of the protocol.
type state string

// The states of a cart.
const (
	// stateStaging: the files are being verified.
	stateStaging state = "staging"
	// stateReady: all files have been verified.
	stateReady state = "ready"
	// stateFailed: a file is missing or is not what was ordered.
	stateFailed state = "error"
)

// label is what is known of a cart beside its files. It is the first line of
// the cart's file.
type label struct {
	Format int `json:"cart"`
	// Serial differs between carts of the same name.
	Serial  string    `json:"serial"`
	Owner   string    `json:"owner"`
	UID     string    `json:"uid"`
	Ordered time.Time `json:"ordered"`
	Bundle  bool      `json:"bundle,omitempty"`
	State   state     `json:"state"`
	Message string    `json:"message,omitempty"`
	// Files is how many lines follow; Bytes the sum of their sizes once they
	// are known.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes,omitempty"`
}

// entry is one file of a cart. Size, Modified (Unix seconds) and Version are
// known once it has been verified.
type entry struct {
	ID        string `json:"id"`
	Path      string `json:"path"`
	Algorithm string `json:"hashtype"`
	Hash      string `json:"hashsum"`
	Size      int64  `json:"size,omitempty"`
	Modified  int64  `json:"modified,omitempty"`
	Version   string `json:"version,omitempty"`
}

func (e *entry) wanted() transfer.File {
	return transfer.File{Path: e.Path, Size: -1, Algorithm: e.Algorithm, Hash: e.Hash, Origin: e.ID}
}

// String names the file in messages.
func (e *entry) String() string { return fmt.Sprintf("file %s (%s)", clip(e.ID), clip(e.Path)) }

// key is what a cart is found by: owners do not see one another's.
type key struct{ owner, uid string }

// file returns the name of the cart's file.
func (k key) file() string {
	sum := sha256.Sum256([]byte(k.owner + "\x00" + k.uid))
	return hex.EncodeToString(sum[:16]) + cartSuffix
}

const (
	cartFormat = 1
	cartSuffix = ".cart"
	// draftSuffix ends the names of files that are being written.
	draftSuffix = ".draft"
	// maxLine bounds a line of a cart's file, in bytes.
	maxLine = 256 << 10
)

// shelf keeps carts in a folder, one file each: a line for the label and one
// for each entry. A file appears under its name whole and durable.
type shelf struct{ root *os.Root }

// openShelf makes the folder if need be, and removes what was being written
// when the process died.
func openShelf(dir string) (*shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &shelf{root}
	names, err := s.names(draftSuffix)
	for _, name := range names {
		err = errors.Join(err, root.Remove(name))
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *shelf) close() error { return s.root.Close() }

// names returns the files whose names end in suffix.
func (s *shelf) names(suffix string) ([]string, error) {
	dir, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// put writes a cart, in place of an earlier one of the same key. It is durable
// when put returns; after an error the earlier one is still there, unless the
// error came at the very end.
func (s *shelf) put(l label, entries []entry) (err error) {
	name := key{l.Owner, l.UID}.file()
	draft := name + "." + rand.Text() + draftSuffix
	f, err := s.root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.root.Remove(draft) // it may have got its name already
		}
	}()
	w := bufio.NewWriterSize(f, 64<<10)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	err = lines.Encode(l)
	for i := range entries {
		if err == nil {
			err = lines.Encode(&entries[i])
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.root.Rename(draft, name); err != nil {
		return err
	}
	return s.sync()
}

// sync makes names durable.
func (s *shelf) sync() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove removes a cart durably; one that is not there is no error.
func (s *shelf) remove(k key) error {
	if err := s.root.Remove(k.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.sync()
}

// touch notes when a cart was last used.
func (s *shelf) touch(k key, at time.Time) error { return s.root.Chtimes(k.file(), at, at) }

// read reads a cart. A file that is not one, or not all of one, is
// errDamaged.
func (s *shelf) read(name string) (l label, entries []entry, err error) {
	l, err = s.scan(name, func(line []byte) error {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err == nil && len(entries) != l.Files {
		err = fmt.Errorf("%w: it has %d files of %d", errDamaged, len(entries), l.Files)
	}
	return l, entries, err
}

// errDamaged says that a file is no cart.
var errDamaged = errors.New("the file of a cart cannot be read")

// label reads a cart's label, and when the cart was last used.
func (s *shelf) label(name string) (l label, used time.Time, err error) {
	info, err := s.root.Stat(name)
	if err != nil {
		return l, used, err
	}
	l, err = s.scan(name, nil)
	return l, info.ModTime(), err
}

// scan reads the label and, unless it is nil, calls each with the lines behind
// it.
func (s *shelf) scan(name string, each func(line []byte) error) (l label, err error) {
	f, err := s.root.Open(name)
	if err != nil {
		return l, err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, maxLine)
	line, err := lines.ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(line, &l)
	}
	if err != nil || l.Format != cartFormat || (key{l.Owner, l.UID}).file() != name {
		return l, errors.Join(errDamaged, err)
	}
	for each != nil {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return l, nil
		}
		if err == nil {
			err = each(bytes.TrimSuffix(line, []byte("\n")))
		}
		if err != nil {
			return l, errors.Join(errDamaged, err)
		}
	}
	return l, nil
}
