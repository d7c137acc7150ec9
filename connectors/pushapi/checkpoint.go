package pushapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/gapless-sync/gapless"
)

// storedCheckpoint is a [gapless.Checkpoint] as the value of a checkpoint at a
// server. Positions and marks need not be text, so they are base64: the value
// has no space, backslash or line break that an old server or client could
// stumble over.
type storedCheckpoint struct {
	Version   int    `json:"gapless"`
	Partition []byte `json:"partition"`
	Position  []byte `json:"position,omitempty"`
	Mark      []byte `json:"mark,omitempty"`
	Target    []byte `json:"target,omitempty"`
	Run       []byte `json:"run"`
	Seq       uint64 `json:"seq"`
	Epoch     uint64 `json:"epoch"`
}

func encodeCheckpoint(c *gapless.Checkpoint) string {
	value, err := json.Marshal(storedCheckpoint{
		Version: 1, Partition: []byte(c.Partition), Position: []byte(c.Position), Mark: []byte(c.Mark), Target: []byte(c.Target),
		Run: []byte(c.Run), Seq: c.Seq, Epoch: c.Epoch,
	})
	if err != nil { // numbers and bytes can always be written
		return ""
	}
	return string(value)
}

func decodeCheckpoint(value string) (gapless.Checkpoint, error) {
	var s storedCheckpoint
	d := json.NewDecoder(bytes.NewReader([]byte(value)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return gapless.Checkpoint{}, fmt.Errorf("it is not one of this program: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return gapless.Checkpoint{}, errors.New("something stands behind it")
	}
	if s.Version != 1 {
		return gapless.Checkpoint{}, fmt.Errorf("it has version %d, and this program knows 1", s.Version)
	}
	return gapless.Checkpoint{
		Partition: string(s.Partition), Position: gapless.Position(s.Position), Mark: gapless.Mark(s.Mark), Target: gapless.Position(s.Target),
		Run: string(s.Run), Seq: s.Seq, Epoch: s.Epoch,
	}, nil
}
