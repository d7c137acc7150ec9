package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gapless-sync/gapless"
)

// testStageBytes makes parts of one chunk spill.
const testStageBytes = 64 << 10

var items = gapless.Partition{ID: "items", Collection: "items"}

// open opens a hub that the test closes.
func open(t testing.TB, o Options) *Hub {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	h, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil && h.Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func session(t testing.TB, h *Hub, connector string, epoch uint64) *Session {
	t.Helper()
	s, err := h.Session(t.Context(), connector, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// batch makes a batch of items from changes.
func batch(changes ...gapless.Change) *gapless.Batch {
	b := &gapless.Batch{Partition: items, Origin: "test"}
	for _, c := range changes {
		b.Append(c)
	}
	return b
}

func upsert(key, data string, parts ...gapless.Part) gapless.Change {
	return gapless.Change{Record: gapless.Record{Key: key, Version: "v" + key, Data: []byte(data), Parts: parts}}
}

func remove(key string) gapless.Change {
	return gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: key}}
}

func patch(key, data string, parts ...gapless.Part) gapless.Change {
	return gapless.Change{Op: gapless.OpPatch, Record: gapless.Record{Key: key, Data: []byte(data), Parts: parts}}
}

func part(name, media, content string) gapless.Part {
	return gapless.Part{Name: name, Type: media, Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(content))), nil
	}}
}

func push(t testing.TB, s gapless.Session, changes ...gapless.Change) gapless.Receipt {
	t.Helper()
	receipt, err := s.Push(t.Context(), batch(changes...))
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func syncNow(t testing.TB, s gapless.Session, positions ...string) gapless.Receipt {
	t.Helper()
	var list []gapless.Checkpoint
	for _, p := range positions {
		list = append(list, gapless.Checkpoint{Partition: "items", Position: gapless.Position(p)})
	}
	receipt, err := s.Sync(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// contents returns what the synced view holds of a connector's items: data
// and parts by key.
func contents(t testing.TB, h *Hub, connector string) map[string]string {
	t.Helper()
	got := map[string]string{}
	last := ""
	err := h.Records(t.Context(), connector, items, "", func(r gapless.Record) error {
		if r.Key <= last {
			t.Errorf("key %q after %q", r.Key, last)
		}
		last = r.Key
		text, err := describe(t.Context(), r)
		got[r.Key] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// describe writes a record on one line.
func describe(ctx context.Context, r gapless.Record) (string, error) {
	text := string(r.Data)
	for _, p := range r.Parts {
		content, err := readPart(ctx, p)
		if err != nil {
			return "", err
		}
		if int64(len(content)) != p.Size {
			return "", fmt.Errorf("part %s has %d bytes, not %d", p.Name, len(content), p.Size)
		}
		text += fmt.Sprintf(" +%s=%s", p.Name, content)
	}
	return text, nil
}

func readPart(ctx context.Context, p gapless.Part) (string, error) {
	r, err := p.Open(ctx)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	return string(content), r.Close()
}

// crashable is a file system in memory that can lose what was not synced.
func crashable() *vfs.MemFS { return vfs.NewCrashableMem() }
