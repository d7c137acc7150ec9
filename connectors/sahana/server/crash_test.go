package server_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
)

// careful is a client that knows what it was promised.
type careful struct {
	rng     *rand.Rand
	call    func(method, path, body string) (status int, text string, err error)
	version int
	// held has the least version that the server has of each record, and may
	// the greatest that was ever sent.
	held, may map[string]int
	// got is what the pulls of another client have brought; from is its cursor.
	got  map[string]int
	from string
}

func newCareful(seed uint64) *careful {
	return &careful{rng: rand.New(rand.NewPCG(seed, 3)), held: map[string]int{}, may: map[string]int{}, got: map[string]int{}}
}

// push sends some records. Their times are in no order, so that many come late.
func (c *careful) push() {
	c.version++
	var elements []string
	ids := map[string]bool{}
	for range 1 + c.rng.IntN(20) {
		id := fmt.Sprintf("urn:x:%d", c.rng.IntN(40))
		if ids[id] {
			continue
		}
		ids[id] = true
		c.may[id] = c.version
		at := time.Date(2020+c.rng.IntN(25), 1, 1, 0, 0, c.version, 0, time.UTC)
		elements = append(elements, organisation(id, fmt.Sprint(c.version), s3.FormatTime(at, s3.TimeNaive)))
	}
	status, text, err := c.call("POST", "sync/sync.xml?resource=org_organisation&repository="+peer+"&update_policy=THIS", document(elements...))
	if err == nil && status == 200 && strings.Contains(text, `"success"`) {
		for id := range ids {
			c.held[id] = c.version
		}
	}
}

// pull follows the rule of an Eden.
func (c *careful) pull() (records int, err error) {
	path := "sync/sync.xml?resource=org_organisation&repository=urn:x:puller&include_deleted=True"
	if c.from != "" {
		path += "&msince=" + c.from
	}
	status, text, err := c.call("GET", path, "")
	if err != nil || status != 200 {
		return 0, errors.Join(err, fmt.Errorf("status %d", status))
	}
	var list []s3.Resource
	for r, err := range s3.NewDecoder(strings.NewReader(text), s3.S3XML, s3.DecodeOptions{}).Resources() {
		if err != nil {
			return 0, err
		}
		list = append(list, r)
	}
	var latest time.Time
	for _, r := range list {
		if r.ModifiedOn.After(latest) {
			latest = r.ModifiedOn
		}
		var version int
		if _, err := fmt.Sscan(r.Field("name").Text, &version); err != nil {
			return 0, err
		}
		c.got[r.UUID] = version
	}
	if len(list) > 0 {
		c.from = s3.FormatTime(latest.Add(time.Second), s3.TimeNaive)
	}
	return len(list), nil
}

// check compares what a server has with what was promised.
func (c *careful) check(t *testing.T) {
	t.Helper()
	status, text, err := c.call("GET", "org/organisation.xml", "")
	if err != nil || status != 200 {
		t.Fatal(status, text, err)
	}
	has := map[string]int{}
	for uuid, name := range names(parse(t, text)) {
		var version int
		_, _ = fmt.Sscan(name, &version)
		has[uuid] = version
	}
	for uuid, version := range c.held {
		if has[uuid] < version || has[uuid] > c.may[uuid] {
			t.Errorf("%s is version %d, and %d was promised of at most %d", uuid, has[uuid], version, c.may[uuid])
		}
		c.held[uuid] = has[uuid]
	}
}

// settle pulls until nothing comes, and compares.
func (c *careful) settle(t *testing.T) {
	t.Helper()
	for round := 0; ; round++ {
		n, err := c.pull()
		if err != nil || round > 5 {
			t.Fatal(round, n, err)
		}
		if n == 0 || round > 3 { // some of the cursor's own second may come again
			break
		}
	}
	status, text, err := c.call("GET", "org/organisation.xml", "")
	if err != nil || status != 200 {
		t.Fatal(status, text, err)
	}
	got := map[string]string{}
	for uuid, version := range c.got {
		got[uuid] = fmt.Sprint(version)
	}
	if diff := cmp.Diff(names(parse(t, text)), got); diff != "" {
		t.Errorf("the server has, and the pulls brought (-server +pulled):\n%s", diff)
	}
}

// TestPowerCuts cuts the power again and again, at any call of the store:
// nothing that was answered is lost, and no pull passes over anything.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	seeds := uint64(40)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := &memory{rng: rng, left: -1}
		c := newCareful(seed)
		for range 12 {
			s, err := server.New(server.Options{Store: disk.boot(), Domain: "d", Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			c.call = func(method, path, body string) (status int, text string, err error) {
				defer func() {
					if v := recover(); v != nil {
						if v != http.ErrAbortHandler { //nolint:errorlint // it is compared like that by net/http
							panic(v)
						}
						err = errPower
					}
				}()
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/eden/"+path, strings.NewReader(body)))
				return w.Code, w.Body.String(), nil
			}
			c.check(t)
			for _, uuid := range []string{peer, "urn:x:puller"} {
				if status, text, err := c.call("POST", "sync/repository/register.json", `{"uuid": "`+uuid+`", "name": "x"}`); err != nil || status != 200 {
					t.Fatal(status, text, err)
				}
			}
			disk.cutAfter(rng.IntN(80))
			for range 8 {
				if rng.IntN(3) == 0 {
					_, _ = c.pull() // the power may be cut
				} else {
					c.push()
				}
			}
			disk.cutAfter(-1)
		}
		c.settle(t)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// processDir is the variable of the environment that makes a test the server.
const processDir = "GAPLESS_SAHANA_PROCESS"

// TestServerProcess is the server that [TestKilledServers] kills.
func TestServerProcess(t *testing.T) {
	dir := os.Getenv(processDir)
	if dir == "" {
		t.Log("not a process of TestKilledServers")
		return
	}
	h, err := hub.Open(t.Context(), hub.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	store, err := service.SahanaStore(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(s)
	gaplesstest.Listening(listener.URL + "/eden/")
}

// TestKilledServers kills a server on a hub again and again while a client
// pushes, in the middle of what it does.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	dir, seed := t.TempDir(), rand.Uint64()
	t.Logf("seed %d", seed)
	c := newCareful(seed)
	before := map[string]int{}
	for round := range 5 {
		address, kill := gaplesstest.Child(t, "TestServerProcess", processDir+"="+dir, "TMPDIR="+t.TempDir())
		client := &http.Client{Transport: &http.Transport{}}
		c.call = func(method, path, body string) (int, string, error) {
			r, err := http.NewRequestWithContext(t.Context(), method, address+path, strings.NewReader(body))
			if err != nil {
				return 0, "", err
			}
			response, err := client.Do(r)
			if err != nil {
				return 0, "", err
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			return response.StatusCode, string(text), err
		}
		c.check(t)
		if status, text, err := c.call("POST", "sync/repository/register.json", `{"uuid": "`+peer+`"}`); err != nil || status != 200 {
			t.Fatal(status, text, err)
		}
		var killed sync.WaitGroup
		for i := range 30 {
			if i == 10+c.rng.IntN(20) || i == 29 {
				killed.Go(kill) // while the next one is under way
			}
			c.push()
		}
		killed.Wait()
		client.CloseIdleConnections()
		if maps.Equal(before, c.held) {
			t.Errorf("round %d: nothing was taken", round)
		}
		before = maps.Clone(c.held)
	}
}
