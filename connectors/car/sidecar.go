package car

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/durable"
)

// sidecar is the small file beside the service. What it says counts only where
// the service agrees.
type sidecar struct {
	path string // empty if there is none

	// Epoch of the last session, where the service does not keep it.
	Epoch uint64 `json:"epoch"`
	// Last is the checkpoint that the service is known to have, and Next the
	// one that it was about to get.
	Last *saved `json:"last,omitempty"`
	Next *saved `json:"next,omitempty"`
	// Full is the full import that is open.
	Full *fullImport `json:"full,omitempty"`
	// Rows of each collection after the last full import that was ended.
	Rows map[string]uint64 `json:"rows,omitempty"`
}

// saved is a checkpoint with the model_state_id that stands for it.
type saved struct {
	State      string             `json:"state"`
	Checkpoint gapless.Checkpoint `json:"checkpoint"`
}

// fullImport is what is remembered of a full import until it is ended.
type fullImport struct {
	Report string `json:"report"`
	// Generation is the service's number of it; 0 if it does not tell.
	Generation uint64 `json:"generation,omitempty"`
	// Epoch of the session that began it: older marks are of another one.
	Epoch uint64 `json:"epoch"`
	// Rows of each collection that were pushed, up to the last checkpoint.
	Rows map[string]uint64 `json:"rows,omitempty"`
	// Kept counts rows that were refused: they exist at the source.
	Kept uint64 `json:"kept,omitempty"`
}

// openSidecar reads the file. One that is not there, or damaged, says nothing.
func openSidecar(folder, source string) (*sidecar, error) {
	if folder == "" {
		return &sidecar{}, nil
	}
	s := &sidecar{path: filepath.Join(folder, "car-"+escape(source)+".json")}
	body, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, gapless.Recoverable(fmt.Errorf("read what is known of source %s: %w", source, err))
	}
	read := *s
	if json.Unmarshal(body, &read) != nil {
		return s, nil
	}
	return &read, nil
}

// save replaces the file; after a crash it is the old one or the new one.
func (s *sidecar) save() error {
	if s.path == "" {
		return nil
	}
	if err := s.write(); err != nil {
		return gapless.Recoverable(fmt.Errorf("remember the state of the import: %w", err))
	}
	return nil
}

func (s *sidecar) write() error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteBytes(s.path, body)
}

// checkpoint returns the checkpoint that a model_state_id stands for: with its
// run, if this file knows it.
func (s *sidecar) checkpoint(state string) (gapless.Checkpoint, bool) {
	for _, known := range []*saved{s.Next, s.Last} {
		if known != nil && known.State == state {
			return known.Checkpoint, true
		}
	}
	return gapless.Checkpoint{Partition: Model, Position: gapless.Position(state)}, state != ""
}
