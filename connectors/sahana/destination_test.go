package sahana

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

const dated = `"_meta":{"modified_on":"2026-11-01T09:00:00"}`

// open opens a session of a destination that a test may change before.
func open(t *testing.T, e *eden, change ...func(*destination)) gapless.Session {
	t.Helper()
	s, err := tryOpen(t, e, 1, change...)
	must(t, err)
	return s
}

func tryOpen(t *testing.T, e *eden, epoch uint64, change ...func(*destination)) (gapless.Session, error) {
	t.Helper()
	d := &destination{client: e.client(), state: t.TempDir(), rows: 500, verify: verifyAll}
	for _, f := range change {
		f(d)
	}
	return d.Open(t.Context(), "c", epoch)
}

func asPeer(d *destination) { d.repository = "urn:uuid:us" }

// batch makes a batch from lines of "OP KEY DATA"; OP is + - or ~.
func batch(lines ...string) *gapless.Batch {
	b := &gapless.Batch{Partition: organisation}
	for _, line := range lines {
		op, rest, _ := strings.Cut(line, " ")
		key, data, _ := strings.Cut(rest, " ")
		b.Append(gapless.Change{
			Op:     map[string]gapless.Op{"+": gapless.OpUpsert, "-": gapless.OpDelete, "~": gapless.OpPatch}[op],
			Record: gapless.Record{Key: key, Data: []byte(data), Modified: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)},
		})
	}
	return b
}

// push pushes lines and returns the rejections as "KEY: ERROR".
func push(t *testing.T, s gapless.Session, lines ...string) (rejected []string) {
	t.Helper()
	receipt, err := s.Push(t.Context(), batch(lines...))
	must(t, err)
	for _, r := range receipt.Rejected {
		rejected = append(rejected, r.Key+": "+r.Err.Error())
	}
	return rejected
}

// TestWrites covers what is sent: parents first, ours, with a time, nothing as
// an empty element; deletes by uuid, behind everything else.
func TestWrites(t *testing.T) {
	t.Parallel()
	for _, peer := range []bool{false, true} {
		t.Run(fmt.Sprint("peer ", peer), func(t *testing.T) {
			t.Parallel()
			e := newEden(t)
			e.put(organisations, "urn:x:gone", "gone", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
			e.put(organisations, "urn:x:merged", "merged", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
			s := open(t, e, func(d *destination) {
				if d.rows = 3; peer {
					asPeer(d)
				}
			})
			rejected := push(
				t, s,
				"- urn:x:gone",
				`- urn:x:merged {"_meta":{"deleted":true,"replaced_by":"urn:x:root","modified_on":"2026-11-01T09:30:00"}}`,
				`+ urn:x:leaf {"name":"leaf","parent":"urn:x:branch","_references":{"parent":{"resource":"org_organisation"}}}`,
				`+ urn:x:branch {"name":"branch","parent":"urn:x:root","_references":{"parent":{"resource":"org_organisation"}},"_meta":{"mci":3,"created_by":"a@b"}}`,
				`+ urn:x:root {"name":"root & <more>","year":1999,"open":true,"acronym":null,"parent":null,"_references":{"parent":{"resource":"org_organisation"}},"_components":{"org_office":[{"name":"HQ"}]}}`,
				`+ plain {"name":"plain"}`,
				`~ urn:x:leaf {"acronym":"L"}`,
			)
			if len(rejected) > 0 {
				t.Error(rejected)
			}
			want := map[string]string{"urn:x:leaf": "leaf", "urn:x:branch": "branch", "urn:x:root": "root & <more>", "plain": "plain"}
			if diff := cmp.Diff(want, e.held(organisations)); diff != "" {
				t.Error(diff)
			}
			if f := e.find(organisations, "urn:x:leaf").Field("acronym"); f == nil || f.Text != "L" {
				t.Error(f)
			}
			golden(t, fmt.Sprintf("write-peer-%v.txt", peer), e.requests(0))
		})
	}
}

// TestRejections: whatever the Eden refuses or does not do as it says becomes a
// rejection, and all else is taken.
func TestRejections(t *testing.T) {
	t.Parallel()
	bad := func(e *eden) {
		e.bad = func(r *s3.Resource) string {
			if r.Field("name") != nil && r.Field("name").Text == "bad" {
				return "name: Enter a better one"
			}
			return ""
		}
	}
	year := func(e *eden) {
		r := e.put(organisations, "k", "a")
		r.Fields = append(r.Fields, s3.Field{Name: "year", Value: []byte("1999"), Text: "1,999"})
	}
	tests := []struct {
		name, line string
		arrange    func(e *eden)
		verify     string
		want       string
	}{
		{"refused", `+ k {"name":"bad"}`, bad, verifyNone, "Validation error; name: Enter a better one"},
		{"nothing taken because of it", `+ k {"name":"bad"}`, func(e *eden) { bad(e); e.strict = true }, verifyAll, "Enter a better one"},
		{"kept", `+ k {"name":"new"}`, func(e *eden) {
			e.put(organisations, "k", "own")
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, `the Eden has the record as of 2026-11-01T10:00:00Z, not as sent: field name is "own"`},
		{"kept, which nobody looks at", `+ k {"name":"new"}`, func(e *eden) {
			e.put(organisations, "k", "own")
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyNone, ""},
		{"not there", `+ k {"name":"new"}`, func(e *eden) { e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" } }, verifyAll, "does not have it"},
		{"unknown field", `+ k {"name":"a","unknown":"b"}`, nil, verifyAll, "field unknown is absent"},
		{"reference that is not kept", `+ k {"name":"a","parent":"other","_references":{"parent":{"resource":"org_organisation"}}}`, func(e *eden) {
			e.put(organisations, "k", "a")
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, `reference parent does not lead to "other"`},
		{"cleared number", `+ k {"name":"a","year":null}`, year, verifyNone, ""},
		{"cleared number that must not be", `+ k {"name":"a","year":null}`, func(e *eden) {
			year(e)
			e.bad = func(r *s3.Resource) string {
				if f := r.Field("year"); f != nil && f.Value != nil {
					return "year: Enter a value"
				}
				return ""
			}
		}, verifyAll, "the record is taken, but for year, which cannot be cleared: the Eden refuses it: Validation error; year: Enter a value"},
		{"cleared number that is kept", `+ k {"name":"a","year":null}`, func(e *eden) {
			year(e)
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, "field year cannot be cleared"},
		{"cleared text", `+ k {"name":null}`, func(e *eden) { e.put(organisations, "k", "a") }, verifyAll, ""},
		{"delete that is not done", "- k", func(e *eden) {
			e.put(organisations, "k", "a")
			e.keeps = func(r *s3.Resource) bool { return r.Deleted }
		}, verifyAll, "keeps the record although it was deleted"},
		{"delete of nothing", "- k", nil, verifyAll, ""},
		{"no record at all", `+ k [1]`, nil, verifyAll, "no JSON object"},
		{"control character", `+ k {"name":"a\u0001"}`, nil, verifyAll, "k"},
		{"number in another spelling", `+ k {"name":"a","year":1999.0}`, func(e *eden) {
			e.put(organisations, "k", "a").Fields = []s3.Field{{Name: "year", Value: []byte("1999")}, {Name: "name", Text: "a"}}
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, ""},
		{"time in another spelling", `+ k {"at":"2026-11-01T10:00:00+02:00"}`, func(e *eden) {
			e.put(organisations, "k", "a").Fields = []s3.Field{{Name: "at", Value: []byte(`"2026-11-01T08:00:00"`), Text: "soon"}}
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, ""},
		{"object in another spelling", `+ k {"list":[{"a":1,"b":2}]}`, func(e *eden) {
			e.put(organisations, "k", "a").Fields = []s3.Field{{Name: "list", Value: []byte(`[{"b":2,"a":1}]`)}}
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, ""},
		{"other object", `+ k {"list":{"a":1}}`, func(e *eden) {
			e.put(organisations, "k", "a").Fields = []s3.Field{{Name: "list", Value: []byte(`{"a":10}`)}}
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, `field list is "{`},
		{"list of references", `+ k {"name":"a","parents":["other"],"_references":{"parents":{"resource":"org_organisation"}}}`, func(e *eden) {
			r := e.put(organisations, "k", "a")
			r.References = []s3.Reference{{Field: "parents", Resource: organisations, UUIDs: []string{"vm/other"}}}
			e.keeps = func(r *s3.Resource) bool { return r.UUID == "k" }
		}, verifyAll, ""},
		{"merge into nothing", `- k {"_meta":{"replaced_by":"urn:x:none"}}`, func(e *eden) {
			e.put(organisations, "k", "a")
			e.keeps = func(r *s3.Resource) bool { return r.Deleted }
		}, verifyAll, `replaced by "urn:x:none"`},
		{"cleared reference", `+ k {"name":"a","parent":null,"_references":{"parent":{"resource":"org_organisation"}}}`, func(e *eden) {
			r := e.put(organisations, "k", "a")
			r.References = []s3.Reference{{Field: "parent", Resource: organisations, UUID: "urn:x:p"}}
		}, verifyAll, ""},
		{"component at fault", `+ k {"name":"bad","_components":{"org_office":[{"name":"HQ"}]}}`, func(e *eden) {
			bad(e)
			was := e.bad
			e.bad = func(r *s3.Resource) string {
				if len(r.Components) > 0 {
					r.Components[0].Error = "Office: no"
				}
				return was(r)
			}
		}, verifyAll, "Validation error; name: Enter a better one; Office: no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEden(t)
			if tt.arrange != nil {
				tt.arrange(e)
			}
			s := open(t, e, func(d *destination) { d.verify = tt.verify })
			got := push(t, s, `+ other {"name":"good"}`, tt.line)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], "k: ") || !strings.Contains(got[0], tt.want)) {
				t.Errorf("%q", got)
			}
			if e.held(organisations)["other"] != "good" {
				t.Error("the other record was not taken")
			}
		})
	}
}

// TestNoneTaken: an import that takes nothing and names nobody refuses all.
func TestNoneTaken(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	e.misbehave(times(1, "POST", says(200, `{"status":"success","statuscode":"200","records":0,"message":"Operation not permitted - invalid items ignored"}`)))
	got := push(t, open(t, e, func(d *destination) { d.verify = verifyNone }), `+ a {"name":"a"}`, `+ b {"name":"b"}`)
	if len(got) != 2 || !strings.Contains(got[0], "takes none of 2 records: Operation not permitted") {
		t.Errorf("%q", got)
	}
}

// TestSample reads some records again.
func TestSample(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	e.keeps = func(*s3.Resource) bool { return true }
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf(`+ urn:x:%d {"name":"a"}`, i))
	}
	got := push(t, open(t, e, func(d *destination) { d.verify = verifySample }), lines...)
	if len(got) < 3 || len(got) > 40 {
		t.Errorf("%d of 200 were looked at", len(got))
	}
}

// TestImportsAreBounded, and so are the addresses by which records are read
// again.
func TestImportsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("sends a thousand records")
	}
	t.Parallel()
	e := newEden(t)
	var lines []string
	for i := range 1001 {
		lines = append(lines, fmt.Sprintf(`+ urn:uuid:00000000-0000-0000-0000-%012d {"name":"a"}`, i))
	}
	if got := push(t, open(t, e), lines...); len(got) > 0 || len(e.held(organisations)) != 1001 {
		t.Error(got)
	}
	imports := 0
	for _, line := range e.requests(0) {
		address, body, _ := strings.Cut(line, "\n")
		if strings.HasPrefix(line, "POST") {
			imports++
		}
		if len(address) > 8000 || strings.Count(body, "<resource") > 500 {
			t.Errorf("%d bytes of address, %d records", len(address), strings.Count(body, "<resource"))
		}
	}
	if imports != 3 {
		t.Errorf("%d imports", imports)
	}
}

// TestFallBackToREST where an Eden does not take what a peer pushes.
func TestFallBackToREST(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		arrange func(e *eden)
		pushes  int
	}{
		{"successor", func(e *eden) { e.asp = true }, 1},
		{"not registered", func(e *eden) { e.misbehave(times(1, "sync.xml", says(403, `{"status":"failed","statuscode":"403"}`))) }, 1},
		{"not to be registered", func(e *eden) { e.misbehave(times(1, "register", says(403, "Forbidden"))) }, 0},
		{"registration that fails", func(e *eden) { e.misbehave(times(1, "register", says(200, `{"status":"failed","statuscode":"400"}`))) }, 0},
		{"none", func(*eden) {}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEden(t)
			tt.arrange(e)
			s := open(t, e, asPeer)
			for _, line := range []string{`+ a {"name":"a"}`, `+ b {"name":"b"}`} {
				if got := push(t, s, line); len(got) > 0 {
					t.Error(got)
				}
			}
			count := 0
			for _, line := range e.requests(0) {
				if strings.HasPrefix(line, "POST /eden/sync/sync.xml") {
					count++
				}
			}
			if count != tt.pushes || len(e.held(organisations)) != 2 {
				t.Errorf("%d pushes as a peer, %v", count, e.held(organisations))
			}
		})
	}
}

// TestNewerVersions of the Eden stay as they are, and are not set back.
func TestNewerVersions(t *testing.T) {
	t.Parallel()
	for _, asp := range []bool{false, true} {
		e := newEden(t)
		e.asp = asp
		e.put(organisations, "newer", "own")
		e.put(organisations, "same", "a")
		e.put(organisations, "gone", "own")
		e.remove(organisations, "gone", "")
		e.put(organisations, "older", "own", e.now.Add(-2*time.Hour))
		got := push(t, open(t, e, asPeer), `+ newer {"name":"a"}`, `+ older {"name":"a"}`, `+ new {"name":"a"}`, `+ same {"name":"a"}`, "- gone", "- newer")
		want := []string{"newer: the Eden has a newer version, of 2026-11-01T10:00:00Z", "newer: the Eden has a newer version, of 2026-11-01T10:00:00Z"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"newer": "own", "older": "a", "new": "a", "same": "a"}, e.held(organisations)); diff != "" {
			t.Error(diff)
		}
		for _, line := range e.requests(0) {
			if strings.HasPrefix(line, "POST") && (strings.Contains(line, `uuid="newer"`) || strings.Contains(line, `uuid="same"`)) {
				t.Error("the older version was sent")
			}
		}
	}
}

// TestFailedImports end the run; nothing counts as taken.
func TestFailedImports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer func(http.ResponseWriter)
		exit   int
		want   string
	}{
		{"lost", hangUp, 51, "cannot be reached"},
		{"failing", says(500, "<html><head><title>Ticket</title></head></html>"), 10, "Ticket"},
		{"wrong password", says(401, "Authentication Required"), 52, "Authentication Required"},
		{"forbidden", says(403, "Forbidden"), 53, "Forbidden"},
		{"failed with 200", says(200, `{"status":"failed","statuscode":"400","message":"XML Parse error"}`), 54, "XML Parse error"},
		{"forbidden with 200", says(200, `{"status":"failed","statuscode":"403","message":"no"}`), 53, "no"},
		{"failed", says(400, `{"status":"failed","statuscode":"400","message":"XML Parse error"}`), 54, "XML Parse error"},
		{"HTML", says(200, "<html><head><title>Log in</title></head></html>"), 55, "Log in"},
		{"empty", says(200, ""), 55, "empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, part := range []string{"POST", "GET"} {
				if part == "GET" && tt.exit == 54 {
					continue
				}
				e := newEden(t)
				e.misbehave(times(1000, part, tt.answer))
				_, err := open(t, e).Push(t.Context(), batch(`+ a {"name":"a"}`))
				if gapless.KindOf(err) != gapless.KindRecoverable || part == "POST" && (gapless.ExitCode(err) != tt.exit || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%s: exit %d, %v", part, gapless.ExitCode(err), err)
				}
			}
		})
	}
}

// TestListsItsOwn: what others brought to the Eden is not listed, and so never
// deleted by absence.
func TestListsItsOwn(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	e.put(organisations, "urn:x:somebody", "typed in")
	mine, passed := 0, 1
	e.insert(s3.Resource{Name: organisations, UUID: "urn:x:typed", MCI: &mine, CreatedBy: login})
	e.insert(s3.Resource{Name: organisations, UUID: "urn:x:peer", MCI: &passed, CreatedBy: "peer@example.org"})
	s := open(t, e)
	push(t, s, `+ urn:x:ours {"name":"a"}`, `+ plain {"name":"b"}`, `+ gone {"name":"c"}`, `+ urn:x:somebody {"name":"changed"}`)
	push(t, s, "- gone")
	var got []string
	must(t, s.(gapless.Enumerator).Enumerate(t.Context(), organisation, func(key, version []byte) error {
		got = append(got, string(key)+string(version))
		return nil
	}))
	if want := []string{"urn:x:ours", "plain"}; !slices.Equal(want, got) {
		t.Errorf("got %v", got)
	}
}

// TestSessions covers fencing, checkpoints, and what a file that is lost,
// damaged or about another Eden says.
func TestSessions(t *testing.T) {
	t.Parallel()
	e, dir, ctx := newEden(t), t.TempDir(), t.Context()
	d := &destination{client: e.client(), state: filepath.Join(dir, "new"), rows: 500, verify: verifyAll, repository: "urn:uuid:us"}
	old, err := d.Open(ctx, "a/b", 3)
	must(t, err)
	checkpoint := gapless.Checkpoint{Partition: organisations, Position: "p", Run: "r", Seq: 2, Epoch: 3}
	_, err = old.Sync(ctx, []gapless.Checkpoint{checkpoint})
	must(t, err)
	_, err = old.Sync(ctx, nil)
	must(t, err)
	reader, err := d.Open(ctx, "a/b", 0)
	must(t, err)
	want := gapless.Status{ID: "urn:uuid:site", Holds: true, Checkpoints: map[string]gapless.Checkpoint{organisations: checkpoint}}
	status, err := reader.Status(ctx)
	if diff := cmp.Diff(want, status); diff != "" || err != nil {
		t.Error(diff, err)
	}
	young, err := d.Open(ctx, "a/b", 4)
	must(t, err)
	_, errPush := old.Push(ctx, batch(`+ a {"name":"a"}`))
	_, errSync := old.Sync(ctx, []gapless.Checkpoint{checkpoint})
	_, errStatus := old.Status(ctx)
	_, errRead := reader.Push(ctx, batch(`+ a {"name":"a"}`))
	_, errOpen := d.Open(ctx, "a/b", 3)
	for i, err := range []error{errPush, errSync, errStatus, errRead, errOpen} {
		if !errors.Is(err, gapless.ErrFenced) {
			t.Error(i, err)
		}
	}
	if status, err := young.Status(ctx); err != nil || status.Checkpoints[organisations] != checkpoint {
		t.Error(status, err)
	}
	if other, err := d.Open(ctx, "other", 1); err != nil {
		t.Error(err)
	} else if status, err := other.Status(ctx); err != nil || status.Holds {
		t.Error(status, err)
	}
	moved := &destination{client: newEden(t).client(), state: d.state}
	s, err := moved.Open(ctx, "a/b", 5)
	must(t, err)
	if status, err := s.Status(ctx); err != nil || status.Holds || status.ID != "" {
		t.Error(status, err)
	}
	must(t, os.WriteFile(filepath.Join(d.state, "sahana-a%2Fb.json"), []byte("{"), 0o600))
	s, err = d.Open(ctx, "a/b", 6)
	must(t, err)
	if status, err := s.Status(ctx); err != nil || status.Holds {
		t.Error(status, err)
	}
}

// TestRunsIntoAnEden: the engine deletes what a source lacks, and nothing that
// is not its own.
func TestRunsIntoAnEden(t *testing.T) {
	t.Parallel()
	for _, kind := range []gapless.ChangeModel{gapless.ModelFull, gapless.ModelModified, gapless.ModelLog} {
		e, r := newEden(t), newRig(t)
		r.settings.Reconcile = time.Nanosecond
		e.put(organisations, "urn:x:somebody", "typed in")
		source := gaplesstest.NewSource(organisations)
		for i := range 7 {
			source.Put(organisations, fmt.Sprint("k", i), `{"name":"a",`+dated+`}`)
		}
		r.source, r.destination = source.As(kind), &destination{client: e.client(), state: r.dir, rows: 3, verify: verifyAll}
		must(t, r.run(t.Context(), engine.RunOptions{}))
		source.Remove(organisations, "k3")
		source.Put(organisations, "k4", `{"name":"b",`+dated+`}`)
		must(t, r.run(t.Context(), engine.RunOptions{}))
		want := map[string]string{"k0": "a", "k1": "a", "k2": "a", "k4": "b", "k5": "a", "k6": "a", "urn:x:somebody": "typed in"}
		if diff := cmp.Diff(want, e.held(organisations)); diff != "" {
			t.Error(kind, diff)
		}
	}
}

// TestFromEdenToEden copies one to the other, and what was passed on stays
// what it was.
func TestFromEdenToEden(t *testing.T) {
	t.Parallel()
	from, to, r := newEden(t), newEden(t), newRig(t)
	fill(from)
	r.source, r.destination = newSource(from, viaREST), &destination{client: to.client(), state: r.dir, rows: 3, verify: verifyAll, repository: "urn:uuid:us"}
	must(t, r.run(t.Context(), engine.RunOptions{}))
	alter(from)
	must(t, r.run(t.Context(), engine.RunOptions{}))
	compare(t, wanted(from), wanted(to), "the copy")
}

// TestComponentOfAnOldRecord: a component that alone has changed gets to an Eden
// that has dated its master anew, and does not set the master back.
func TestComponentOfAnOldRecord(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	later := e.now.Add(time.Hour)
	e.put(organisations, "k", "a", later)
	s := open(t, e, asPeer)
	before := len(e.requests(0))
	if got := push(t, s, `+ k {"name":"a"}`); len(got) > 0 || len(e.requests(before)) != 1 {
		t.Errorf("%q %q", got, e.requests(before))
	}
	before = len(e.requests(0))
	got := push(t, s, `+ k {"name":"a","_components":{"org_office":[{"name":"HQ","_meta":{"uuid":"f"}}]}}`)
	sent := strings.Join(e.requests(before), "\n")
	if len(got) > 0 || !strings.Contains(sent, "HQ") || !strings.Contains(sent, s3.FormatTime(later, s3.TimeZulu)) {
		t.Errorf("%q\n%s", got, sent)
	}
}
