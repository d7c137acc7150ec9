package pushapi_test

import (
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// island is a server with a hub behind it that can be restarted in its place.
type island struct {
	mu      sync.RWMutex // held for reading by requests
	options hub.Options
	limits  pushapi.Limits
	hub     *hub.Hub
	server  *pushapi.Server
}

func (i *island) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	i.server.ServeHTTP(w, r)
}

func (i *island) start(t testing.TB) {
	t.Helper()
	h, err := hub.Open(t.Context(), i.options)
	if err != nil {
		t.Fatal(err)
	}
	server, err := pushapi.NewServer(pushapi.ServerOptions{Store: service.PushAPIStore(h), Limits: i.limits})
	if err != nil {
		t.Fatal(err)
	}
	i.hub, i.server = h, server
}

func (i *island) restart(t *testing.T) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.move(t, i.options.Dir)
}

// kill restarts the server as it is after its process was killed: what was not
// synced has not reached the folder.
func (i *island) kill(t testing.TB) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	left := t.TempDir()
	must(t, os.CopyFS(left, unindexed{os.DirFS(i.options.Dir)}))
	i.move(t, left)
}

// unindexed is a hub's folder without the search index, whose files come and go
// while they are copied; it is made anew from the records.
type unindexed struct{ fs.FS }

func (u unindexed) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(u.FS, name)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool { return name == "." && e.Name() == "search" }), err
}

// replace puts an empty server in the place of this one.
func (i *island) replace(t testing.TB) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.move(t, t.TempDir())
}

// move restarts the server with another folder.
func (i *island) move(t testing.TB, dir string) {
	t.Helper()
	if err := i.hub.Close(); err != nil {
		t.Fatal(err)
	}
	i.options.Dir = dir
	i.start(t)
}

// newIsland returns an island and its address.
func newIsland(t *testing.T) (*island, string, string) {
	t.Helper()
	i := &island{options: hub.Options{Dir: t.TempDir(), Search: true}}
	host, port := i.listen(t, i)
	return i, host, port
}

// listen starts the island behind a handler that leads to it.
func (i *island) listen(t testing.TB, h http.Handler) (host, port string) {
	t.Helper()
	i.start(t)
	server := httptest.NewUnstartedServer(h)
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := i.hub.Close(); err != nil {
			t.Error(err)
		}
	})
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func TestClientAndServerConform(t *testing.T) {
	t.Parallel()
	for name, dialect := range map[string]pushapi.Dialect{"standard": pushapi.DialectStandard, "legacy": pushapi.DialectLegacy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, func(t *testing.T) world {
				i, host, port := newIsland(t)
				return world{
					legacy:  dialect == pushapi.DialectLegacy,
					restart: i.restart,
					connect: func(t *testing.T, connector string) pushapi.PushAPI {
						factory := pushapi.Factory{Options: pushapi.HTTPOptions{Dialect: dialect, Retries: -1}}
						api, err := factory.NewHTTP(pushapi.PAPIV4, host, port, connector, "", "", "")
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { _ = api.Close(t.Context()) })
						return api
					},
				}
			})
		})
	}
}
