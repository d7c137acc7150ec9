package sahana

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/durable"
)

// sidecar is the small file that keeps what an Eden has no place for.
type sidecar struct {
	path string

	// Epoch of the newest session.
	Epoch uint64 `json:"epoch"`
	// Eden is the address that the rest is about, and Site its uuid, which is
	// empty if it has not told.
	Eden        string                        `json:"eden"`
	Site        string                        `json:"site,omitempty"`
	Checkpoints map[string]gapless.Checkpoint `json:"checkpoints,omitempty"`
}

// openSidecar reads the file of a connector. One that is not there, or damaged,
// or about another Eden, knows no checkpoint: the next run is full.
func openSidecar(folder, connector, eden string) (*sidecar, error) {
	s := &sidecar{path: filepath.Join(folder, "sahana-"+url.PathEscape(connector)+".json"), Eden: eden}
	body, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, gapless.Recoverable(fmt.Errorf("read the checkpoints of %s: %w", connector, err))
	}
	read := *s
	if json.Unmarshal(body, &read) != nil {
		return s, nil
	}
	if read.Eden != eden {
		s.Epoch = read.Epoch
		return s, nil
	}
	return &read, nil
}

// keep adds checkpoints and replaces the file.
func (s *sidecar) keep(checkpoints []gapless.Checkpoint) error {
	next := *s
	next.Checkpoints = maps.Clone(s.Checkpoints)
	for _, c := range checkpoints {
		if next.Checkpoints == nil {
			next.Checkpoints = map[string]gapless.Checkpoint{}
		}
		next.Checkpoints[c.Partition] = c
	}
	if err := next.write(); err != nil {
		return gapless.Recoverable(fmt.Errorf("save checkpoints: %w", err))
	}
	*s = next
	return nil
}

func (s *sidecar) write() error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteBytes(s.path, body)
}
