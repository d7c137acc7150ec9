package sahana

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// us is the uuid by which these checks are known as a peer.
const us = "urn:uuid:us"

// place is an outside system of these checks: an Eden, or our own service.
type place interface {
	http.Handler
	edit(table, uuid string, revision int)
	erase(table, uuid string)
	// names returns the names of the records of a table by uuid.
	names(table string) map[string]string
	clock(seconds int)
}

// installation is our own service with a hub behind it, which can be killed.
type installation struct {
	t       testing.TB
	mu      sync.RWMutex // held for reading by requests
	dir     string
	hub     *hub.Hub
	server  *server.Server
	began   time.Time
	seconds atomic.Int64 // that the clock, which stands still, is away from there
}

func newInstallation(t testing.TB) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir(), began: time.Now().UTC().Truncate(time.Second)}
	i.start()
	t.Cleanup(func() { i.must(i.hub.Close()) })
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

func (i *installation) now() time.Time {
	return i.began.Add(time.Duration(i.seconds.Load()) * time.Second)
}

func (i *installation) start() {
	i.t.Helper()
	var err error
	i.hub, err = hub.Open(i.t.Context(), hub.Options{Dir: i.dir})
	i.must(err)
	store, err := service.SahanaStore(i.t.Context(), i.hub)
	i.must(err)
	i.server, err = server.New(server.Options{Store: store, Dir: i.t.TempDir(), Now: i.now})
	i.must(err)
}

// kill restarts the service as it is after its process was killed: what was not
// synced has not reached the folder.
func (i *installation) kill() {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	left := i.t.TempDir()
	i.must(os.CopyFS(left, os.DirFS(i.dir)))
	i.must(i.hub.Close())
	i.dir = left
	i.start()
}

// do sends a request without a network.
func (i *installation) do(method, path, body string) string {
	i.t.Helper()
	w := httptest.NewRecorder()
	i.ServeHTTP(w, httptest.NewRequestWithContext(i.t.Context(), method, "/eden/"+path, strings.NewReader(body)))
	if text := w.Body.String(); w.Code != http.StatusOK || strings.Contains(text, `"failed"`) {
		i.t.Fatalf("%s %s: %d %s", method, path, w.Code, text)
	}
	return w.Body.String()
}

func (i *installation) edit(table, uuid string, revision int) {
	i.t.Helper()
	path, err := tablePath(table)
	i.must(err)
	i.do(http.MethodPost, path+".xml", fmt.Sprintf(`<s3xml><resource name="%s" uuid="%s" modified_on="%s"><data field="name">%d</data></resource></s3xml>`,
		table, uuid, i.now().Format("2006-01-02T15:04:05"), revision))
}

func (i *installation) erase(table, uuid string) {
	i.t.Helper()
	path, err := tablePath(table)
	i.must(err)
	i.do(http.MethodDelete, path+".xml?~.uuid="+escape(uuid), "")
}

func (i *installation) names(table string) map[string]string {
	i.t.Helper()
	path, err := tablePath(table)
	i.must(err)
	held := map[string]string{}
	for r, err := range s3.NewDecoder(strings.NewReader(i.do(http.MethodGet, path+".xml", "")), s3.S3XML, s3.DecodeOptions{}).Resources() {
		if i.must(err); r.Field("name") != nil {
			held[r.UUID] = r.Field("name").Text
		}
	}
	return held
}

func (i *installation) clock(seconds int) { i.seconds.Store(int64(seconds)) }

func (e *eden) edit(table, uuid string, revision int) { e.put(table, uuid, strconv.Itoa(revision)) }

func (e *eden) erase(table, uuid string) { e.remove(table, uuid, "") }

func (e *eden) names(table string) map[string]string { return e.held(table) }

func (e *eden) clock(seconds int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = newEden(e.t).now.Add(time.Duration(seconds) * time.Second)
}

// connectTo returns clients of a place behind a breaker, which ask so often
// again, and wait no longer than they are told to.
func connectTo(t testing.TB, p place, b *gaplesstest.Breaker, retries int) func() *client {
	listener := httptest.NewServer(b.Handler(p))
	t.Cleanup(listener.Close)
	return func() *client {
		c, err := newClient(clientOptions{URL: listener.URL + "/eden", Login: login, Password: password, Timeout: 20 * time.Second, Retries: retries, sleep: gaplesstest.NoBackoff})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// key is the uuid of a name of the checks, which is one of the record's own.
func key(name string) string { return "urn:x:" + name }

// tableOf spreads records over two tables.
func tableOf(name string) string {
	if strings.ContainsAny(name[len(name)-1:], "13579") {
		return offices
	}
	return organisations
}

// revisionOf returns what a record of the checks says.
func revisionOf(_ gapless.Partition, c gapless.Change) (name string, revision int) {
	if found := regexp.MustCompile(`"name":"(\d+)"`).FindSubmatch(c.Data); found != nil {
		revision, _ = strconv.Atoi(string(found[1])) // digits
	}
	return strings.TrimPrefix(c.Key, "urn:x:"), revision
}

// TestSourceSurvival reads an Eden, and our own service, each by pages and as a
// peer does.
func TestSourceSurvival(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"eden", "service"} {
		for _, via := range []string{viaREST, viaSync} {
			t.Run(kind+" by "+via, func(t *testing.T) {
				t.Parallel()
				if testing.Short() && via != viaREST {
					t.Skip("the short run reads by pages")
				}
				gaplesstest.CheckSource(t, gaplesstest.SourceCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.SourceSystem {
					p := place(newEden(t))
					if kind == "service" {
						p = newInstallation(t)
					}
					b.EmptyPage = func(_ *http.Request, body []byte) []byte {
						none := regexp.MustCompile(`(?s)<resource.*</resource>|<resource[^>]*/>`).ReplaceAll(body, nil)
						return regexp.MustCompile(` results="\d+"`).ReplaceAll(none, []byte(` results="0"`))
					}
					connect, state := connectTo(t, p, b, -1), t.TempDir()
					return gaplesstest.SourceSystem{
						Open: func() gapless.Source {
							return &source{
								client: connect(), tables: []string{organisations, offices}, via: via, repository: us, pageRows: 3, overlap: 5 * time.Minute,
								recent: recent{folder: state, connector: "c"},
							}
						},
						Put:    func(name string, revision int) { p.edit(tableOf(name), key(name), revision) },
						Remove: func(name string) { p.erase(tableOf(name), key(name)) },
						Read:   revisionOf,
						Clock:  p.clock,
					}
				}})
			})
		}
	}
}

// TestDestinationSurvival writes into an Eden, and into our own service, by REST
// and as a peer.
func TestDestinationSurvival(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"eden", "service"} {
		for _, peer := range []string{"", us} {
			t.Run(fmt.Sprint(kind, " as peer ", peer != ""), func(t *testing.T) {
				t.Parallel()
				if testing.Short() && peer != "" {
					t.Skip("the short run writes by REST")
				}
				gaplesstest.CheckDestination(t, gaplesstest.DestinationCase{New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.DestinationSystem {
					d := gaplesstest.DestinationSystem{Refused: func(gapless.Partition, string) gapless.Record {
						return gapless.Record{Key: key("bad"), Data: []byte(`{"name":"bad"}`)}
					}}
					var p place
					if kind == "service" {
						i := newInstallation(t)
						p, d.Refused, d.Crash, d.Server = i, nil, i.kill, true
					} else {
						e := newEden(t)
						e.now = time.Now().UTC().Truncate(time.Second)
						e.bad = func(r *s3.Resource) string {
							if f := r.Field("name"); f != nil && f.Text == "bad" {
								return "is not allowed"
							}
							return ""
						}
						p = e
					}
					connect, state := connectTo(t, p, b, -1), t.TempDir()
					d.Open = func() gapless.Destination {
						return &destination{client: connect(), state: state, repository: peer, rows: 3, verify: verifyAll}
					}
					d.Partitions = []gapless.Partition{{ID: organisations, Collection: organisations}, {ID: offices, Collection: offices}}
					d.Record = func(_ gapless.Partition, name string, revision int) gapless.Record {
						return gapless.Record{Key: key(name), Data: fmt.Appendf(nil, `{"name":"%d"}`, revision)} // written by now, which deletes are, too
					}
					d.Holds = func() map[string]int {
						held := map[string]int{}
						for _, table := range []string{organisations, offices} {
							for uuid, text := range p.names(table) {
								held[strings.TrimPrefix(uuid, "urn:x:")], _ = strconv.Atoi(text) // 0 of anything else
							}
						}
						return held
					}
					return d
				}})
			})
		}
	}
}
