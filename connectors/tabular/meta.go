package tabular

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// metaVersion is the version of the folder's layout.
const metaVersion = 1

// meta is what the folder beside the file says; it is replaced as a whole and
// is the one place that decides what is synced.
type meta struct {
	Version int `json:"version"`
	// ID of the store; a new one when the file was replaced from outside.
	ID string `json:"id"`
	// Format fingerprints what a line is; lines of another one are of no use.
	Format      string `json:"format"`
	Connector   string `json:"connector"`
	Epoch       uint64 `json:"epoch"`
	Incarnation uint64 `json:"incarnation"`
	// Session counts sessions; only the last one may write.
	Session uint64 `json:"session"`
	// Unsynced says that the session may have pushed what it did not sync.
	Unsynced bool `json:"unsynced"`
	// Ours says that the file has been published before.
	Ours bool `json:"ours"`
	// Base is the published file, Segments what was synced since, in order.
	Base     *extent  `json:"base,omitempty"`
	Segments []extent `json:"segments,omitempty"`
	// Scopes are the partitions that index entries name by number.
	Scopes      []scope            `json:"scopes,omitempty"`
	Checkpoints []storedCheckpoint `json:"checkpoints,omitempty"`
}

// extent is a pair of files, lines and the index to them, as far as synced.
type extent struct {
	Name  string `json:"name"`
	Lines int64  `json:"lines"` // bytes of text, uncompressed, with the header
	Index int64  `json:"index"` // bytes
	Ops   uint64 `json:"ops"`
	// Size and Modified are those of the published file, by which a change
	// from outside is noticed.
	Size     int64 `json:"size,omitempty"`
	Modified int64 `json:"modified,omitempty"`
}

// scope is a partition that records were pushed in.
type scope struct {
	Partition  string `json:"partition"`
	Collection string `json:"collection"`
}

// storedCheckpoint keeps opaque tokens as bytes: they need not be text.
type storedCheckpoint struct {
	Partition string `json:"partition"`
	Position  []byte `json:"position,omitempty"`
	Mark      []byte `json:"mark,omitempty"`
	Target    []byte `json:"target,omitempty"`
	Run       string `json:"run"`
	Seq       uint64 `json:"seq"`
	Epoch     uint64 `json:"epoch"`
}

func newMeta(format, connector string) *meta {
	return &meta{Version: metaVersion, ID: rand.Text(), Format: format, Connector: connector}
}

// reset forgets everything that the store held; it is another store then.
func (m *meta) reset(format string) {
	m.ID, m.Format = rand.Text(), format
	m.Base, m.Segments, m.Scopes, m.Checkpoints = nil, nil, nil, nil
}

func (m *meta) clone() *meta {
	c := *m
	if m.Base != nil {
		base := *m.Base
		c.Base = &base
	}
	c.Segments = slices.Clone(m.Segments)
	c.Scopes = slices.Clone(m.Scopes)
	c.Checkpoints = slices.Clone(m.Checkpoints)
	return &c
}

// layers returns all extents, oldest first.
func (m *meta) layers() []extent {
	if m.Base == nil {
		return m.Segments
	}
	return append([]extent{*m.Base}, m.Segments...)
}

// put replaces the checkpoints of the partitions named.
func (m *meta) put(checkpoints []gapless.Checkpoint) {
	for _, c := range checkpoints {
		stored := storedCheckpoint{c.Partition, []byte(c.Position), []byte(c.Mark), []byte(c.Target), c.Run, c.Seq, c.Epoch}
		i := slices.IndexFunc(m.Checkpoints, func(o storedCheckpoint) bool { return o.Partition == c.Partition })
		if i < 0 {
			m.Checkpoints = append(m.Checkpoints, stored)
		} else {
			m.Checkpoints[i] = stored
		}
	}
}

func (c storedCheckpoint) checkpoint() gapless.Checkpoint {
	return gapless.Checkpoint{
		Partition: c.Partition, Position: gapless.Position(c.Position), Mark: gapless.Mark(c.Mark),
		Target: gapless.Position(c.Target), Run: c.Run, Seq: c.Seq, Epoch: c.Epoch,
	}
}

// decodeMeta reads a folder's meta data and checks that it can be relied on.
func decodeMeta(text []byte) (*meta, error) {
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if m.Version != metaVersion {
		return &m, fmt.Errorf("layout version %d is not %d", m.Version, metaVersion)
	}
	if m.ID == "" {
		return nil, errors.New("it has no id")
	}
	for _, e := range m.layers() {
		if e.Name == "" || strings.ContainsAny(e.Name, `/\.`) || e.Lines < 0 || e.Index < 0 {
			return nil, fmt.Errorf("it names the file %q with %d and %d bytes", e.Name, e.Lines, e.Index)
		}
		if e.Ops > uint64(e.Index)/minEntry {
			return nil, fmt.Errorf("file %s cannot have %d entries", e.Name, e.Ops)
		}
	}
	return &m, nil
}

// loadMeta returns nil if the folder has none yet.
func loadMeta(dir string) (*meta, error) {
	path := filepath.Join(dir, metaName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a folder without meta data is new
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeMeta(text)
	if err != nil && m != nil && m.Version > metaVersion {
		return nil, gapless.Errorf(gapless.CodeStoreVersion, path, "%w", gapless.Misconfigured(err))
	}
	if err != nil {
		return nil, damaged(dir, fmt.Errorf("read %s: %w", metaName, err))
	}
	return m, nil
}

// damaged says that the folder cannot be relied on.
func damaged(dir string, err error) error {
	return gapless.Errorf(gapless.CodeStoreDamaged, dir, "%w", gapless.Misconfigured(err)).
		WithHint("move %s and the file beside it away and run again: the next run is full", dir)
}

func encodeMeta(m *meta) ([]byte, error) { return json.MarshalIndent(m, "", " ") }
