package sahana_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/resolve"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// bridge is a two-way connector whose second side is a site, and its first a
// site or a hub.
type bridge struct {
	dir   string
	store *sqlite.Store
	sites [2]*site // the first is nil if that side is the hub
	hub   *hub.Hub
}

func newBridge(t *testing.T, first *site, second *site) *bridge {
	t.Helper()
	b := &bridge{dir: t.TempDir(), sites: [2]*site{first, second}}
	var err error
	b.store, err = sqlite.Open(t.Context(), b.dir)
	check(t, err)
	t.Cleanup(func() { check(t, b.store.Close()) })
	if first == nil {
		b.hub, err = hub.Open(t.Context(), hub.Options{Dir: t.TempDir()})
		check(t, err)
		t.Cleanup(func() { check(t, b.hub.Close()) })
	}
	return b
}

// run opens both sides anew, as each run of the command line does.
func (b *bridge) run(t *testing.T) (engine.Summary, error) {
	t.Helper()
	c := engine.Config{
		Connector: "c", Store: b.store, Dir: b.dir, Policy: resolve.Policy{Resolution: resolve.Newer},
		Settings: engine.Settings{BatchRows: 3, Attempts: 2, MaxWait: time.Millisecond, GuardPercent: 100},
	}
	var ends []gapless.Closer
	defer func() {
		for _, end := range ends {
			check(t, end.Close())
		}
	}()
	for i, s := range b.sites {
		if s == nil {
			c.Sides = append(c.Sides, engine.Side{Name: "hub", Source: b.hub.Source("relief"), Destination: b.hub.Shared("relief")})
			continue
		}
		env := gapless.Env{Connector: "c", Dir: b.dir, State: fmt.Sprint(b.dir, "/", i)}
		var l line
		from, err := sahana.Connector().Source.Open(t.Context(), l.reads(s, nil).source, env)
		check(t, err)
		to, err := sahana.Connector().Destination.Open(t.Context(), l.writes(s, nil).destination, env)
		check(t, err)
		ends = append(ends, from.(gapless.Closer), to.(gapless.Closer))
		c.Sides = append(c.Sides, engine.Side{Name: "sahana", Source: from, Destination: to})
	}
	e, err := engine.New(c)
	check(t, err)
	s, err := e.Run(t.Context(), engine.RunOptions{})
	report, proveErr := e.Prove(t.Context())
	if err == nil && proveErr == nil && !report.OK {
		proveErr = errors.New(report.Text())
	}
	return s, errors.Join(err, proveErr)
}

func (b *bridge) must(t *testing.T) uint64 {
	t.Helper()
	s, err := b.run(t)
	if err != nil {
		letters, _ := b.store.DeadLetters(t.Context(), state.DeadLetterFilter{Connector: "c", Open: true})
		for _, letter := range letters {
			t.Logf("%s %s: %s", letter.Partition, letter.Key, letter.Reason)
		}
		t.Fatalf("%v (%+v)", err, s.Partitions)
	}
	return s.Counts.Pushed
}

// quiet is two runs that may be needed to come to rest, and three in which
// nothing is transferred.
func (b *bridge) quiet(t *testing.T) {
	t.Helper()
	b.must(t)
	b.must(t)
	for round := range 3 {
		if n := b.must(t); n != 0 {
			t.Fatalf("round %d after all was quiet transfers %d records", round+1, n)
		}
	}
}

func (b *bridge) conflicts(t *testing.T) []state.Conflict {
	t.Helper()
	list, err := b.store.Conflicts(t.Context(), state.ConflictFilter{})
	check(t, err)
	return list
}

// content is what is the same in all copies of a site's records.
func content(t *testing.T, s *site) map[string]map[string]string {
	t.Helper()
	all := s.contents(t)
	for _, records := range all {
		for key, data := range records {
			text, err := s3.Content([]byte(data))
			check(t, err)
			records[key] = string(text)
		}
	}
	return all
}

// TestTwoSites: two services of ours that are both edited.
func TestTwoSites(t *testing.T) {
	t.Parallel()
	a, z := newSite(t), newSite(t)
	b := newBridge(t, a, z)
	fill(t, a)
	z.put(t, "gis_location", resource("gis_location", "urn:x:z", "2026-10-01T00:00:00", data("name", "only there")))
	b.must(t)
	same(t, "the first run", content(t, a), content(t, z))
	if len(a.contents(t)["gis_location"]) != 8 {
		t.Errorf("locations: %v", a.contents(t)["gis_location"])
	}
	b.quiet(t)
	// Two fields of one record, each edited at one side, and one field at both.
	a.put(t, "gis_location",
		resource("gis_location", "urn:x:l1", "2026-11-01T00:00:00", data("name", "named here")),
		resource("gis_location", "urn:x:l2", "2026-11-01T00:00:00", data("name", "named here")))
	z.put(t, "gis_location",
		resource("gis_location", "urn:x:l1", "2026-11-02T00:00:00", value("lat", "47.5")),
		resource("gis_location", "urn:x:l2", "2026-11-02T00:00:00", data("name", "named there")))
	a.do(t, http.MethodDelete, "gis/location.xml?~.uuid=urn:x:l3", "")
	z.do(t, http.MethodDelete, "gis/location.xml?~.uuid=urn:x:l4", "")
	b.must(t)
	same(t, "edits", content(t, a), content(t, z))
	got := a.contents(t)["gis_location"]
	if gjson.Get(got["urn:x:l1"], "name").String() != "named here" || gjson.Get(got["urn:x:l1"], "lat").Float() != 47.5 {
		t.Errorf("fields that one side each has edited: %s", got["urn:x:l1"])
	}
	if gjson.Get(got["urn:x:l2"], "name").String() != "named there" {
		t.Errorf("the newer edit lost: %s", got["urn:x:l2"])
	}
	if len(got) != 6 {
		t.Errorf("deletions did not travel: %v", got)
	}
	names := map[string]int{}
	for _, x := range b.conflicts(t) {
		names[x.Key+"."+x.Field]++
	}
	if !maps.Equal(names, map[string]int{"urn:x:l2.name": 1}) {
		t.Errorf("the inbox has %v", names)
	}
	b.quiet(t)
	same(t, "at rest", content(t, a), content(t, z))
}

// TestSiteAndHub: a service, and a hub whose records others edit.
func TestSiteAndHub(t *testing.T) {
	t.Parallel()
	z := newSite(t)
	b := newBridge(t, nil, z)
	fill(t, z)
	b.must(t)
	before := content(t, z)
	b.quiet(t)
	same(t, "reading changed what is read", before, content(t, z))
	session, err := b.hub.Shared("relief").Open(t.Context(), "somebody", 1)
	check(t, err)
	p := gapless.Partition{ID: "gis_location", Collection: "gis_location"}
	record, err := session.(gapless.Getter).Get(t.Context(), p, "urn:x:l1")
	check(t, err)
	renamed, err := resolve.With(record.Data, "name", []byte(`"named in the hub"`))
	check(t, err)
	batch := &gapless.Batch{Partition: p}
	batch.Append(gapless.Change{Record: gapless.Record{Key: "urn:x:l1", Data: renamed}})
	batch.Append(gapless.Change{Op: gapless.OpDelete, Record: gapless.Record{Key: "urn:x:l3"}})
	batch.Append(gapless.Change{Record: gapless.Record{Key: "urn:x:new", Data: []byte(`{"name":"made in the hub"}`)}})
	_, err = session.Push(t.Context(), batch)
	check(t, err)
	_, err = session.Sync(t.Context(), nil)
	check(t, err)
	check(t, session.Close())
	z.put(t, "gis_location", resource("gis_location", "urn:x:l2", "2026-11-02T00:00:00", data("name", "named there")))
	b.must(t)
	got := z.contents(t)["gis_location"]
	for key, want := range map[string]string{"urn:x:l1": "named in the hub", "urn:x:l2": "named there", "urn:x:new": "made in the hub", "urn:x:l3": ""} {
		if name := gjson.Get(got[key], "name").String(); name != want {
			t.Errorf("%s is named %q at the service, want %q", key, name, want)
		}
	}
	record, err = b.hub.Get(t.Context(), "relief", "gis_location", "urn:x:l2")
	if err != nil || gjson.GetBytes(record.Data, "name").String() != "named there" {
		t.Errorf("in the hub: %s, %v", record.Data, err)
	}
	b.quiet(t)
	if list := b.conflicts(t); len(list) != 0 {
		t.Errorf("nothing was lost, but %+v", list)
	}
}
