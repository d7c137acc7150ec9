package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
)

// The parts of a record are decided on like a field: their names, types and
// versions stand in the data under a name of its own, last, so that it can be
// cut off again to the byte. Their contents are read from the side that shows
// them when they are pushed.
const partsField = "gapless:parts"

var errParts = errors.New("only parts with versions, of sources that can read single records, can be synced both ways")

// listedPart is a part as the data lists it. Its size is not in the list, which
// some sources do not know beforehand.
type listedPart struct {
	Name    string `json:"name"`
	Type    string `json:"type,omitempty"`
	Version string `json:"version"`
}

// listParts appends the list of parts to data.
func listParts(data []byte, parts []gapless.Part) ([]byte, error) {
	list := make([]listedPart, len(parts))
	for i, p := range parts {
		if p.Version == "" {
			return nil, errParts
		}
		list[i] = listedPart{p.Name, p.Type, p.Version}
	}
	if field, err := resolve.Field(data, partsField); err != nil || field != nil {
		return nil, errors.Join(err, fmt.Errorf("a field is named %s", partsField))
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("list parts: %w", err)
	}
	return withList(data, text), nil
}

// withList appends a list of parts to data that has none.
func withList(data, list []byte) []byte {
	end := bytes.LastIndexByte(data, '}')
	out := append(make([]byte, 0, len(data)+len(list)+len(partsField)+4), data[:end]...)
	if len(bytes.TrimSpace(data[bytes.IndexByte(data, '{')+1:end])) > 0 {
		out = append(out, ',')
	}
	out = append(append(append(out, `"`+partsField+`":`...), list...), data[end:]...)
	return out
}

// cutParts returns data as it was before its parts were listed, and the list,
// nil if there is none.
func cutParts(data []byte) (plain, list []byte) {
	const marker = `"` + partsField + `":`
	at, end := bytes.LastIndex(data, []byte(marker)), bytes.LastIndexByte(data, '}')
	if at < 0 || end < at {
		return data, nil
	}
	list = data[at+len(marker) : end]
	if field, err := resolve.Field(data, partsField); err != nil || !bytes.Equal(field, list) {
		return data, nil // it stands deeper
	}
	if at > 0 && data[at-1] == ',' {
		at--
	}
	return append(bytes.Clone(data[:at]), data[end:]...), list
}

// settleParts makes the list of parts the last field again, in data that was
// made of two sides'.
func settleParts(data []byte) ([]byte, error) {
	list, err := resolve.Field(data, partsField)
	if err != nil || list == nil {
		return data, err
	}
	if _, last := cutParts(data); bytes.Equal(last, list) {
		return data, nil
	}
	plain, err := resolve.With(data, partsField, nil)
	if err != nil {
		return nil, err
	}
	return withList(plain, list), nil
}

// gift is what a side is given of one key.
type gift struct {
	*matter
	change gapless.Change
}

// withParts gives the changes for a side the parts that their data lists, and
// returns those that can be pushed. Of the others the parts have changed since
// they were read: they wait until that has been read as well.
func (s *settling) withParts(ctx context.Context, e *end, gifts []gift) ([]gift, error) {
	wanted := map[*half][]string{}
	shownBy := map[string]state.Side{}
	for _, g := range gifts {
		_, list := cutParts(g.change.Data)
		if g.change.Op != gapless.OpUpsert || list == nil {
			continue
		}
		from := 1 - e.index
		if _, own := cutParts(g.now.sides[e.index].at.Data); g.now.sides[e.index].live() && bytes.Equal(own, list) {
			from = e.index
		}
		h := s.half(from, g.key)
		if h == nil {
			return nil, describe(s.name, g.key, gapless.Recoverable(errors.New("no side shows the parts that were decided on")))
		}
		wanted[h], shownBy[g.key] = append(wanted[h], g.key), from
	}
	if len(shownBy) == 0 {
		return gifts, nil
	}
	shown := map[string][]gapless.Part{}
	for h, keys := range wanted {
		for some := range slices.Chunk(keys, fetchKeys) {
			if err := h.openParts(ctx, some, shown); err != nil {
				return nil, err
			}
		}
	}
	whole := gifts[:0]
	for _, g := range gifts {
		from, lists := shownBy[g.key]
		if !lists {
			whole = append(whole, g)
			continue
		}
		err := attach(&g.change, shown[g.key])
		switch {
		case errors.Is(err, gapless.ErrChanged):
			g.refused[e.index] = outdated
			s.changed[from] = append(s.changed[from], g.key)
		case err != nil:
			return nil, describe(s.name, g.key, err)
		default:
			whole = append(whole, g)
		}
	}
	return whole, nil
}

// openParts reads records for their parts.
func (h *half) openParts(ctx context.Context, keys []string, parts map[string][]gapless.Part) error {
	r := h.reads()
	r.process = func(_ context.Context, b *gapless.Batch) error {
		for i := range b.Rows {
			parts[string(b.Key(i))] = slices.Clone(b.Parts(i))
		}
		return nil
	}
	return r.pump(ctx, func(ctx context.Context, out *gapless.Output) error { return r.fetch(ctx, keys, out) })
}

// attach gives a change the parts that its data lists.
func attach(c *gapless.Change, shown []gapless.Part) error {
	plain, list := cutParts(c.Data)
	if list == nil {
		return nil
	}
	c.Data = plain
	var listed []listedPart
	if err := json.Unmarshal(list, &listed); err != nil {
		return fmt.Errorf("read the list of parts: %w", err)
	}
	for _, l := range listed {
		i := slices.IndexFunc(shown, func(p gapless.Part) bool { return p.Name == l.Name && p.Version == l.Version })
		if i < 0 {
			return fmt.Errorf("part %q: %w", l.Name, gapless.ErrChanged)
		}
		c.Parts = append(c.Parts, shown[i])
	}
	return nil
}
