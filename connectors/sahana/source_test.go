package sahana

import (
	"context"
	"fmt"
	"io"
	"net/http"
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

var organisation = gapless.Partition{ID: organisations, Collection: organisations}

// output collects what is emitted: +KEY, -KEY or !KEY, and marks.
func output(t *testing.T, lines *[]string, parts ...*gapless.Part) *gapless.Output {
	t.Helper()
	return gapless.NewOutput(t.Context(), organisation, 1, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
		for i := range b.Rows {
			line := map[gapless.Op]string{gapless.OpUpsert: "+", gapless.OpDelete: "-"}[b.Rows[i].Op] + string(b.Key(i))
			if name, ok := strings.CutPrefix(string(b.Data(i)), `{"name":"`); ok {
				line += " " + name[:strings.IndexByte(name, '"')]
			}
			*lines = append(*lines, line)
			for j := range b.Parts(i) {
				if len(parts) > 0 {
					*parts[0] = b.Parts(i)[j]
				}
			}
		}
		for i := range b.Rejects {
			*lines = append(*lines, "!"+b.Rejects[i].Key)
		}
		if b.Mark != "" {
			*lines = append(*lines, "mark "+string(b.Mark))
		}
		b.Reset()
		return b, nil
	})
}

func finish(t *testing.T, out *gapless.Output, err error) {
	t.Helper()
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReads covers what each way to read asks for and emits.
func TestReads(t *testing.T) {
	t.Parallel()
	for _, via := range []string{viaREST, viaSync, viaSync2010} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			e := newEden(t)
			s := newSource(e, via)
			s.filters = map[string]query{organisations: query{}.add("~.name__like", "o*")}
			if via == viaSync2010 {
				s.filters = nil
			}
			fill(e)
			if via != viaSync2010 {
				e.put(organisations, "urn:x:filtered", "filtered")
			}
			position, err := s.Position(t.Context(), organisation)
			must(t, err)
			if at, err := timeOf(position); err != nil || at != "2026-11-01T10:58:00" {
				t.Errorf("position %s: %v", position, err)
			}
			_, err = s.Describe(t.Context())
			must(t, err)
			var all, changes, keys, fetched []string
			out := output(t, &all)
			finish(t, out, s.ReadAll(t.Context(), organisation, "", out))
			if via == viaREST {
				out = output(t, &all)
				finish(t, out, s.ReadAll(t.Context(), organisation, "4", out))
			}
			e.put(organisations, "urn:x:1", "old but new")
			e.remove(organisations, "urn:x:3", "urn:x:1")
			e.put(organisations, "urn:x:2040", "old", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
			e.pass(time.Hour)
			to, err := s.Position(t.Context(), organisation)
			must(t, err)
			out = output(t, &changes)
			finish(t, out, s.ReadChanges(t.Context(), organisation, position, to, out))
			out = output(t, &keys)
			finish(t, out, s.ReadKeys(t.Context(), organisation, out))
			out = output(t, &fetched)
			finish(t, out, s.Fetch(t.Context(), organisation, []string{"urn:x:0", "vm/plain", "urn:x:3", "none", `a,"b`}, out))
			want := map[string][]string{
				"all":     {"+urn:x:0 old", "+urn:x:1 old", "mark 2", "+urn:x:2 old", "+urn:x:3 old", "mark 4", "+urn:x:4 old", "+vm/plain old", "mark 6", "+urn:x:4 old", "+vm/plain old", "mark 6"},
				"changes": {"+urn:x:1 old but new", "-urn:x:3", "+urn:x:2040 old"},
				"keys":    {"+urn:x:0", "+urn:x:1", "+urn:x:2", "+urn:x:4", "+vm/plain", "+urn:x:2040"},
				"fetched": {"+urn:x:0 old", "+vm/plain old", "-urn:x:3", "-none", `-a,"b`},
			}
			if via != viaREST {
				want["all"] = slices.DeleteFunc(want["all"][:9], func(s string) bool { return strings.HasPrefix(s, "mark") })
			}
			if diff := cmp.Diff(want, map[string][]string{"all": all, "changes": changes, "keys": keys, "fetched": fetched}); diff != "" {
				t.Error(diff)
			}
			golden(t, "read-"+via+".txt", e.requests(0))
		})
	}
}

// TestVersions: what keys are told with is the version of the record itself,
// and changes with any of its content.
func TestVersions(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	s := newSource(e, viaREST)
	e.put(organisations, "urn:x:1", "a")
	versions := func(read func(out *gapless.Output) error) (list []string) {
		out := gapless.NewOutput(t.Context(), organisation, 0, 0, func(_ context.Context, b *gapless.Batch) (*gapless.Batch, error) {
			for i := range b.Rows {
				list = append(list, string(b.Version(i)))
			}
			return b, nil
		})
		finish(t, out, read(out))
		return list
	}
	keys := func(out *gapless.Output) error { return s.ReadKeys(t.Context(), organisation, out) }
	whole := func(out *gapless.Output) error { return s.ReadAll(t.Context(), organisation, "", out) }
	fetched := func(out *gapless.Output) error { return s.Fetch(t.Context(), organisation, []string{"urn:x:1"}, out) }
	before := versions(keys)
	if !slices.Equal(before, versions(whole)) || !slices.Equal(before, versions(fetched)) || len(before) != 1 {
		t.Errorf("keys %v, whole %v, fetched %v", before, versions(whole), versions(fetched))
	}
	e.put(organisations, "urn:x:1", "b") // within the same second
	if slices.Equal(before, versions(keys)) {
		t.Error("the version stays as it was")
	}
}

// TestEnginesFindEverything: what no change tells is found by listing keys, and
// nothing that a record says of its time hides another.
func TestEnginesFindEverything(t *testing.T) {
	t.Parallel()
	e, r := newEden(t), newRig(t)
	r.settings.Reconcile = time.Nanosecond
	fill(e)
	held := gaplesstest.NewDestination("d")
	r.source, r.destination = newSource(e, viaREST), held
	steps := []struct {
		name string
		do   func()
	}{
		{"first", func() {}},
		{"future", func() { e.put(organisations, "urn:x:2040", "new", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)) }},
		{"after the future", func() { e.put(organisations, "urn:x:0", "newer") }},
		{"backdated", func() {
			e.put(organisations, "urn:x:late", "new", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
			e.put(organisations, "urn:x:1", "rewound", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
		}},
		{"without a date", func() { e.put(organisations, "urn:x:2", "silent", e.find(organisations, "urn:x:2").ModifiedOn) }},
		{"component alone", func() { e.put(offices, "urn:x:office", "new") }},
		{"deleted and merged", func() {
			e.remove(organisations, "urn:x:3", "")
			e.remove(organisations, "urn:x:4", "urn:x:0")
		}},
	}
	for _, step := range steps {
		step.do()
		e.pass(time.Hour)
		if err := r.run(t.Context(), engine.RunOptions{}); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		compare(t, wanted(e), copied(held), step.name)
	}
}

// TestChangesAlone: without any listing of keys, changes are followed however
// a record of the future is dated.
func TestChangesAlone(t *testing.T) {
	t.Parallel()
	for _, via := range []string{viaREST, viaSync, viaSync2010} {
		e, r := newEden(t), newRig(t)
		fill(e)
		held := gaplesstest.NewDestination("d")
		r.source, r.destination = newSource(e, via), held
		must(t, r.run(t.Context(), engine.RunOptions{}))
		e.put(organisations, "urn:x:2040", "new", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
		e.pass(time.Hour)
		must(t, r.run(t.Context(), engine.RunOptions{}))
		alter(e)
		must(t, r.run(t.Context(), engine.RunOptions{}))
		compare(t, wanted(e), copied(held), via)
	}
}

// TestBadAnswers: an answer that is not what was asked for ends the run with
// the exit code of its kind, and nothing is deleted.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	page := `<?xml version="1.0"?><!DOCTYPE html><html><head><title>Log in</title></head><body/></html>`
	tests := []struct {
		name, part string
		answer     func(http.ResponseWriter)
		exit       int
		want       string
	}{
		{"lost", "__gt=2", hangUp, gapless.ExitSource + 1, "cannot be reached"},
		{"failing in the middle", "__gt=2", says(500, page), gapless.ExitRecoverable, "500 Internal Server Error: Log in"},
		{"page of HTML", "__gt=2", says(200, page), gapless.ExitSource + 5, `a page with the title "Log in"`},
		{"empty", "__gt=2", says(200, ""), gapless.ExitSource + 5, "body is empty"},
		{"foreign XML", "__gt=2", says(200, "<rss/>"), gapless.ExitSource + 5, "instead of S3XML"},
		{"failed envelope", "__gt=2", says(200, `{"status":"failed","statuscode":"400"}`), gapless.ExitSource + 5, "JSON instead of S3XML"},
		{"truncated", "__gt=2", says(200, `<s3xml success="true" results="2"><resource name="org_organisation" uuid="x" id="3"/>`), gapless.ExitSource + 1, "unexpected EOF"},
		{"records of another table", "__gt=2", says(200, `<s3xml success="true" results="2"><resource name="org_office" uuid="x" id="3"/></s3xml>`), gapless.ExitSource + 5, "none of the 2 records"},
		{"pages in another order", "__gt=2", says(200, `<s3xml><resource name="org_organisation" uuid="x" id="9"/><resource name="org_organisation" uuid="y" id="3"/></s3xml>`), gapless.ExitSource + 5, "does not page by number"},
		{"the same page again", "__gt=2", says(200, `<s3xml><resource name="org_organisation" uuid="x" id="2"/></s3xml>`), gapless.ExitSource + 5, "does not page by number"},
		{"wrong password", "limit=1", says(401, "Authentication Required"), gapless.ExitSource + 2, "Authentication Required"},
		{"forbidden", "limit=1", says(403, "Forbidden"), gapless.ExitSource + 3, "Forbidden"},
		{"login", "limit=1", func(w http.ResponseWriter) {
			w.Header().Set("Location", "/eden/default/user/login")
			w.WriteHeader(http.StatusSeeOther)
		}, gapless.ExitSource + 2, "303"},
		{"no such table", "limit=1", says(404, "invalid controller"), gapless.ExitSource + 4, "invalid controller"},
		{"no date", "limit=1", func(w http.ResponseWriter) {
			w.Header()["Date"] = nil
			respond(w, 200, "text/xml", `<s3xml success="false" results="0"/>`)
		}, gapless.ExitSource + 5, "no date"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, r := newEden(t), newRig(t)
			fill(e)
			held := gaplesstest.NewDestination("d")
			r.source, r.destination = newSource(e, viaREST), held
			must(t, r.run(t.Context(), engine.RunOptions{}))
			before := copied(held)
			e.misbehave(times(1000, tt.part, tt.answer))
			err := r.run(t.Context(), engine.RunOptions{Full: true})
			if err == nil || gapless.ExitCode(err) != tt.exit || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("exit %d, %v", gapless.ExitCode(err), err)
			}
			compare(t, before, copied(held), "after the failed run")
			e.misbehave(nil)
			alter(e)
			must(t, r.run(t.Context(), engine.RunOptions{}))
			compare(t, wanted(e), copied(held), "after the next run")
		})
	}
}

// TestPassingTrouble is tried again until it has passed.
func TestPassingTrouble(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"lost": hangUp, "failing": says(500, ""), "busy": says(503, ""),
		"truncated": says(200, `<s3xml success="true" results="2"><resource name="org_organisation" uuid="x" id="3"/>`),
	} {
		e := newEden(t)
		fill(e)
		e.misbehave(times(2, "__gt=2", answer))
		var lines []string
		out := output(t, &lines)
		finish(t, out, newSource(e, viaREST).ReadAll(t.Context(), organisation, "2", out))
		if want := []string{"+urn:x:2 old", "+urn:x:3 old", "mark 4", "+urn:x:4 old", "+vm/plain old", "mark 6"}; !slices.Equal(want, lines) {
			t.Errorf("%s: %v", name, lines)
		}
	}
}

// TestNoRecords is what an Eden calls a failure.
func TestNoRecords(t *testing.T) {
	t.Parallel()
	for _, via := range []string{viaREST, viaSync, viaSync2010} {
		var lines []string
		out := output(t, &lines)
		finish(t, out, newSource(newEden(t), via).ReadAll(t.Context(), organisation, "", out))
		if len(lines) > 0 {
			t.Error(lines)
		}
	}
}

// TestExpired: marks and positions that mean nothing are refused before
// anything is read, and so is a clock that was set back.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := newSource(newEden(t), viaREST)
	out := output(t, new([]string))
	for name, err := range map[string]error{
		"mark":            s.ReadAll(t.Context(), organisation, "x", out),
		"mark of a peer":  newSource(newEden(t), viaSync).ReadAll(t.Context(), organisation, "4", out),
		"position":        s.ReadChanges(t.Context(), organisation, "2026-11-01", "2026-11-01T10:00:00", out),
		"position with Z": s.CheckPosition(t.Context(), organisation, "2026-11-01T10:00:00Z"),
		"clock set back":  s.ReadChanges(t.Context(), organisation, "2026-11-01T10:00:01", "2026-11-01T10:00:00", out),
	} {
		if gapless.KindOf(err) != gapless.KindExpired {
			t.Errorf("%s: %v", name, err)
		}
	}
	honoured, err := s.CanResume(t.Context(), organisation, "7", "")
	if !honoured || err != nil {
		t.Error(honoured, err)
	}
}

// TestUnreadableRecord becomes a rejection, and the rest is read.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	e.put(organisations, "urn:x:1", "a")
	twice := e.put(organisations, "urn:x:2", "b")
	twice.Fields = append(twice.Fields, s3.Field{Name: "name", Text: "c"})
	e.put(organisations, "urn:x:3", "d")
	for name, read := range map[string]func(s *source, out *gapless.Output) error{
		"all":  func(s *source, out *gapless.Output) error { return s.ReadAll(t.Context(), organisation, "", out) },
		"keys": func(s *source, out *gapless.Output) error { return s.ReadKeys(t.Context(), organisation, out) },
		"fetch": func(s *source, out *gapless.Output) error {
			return s.Fetch(t.Context(), organisation, []string{"urn:x:1", "urn:x:2", "urn:x:3"}, out)
		},
	} {
		var lines []string
		out := output(t, &lines)
		finish(t, out, read(newSource(e, viaREST), out))
		if text := fmt.Sprint(lines); !strings.Contains(text, "!urn:x:2") || !strings.Contains(text, "+urn:x:3") || strings.Contains(text, "-") {
			t.Errorf("%s: %v", name, lines)
		}
	}
}

// TestFilesThatAreNot: what is no whole file is not taken for one.
func TestFilesThatAreNot(t *testing.T) {
	t.Parallel()
	e := newEden(t)
	r := e.put(organisations, "urn:x:1", "a")
	r.Fields = append(r.Fields, s3.Field{Name: "file", URL: "http://public/eden/default/download/f.jpg"})
	s := newSource(e, viaREST)
	s.files = true
	var part gapless.Part
	out := output(t, new([]string), &part)
	finish(t, out, s.ReadAll(t.Context(), organisation, "", out))
	for _, test := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		want   string
		kind   gapless.Kind
	}{
		{"a page", says(200, "<html>"), "with a page", gapless.KindUnrecoverable},
		{"large", func(w http.ResponseWriter) { w.Header().Set("Content-Length", fmt.Sprint(maxFile+1)) }, "more than 4GiB", gapless.KindUnrecoverable},
		{"cut off", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "content")
		}, "connection broke", gapless.KindRecoverable},
	} {
		e.misbehave(times(1, "download", test.answer))
		body, err := part.Open(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, body)
			must(t, body.Close())
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || gapless.KindOf(err) != test.kind {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestFiles are fetched from the Eden that is configured, and nowhere else.
func TestFiles(t *testing.T) {
	t.Parallel()
	const stored = "doc_image.file.8a7b.cGhvdG8uanBn.jpg"
	tests := []struct{ name, url, content, problem string }{
		{"here", "http://public/eden/default/download/" + stored, "content", ""},
		{"gone", "http://public/eden/default/download/other.jpg", "", "404"},
		{"elsewhere", "http://169.254.169.254/latest/" + stored, "", "not among those of this Eden"},
		{"climbing", "http://public/eden/default/download/..%2fuser", "", "not among those of this Eden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEden(t)
			e.files[stored] = "content"
			r := e.put(organisations, "urn:x:1", "a")
			r.Fields = append(r.Fields, s3.Field{Name: "file", URL: tt.url, Filename: "photo.jpg"})
			s := newSource(e, viaREST)
			s.files = true
			var part gapless.Part
			out := output(t, new([]string), &part)
			finish(t, out, s.ReadAll(t.Context(), organisation, "", out))
			if part.Name != "file" {
				t.Fatalf("%+v", part)
			}
			body, err := part.Open(t.Context())
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) || gapless.KindOf(err) != gapless.KindUnrecoverable {
					t.Fatal(err)
				}
				return
			}
			must(t, err)
			content, err := io.ReadAll(body)
			if string(content) != tt.content || err != nil || body.Close() != nil || part.Version != stored {
				t.Errorf("%q %v %+v", content, err, part)
			}
		})
	}
}
