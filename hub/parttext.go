package hub

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/hub/text"
)

// partText is what the index made of a part: its text, or why it has none. It
// is kept in the store, so that a query does not convert a part again.
type partText struct {
	blob   blobID // of the content, which never changes
	reason string
	text   []byte
}

func (id blobID) text() []byte { return append([]byte{spaceText}, id[:]...) }

// convertParts converts the parts of a record, which r holds.
func convertParts(ctx context.Context, r pebble.Reader, key []byte, s *stored) ([]partText, error) {
	parts, err := decodeManifest(s.manifest)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	list := make([]partText, len(parts))
	for i := range parts {
		p := &list[i]
		c := contentOf(&parts[i], key, s.data)
		c.Read = func(limit int64) ([]byte, error) { return parts[i].head(r, int(limit)) }
		p.blob = parts[i].blob
		p.text, err = text.Convert(ctx, c)
		if reason, ok := errors.AsType[text.Reason](err); ok {
			p.reason = string(reason)
		} else if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// contentOf describes a part to those who convert it, without its content. A
// part that does not say itself what it is may be what the record's names say.
func contentOf(p *storedPart, key, data []byte) text.Content {
	names := []string{p.name}
	for _, field := range titleFields {
		names = append(names, gjson.GetBytes(data, field).Str)
	}
	return text.Content{Type: p.media, Names: append(names, string(key)), Size: p.size}
}

// converted are the parts of one record that the index has read.
type converted struct {
	record []byte // its key in the store
	parts  []partText
}

// keepTexts keeps what became of parts, and returns once the disk has it. A
// part that its record has lost meanwhile is left out: nothing would ever
// delete what became of it.
func (h *Hub) keepTexts(list []converted) error {
	if len(list) == 0 {
		return nil
	}
	if err := h.addTexts(list); err != nil {
		return err
	}
	return h.store.flushLog()
}

func (h *Hub) addTexts(list []converted) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.store.db.NewBatch()
	for i := range list {
		now, err := partsAt(h.store.db, list[i].record)
		if err != nil {
			return err
		}
		for j := range now {
			for k := range list[i].parts {
				if p := &list[i].parts[k]; p.blob == now[j].blob {
					if err := b.Set(p.blob.text(), append(appendSized(nil, p.reason), p.text...), nil); err != nil {
						return err
					}
				}
			}
		}
	}
	return h.store.commit(b, pebble.NoSync)
}

// partsAt returns the parts of the record at a key of the store; none if there
// is no record.
func partsAt(r pebble.Reader, key []byte) ([]storedPart, error) {
	value, err := get(r, key)
	if err != nil || value == nil {
		return nil, err
	}
	s, err := decodeStored(value)
	if err != nil {
		return nil, err
	}
	return decodeManifest(s.manifest)
}

// partText returns what became of a part; false if the index has not read it.
func (h *Hub) partText(blob blobID) (p partText, found bool, err error) {
	value, err := get(h.store.db, blob.text())
	if err != nil || value == nil {
		return p, false, err
	}
	d := decoder{rest: value}
	p = partText{blob: blob, reason: string(d.sized()), text: d.rest}
	return p, true, d.err
}

// indexedText collects the text of a record with that of the parts which the
// index has read.
func (h *Hub) indexedText(key []byte, s *stored) (recordText, error) {
	parts, err := decodeManifest(s.manifest)
	if err != nil {
		return recordText{}, err
	}
	texts := make([]partText, len(parts))
	for i := range parts {
		if texts[i], _, err = h.partText(parts[i].blob); err != nil {
			return recordText{}, err
		}
	}
	return textOf(key, s, texts), nil
}

// unread returns the parts of a record that have no text: what the index found
// when it read them, or what can be said before it has.
func (h *Hub) unread(key []byte, s *stored) (list []UnreadPart, err error) {
	parts, err := decodeManifest(s.manifest)
	if err != nil {
		return nil, err
	}
	for i := range parts {
		p, read, err := h.partText(parts[i].blob)
		if err != nil {
			return nil, err
		}
		if refusal := text.Refusal(contentOf(&parts[i], key, s.data)); !read && refusal != nil {
			p.reason = refusal.Error()
		}
		if p.reason != "" {
			list = append(list, UnreadPart{parts[i].name, p.reason})
		}
	}
	return list, nil
}
