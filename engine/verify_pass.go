package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gapless-sync/gapless/durable"
)

// pass is how far the verifications of a connector have come that go on with
// each other. It is forgotten when the last partition has come to its end, and
// of no use once the destination or what it is to hold is another.
type pass struct {
	Destination string    `json:"destination"`
	Fingerprint string    `json:"fingerprint"`
	Records     bool      `json:"records,omitempty"`
	Began       time.Time `json:"began"`
	// Done are the partitions that were compared to their ends, Under the one
	// that was not.
	Done  []Verified `json:"done,omitempty"`
	Under *Verified  `json:"under,omitempty"`
}

func (e *Engine) passFile() string { return filepath.Join(e.Dir, "verify.json") }

// loadPass returns the pass that is to be gone on with, or a new one.
func (v *verification) loadPass(s *survey) (*pass, error) {
	fresh := &pass{Destination: s.status.ID, Fingerprint: s.fingerprint, Records: v.options.Records, Began: v.started.UTC()}
	if v.options.Restart {
		return fresh, nil
	}
	text, err := os.ReadFile(v.passFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how far the last verification came: %w", err)
	}
	var p pass
	if json.Unmarshal(text, &p) != nil || p.Destination != fresh.Destination || p.Fingerprint != fresh.Fingerprint || p.Records != fresh.Records {
		return fresh, nil
	}
	return &p, nil
}

// savePass remembers how far the verification came.
func (v *verification) savePass() error {
	if len(v.pass.Done) == 0 && v.pass.Under == nil {
		return nil
	}
	text, err := json.Marshal(v.pass)
	if err != nil {
		return fmt.Errorf("encode how far the verification came: %w", err)
	}
	return durable.WriteBytes(v.passFile(), text)
}

// dropPass forgets how far the last verification came.
func (e *Engine) dropPass() error { return removeIfThere(e.passFile()) }
