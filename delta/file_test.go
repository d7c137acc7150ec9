package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
)

// memory is a delta.File in memory. It fails to write beyond limit, if that is
// not 0.
type memory struct {
	data  []byte
	limit int
}

var errFull = errors.New("no space")

func (m *memory) Write(p []byte) (int, error) {
	if m.limit > 0 && len(m.data)+len(p) > m.limit {
		return 0, errFull
	}
	m.data = append(m.data, p...)
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m *memory) table() (*delta.Table, error) { return delta.OpenTable(m, int64(len(m.data))) }

func scratch() (delta.File, error) { return &memory{}, nil }

// hashOf spreads keys over all hashes.
func hashOf(key string) gapless.Hash128 {
	f := fnv.New128a()
	_, _ = f.Write([]byte(key))
	s := f.Sum(nil)
	return gapless.Hash128{Hi: binary.BigEndian.Uint64(s), Lo: binary.BigEndian.Uint64(s[8:])}
}

// crowdedHashOf leaves only three different upper halves.
func crowdedHashOf(key string) gapless.Hash128 {
	h := hashOf(key)
	h.Hi = [...]uint64{0, 1 << 62, 1<<64 - 1}[h.Hi%3]
	return h
}
