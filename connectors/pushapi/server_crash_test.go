package pushapi_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// processDir names the variable that makes this test binary a server, and
// processSearch one that gives it a search index.
const (
	processDir    = "GAPLESS_TEST_PUSHAPI_DIR"
	processSearch = "GAPLESS_TEST_PUSHAPI_SEARCH"
)

// TestServerProcess is no test but the process that TestKilledServers kills:
// it serves a hub until it is killed, or until its input ends.
func TestServerProcess(t *testing.T) { //nolint:paralleltest // it has the process for itself
	dir := os.Getenv(processDir)
	if dir == "" {
		return
	}
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir, Search: os.Getenv(processSearch) != ""})
	if err != nil {
		t.Fatal(err)
	}
	s, err := pushapi.NewServer(pushapi.ServerOptions{Store: service.PushAPIStore(h)})
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

// serverProcess starts a server of dir, which the caller kills, with more
// variables.
func serverProcess(t *testing.T, dir string, variables ...string) (*fixture, func()) {
	t.Helper()
	address, kill := gaplesstest.Child(t, "TestServerProcess", append(variables, processDir+"="+dir)...)
	return &fixture{address: address}, kill
}

// errGone: the server has been killed, and whether it did it is not known.
var errGone = errors.New("the server is gone")

// pusher is a client that pushes numbered documents, with checkpoints that
// tell their number, and knows what it was promised.
type pusher struct {
	name   string
	client *http.Client
	before func() // each request
	// next is the number of the next document; those before it were accepted
	// by this server or are synced.
	next   int
	synced int    // all before this number have been promised to be durable
	serial uint64 // the highest that was seen
	id     string // of the session
}

func (p *pusher) call(f *fixture, command string, query url.Values, body string) (int, string, error) {
	query.Set("PAPI_session", p.id)
	p.before()
	response, err := p.client.Post(f.url(p.name+"/"+command+"?"+query.Encode()), multipartType, strings.NewReader(body))
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

// work pushes until the server is gone.
func (p *pusher) work(f *fixture, rng *rand.Rand) error {
	for {
		var pairs []string
		n := 1 + rng.IntN(20)
		for i := range n {
			doc := fmt.Sprintf("PAPI_%d:", i)
			pairs = append(pairs, doc+"uri", fmt.Sprintf("doc/%07d", p.next+i), doc+"stamp", strconv.Itoa(p.next+i), doc+"part_bytes:master", strings.Repeat("x", rng.IntN(3000)))
		}
		status, text, err := p.call(f, "add_documents", url.Values{}, multi(pairs...))
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("add: %d %s", status, text)
		}
		p.next += n
		durable := rng.IntN(3) == 0
		status, text, err = p.call(f, "set_checkpoint", url.Values{"PAPI_checkpoint": {strconv.Itoa(p.next)}, "PAPI_sync": {strconv.FormatBool(durable)}}, multi("x", "y"))
		if err != nil {
			return err
		}
		serial, parseErr := pushapi.ParseSerial(text)
		if status != http.StatusOK || parseErr != nil {
			return fmt.Errorf("checkpoint: %d %s", status, text)
		}
		if serial <= p.serial {
			return fmt.Errorf("serial %d after %d", serial, p.serial)
		}
		p.serial = serial
		if durable {
			p.synced = p.next
		}
	}
}

// resume does what a client does with a server that was restarted: the old
// session is refused, and work goes on behind the last synced checkpoint.
func (p *pusher) resume(t *testing.T, f *fixture) {
	t.Helper()
	if p.id != "" {
		status, text, err := p.call(f, "set_checkpoint", url.Values{"PAPI_checkpoint": {"0"}}, multi("x", "y"))
		if err != nil || status != http.StatusBadRequest || !strings.Contains(text, "SessionMismatchError") {
			t.Errorf("%s: the old session was not refused: %d %s %v", p.name, status, text, err)
		}
	}
	old := p.id
	if p.id = f.must(t, "GET", p.name+"/get_current_session_id", "", ""); p.id == old {
		t.Errorf("session %s again", old)
	}
	checkpoint := 0
	if text := f.must(t, "GET", p.name+"/get_checkpoint", "", ""); text != "" {
		var err error
		if checkpoint, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if checkpoint < p.synced {
		t.Errorf("%s: checkpoint %d was lost, %d is left", p.name, p.synced, checkpoint)
	}
	held := map[string]bool{}
	for _, line := range f.entries(t, p.name, "PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS") {
		held[line] = true
	}
	for n := range checkpoint {
		if want := fmt.Sprintf("D doc%%2F%07d %d", n, n); !held[want] {
			t.Fatalf("%s: document %d was lost, which is before checkpoint %d", p.name, n, checkpoint)
		}
	}
	p.next, p.synced = checkpoint, checkpoint
}

// TestKilledServers kills a server again and again while several clients push.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	dir, seed := t.TempDir(), rand.Uint64()
	pushers := make([]*pusher, 4)
	for i := range pushers {
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		pushers[i] = &pusher{name: fmt.Sprintf("c%d", i), client: client, before: func() {}}
	}
	highest := uint64(0)
	for round := range 8 {
		f, kill := serverProcess(t, dir)
		for _, p := range pushers {
			p.resume(t, f)
		}
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
		var requests atomic.Int64
		limit := rand.New(rand.NewPCG(seed, uint64(round))).Int64N(300)
		var working sync.WaitGroup
		for i, p := range pushers {
			rng := rand.New(rand.NewPCG(seed+uint64(i)+1, uint64(round)))
			p.before = func() {
				if requests.Add(1) == limit+1 {
					kill()
				}
			}
			p.serial = max(p.serial, highest)
			working.Go(func() {
				if err := p.work(f, rng); !errors.Is(err, errGone) {
					t.Errorf("%s: %v", p.name, err)
				}
			})
		}
		working.Wait()
		kill()
		for _, p := range pushers {
			highest = max(highest, p.serial)
			p.before = func() {}
			p.client.CloseIdleConnections()
		}
	}
	f, kill := serverProcess(t, dir)
	defer kill()
	for _, p := range pushers {
		p.resume(t, f)
	}
	if highest == 0 {
		t.Error("nothing was pushed at all")
	}
}

// TestAHundredClients push at the same time, into the same and into their own
// connectors.
func TestAHundredClients(t *testing.T) {
	t.Parallel()
	const clients, rounds, batch = 100, 10, 10
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, h, pushapi.ServerOptions{})
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	connector := func(c int) string { return fmt.Sprintf("c%d", c%10) }
	send := func(rest, body string) error {
		response, err := client.Post(f.url(rest), multipartType, strings.NewReader(body))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %d %s %w", rest, response.StatusCode, text, err)
		}
		return nil
	}
	var working sync.WaitGroup
	for c := range clients {
		working.Go(func() {
			for round := range rounds {
				var pairs []string
				for i := range batch {
					pairs = append(pairs, fmt.Sprintf("PAPI_%d:uri", i), fmt.Sprintf("%d/%d/%d", c, round, i), fmt.Sprintf("PAPI_%d:part_bytes:master", i), strings.Repeat("x", 100*i))
				}
				err := send(connector(c)+"/add_documents", multi(pairs...))
				if err == nil && round%3 == c%3 {
					err = send(fmt.Sprintf("%s/set_checkpoint?PAPI_name=%d&PAPI_checkpoint=%d&PAPI_sync=true", connector(c), c, round), multi("x", "y"))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	for c := range 10 {
		f.must(t, "POST", connector(c)+"/sync", "", "")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	again := serve(t, openHub(t, dir, false), pushapi.ServerOptions{})
	for c := range 10 {
		if got := again.must(t, "GET", connector(c)+"/count_synced_entries?PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS", "", ""); got != fmt.Sprint(clients/10*rounds*batch) {
			t.Errorf("connector %d holds %s", c, got)
		}
	}
	for c := range clients {
		if got := again.must(t, "GET", fmt.Sprintf("%s/count_synced_entries?PAPI_rootPath=%d&PAPI_mode=RECURSIVE_DOCUMENTS", connector(c), c), "", ""); got != fmt.Sprint(rounds*batch) {
			t.Errorf("client %d has %s documents left", c, got)
		}
	}
}

// TestOnlyOneCopyGoesOn runs copies of a connector that depend on the
// checkpoint: every step is made once.
func TestOnlyOneCopyGoesOn(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	f.must(t, "POST", "wiki/set_checkpoint?PAPI_checkpoint=0", "", "")
	const copies, steps = 8, 30
	var made atomic.Int64
	var working sync.WaitGroup
	for copyNumber := range copies {
		working.Go(func() {
			for step := range steps {
				query := fmt.Sprintf("wiki/add_documents?PAPI_if_checkpoint=%d&PAPI_checkpoint=%d", step, step+1)
				status, text := f.do(t, "POST", query, multipartType, multi("PAPI_0:uri", fmt.Sprintf("%d/%d", step, copyNumber)))
				switch {
				case status == http.StatusOK:
					made.Add(1)
				case status != http.StatusBadRequest || !strings.Contains(text, "CheckpointMismatchError"):
					t.Errorf("%d %s", status, text)
				}
			}
		})
	}
	working.Wait()
	f.must(t, "POST", "wiki/sync", "", "")
	entries := f.entries(t, "wiki", "PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS")
	if last := f.must(t, "GET", "wiki/get_checkpoint", "", ""); fmt.Sprint(made.Load()) != last || len(entries) != int(made.Load()) {
		t.Errorf("%d steps made, checkpoint %s, %d documents", made.Load(), last, len(entries))
	}
}
