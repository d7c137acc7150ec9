package pushapi_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
)

// volatile is an island on a disk that loses what was not synced when the power
// fails.
type volatile struct {
	*island
	t testing.TB
	// durable are the sizes of the logs of the store when it last synced.
	durable  map[string]int64
	failures int
}

// newVolatile returns an island behind a breaker, and its address.
func newVolatile(t testing.TB, b *gaplesstest.Breaker) (v *volatile, host, port string) {
	t.Helper()
	v = &volatile{island: &island{options: hub.Options{Dir: t.TempDir()}, limits: pushapi.Limits{PartBytes: maxPart}}, t: t}
	v.between = func(store pushapi.Store) pushapi.Store {
		v.durable = v.logs()
		return &faultyStore{Store: store, written: func(c pushapi.StoreCommit) {
			if c.Sync {
				v.durable = v.logs()
			}
		}}
	}
	host, port = v.listen(t, b.Handler(v))
	return v, host, port
}

// maxPart is the size of the largest part that a volatile island takes.
const maxPart = 1000

// logs returns the sizes of the files that changes are written to first.
func (v *volatile) logs() map[string]int64 {
	sizes := map[string]int64{}
	must(v.t, fs.WalkDir(os.DirFS(v.options.Dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".log" {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			sizes[path] = info.Size()
		}
		return err
	}))
	return sizes
}

// fail is a power failure: the server goes on with what its disk holds, of what
// was not synced nothing or, every other time, a torn half.
func (v *volatile) fail() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	left := v.t.TempDir()
	must(v.t, os.CopyFS(left, os.DirFS(v.options.Dir)))
	for path, size := range v.logs() {
		if v.failures%2 == 0 {
			size = v.durable[path]
		} else {
			size = (v.durable[path] + size) / 2
		}
		must(v.t, os.Truncate(filepath.Join(left, path), size))
	}
	v.failures++
	v.goOn(left)
}

// goOn has the server come back with another folder.
func (v *volatile) goOn(dir string) {
	v.t.Helper()
	must(v.t, v.hub.Close())
	v.options.Dir = dir
	v.start(v.t)
}

// holds reads the synced documents of the connector behind the server's back.
func (v *volatile) holds() map[string]int {
	v.t.Helper()
	v.mu.RLock()
	defer v.mu.RUnlock()
	session, err := v.hub.Session(v.t.Context(), "kit", 0)
	must(v.t, err)
	documents, held := gapless.Partition{ID: "document", Collection: "document"}, map[string]int{}
	var keys []string
	must(v.t, session.Enumerate(v.t.Context(), documents, func(key, _ []byte) error {
		keys = append(keys, string(key))
		return nil
	}))
	for _, key := range keys {
		r, err := session.Get(v.t.Context(), documents, key)
		must(v.t, err)
		held[key[strings.IndexByte(key, '/')+1:]] = v.revision(&r)
	}
	must(v.t, session.Close())
	return held
}

// revision returns that of a document, or -1 if its stamp, its metas and its
// part do not agree.
func (v *volatile) revision(r *gapless.Record) int {
	v.t.Helper()
	n, err := strconv.Atoi(gjson.GetBytes(r.Data, "n").Str)
	if err != nil {
		return -1
	}
	for _, part := range r.Parts {
		content, err := part.Open(v.t.Context())
		must(v.t, err)
		text, err := io.ReadAll(content)
		must(v.t, err, content.Close())
		if string(text) != strconv.Itoa(n) || r.Version != strconv.Itoa(n) {
			return -1
		}
	}
	return n
}

// document is a record; those of collection r have a part.
func document(p gapless.Partition, name string, revision int, content string) gapless.Record {
	r := gapless.Record{Key: name, Version: strconv.Itoa(revision), Data: fmt.Appendf(nil, `{"n":%d}`, revision)}
	if p.Collection == "r" {
		r.Parts = []gapless.Part{{Name: "master", Type: "text/plain", Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}}}
	}
	return r
}

// TestDestinationSurvival pushes into our own server, whose hub loses what was
// not synced, through a network that breaks.
func TestDestinationSurvival(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]pushapi.HTTPOptions{
		"asking once":  {Retries: -1},
		"asking again": {Retries: 2},
		"legacy":       {Retries: -1, Dialect: pushapi.DialectLegacy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
				v, host, port := newVolatile(t, b)
				return gaplesstest.DestinationSystem{
					Open: func() gapless.Destination { return pushapi.DestinationOf(host, port, pushapi.Impatient(options)) },
					Record: func(p gapless.Partition, name string, revision int) gapless.Record {
						return document(p, name, revision, strconv.Itoa(revision))
					},
					Holds: v.holds,
					Refused: func(p gapless.Partition, name string) gapless.Record {
						return document(p, name, 1, strings.Repeat("1", maxPart+1))
					},
					Crash:  v.fail,
					Server: true,
					Replace: func() {
						v.mu.Lock()
						defer v.mu.Unlock()
						v.goOn(t.TempDir())
					},
				}
			}})
		})
	}
}

// TestSourceSurvival lists a server whose documents come and go.
func TestSourceSurvival(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]pushapi.HTTPOptions{"standard": {Retries: -1}, "legacy": {Retries: -1, Dialect: pushapi.DialectLegacy}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gaplesstest.CheckSource(t, gaplesstest.SourceCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.SourceSystem {
				v, host, port := newVolatile(t, b)
				b.EmptyPage = func(r *http.Request, body []byte) []byte {
					if strings.Contains(r.URL.Path, "enumerate") {
						return nil
					}
					return body
				}
				session, err := v.hub.Session(t.Context(), "kit", 1)
				must(t, err)
				change := func(c gapless.Change) {
					b := &gapless.Batch{Partition: gapless.Partition{ID: "document", Collection: "document"}}
					b.Append(c)
					_, err := session.Push(t.Context(), b)
					must(t, err)
					_, err = session.Sync(t.Context(), nil)
					must(t, err)
				}
				return gaplesstest.SourceSystem{
					Open: func() gapless.Source {
						s, err := pushapi.SourceOf(host, port, "kit", pushapi.Impatient(options))
						must(t, err)
						return s
					},
					Put: func(name string, revision int) {
						change(gapless.Change{Record: gapless.Record{Key: name, Version: strconv.Itoa(revision), Data: []byte(`{}`)}})
					},
					Remove: func(name string) { change(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: name}}) },
					Read: func(_ gapless.Partition, c gapless.Change) (string, int) {
						revision, err := strconv.Atoi(gjson.GetBytes(c.Data, "stamp").Str)
						if c.Op != gapless.OpDelete {
							must(t, err)
						}
						return c.Key, revision
					},
				}
			}})
		})
	}
}
