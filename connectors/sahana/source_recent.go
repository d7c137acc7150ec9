package sahana

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/durable"
)

// maxRecent is how many records of a partition are remembered. What is not
// remembered is read twice, which is harmless.
const maxRecent = 50_000

// recent remembers, across runs, which records behind a position have been
// handed over before that position was reached: those are read again with the
// overlap, or because they are dated in the future, and need not be handed over
// again unless they have changed. It is a memory of convenience: lost or
// damaged, it costs time.
type recent struct {
	// folder of the files; nothing outlives a run if it is empty.
	folder, connector string

	mu sync.Mutex // guards issued
	// issued are the positions given out last, by partition.
	issued map[string]gapless.Position
}

// overlapped is what is remembered of one partition.
type overlapped struct {
	// Position behind which the records lie.
	Position gapless.Position `json:"position"`
	// Versions of the records by key; those of tombstones are versions too.
	Versions map[string]string `json:"versions"`
}

// has reports whether a change was handed over just like that.
func (o *overlapped) has(c *gapless.Change) bool {
	version, ok := o.Versions[c.Key]
	return ok && version == c.Version
}

// note adds a change that is handed over.
func (o *overlapped) note(c *gapless.Change) {
	if len(o.Versions) < maxRecent || o.Versions[c.Key] != "" {
		o.Versions[c.Key] = c.Version
	}
}

// issue notes the position that a run has begun with.
func (m *recent) issue(partition string, at gapless.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.issued == nil {
		m.issued = map[string]gapless.Position{}
	}
	m.issued[partition] = at
}

// begin returns an empty memory of what lies behind the position that this run
// has begun with, and has the old one forgotten.
func (m *recent) begin(partition string) (*overlapped, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.folder != "" {
		if err := os.Remove(m.path(partition)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, gapless.Recoverable(fmt.Errorf("forget what was read: %w", err))
		}
	}
	return &overlapped{Position: m.issued[partition], Versions: map[string]string{}}, nil
}

// load returns what is remembered of a position: nothing if the last complete
// reading did not lead to it.
func (m *recent) load(partition string, at gapless.Position) *overlapped {
	var o overlapped
	if m.folder == "" {
		return &o
	}
	body, err := os.ReadFile(m.path(partition))
	if err != nil || json.Unmarshal(body, &o) != nil || o.Position != at {
		return &overlapped{}
	}
	return &o
}

// save remembers what has been handed over by a reading that came to its end.
func (m *recent) save(partition string, o *overlapped) error {
	if m.folder == "" || o.Position == "" {
		return nil
	}
	body, err := json.Marshal(o)
	if err == nil {
		err = durable.WriteBytes(m.path(partition), body)
	}
	if err != nil {
		return gapless.Recoverable(fmt.Errorf("remember what was read: %w", err))
	}
	return nil
}

func (m *recent) path(partition string) string {
	return filepath.Join(m.folder, "sahana-"+url.PathEscape(m.connector)+"-recent-"+url.PathEscape(partition)+".json")
}

// isBehind reports whether a record counts as lying behind a position for an
// Eden, which is asked by the times of its records.
func isBehind(modified time.Time, at gapless.Position) bool {
	text, err := timeOf(at)
	return err == nil && s3.FormatTime(modified, s3.TimeNaive) >= text
}
