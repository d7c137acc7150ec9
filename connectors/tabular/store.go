package tabular

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Names within the folder beside the file.
const (
	folderSuffix = ".gapless"
	metaName     = "meta.json"
	lockName     = "lock"
	linesSuffix  = ".lines"
	indexSuffix  = ".index"
)

// jsonlStoreOptions of the destination.
type jsonlStoreOptions struct {
	Path string `option:"path,required" help:"File to write; .gz or .zst compresses it. Relative paths are relative to the configuration file." example:"out/records.jsonl"`
}

// csvStoreOptions of the destination.
type csvStoreOptions struct {
	Path      string   `option:"path,required" help:"File to write; .gz or .zst compresses it. Relative paths are relative to the configuration file." example:"out/records.csv"`
	Columns   []string `option:"columns,required" help:"Fields to write, in this order." example:"id"`
	Delimiter string   `option:"delimiter" default:"," help:"Character between cells; tab may be written as a word." example:";"`
}

func openJSONLStore(_ context.Context, o jsonlStoreOptions, env gapless.Env) (gapless.Destination, error) {
	return newStore(o.Path, jsonLayout{}, env)
}

func openCSVStore(_ context.Context, o csvStoreOptions, env gapless.Env) (gapless.Destination, error) {
	delimiter, err := parseDelimiter(o.Delimiter)
	if err != nil {
		return nil, err
	}
	if err := (&csvDecoder{}).bind(o.Columns); err != nil || len(o.Columns) == 0 {
		return nil, invalid("columns", fmt.Sprintf("cannot be written: %v", errors.Join(err, errors.New("name each once"))))
	}
	return newStore(o.Path, newCSVLayout(o.Columns, delimiter), env)
}

// store is one output file. Beside it lies a folder with what was synced but
// is not yet merged into the file, and with the keys of its lines.
type store struct {
	path        string
	dir         string
	layout      layout
	compression string
	disk        *disk
}

var _ gapless.Destination = (*store)(nil)

func newStore(path string, l layout, env gapless.Env) (*store, error) {
	if path == "" || path == standardInput {
		return nil, invalid("path", fmt.Sprintf("%q is not a file", path))
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	s := &store{path: path, dir: path + folderSuffix, layout: l, compression: compressionNone, disk: &disk{}}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz", ".gzip":
		s.compression = compressionGzip
	case ".zst", ".zstd":
		s.compression = compressionZstd
	}
	return s, nil
}

// Open starts a session. The file is made for one connector. Of two sessions
// of one epoch the later one writes.
func (s *store) Open(_ context.Context, connector string, epoch uint64) (gapless.Session, error) {
	if epoch == 0 {
		m, err := s.peek(connector)
		if err != nil {
			return nil, err
		}
		return &reader{store: s, connector: connector, before: m.Epoch}, nil
	}
	if err := os.Mkdir(s.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // the folder is as readable as the file
		if errors.Is(err, fs.ErrNotExist) {
			return nil, gapless.Errorf(gapless.CodeConfig, s.path, "%w", gapless.Misconfigured(err)).
				WithHint("create the folder %s first", filepath.Dir(s.path))
		}
		return nil, broken(s.path, err)
	}
	unlock, err := lockFile(filepath.Join(s.dir, lockName))
	if err != nil {
		return nil, broken(s.path, err)
	}
	defer unlock()
	m, err := s.load(connector)
	if err != nil {
		return nil, err
	}
	if epoch < m.Epoch {
		return nil, gapless.Errorf(gapless.CodeFenced, s.path, "epoch %d after %d: %w", epoch, m.Epoch, gapless.ErrFenced)
	}
	if err := s.finish(m); err != nil {
		return nil, broken(s.path, err)
	}
	if m.Unsynced {
		m.Incarnation++
	}
	before := m.Epoch
	m.Epoch, m.Unsynced = epoch, true
	m.Session++
	seen, err := s.save(m)
	if err != nil {
		return nil, broken(s.path, err)
	}
	if err := s.sweep(m); err != nil {
		return nil, broken(s.path, err)
	}
	return &session{store: s, meta: m, seen: seen, before: before}, nil
}

// peek reads what the folder says without leaving a trace.
func (s *store) peek(connector string) (*meta, error) {
	if _, err := os.Stat(s.dir); err == nil {
		unlock, err := lockFile(filepath.Join(s.dir, lockName))
		if err != nil {
			return nil, broken(s.path, err)
		}
		defer unlock()
	}
	return s.load(connector)
}

// load reads what the folder says and compares it with the file. The caller
// holds the lock.
func (s *store) load(connector string) (*meta, error) {
	m, err := loadMeta(s.dir)
	if err != nil {
		return nil, broken(s.path, err)
	}
	if m == nil {
		m = newMeta(s.layout.fingerprint(), connector)
	}
	if m.Connector != connector {
		return nil, gapless.Errorf(gapless.CodeConfig, s.path, "%w", gapless.Misconfigured(fmt.Errorf("the file belongs to connector %s", m.Connector))).
			WithHint("give each connector a file of its own")
	}
	info, err := os.Stat(s.path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, broken(s.path, err)
	case err == nil && !m.Ours && (info.Size() > 0 || !info.Mode().IsRegular()):
		return nil, gapless.Errorf(gapless.CodeConfig, s.path, "%w", gapless.Misconfigured(errors.New("the file exists and was not written by this connector"))).
			WithHint("move it away, or write to another path")
	}
	replaced := m.Base != nil && !s.pending(m) && (err != nil || info.Size() != m.Base.Size || info.ModTime().UnixNano() != m.Base.Modified)
	if replaced || m.Format != s.layout.fingerprint() {
		m.reset(s.layout.fingerprint())
	}
	return m, nil
}

// finish moves a base that was committed to its place, in case that a crash
// came between.
func (s *store) finish(m *meta) error {
	if !s.pending(m) {
		return nil
	}
	if err := s.disk.rename(s.file(*m.Base, linesSuffix), s.path); err != nil {
		return err
	}
	return s.disk.syncDir(filepath.Dir(s.path))
}

// pending reports whether the base still lies in the folder.
func (s *store) pending(m *meta) bool {
	if m.Base == nil {
		return false
	}
	_, err := os.Lstat(s.file(*m.Base, linesSuffix))
	return err == nil
}

// file returns the path of one of the two files of an extent.
func (s *store) file(e extent, suffix string) string { return filepath.Join(s.dir, e.Name+suffix) }

// save makes m durable and returns by what a later change of it is noticed.
func (s *store) save(m *meta) (fs.FileInfo, error) {
	text, err := encodeMeta(m)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, metaName)
	if err := s.disk.replace(path, text); err != nil {
		return nil, err
	}
	return os.Stat(path)
}

// sweep removes files that m does not name: remains of crashes and of sessions
// that are over.
func (s *store) sweep(m *meta) error {
	keep := map[string]bool{metaName: true, lockName: true}
	for _, e := range m.layers() {
		keep[e.Name+linesSuffix], keep[e.Name+indexSuffix] = true, true
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := s.disk.remove(filepath.Join(s.dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
