package pushapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
)

// maxPart is the size of the largest part that the servers of these checks take.
const maxPart = 1000

// newBroken returns an island behind a breaker, and its address.
func newBroken(t testing.TB, b *gaplesstest.Breaker) (i *island, host, port string) {
	t.Helper()
	i = &island{options: hub.Options{Dir: t.TempDir(), Search: true}, limits: pushapi.Limits{PartBytes: maxPart}}
	host, port = i.listen(t, b.Handler(i))
	return i, host, port
}

// holds reads the synced documents of the connector behind the server's back.
func (i *island) holds(t testing.TB) map[string]int {
	t.Helper()
	i.mu.RLock()
	defer i.mu.RUnlock()
	session, err := i.hub.Session(t.Context(), "kit", 0)
	must(t, err)
	documents, held := gapless.Partition{ID: "document", Collection: "document"}, map[string]int{}
	var keys []string
	must(t, session.Enumerate(t.Context(), documents, func(key, _ []byte) error {
		keys = append(keys, string(key))
		return nil
	}))
	for _, key := range keys {
		r, err := session.Get(t.Context(), documents, key)
		must(t, err)
		held[key[strings.IndexByte(key, '/')+1:]] = revisionOf(t, &r)
	}
	must(t, session.Close())
	return held
}

// revisionOf returns that of a document, or -1 if its stamp, its metas and its
// part do not agree.
func revisionOf(t testing.TB, r *gapless.Record) int {
	t.Helper()
	n, err := strconv.Atoi(gjson.GetBytes(r.Data, "n").Str)
	if err != nil {
		return -1
	}
	for _, part := range r.Parts {
		content, err := part.Open(t.Context())
		must(t, err)
		text, err := io.ReadAll(content)
		must(t, err, content.Close())
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

// TestDestinationSurvival pushes into our own server, which is killed and loses
// what was not synced, through a network that breaks.
func TestDestinationSurvival(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]pushapi.HTTPOptions{
		"asking once":  {Retries: -1},
		"asking again": {Retries: 2},
		"legacy":       {Retries: -1, Dialect: pushapi.DialectLegacy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && options.Retries > 0 {
				t.Skip("what asking again hides is checked by the others")
			}
			gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
				i, host, port := newBroken(t, b)
				return gaplesstest.DestinationSystem{
					Open: func() gapless.Destination { return pushapi.DestinationOf(host, port, pushapi.Impatient(options)) },
					Record: func(p gapless.Partition, name string, revision int) gapless.Record {
						return document(p, name, revision, strconv.Itoa(revision))
					},
					Holds: func() map[string]int { return i.holds(t) },
					Refused: func(p gapless.Partition, name string) gapless.Record {
						return document(p, name, 1, strings.Repeat("1", maxPart+1))
					},
					Crash:   func() { i.kill(t) },
					Server:  true,
					Replace: func() { i.replace(t) },
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
				i, host, port := newBroken(t, b)
				b.EmptyPage = func(r *http.Request, body []byte) []byte {
					if strings.Contains(r.URL.Path, "enumerate") {
						return nil
					}
					return body
				}
				session, err := i.hub.Session(t.Context(), "kit", 1)
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
