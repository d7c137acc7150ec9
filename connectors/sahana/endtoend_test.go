package sahana_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/connectors/sahana/server"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/hub"
	"github.com/gapless-sync/gapless/service"
	"github.com/gapless-sync/gapless/state"
	"github.com/gapless-sync/gapless/state/sqlite"
)

const (
	login, password = "gapless@example.org", "pass"
	us              = "urn:uuid:0f3c1f0e-6b7e-4a52-9f59-0d7cf2f7b0aa"
)

// tables in the order of their references.
func tables() []string {
	return []string{"gis_location", "org_organisation", "org_office", "pr_person"}
}

// site is a Sahana service of ours on loopback, with a hub behind it.
type site struct{ base string }

func newSite(t *testing.T) *site {
	t.Helper()
	h, err := hub.Open(t.Context(), hub.Options{Dir: t.TempDir()})
	check(t, err)
	t.Cleanup(func() { check(t, h.Close()) })
	store, err := service.SahanaStore(t.Context(), h)
	check(t, err)
	s, err := server.New(server.Options{Store: store, Dir: t.TempDir(), Admit: func(r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		return user == login && pass == password
	}})
	check(t, err)
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	return &site{listener.URL + "/eden"}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) do(t *testing.T, method, path, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+"/"+path, strings.NewReader(body))
	check(t, err)
	r.SetBasicAuth(login, password)
	response, err := http.DefaultClient.Do(r)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || strings.Contains(string(text), `"failed"`) {
		t.Fatalf("%s %s: %d %s (%v)", method, path, response.StatusCode, text, err)
	}
	return string(text)
}

// put imports elements, as somebody does who does not wait for his turn.
func (s *site) put(t *testing.T, table string, elements ...string) {
	t.Helper()
	prefix, name, _ := strings.Cut(table, "_")
	s.do(t, http.MethodPost, prefix+"/"+name+".xml", "<s3xml>"+strings.Join(elements, "")+"</s3xml>")
}

// contents returns the data of all records by table and uuid, without what
// differs from copy to copy.
func (s *site) contents(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, table := range tables() {
		prefix, name, _ := strings.Cut(table, "_")
		text := s.do(t, http.MethodGet, prefix+"/"+name+".xml?maxdepth=0&show_urls=false&nulls=true&include_deleted=True", "")
		all[table] = map[string]string{}
		for r, err := range s3.NewDecoder(strings.NewReader(text), s3.S3XML, s3.DecodeOptions{}).Resources() {
			check(t, err)
			if !r.Deleted {
				all[table][r.UUID] = dataOf(t, r)
			}
		}
	}
	return all
}

func dataOf(t *testing.T, r s3.Resource) string {
	t.Helper()
	plain(&r)
	record, err := r.Record()
	check(t, err)
	return string(record.Data)
}

// plain takes out what counts copies.
func plain(r *s3.Resource) {
	r.MCI, r.URL, r.ID = nil, "", ""
	for i := range r.Components {
		plain(&r.Components[i])
	}
}

// copied is what a destination in memory holds, in the same form.
func copied(t *testing.T, d *gaplesstest.Destination) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, table := range tables() {
		all[table] = map[string]string{}
		for key, data := range d.Records("c", table) {
			r, err := s3.FromRecord(table, gapless.Record{Key: key, Data: []byte(data)})
			check(t, err)
			all[table][key] = dataOf(t, r)
		}
	}
	return all
}

// line is a connector from one end to the other, whose state outlives runs.
type line struct {
	source, destination map[string]any
	from                gapless.Source
	to                  gapless.Destination
	dir                 string
	store               *sqlite.Store
	parallel            int
	reconcile           time.Duration
}

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{dir: t.TempDir(), parallel: 4, reconcile: -1}
	var err error
	l.store, err = sqlite.Open(t.Context(), l.dir)
	check(t, err)
	t.Cleanup(func() { check(t, l.store.Close()) })
	return l
}

func (l *line) reads(s *site, more map[string]any) *line {
	list := []any{}
	for _, table := range tables() {
		list = append(list, table)
	}
	l.source = map[string]any{"url": s.base, "login": login, "password": password, "tables": list, "page_rows": int64(3)}
	maps.Copy(l.source, more)
	return l
}

func (l *line) writes(s *site, more map[string]any) *line {
	l.destination = map[string]any{"url": s.base, "login": login, "password": password, "import_rows": int64(2)}
	maps.Copy(l.destination, more)
	return l
}

// run opens both ends anew, as each run of the command line does.
func (l *line) run(ctx context.Context) (engine.Summary, error) {
	c, env := sahana.Connector(), gapless.Env{Connector: "c", Dir: l.dir, State: l.dir}
	from, to := l.from, l.to
	var err error
	if l.source != nil {
		if from, err = c.Source.Open(ctx, l.source, env); err != nil {
			return engine.Summary{}, err
		}
		defer from.(gapless.Closer).Close()
	}
	if l.destination != nil {
		if to, err = c.Destination.Open(ctx, l.destination, env); err != nil {
			return engine.Summary{}, err
		}
		defer to.(gapless.Closer).Close()
	}
	e, err := engine.New(engine.Config{
		Connector: "c", Source: from, Destination: to, Store: l.store, Dir: l.dir,
		Settings: engine.Settings{
			BatchRows: 3, SyncRecords: 4, Attempts: 2, MaxWait: time.Millisecond, Parallel: l.parallel, GuardPercent: 100, Reconcile: l.reconcile,
		},
	})
	if err != nil {
		return engine.Summary{}, err
	}
	return e.Run(ctx, engine.RunOptions{})
}

// must runs, which has to succeed, and returns how many records were pushed.
func (l *line) must(t *testing.T) uint64 {
	t.Helper()
	s, err := l.run(t.Context())
	if err != nil {
		letters, _ := l.store.DeadLetters(t.Context(), state.DeadLetterFilter{Connector: "c", Open: true})
		for _, letter := range letters {
			t.Logf("%s %s: %s", letter.Partition, letter.Key, letter.Reason)
		}
		t.Fatalf("%v (%+v)", err, s.Partitions)
	}
	return s.Counts.Pushed
}

// quiet is three rounds in which nothing is transferred, the last with all keys
// compared, unless the destination is an Eden, which keeps no versions.
func (l *line) quiet(t *testing.T) {
	t.Helper()
	defer func() { l.reconcile = -1 }()
	for round := range 3 {
		if round == 2 && l.destination == nil {
			l.reconcile = 0
		}
		if n := l.must(t); n != 0 {
			t.Fatalf("round %d after all was quiet transfers %d records", round+1, n)
		}
	}
}

func same(t *testing.T, about string, want, got map[string]map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", about, diff)
	}
}

// resource is an element of a document.
func resource(table, uuid, modified string, inner ...string) string {
	return fmt.Sprintf(`<resource name="%s" uuid="%s" modified_on="%s">%s</resource>`, table, uuid, modified, strings.Join(inner, ""))
}

func data(field, text string) string { return fmt.Sprintf(`<data field="%s">%s</data>`, field, text) }

func value(field, value string) string {
	return fmt.Sprintf(`<data field="%s" value="%s"/>`, field, value)
}

func reference(field, table, uuid string) string {
	return fmt.Sprintf(`<reference field="%s" resource="%s" uuid="%s"/>`, field, table, uuid)
}

// fill gives a site records of each sort.
func fill(t *testing.T, s *site) {
	t.Helper()
	for i := range 7 {
		s.put(t, "gis_location", resource("gis_location", fmt.Sprint("urn:x:l", i), "2026-10-01T00:00:00", data("name", fmt.Sprint("Camp ", i)), value("lat", "12.5")))
	}
	for i := range 5 {
		s.put(t, "org_organisation", resource("org_organisation", fmt.Sprint("urn:x:o", i), fmt.Sprintf("2026-10-0%dT00:00:00", i+1),
			data("name", fmt.Sprint("Org ", i)), data("acronym", "XR"), value("year", "1999"),
			reference("root_organisation", "org_organisation", fmt.Sprint("urn:x:o", i)),
			resource("pr_contact", fmt.Sprint("urn:x:c", i), "2026-10-01T00:00:00", data("value", "a@example.org"))))
	}
	s.put(t, "org_office", resource("org_office", "urn:x:f1", "2026-10-01T00:00:00", data("name", "HQ"), value("obsolete", "false"),
		reference("organisation_id", "org_organisation", "urn:x:o1"), reference("location_id", "gis_location", "urn:x:l1")))
	s.put(t, "pr_person", resource("pr_person", "plain", "2026-10-01T00:00:00", data("first_name", "Ann"), value("tags", "[1,2]")))
}

// alter changes a site in each way that there is.
func alter(t *testing.T, s *site) {
	t.Helper()
	alterByNow(t, s)
	s.put(t, "gis_location", resource("gis_location", "urn:x:l0", "2020-01-01T00:00:00", data("name", "backdated edit")))
}

// alterByNow makes no record older, which a peer would not get through.
func alterByNow(t *testing.T, s *site) {
	t.Helper()
	s.put(t, "gis_location",
		resource("gis_location", "urn:x:late", "2020-01-01T00:00:00", data("name", "backdated")),
		resource("gis_location", "urn:x:future", "2040-01-01T00:00:00", data("name", "of the future")),
		resource("gis_location", "urn:x:l1", "2026-10-01T00:00:00", data("name", "edited in the same second")))
	s.put(t, "org_organisation",
		resource("org_organisation", "urn:x:o0", "2026-10-01T00:00:00", value("year", "null"), data("acronym", "")),
		resource("org_organisation", "urn:x:o1", "2026-10-02T00:00:00", data("name", "Org 1"),
			resource("pr_contact", "urn:x:c1", "2026-11-01T00:00:00", data("value", "component only"))),
		`<resource name="org_organisation" uuid="urn:x:o3" deleted="True" replaced_by="urn:x:o2" modified_on="2026-11-01T00:00:00"/>`)
	s.put(t, "org_office", resource("org_office", "urn:x:f2", "2026-10-01T00:00:00", data("name", "of the merged"), reference("organisation_id", "org_organisation", "urn:x:o2")))
	s.do(t, http.MethodDelete, "org/organisation.xml?~.uuid=urn:x:o4", "")
	s.do(t, http.MethodDelete, "gis/location.xml?~.uuid=urn:x:l5", "")
}

// TestReadsOurService: whatever the way to read, a copy has what the service
// has, after each sort of change, and nothing moves when all is quiet.
func TestReadsOurService(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"rest", "sync"} {
		for _, registered := range []bool{false, true} {
			t.Run(fmt.Sprint(via, " registered ", registered), func(t *testing.T) {
				t.Parallel()
				s, held := newSite(t), gaplesstest.NewDestination("d")
				if registered {
					s.do(t, http.MethodPost, "sync/repository/register.json", `{"uuid":"`+us+`","name":"us","apitype":"eden"}`)
				}
				l := newLine(t).reads(s, map[string]any{"via": via, "repository": us})
				l.to = held
				fill(t, s)
				l.must(t)
				same(t, "the first run", s.contents(t), copied(t, held))
				l.must(t)
				l.quiet(t)
				alter(t, s)
				if n := l.must(t); n != 10 {
					t.Errorf("10 changes took %d", n)
				}
				same(t, "changes", s.contents(t), copied(t, held))
				l.quiet(t)
			})
		}
	}
}

// TestCopiesToOurService: a chain of sites, each a copy of the one before.
func TestCopiesToOurService(t *testing.T) {
	t.Parallel()
	for _, repository := range []string{"", us} {
		for _, parallel := range []int{1, 4} {
			t.Run(fmt.Sprint("peer ", repository != "", " parallel ", parallel), func(t *testing.T) {
				t.Parallel()
				a, b, c := newSite(t), newSite(t), newSite(t)
				ab := newLine(t).reads(a, nil).writes(b, map[string]any{"repository": repository})
				bc := newLine(t).reads(b, map[string]any{"via": "sync", "repository": us}).writes(c, map[string]any{"repository": repository})
				ab.parallel, bc.parallel = parallel, parallel
				round := func(about string) {
					t.Helper()
					ab.must(t)
					same(t, about+" from a to b", a.contents(t), b.contents(t))
					bc.must(t)
					same(t, about+" from b to c", b.contents(t), c.contents(t))
				}
				fill(t, a)
				round("the first run")
				if repository == "" {
					alter(t, a)
				} else {
					alterByNow(t, a)
				}
				round("changes")
				ab.must(t)
				bc.must(t)
				ab.quiet(t)
				bc.quiet(t)
			})
		}
	}
}
