package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/resolve"
)

// lookUp compares row i of b with the record that the destination gives back
// of its key. It returns how they differ; empty if they do not.
func (c *check) lookUp(ctx context.Context, getter gapless.Getter, b *gapless.Batch, i int) (proof.Difference, error) {
	key := string(b.Key(i))
	held, err := getter.Get(ctx, c.partition, key)
	missing := errors.Is(err, gapless.ErrNotFound)
	if err != nil && !missing {
		return "", fmt.Errorf("read back record %q of %s: %w", key, c.partition.ID, err)
	}
	c.charge(&c.result.Destination, 1, len(held.Data))
	gone := b.Rows[i].Op == gapless.OpDelete
	switch {
	case gone && !missing:
		return proof.Extra, nil
	case gone:
		return "", nil
	case missing:
		return proof.Missing, nil
	}
	same, err := sameRecord(b, i, &held)
	if err != nil {
		return "", fmt.Errorf("compare record %q of %s: %w", key, c.partition.ID, err)
	}
	if !same {
		return proof.Differs, nil
	}
	return "", nil
}

// sameRecord reports whether a destination holds what row i of b says. The data
// has to mean the same; a version that either side does not know, and what the
// source does not say of a part, make no difference.
func sameRecord(b *gapless.Batch, i int, held *gapless.Record) (bool, error) {
	version := b.Version(i)
	if len(version) > 0 && held.Version != "" && string(version) != held.Version {
		return false, nil
	}
	if parts := b.Parts(i); !sameParts(parts, held.Parts) {
		return false, nil
	}
	data := b.Data(i)
	if bytes.Equal(data, held.Data) {
		return true, nil
	}
	return resolve.Same(data, held.Data)
}

func sameParts(said, held []gapless.Part) bool {
	if len(said) != len(held) {
		return false
	}
	for i := range said {
		s, h := &said[i], &held[i]
		if s.Name != h.Name || s.Type != "" && s.Type != h.Type || s.Size >= 0 && h.Size >= 0 && s.Size != h.Size ||
			s.Version != "" && h.Version != "" && s.Version != h.Version {
			return false
		}
	}
	return true
}
