package pushapi

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/gapless-sync/gapless"
)

// maxCheckpointBytes bounds the value of a checkpoint.
const maxCheckpointBytes = 64 << 10

// checkpointName returns the name of the checkpoint concerned.
func (c *exchange) checkpointName() (string, error) {
	name, _, err := c.optional(ParamName)
	if err == nil && len(name) > gapless.MaxKeyBytes {
		err = Errorf(TypeInvalidParameter, "invalid checkpoint name", "the name has %d bytes, more than %d", len(name), gapless.MaxKeyBytes)
	}
	return name, err
}

// setCheckpoint puts a value behind all that was accepted before it.
func (s *Server) setCheckpoint(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	if _, err := c.required(ParamCheckpoint); err != nil {
		return err
	}
	in, err := c.intent()
	if err == nil {
		err = c.intendCheckpoint(&in)
	}
	if err != nil {
		return err
	}
	receipt, err := c.carryOut(in)
	if err != nil {
		return err
	}
	return c.text(http.StatusOK, FormatSerial(receipt.Serial))
}

// pushed reports whether the command asks for what may yet be lost. Only the
// commands with a parameter for it can.
func (c *exchange) pushed() (bool, error) {
	if c.command != CommandGetCheckpointInfo && c.command != CommandStatedCheckpoints {
		return false, nil
	}
	synced, err := c.flag(ParamSynchronizedOnly, true)
	return !synced, err
}

// checkpoints reads them all.
func (c *exchange) checkpoints() (list map[string]string, err error) {
	pushed, err := c.pushed()
	if err != nil {
		return nil, err
	}
	snapshot, err := c.corpus.Snapshot(c.r.Context(), pushed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	return snapshot.Checkpoints(c.r.Context())
}

// getCheckpoint answers 204 for one that was never set: an empty body, as for
// one that is empty.
func (s *Server) getCheckpoint(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	name, err := c.checkpointName()
	if err != nil {
		return err
	}
	list, err := c.checkpoints()
	if err != nil {
		return err
	}
	value, set := list[name]
	if !set {
		return c.text(http.StatusNoContent, "")
	}
	return c.text(http.StatusOK, value)
}

func (s *Server) enumerateCheckpoints(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	list, err := c.checkpoints()
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(list))
	escape := c.escape()
	return c.enumerate(func(w io.Writer) error {
		var line []byte
		for _, name := range names {
			line = AppendCheckpoint(line[:0], CheckpointInfo{Name: name, Value: list[name]}, escape)
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Server) clearCheckpoints(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	in, err := c.intent()
	if err != nil {
		return err
	}
	in.ClearCheckpoints = true
	if _, err := c.carryOut(in); err != nil {
		return err
	}
	return c.text(http.StatusOK, "")
}
