package hub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// machine is a computer on which a hub is opened by one process after another.
type machine struct {
	t   testing.TB
	fs  *vfs.MemFS
	dir string
	hub *Hub
}

// open returns the hub, in the process that has it open if there is one.
func (m *machine) open() *Hub {
	m.t.Helper()
	if m.hub == nil {
		h, err := Open(m.t.Context(), Options{Dir: m.dir, fs: m.fs, FeedChanges: 2000})
		if err != nil {
			m.t.Fatal(err)
		}
		m.hub = h
	}
	return m.hub
}

func (m *machine) close() {
	m.t.Helper()
	if m.hub != nil {
		if err := m.hub.Close(); err != nil {
			m.t.Error(err)
		}
		m.hub = nil
	}
}

// process is a source that ends with the process that opened its hub.
type process struct {
	*source
	machine *machine
}

func (p process) Close() error {
	p.machine.close()
	return nil
}

// crash loses half of what was not synced, and the process.
func (m *machine) crash() {
	left := crash(m.fs, 50, 1)
	m.close()
	m.fs = left
}

func TestHubSurvivesAsDestination(t *testing.T) {
	t.Parallel()
	gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{
		New: func(t testing.TB, _ *gaplesstest.Breaker) gaplesstest.DestinationSystem {
			m := &machine{t: t, fs: crashable(), dir: "hub"}
			return gaplesstest.DestinationSystem{
				Open: func() gapless.Destination {
					m.hub = nil // its process has ended
					return m.open()
				},
				Refused: func(p gapless.Partition, name string) gapless.Record {
					return gapless.Record{Key: p.Prefix + name + strings.Repeat("x", gapless.MaxKeyBytes), Data: []byte(`{}`)}
				},
				Crash:   m.crash,
				Replace: func() { m.fs = crashable() },
			}
		},
	})
}

func TestHubSurvivesAsSource(t *testing.T) {
	t.Parallel()
	gaplesstest.CheckSource(t, gaplesstest.SourceCase{
		New: func(t testing.TB, _ *gaplesstest.Breaker) gaplesstest.SourceSystem {
			m := &machine{t: t, fs: crashable(), dir: "hub"}
			t.Cleanup(m.close)
			write := func(collection string, changes ...gapless.Change) {
				b := batch(changes...)
				b.Partition = gapless.Partition{ID: collection, Collection: collection}
				writer := session(t, m.open(), "docs", 1)
				if _, err := writer.Push(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				syncNow(t, writer)
			}
			collection := func(name string) string { return "c" + name[len(name)-1:] }
			session(t, m.open(), "docs", 1)
			return gaplesstest.SourceSystem{
				Open: func() gapless.Source {
					m.close()
					return process{m.open().Source("docs").(*source), m}
				},
				Put:    func(name string, n int) { write(collection(name), upsert(name, fmt.Sprintf(`{"n":%d}`, n))) },
				Remove: func(name string) { write(collection(name), remove(name)) },
				Read: func(_ gapless.Partition, c gapless.Change) (name string, revision int) {
					if c.Key == "filler" {
						return "", 0
					}
					_, err := fmt.Sscanf(string(c.Data), `{"n":%d}`, &revision)
					if err != nil && c.Op != gapless.OpDelete {
						t.Errorf("data %s", c.Data)
					}
					return c.Key, revision
				},
				Expire: func() {
					filler := make([]gapless.Change, 4000)
					for i := range filler {
						filler[i] = upsert("filler", `{}`)
					}
					for range 3 {
						write("c0", filler...)
					}
				},
			}
		},
	})
}
