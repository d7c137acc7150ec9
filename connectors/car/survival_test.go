package car

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// installation is our own service with a hub behind it, which can be killed.
type installation struct {
	t      testing.TB
	mu     sync.RWMutex // held for reading by requests
	dir    string
	hub    *hub.Hub
	server *server.Server
	url    string
}

// newInstallation returns a service behind a breaker.
func newInstallation(t testing.TB, b *gaplesstest.Breaker) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir()}
	i.start()
	listener := httptest.NewServer(b.Handler(i))
	i.url = listener.URL + "/api/car/v2"
	t.Cleanup(func() {
		listener.Close()
		i.stop()
	})
	return i
}

func (i *installation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	i.server.ServeHTTP(w, r)
}

func (i *installation) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

func (i *installation) start() {
	i.t.Helper()
	var err error
	i.hub, err = hub.Open(i.t.Context(), hub.Options{Dir: i.dir})
	i.must(err)
	i.server, err = server.New(server.Options{Store: service.CARStore(i.hub)})
	i.must(err)
}

func (i *installation) stop() {
	i.t.Helper()
	i.must(i.server.Close())
	i.must(i.hub.Close())
}

// kill restarts the service as it is after its process was killed: what was not
// synced has not reached the folder.
func (i *installation) kill() {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	left := i.t.TempDir()
	i.must(os.CopyFS(left, os.DirFS(i.dir)))
	i.stop()
	i.dir = left
	i.start()
}

// replace puts an empty service in the place of this one.
func (i *installation) replace() {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stop()
	i.dir = i.t.TempDir()
	i.start()
}

// client returns one that asks so often again, and waits no longer than it is
// told to.
func (i *installation) client(retries int) *Client {
	i.t.Helper()
	c, err := NewClient(ClientOptions{URL: i.url, Key: "k", Password: "p", Timeout: time.Minute, Retries: retries, sleep: gaplesstest.NoBackoff})
	i.must(err)
	i.t.Cleanup(c.Close)
	return c
}

// holds reads the rows of a source behind the service's back: the revisions of
// those that are not retired.
func (i *installation) holds(source string) map[string]int {
	i.t.Helper()
	i.mu.RLock()
	defer i.mu.RUnlock()
	held := map[string]int{}
	for _, collection := range []string{"asset", "hostname", "asset_account"} {
		p := gapless.Partition{ID: collection, Collection: collection}
		i.must(i.hub.Records(i.t.Context(), "car:"+source, p, "", func(r gapless.Record) error {
			if active := gjson.GetBytes(r.Data, "active"); !active.Exists() || active.Bool() {
				name, _, _ := strings.Cut(r.Key, "|")
				held[name] = int(gjson.GetBytes(r.Data, "n").Int())
			}
			return nil
		}))
	}
	return held
}

// numbered is a record of one of the service's collections.
func numbered(p gapless.Partition, name string, revision int) gapless.Record {
	if _, _, edge := wire.Ends(p.Collection); edge {
		name = wire.EdgeKey(name, "owner")
	}
	return gapless.Record{Key: name, Data: fmt.Appendf(nil, `{"n":%d}`, revision)}
}

// refused is a record whose id is too long for the service.
func refused(key string) gapless.Record {
	return gapless.Record{Key: key + strings.Repeat("k", gapless.MaxKeyBytes-len(key)), Data: []byte(`{"n":1}`)}
}

func partitionsOf(collections ...string) (list []gapless.Partition) {
	for _, c := range collections {
		list = append(list, gapless.Partition{ID: c, Collection: c})
	}
	return list
}

// TestDestinationSurvival imports into our own service, which is killed and
// loses what was not synced, through a network that breaks.
func TestDestinationSurvival(t *testing.T) {
	t.Parallel()
	system := func(i *installation, o DestinationOptions, retries int) gaplesstest.DestinationSystem {
		o.Source, o.PageRows, o.InFlight = "s", 3, 2
		return gaplesstest.DestinationSystem{
			Open: func() gapless.Destination {
				d, err := NewDestination(i.client(retries), o)
				i.must(err)
				return d
			},
			Partitions: partitionsOf("asset", "hostname", "asset_account"),
			Record:     numbered,
			Holds:      func() map[string]int { return i.holds("s") },
			Refused:    func(gapless.Partition, string) gapless.Record { return refused("") },
			Crash:      i.kill, Server: true, Replace: i.replace,
		}
	}
	for name, retries := range map[string]int{"asking once": -1, "asking again": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && retries > 0 {
				t.Skip("what asking again hides is checked by the others")
			}
			gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
				return system(newInstallation(t, b), DestinationOptions{State: t.TempDir()}, retries)
			}})
		})
	}
	t.Run("model", func(t *testing.T) {
		t.Parallel()
		gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
			d := system(newInstallation(t, b), DestinationOptions{State: t.TempDir(), Model: true}, -1)
			d.Partitions = partitionsOf(Model)
			d.Record = func(_ gapless.Partition, name string, revision int) gapless.Record {
				r := numbered(gapless.Partition{}, name, revision)
				r.Key = ModelKey("asset", name)
				return r
			}
			d.Refused = func(gapless.Partition, string) gapless.Record { return refused(ModelKey("asset", "")) }
			return d
		}, Except: map[string]string{"many-partitions": "everything of a model is one partition"}})
	})
}

// TestSourceSurvival reads our own service by queries.
func TestSourceSurvival(t *testing.T) {
	t.Parallel()
	gaplesstest.CheckSource(t, gaplesstest.SourceCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.SourceSystem {
		b.EmptyPage = func(_ *http.Request, body []byte) []byte {
			var reply struct {
				Data map[string][]any `json:"data"`
			}
			if json.Unmarshal(body, &reply) != nil || reply.Data == nil {
				return body
			}
			for collection := range reply.Data {
				reply.Data[collection] = []any{}
			}
			body, _ = json.Marshal(reply) // of what was just decoded
			return body
		}
		i := newInstallation(t, b)
		hand := i.client(-1)
		i.take(hand, "")
		return gaplesstest.SourceSystem{
			Open: func() gapless.Source {
				s, err := NewSource(i.client(-1), SourceOptions{Source: "s", Collections: []string{"asset", "hostname"}, PageRows: 3})
				i.must(err)
				return s
			},
			Put: func(name string, revision int) {
				i.take(hand, fmt.Sprintf(`,%q:[{%q:%q,"n":%d}]`, collectionOf(name), wire.KeyField(collectionOf(name)), name, revision))
			},
			Remove: func(name string) {
				i.must(hand.DeleteVertices(t.Context(), "s", collectionOf(name), []string{name}))
			},
		}
	}})
}

// collectionOf spreads records over two collections.
func collectionOf(name string) string {
	if strings.ContainsAny(name[len(name)-1:], "13579") {
		return "hostname"
	}
	return "asset"
}

// take imports rows: more members of a report.
func (i *installation) take(c *Client, collections string) {
	i.t.Helper()
	id, err := c.Import(i.t.Context(), []byte(`{"source":{"_key":"s","name":"s"},"report":{"_key":"1","timestamp":1,"type":"x"}`+
		collections+"}"))
	i.must(err)
	status, err := c.ImportStatus(i.t.Context(), []string{id})
	if i.must(err); len(status.Complete) != 1 {
		i.t.Fatalf("import %s: %+v", collections, status)
	}
}
