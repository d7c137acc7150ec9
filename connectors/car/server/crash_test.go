package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/car/wire"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// errGone: the server has been cut off, and whether it did it is not known.
var errGone = errors.New("the server is gone")

// careful is a client that knows what it was promised.
type careful struct {
	source string
	ids    int // of assets
	rng    *rand.Rand
	// call sends a request; errGone if no reply came, or none that counts.
	call func(method, path, body string) (status int, text string, err error)

	version int
	// held has what each key is known to hold; may has what it can hold
	// besides, "" for nothing, by something that was not answered.
	held map[string]string
	may  map[string][]string
	// full says that a full import is open, sent what it has sent, failed that
	// an import of it was refused, and ending that its end was asked for.
	full, failed, ending bool
	sent                 map[string]bool
	unsure               map[string]bool // what it may have sent
	refused              int             // full imports that could not end
	retired              int             // full imports that ended
}

func newCareful(source string, ids int, seed uint64) *careful {
	return &careful{source: source, ids: ids, rng: rand.New(rand.NewPCG(seed, 1)), held: map[string]string{}, may: map[string][]string{}, sent: map[string]bool{}, unsure: map[string]bool{}}
}

// step does one thing of a connector's life.
func (c *careful) step() error {
	switch n := c.rng.IntN(20); {
	case n < 9:
		return c.send(c.pick(5))
	case n < 11:
		return c.remove(c.pick(40))
	case n < 13:
		return c.deactivate(c.rng.IntN(c.ids))
	case n == 13 && !c.full:
		return c.sendBad()
	case n == 14 && c.full && c.rng.IntN(4) == 0:
		return c.sendBad()
	case !c.full || n == 19:
		return c.begin()
	case n < 17:
		return c.send(c.pick(2)) // most of it, so that it may end
	}
	return c.end()
}

// pick returns one of so many ids, and at least one.
func (c *careful) pick(of int) []int {
	list := []int{c.rng.IntN(c.ids)}
	for id := range c.ids {
		if c.rng.IntN(of) == 0 {
			list = append(list, id)
		}
	}
	return list
}

func assetKey(id int) string { return fmt.Sprintf("asset %05d", id) }

func edgeKey(id int) string {
	return fmt.Sprintf("asset_account %s", wire.EdgeKey(fmt.Sprintf("%05d", id), "x"))
}

// allow notes what keys may hold from now on.
func (c *careful) allow(keys []string, value string) {
	for _, key := range keys {
		c.may[key] = append(c.may[key], value)
	}
}

// settle notes what keys hold.
func (c *careful) settle(keys []string, value string) {
	for _, key := range keys {
		delete(c.may, key)
		if value == "" {
			delete(c.held, key)
			continue
		}
		c.held[key] = value
		if c.full {
			c.sent[key] = true
		}
	}
}

func (c *careful) send(ids []int) error {
	c.version++
	var assets, edges, keys []string
	for _, id := range ids {
		assets = append(assets, fmt.Sprintf(`{"external_id":"%05d","v":%d}`, id, c.version))
		edges = append(edges, fmt.Sprintf(`{"_from_external_id":"%05d","_to_external_id":"x","v":%d}`, id, c.version))
		keys = append(keys, assetKey(id), edgeKey(id))
	}
	value := fmt.Sprint(c.version)
	c.allow(keys, value)
	for _, key := range keys {
		c.unsure[key] = true
	}
	status, text, err := c.call("POST", "imports", envelopeOf(c.source, `"asset":[`+strings.Join(assets, ",")+`],"asset_account":[`+strings.Join(edges, ",")+`]`))
	if err != nil {
		return err
	}
	var reply struct{ ID string }
	if err := json.Unmarshal([]byte(text), &reply); err != nil || reply.ID == "" {
		return fmt.Errorf("import: %d %s", status, text)
	}
	c.settle(keys, value)
	status, text, err = c.call("GET", "importstatus?ids="+reply.ID, "")
	if err == nil && !strings.Contains(text, `"complete_imports":[{"id":"`+reply.ID) {
		err = fmt.Errorf("import %s: %d %s", reply.ID, status, text)
	}
	return err
}

func (c *careful) sendBad() error {
	_, text, err := c.call("POST", "imports", envelopeOf(c.source, `"asset":[{"external_id":"99999"},{}]`))
	if err != nil {
		return err
	}
	var reply struct{ ID string }
	if err := json.Unmarshal([]byte(text), &reply); err != nil || reply.ID == "" {
		return fmt.Errorf("bad import: %s", text)
	}
	c.failed = c.failed || c.full
	_, text, err = c.call("GET", "importstatus?ids="+reply.ID, "")
	if err == nil && !strings.Contains(text, `"statusCode":422`) {
		err = fmt.Errorf("bad import: %s", text)
	}
	return err
}

func (c *careful) remove(ids []int) error {
	var list, keys []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf("%05d", id))
		keys = append(keys, assetKey(id), edgeKey(id))
	}
	c.allow(keys, "")
	status, text, err := c.call("DELETE", "source/"+c.source+"/asset?external_ids="+strings.Join(list, ","), "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("delete: %d %s", status, text)
	}
	if err == nil {
		c.settle(keys, "")
	}
	return err
}

func (c *careful) deactivate(id int) error {
	c.allow([]string{edgeKey(id)}, "")
	status, text, err := c.call("PATCH", fmt.Sprintf("asset_account?source=%s&from=%05d&to=x", c.source, id), `{"active":false}`)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("patch: %d %s", status, text)
	}
	if err == nil {
		c.settle([]string{edgeKey(id)}, "")
	}
	return err
}

func (c *careful) begin() error {
	c.full = false // until it is known to be
	status, text, err := c.call("POST", "source/"+c.source+"/full-import-in-progress", "")
	if err != nil {
		return err
	}
	if status != http.StatusOK || !strings.Contains(text, `"job_id"`) {
		return fmt.Errorf("begin: %d %s", status, text)
	}
	c.full, c.failed = true, false
	clear(c.sent)
	clear(c.unsure)
	return nil
}

// end asks for the end until it is told how that went. Nothing may be left of
// what was not sent, or all.
func (c *careful) end() error {
	c.ending = true
	status, text, err := c.call("DELETE", "source/"+c.source+"/full-import-in-progress", "")
	for err == nil {
		var job struct {
			ID     string
			Status string
		}
		if parseErr := json.Unmarshal([]byte(text), &job); parseErr != nil || status != http.StatusOK || job.ID == "" {
			return fmt.Errorf("end: %d %s", status, text)
		}
		switch job.Status {
		case "COMPLETE":
			c.ended()
			return nil
		case "ERROR":
			c.ending = false
			c.refused++
			return nil
		}
		status, text, err = c.call("GET", "jobstatus/"+job.ID, "")
	}
	return err
}

func (c *careful) ended() {
	c.ending, c.full = false, false
	c.retired++
	for key := range c.held {
		switch {
		case c.sent[key]:
		case c.unsure[key]:
			c.allow([]string{key}, "")
		default:
			delete(c.held, key)
		}
	}
}

// verify compares what is stored with what was promised, and goes on from
// there.
func (c *careful) verify(stored map[string]string) error {
	for key, value := range stored {
		if c.held[key] != value && !slices.Contains(c.may[key], value) {
			return fmt.Errorf("%s holds %s, which is neither %q nor %q", key, value, c.held[key], c.may[key])
		}
	}
	for key, value := range c.held {
		if stored[key] == "" && !slices.Contains(c.may[key], "") {
			return fmt.Errorf("%s is missing, which held %s", key, value)
		}
	}
	c.held = maps.Clone(stored)
	clear(c.may)
	return nil
}

// versions returns what rows hold, as careful has it.
func versions(rows map[string]string) map[string]string {
	found := map[string]string{}
	for key, data := range rows {
		var row struct{ V int }
		if err := json.Unmarshal([]byte(data), &row); err != nil {
			row.V = -1
		}
		found[key] = fmt.Sprint(row.V)
	}
	return found
}

// work does steps until the server is gone.
func (c *careful) work(steps int) error {
	for range steps {
		if err := c.step(); err != nil {
			return err
		}
	}
	return nil
}

// TestPowerCuts cuts the power at every call to the store, again and again, on
// a disk that keeps as much of what was not synced as chance has it.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	base := rand.Uint64()
	var retired, refused, lost int
	disks := 60
	if testing.Short() {
		disks = 10
	}
	for n := range disks {
		seed := base + uint64(n)
		disk := newMemory(seed)
		c := newCareful("s", 12, seed)
		for round := range 12 {
			cutting(t, disk, c)
			if t.Failed() {
				t.Fatalf("seed %d, round %d", seed, round)
			}
		}
		retired, refused, lost = retired+c.retired, refused+c.refused, lost+len(disk.lost)
	}
	if retired < disks/2 || refused < disks/6 || lost < disks*5/6 {
		t.Errorf("%d full imports ended, %d were refused, %d cuts lost something", retired, refused, lost)
	}
}

// cutting is the life of one server, from a cut of the power to the next.
func cutting(t *testing.T, disk *memory, c *careful) {
	store := disk.boot()
	s, err := server.New(server.Options{Store: store, Poll: 5 * time.Millisecond})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	c.call = func(method, path, body string) (int, string, error) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/api/car/v2/"+path, strings.NewReader(body)))
		if _, err := store.Sources(context.Background()); err != nil {
			return 0, "", errGone // also if this reply went out before
		}
		return w.Code, w.Body.String(), nil
	}
	ending := c.ending
	if ending {
		if err := c.end(); err != nil {
			t.Error(err)
			return
		}
	}
	if err := c.verify(versions(activeOf(disk.replay(len(disk.log))["s"]))); err != nil {
		t.Errorf("the full import was ending: %v; %v", ending, err)
		return
	}
	disk.mu.Lock()
	disk.left = disk.rng.IntN(150)
	disk.mu.Unlock()
	if err := c.work(40); err != nil && !errors.Is(err, errGone) {
		t.Error(err)
	}
	disk.mu.Lock()
	disk.left = 0
	disk.mu.Unlock()
}

// activeOf returns the rows of a snapshot that are not retired.
func activeOf(n memorySnapshot) map[string]string {
	rows := map[string]string{}
	for _, collection := range []string{"asset", "asset_account"} {
		for key, r := range n[collection] {
			rows[collection+" "+key] = string(r.Data)
		}
	}
	return rows
}

// processDir names the variable that makes this test binary a server.
const processDir = "GAPLESS_TEST_CAR_DIR"

// TestServerProcess is no test but the process that TestKilledServers kills:
// it serves a hub until it is killed, or until its input ends.
func TestServerProcess(t *testing.T) { //nolint:paralleltest // it has the process for itself
	dir := os.Getenv(processDir)
	if dir == "" {
		return
	}
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Store: service.CARStore(h)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(listener, s) }() // it ends with the process
	gaplesstest.Listening(listener.Addr().String())
}

// TestKilledServers kills a server again and again while several clients
// import, in the middle of what it does.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	dir, seed := t.TempDir(), rand.Uint64()
	clients := make([]*careful, 3)
	for i := range clients {
		clients[i] = newCareful(fmt.Sprintf("s%d", i), 3000, seed+uint64(i))
	}
	for round := range 7 {
		address, kill := gaplesstest.Child(t, "TestServerProcess", processDir+"="+dir)
		f := &fixture{address: address}
		transport := &http.Transport{}
		var requests atomic.Int64
		limit := rand.New(rand.NewPCG(seed, uint64(round))).Int64N(60)
		var working sync.WaitGroup
		for _, c := range clients {
			c.call = calling(f, transport, func() {
				if requests.Add(1) == limit+1 && round < 6 {
					go kill()
				}
			})
			working.Go(func() {
				if err := c.live(f, transport); err != nil && !errors.Is(err, errGone) {
					t.Errorf("seed %d, round %d, %s: %v", seed, round, c.source, err)
				}
			})
		}
		working.Wait()
		kill()
		transport.CloseIdleConnections()
	}
	if clients[0].retired+clients[1].retired+clients[2].retired == 0 {
		t.Error("no full import has ended")
	}
}

// calling sends requests of a client over a transport.
func calling(f *fixture, transport *http.Transport, before func()) func(method, path, body string) (int, string, error) {
	return func(method, path, body string) (int, string, error) {
		before()
		r, err := http.NewRequest(method, f.url(path), strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			return 0, "", errGone
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, "", errGone
		}
		return response.StatusCode, string(text), nil
	}
}

// live is what a client does between two deaths of the server.
func (c *careful) live(f *fixture, transport *http.Transport) error {
	if c.ending {
		if err := c.end(); err != nil {
			return err
		}
	}
	stored := map[string]string{}
	ask := calling(f, transport, func() {})
	for _, collection := range []string{"asset", "asset_account"} {
		_, text, err := ask("GET", collection+"?source="+c.source, "")
		if err != nil {
			return err
		}
		var rows []struct {
			ID   string `json:"external_id"`
			From string `json:"_from_external_id"`
			V    int
		}
		if err := json.Unmarshal([]byte(text), &rows); err != nil {
			return fmt.Errorf("%w: %.200s", err, text)
		}
		for _, r := range rows {
			key := "asset " + r.ID
			if collection == "asset_account" {
				key = "asset_account " + r.From + "|x"
			}
			stored[key] = fmt.Sprint(r.V)
		}
	}
	if err := c.verify(stored); err != nil {
		return err
	}
	return c.work(30)
}
