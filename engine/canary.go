package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/plan"
	"github.com/gapless-sync/gapless/proof"
)

// placeCanaries tells each partition which keys have to exist in it. A canary
// whose beginning names a collection of the source is of that collection;
// every other one is a key of the only collection there is.
func (s *survey) placeCanaries(connector string, canaries []string) error {
	collections := map[string]bool{}
	for _, p := range s.partitions {
		collections[p.partition.Collection] = true
	}
	for _, text := range canaries {
		collection, key, found := strings.Cut(text, "/")
		switch named := found && collections[collection]; {
		case named:
		case len(collections) > 1:
			return gapless.Misconfigured(gapless.Errorf(gapless.CodeConfig, connector, "canary %q names no collection, and the source has %d", text, len(collections)).
				WithHint("write COLLECTION/KEY below deletes.canary"))
		default:
			collection, key = "", text
		}
		for i := range s.partitions {
			p := &s.partitions[i]
			if (collection == "" || collection == p.partition.Collection) && strings.HasPrefix(key, p.partition.Prefix) {
				p.canaries = append(p.canaries, key)
			}
		}
	}
	for i := range s.partitions {
		slices.Sort(s.partitions[i].canaries)
		s.partitions[i].canaries = slices.Compact(s.partitions[i].canaries)
	}
	return nil
}

// missingCanaries returns the canaries that the enumeration did not contain.
func (t *task) missingCanaries() (missing []string, err error) {
	for _, key := range t.canaries {
		_, there, err := t.seen.Lookup(proof.KeyHash([]byte(key)))
		if err != nil {
			return nil, fmt.Errorf("look for the canary %q: %w", key, err)
		}
		if !there {
			missing = append(missing, key)
		}
	}
	return missing, nil
}

// pushSparing pushes a batch unless it deletes a canary.
func (t *task) pushSparing(ctx context.Context, b *gapless.Batch) error {
	if err := t.spareCanaries(ctx, b); err != nil {
		return err
	}
	return t.pushBatch(ctx, b)
}

// spareCanaries refuses a batch that deletes canaries which nobody approved to
// be deleted.
func (t *task) spareCanaries(ctx context.Context, b *gapless.Batch) error {
	if len(t.canaries) == 0 {
		return nil
	}
	refused := false
	for i := range b.Rows {
		key := string(b.Key(i))
		if b.Rows[i].Op != gapless.OpDelete || !slices.Contains(t.canaries, key) || slices.Contains(t.lost, key) {
			continue
		}
		t.lost = append(t.lost, key)
		refused = refused || t.approved == nil || !t.approved.Forgoes(t.partition.ID, key)
	}
	if !refused || t.dry {
		return nil
	}
	slices.Sort(t.lost)
	c := plan.Count{Partition: t.partition.ID, Known: true, Deletes: uint64(len(t.lost)), Canaries: t.lost}
	var digest proof.Digest
	for _, key := range t.lost {
		digest.Add(proof.KeyHash([]byte(key)))
	}
	c.Absent = digest.String()
	return t.refuse(ctx, gapless.CodeCanary, c, lostCanaries(c, "would be deleted"))
}

// lostCanaries is a sentence that names canaries and what has become of them.
func lostCanaries(c plan.Count, how string) string {
	quoted := make([]string, len(c.Canaries))
	for i, key := range c.Canaries {
		quoted[i] = fmt.Sprintf("%q", key)
	}
	keys := "the canary " + quoted[0]
	if len(quoted) > 1 {
		keys = "the canaries " + strings.Join(quoted, ", ")
	}
	return fmt.Sprintf("%s of %s %s", keys, c.Partition, how)
}
