package server_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// eden is the active side of a synchronisation, as a running Eden is it: it
// pulls what has changed since a second after the latest record that it got,
// imports that, and pushes all that it has. Its own records are those of a
// server of ours.
type eden struct {
	own, peer *fixture
	lastPull  string
	// fails says whether a pull is lost on its way.
	fails func() bool
}

// site returns the uuid of a server.
func site(f *fixture) string { return f.server.UUID() }

// connect makes both sides known to each other.
func connect(t testing.TB, own, peer *fixture) *eden {
	own.register(t, site(peer))
	peer.register(t, site(own))
	return &eden{own: own, peer: peer, fails: func() bool { return false }}
}

// exchange sends a request with the headers of an Eden.
func exchange(t testing.TB, method, address, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s (%v)", method, address, response.StatusCode, text, err)
	}
	return string(text)
}

func parse(t testing.TB, text string) []s3.Resource {
	t.Helper()
	var list []s3.Resource
	for r, err := range s3.NewDecoder(strings.NewReader(text), s3.S3XML, s3.DecodeOptions{}).Resources() {
		if err != nil {
			t.Fatal(err, text)
		}
		list = append(list, r)
	}
	return list
}

// pull returns how many records came.
func (e *eden) pull(t testing.TB) int {
	t.Helper()
	path := "sync/sync.xml?resource=org_organisation&repository=" + site(e.own)
	if e.lastPull != "" {
		path += "&msince=" + e.lastPull
	}
	text := exchange(t, "GET", e.peer.address+path+"&include_deleted=True", "")
	list := parse(t, text)
	if e.fails() || len(list) == 0 {
		return len(list)
	}
	exchange(t, "POST", e.own.address+"sync/sync.xml?resource=org_organisation&repository="+url.QueryEscape(site(e.peer))+"&update_policy=NEWER", text)
	var latest time.Time
	for _, r := range list {
		if r.Name == "org_organisation" && r.ModifiedOn.After(latest) {
			latest = r.ModifiedOn
		}
	}
	e.lastPull = s3.FormatTime(latest.Add(time.Second), s3.TimeNaive)
	return len(list)
}

// push returns what the peer did with it.
func (e *eden) push(t testing.TB) s3.Envelope {
	t.Helper()
	all := exchange(t, "GET", e.own.address+"org/organisation.xml?include_deleted=True", "")
	answer := exchange(t, "POST", e.peer.address+"sync/sync.xml?resource=org_organisation&repository="+site(e.own)+
		"&strategy=create,update,delete,merge&update_policy=NEWER&conflict_policy=NEWER", all)
	envelope, err := s3.ReadEnvelope(strings.NewReader(answer), s3.Limits{})
	if err != nil || !envelope.OK() {
		t.Fatal(answer, err)
	}
	return envelope
}

func (e *eden) round(t testing.TB) (pulled int) {
	t.Helper()
	pulled = e.pull(t)
	e.push(t)
	return pulled
}

// state returns what a server has, with times and tombstones, in full.
func (f *fixture) state(t testing.TB) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, r := range f.read(t, "org/organisation.xml?include_deleted=True&show_urls=false") {
		name := "deleted"
		if !r.Deleted {
			name = r.Field("name").Text
		}
		m[r.UUID] = name
	}
	return m
}

// TestHops has records go from A by B to C and back, some with times long past
// or far ahead, while pulls fail: nothing may get lost, and then nothing may be
// transferred any more.
func TestHops(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			a, b, c := fresh(t), fresh(t), fresh(t)
			nodes := []*fixture{a, b, c}
			active := []*eden{connect(t, a, b), connect(t, c, b)}
			lossy := true
			for _, e := range active {
				e.fails = func() bool { return lossy && rng.IntN(4) == 0 }
			}
			want := map[string]string{}
			latest := map[string]time.Time{}
			begin := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
			for step := range 40 {
				uuid := fmt.Sprintf("urn:x:%d", rng.IntN(12))
				at := begin.Add(time.Duration(step) * time.Hour)
				switch rng.IntN(6) {
				case 0:
					at = at.AddDate(-6, 0, 0) // it comes late
				case 1:
					at = at.AddDate(14, 0, 0) // 2040
				}
				name := fmt.Sprintf("step %d", step)
				node := nodes[rng.IntN(3)]
				if known, ok := node.state(t)[uuid]; ok && known != want[uuid] || !ok && want[uuid] != "" {
					at = latest[uuid].Add(-time.Minute) // the node has not heard of it, and loses
				}
				path := "sync/sync.xml?resource=org_organisation&repository=" + node.owner(t) + "&update_policy=NEWER"
				node.send(t, path, document(organisation(uuid, name, s3.FormatTime(at, s3.TimeNaive))))
				if at.After(latest[uuid]) || want[uuid] == "" {
					want[uuid], latest[uuid] = name, at
				}
				if rng.IntN(3) == 0 {
					active[rng.IntN(2)].round(t)
				}
			}
			lossy = false
			for range 4 {
				active[0].round(t)
				active[1].round(t)
			}
			for i, node := range nodes {
				if diff := cmp.Diff(want, node.state(t)); diff != "" {
					t.Errorf("node %d (-want +got):\n%s", i, diff)
				}
			}
			for round := range 3 {
				for i, e := range active {
					if n := e.pull(t); n != 0 {
						t.Errorf("round %d after all was in step: eden %d pulls %d records", round, i, n)
					}
					if answer := e.push(t); len(answer.Created)+len(answer.Skipped)+len(answer.Deleted) > 0 {
						t.Errorf("round %d after all was in step: eden %d pushes news: %+v", round, i, answer)
					}
				}
			}
		})
	}
}

// owner registers and returns the repository by which the node's own users
// write.
func (f *fixture) owner(t testing.TB) string {
	t.Helper()
	f.register(t, "urn:x:users")
	return "urn:x:users"
}

// TestDeletionsTravel takes a deletion and a merge from one Eden to the other.
func TestDeletionsTravel(t *testing.T) {
	t.Parallel()
	a, b, c := fresh(t), fresh(t), fresh(t)
	one, two := connect(t, a, b), connect(t, c, b)
	a.send(t, "org/organisation.xml", document(organisation("urn:x:1", "One", "2026-10-01T00:00:00"),
		organisation("urn:x:2", "Two", "2026-10-01T00:00:00"), organisation("urn:x:3", "Three", "2026-10-01T00:00:00")))
	one.round(t)
	two.round(t)
	a.send(t, "org/organisation.xml", document(`<resource name="org_organisation" uuid="urn:x:1" deleted="True" modified_on="2026-10-02T00:00:00"/>`,
		`<resource name="org_organisation" uuid="urn:x:2" deleted="True" modified_on="2026-10-02T00:00:00" replaced_by="urn:x:3"/>`))
	one.round(t)
	two.round(t)
	want := map[string]string{"urn:x:1": "deleted", "urn:x:2": "deleted", "urn:x:3": "Three"}
	for i, node := range []*fixture{a, b, c} {
		if diff := cmp.Diff(want, node.state(t)); diff != "" {
			t.Errorf("node %d (-want +got):\n%s", i, diff)
		}
		list := node.read(t, "org/organisation.xml?include_deleted=True")
		if list[1].ReplacedBy != "urn:x:3" {
			t.Errorf("node %d: %+v does not say what replaced it", i, list[1])
		}
	}
	if got := slices.Sorted(maps.Keys(names(b.read(t, "org/organisation.xml")))); len(got) != 1 {
		t.Errorf("deleted records are shown: %v", got)
	}
}
