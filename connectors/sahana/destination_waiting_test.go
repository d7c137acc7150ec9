package sahana

import (
	"fmt"
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

// wait is a destination whose sessions follow one another.
type wait struct {
	t     *testing.T
	eden  *eden
	d     *destination
	s     gapless.Session
	epoch uint64
	seq   uint64
}

func newWait(t *testing.T, change ...func(*destination)) *wait {
	t.Helper()
	w := &wait{t: t, eden: newEden(t)}
	w.d = &destination{client: w.eden.client(), state: t.TempDir(), rows: 2, verify: verifyAll}
	for _, f := range change {
		f(w.d)
	}
	w.reopen()
	return w
}

func (w *wait) reopen() {
	w.t.Helper()
	var err error
	w.epoch++
	w.s, err = w.d.Open(w.t.Context(), "c", w.epoch)
	must(w.t, err)
}

// do carries out lines of "TABLE OP KEY DATA" or "sync TABLE", each a call of
// its own, and returns what was rejected as "TABLE KEY: ERROR".
func (w *wait) do(lines ...string) (rejected []string) {
	w.t.Helper()
	for _, line := range lines {
		first, rest, _ := strings.Cut(line, " ")
		var receipt gapless.Receipt
		var err error
		about := first
		if first == "sync" {
			w.seq++
			about = rest
			receipt, err = w.s.Sync(w.t.Context(), []gapless.Checkpoint{{Partition: rest, Position: "p", Seq: w.seq}})
		} else {
			b := batch(rest)
			b.Partition = gapless.Partition{ID: first, Collection: first}
			receipt, err = w.s.Push(w.t.Context(), b)
		}
		must(w.t, err)
		for _, r := range receipt.Rejected {
			rejected = append(rejected, about+" "+r.Key+": "+r.Err.Error())
		}
	}
	return rejected
}

// links lists where the references of a table lead, as "KEY NAME>UUID".
func (e *eden) links(table string) (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.tables[table] {
		if r.Deleted {
			continue
		}
		line := r.UUID
		if f := r.Field("name"); f != nil {
			line += " " + f.Text
		}
		for _, f := range r.References {
			line += ">" + f.UUID
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

func (w *wait) expect(about string, got []string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", about, diff)
	}
}

// office is a row of the table of offices that refers to an organisation.
func office(key, name, organisation string) string {
	return fmt.Sprintf(`%s + %s {"name":%q,"organisation_id":%q,"_references":{"organisation_id":{"resource":%q}}}`, offices, key, name, organisation, organisations)
}

func org(key, name string) string {
	return fmt.Sprintf(`%s + %s {"name":%q}`, organisations, key, name)
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	circle := fmt.Sprintf(`%s + o {"name":"o","main_id":"f","_references":{"main_id":{"resource":%q}}}`, organisations, offices)
	const gone = `organisation_id refers to org_organisation "o", which the Eden does not have`
	tests := []struct {
		name  string
		lines []string
		// offices and organisations are what the Eden has in the end.
		offices, organisations []string
		rejected               []string
		left                   string
	}{
		{"what it refers to comes later", []string{office("f", "f", "o"), org("o", "o"), "sync " + offices, "sync " + organisations}, []string{"f f>o"}, []string{"o o"}, nil, ""},
		{"behind its own sync", []string{office("f", "f", "o"), "sync " + offices, org("o", "o"), "sync " + organisations}, []string{"f f>o"}, []string{"o o"}, nil, ""},
		{"never, of a table that is done", []string{org("p", "p"), "sync " + organisations, office("f", "f", "o"), "sync " + offices}, nil, []string{"p p"}, []string{offices + " f: " + gone}, ""},
		{"never, of a table that is not", []string{office("f", "f", "o"), "sync " + offices}, nil, nil, nil, gone},
		{"in a circle", []string{office("f", "f", "o"), circle, "sync " + offices}, []string{"f f>o"}, []string{"o o>f"}, nil, ""},
		{"behind others that wait", []string{
			fmt.Sprintf(`%s + g {"name":"g","parent":"f","_references":{"parent":{"resource":%q}}}`, offices, offices), office("f", "f", "o"), org("o", "o"),
		}, []string{"f f>o", "g g>f"}, []string{"o o"}, nil, ""},
		{"deleted meanwhile", []string{office("f", "f", "o"), offices + " - f {}", org("o", "o"), "sync " + offices}, nil, []string{"o o"}, nil, ""},
		{"newer meanwhile", []string{office("f", "old", "o"), office("f", "new", "o"), org("o", "o")}, []string{"f new>o"}, []string{"o o"}, nil, ""},
		{"no reference any more", []string{office("f", "old", "o"), offices + ` + f {"name":"new"}`, org("o", "o")}, []string{"f new"}, []string{"o o"}, nil, ""},
		{"patched meanwhile", []string{office("f", "old", "o"), offices + ` ~ f {"name":"new"}`, org("o", "o")}, []string{"f new>o"}, []string{"o o"}, nil, ""},
		{"refused when it is over", []string{office("f", "bad", "o"), org("o", "o"), "sync " + offices}, nil, []string{"o o"}, []string{offices + " f: the Eden refuses it: Validation error; no"}, ""},
		{"a table that cannot be read", []string{
			offices + ` + f {"name":"f","site_id":"s","_references":{"site_id":{"resource":"Super Entity"}}}`,
		}, []string{"f f"}, nil, []string{offices + ` f: the Eden has the record as of 2026-11-01T09:00:00Z, not as sent: reference site_id does not lead to "s", which it may not have`}, ""},
	}
	for _, tt := range tests {
		for _, peer := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, " peer ", peer), func(t *testing.T) {
				t.Parallel()
				w := newWait(t)
				if peer {
					asPeer(w.d)
					w.reopen()
				}
				w.eden.restamps = strings.HasPrefix(tt.name, "in a circle")
				w.eden.bad = func(r *s3.Resource) string {
					if r.Field("name") != nil && r.Field("name").Text == "bad" {
						return "no"
					}
					return ""
				}
				w.expect("rejected", w.do(tt.lines...), tt.rejected...)
				w.expect("offices", w.eden.links(offices), tt.offices...)
				w.expect("organisations", w.eden.links(organisations), tt.organisations...)
				if err := w.s.Close(); (err != nil) != (tt.left != "") || err != nil && (!strings.Contains(err.Error(), tt.left) || gapless.ExitCode(err) != 55) {
					t.Errorf("left: %v", err)
				}
			})
		}
	}
}

// TestWaitingOutlivesSessions: what a checkpoint has passed is not lost, however
// the session ends, until it is written or told as rejected.
func TestWaitingOutlivesSessions(t *testing.T) {
	t.Parallel()
	w := newWait(t)
	w.do(office("f", "f", "o"), office("g", "g", "p"), "sync "+offices)
	w.reopen()
	var listed []string
	must(t, w.s.(gapless.Enumerator).Enumerate(t.Context(), gapless.Partition{ID: offices, Collection: offices}, func(key, _ []byte) error {
		listed = append(listed, string(key))
		return nil
	}))
	slices.Sort(listed)
	w.expect("listed", listed, "f", "g")
	w.eden.put(organisations, "o", "by somebody else")
	w.expect("second session", w.do("sync "+offices))
	w.expect("second session", w.eden.links(offices), "f f>o")
	if err := w.s.Close(); err == nil {
		t.Error("g is forgotten")
	}
	w.reopen()
	w.expect("third session", w.do("sync "+offices), offices+` g: organisation_id refers to org_organisation "p", which the Eden does not have`)
	must(t, w.s.Close())
	if files, err := filepath.Glob(filepath.Join(w.d.state, "*waiting*")); err != nil || len(files) > 0 {
		t.Error(files, err)
	}
}

// TestWaitingIsBounded: what is beyond the bound becomes a dead letter.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	w := newWait(t)
	b := &gapless.Batch{Partition: gapless.Partition{ID: offices, Collection: offices}}
	for i := range maxWaitingRows + 3 {
		_, line, _ := strings.Cut(office(fmt.Sprintf("f%05d", i), "f", "o"), " + ")
		key, data, _ := strings.Cut(line, " ")
		b.Append(gapless.Change{Record: gapless.Record{Key: key, Data: []byte(data)}})
	}
	receipt, err := w.s.Push(t.Context(), b)
	must(t, err)
	if n := len(receipt.Rejected); n != 3 || !strings.Contains(receipt.Rejected[0].Err.Error(), "more than 10000 records wait") {
		t.Errorf("%d rejections", n)
	}
}

// TestWaitingFileThatIsDamaged: records may be in it that nobody else has.
func TestWaitingFileThatIsDamaged(t *testing.T) {
	t.Parallel()
	w := newWait(t)
	w.do(office("f", "f", "o"), "sync "+offices)
	must(t, os.WriteFile(filepath.Join(w.d.state, "sahana-c-waiting.json"), []byte(`{"eden":`), 0o600))
	_, err := w.d.Open(t.Context(), "c", 9)
	if gapless.KindOf(err) != gapless.KindUnrecoverable {
		t.Errorf("%v", err)
	}
}

// TestTablesInAnyOrder: tables that refer to each other are written at once, in
// whatever order they come.
func TestTablesInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{1, 4} {
		for _, order := range [][]string{{organisations, offices}, {offices, organisations}} {
			t.Run(fmt.Sprint(parallel, order), func(t *testing.T) {
				t.Parallel()
				w, r := newWait(t), newRig(t)
				source := gaplesstest.NewSource(order...)
				var want []string
				for i := range 40 {
					at := w.eden.now.Format("2006-01-02T15:04:05")
					source.Put(organisations, fmt.Sprintf("o%02d", i), fmt.Sprintf(`{"name":"o","_meta":{"modified_on":%q}}`, at))
					source.Put(offices, fmt.Sprintf("f%02d", i), fmt.Sprintf(
						`{"name":"f","organisation_id":"o%02d","_references":{"organisation_id":{"resource":%q}},"_meta":{"modified_on":%q}}`, 39-i, organisations, at))
					want = append(want, fmt.Sprintf("f%02d f>o%02d", i, 39-i))
				}
				r.settings.Parallel = parallel
				r.source, r.destination = source.As(gapless.ModelLog), w.d
				r.must(engine.RunOptions{})
				w.expect("offices", w.eden.links(offices), want...)
				w.eden.pass(time.Hour)
				source.Put(offices, "f99", fmt.Sprintf(`{"name":"f","organisation_id":"o99","_references":{"organisation_id":{"resource":%q}}}`, organisations))
				source.Put(organisations, "o99", `{"name":"o"}`)
				r.must(engine.RunOptions{})
				w.expect("offices", w.eden.links(offices), append(want, "f99 f>o99")...)
			})
		}
	}
}
