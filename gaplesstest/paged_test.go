package gaplesstest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
)

// paged is an outside system behind HTTP, as there are many: collections that
// are read page by page, and a log of what changed. Its source is written with
// care, except for the flaw that a test plants in it.
type paged struct {
	mu          sync.Mutex
	collections []string
	log         []pagedEntry // sorted by stamp
	clock       int
	floor       int // stamps below are forgotten
	flaw        string
}

// pagedEntry is one change. Stamps are shared by what happens in one tick.
type pagedEntry struct {
	Stamp   int    `json:"stamp"`
	Seq     int    `json:"seq"`
	Key     string `json:"key"`
	N       int    `json:"n"`
	Deleted bool   `json:"deleted,omitempty"`
}

type page struct {
	Entries []pagedEntry `json:"entries"`
	End     bool         `json:"end,omitempty"`
}

const pageSize = 6

func (s *paged) edit(key string, n int, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamp := s.clock
	if len(s.log) > 0 && s.flaw != "trusts the clock" {
		stamp = max(stamp, s.log[len(s.log)-1].Stamp)
	}
	s.log = append(s.log, pagedEntry{stamp, len(s.log) + 1, key, n, deleted})
}

// collection returns where a record lies.
func (s *paged) collection(key string) string {
	n, _ := strconv.Atoi(key[len(key)-1:]) // of a name
	return s.collections[n%len(s.collections)]
}

// latest returns the last entry of each key of a collection, in key order.
func (s *paged) latest(collection string) []pagedEntry {
	last := map[string]pagedEntry{}
	for _, e := range s.log {
		if s.collection(e.Key) == collection {
			last[e.Key] = e
		}
	}
	var all []pagedEntry
	for _, e := range last {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b pagedEntry) int { return cmp.Compare(a.Key, b.Key) })
	return all
}

func (s *paged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	collection, after, since := q.Get("collection"), q.Get("after"), 0
	if text := q.Get("since"); text != "" {
		since, _ = strconv.Atoi(text)
	}
	if collection != "" && !slices.Contains(s.collections, collection) {
		http.Error(w, "no such collection", http.StatusNotFound)
		return
	}
	var p page
	switch r.URL.Path {
	case "/collections":
		_ = json.NewEncoder(w).Encode(s.collections)
		return
	case "/now":
		now := s.clock
		if len(s.log) > 0 && s.flaw != "trusts the clock" {
			now = max(now, s.log[len(s.log)-1].Stamp)
		}
		_ = json.NewEncoder(w).Encode(map[string]int{"stamp": now, "seq": len(s.log), "floor": s.floor})
		return
	case "/records":
		for _, e := range s.latest(collection) {
			if e.Key > after && !e.Deleted {
				p.Entries = append(p.Entries, e)
			}
		}
	case "/record":
		for _, e := range s.latest(collection) {
			if e.Key == q.Get("key") && !e.Deleted {
				p.Entries = append(p.Entries, e)
			}
		}
	case "/modified": // latest entries in order of stamp and key
		for _, e := range s.latest(collection) {
			if e.Stamp >= since && !e.Deleted && fmt.Sprintf("%09d %s", e.Stamp, e.Key) > after {
				p.Entries = append(p.Entries, e)
			}
		}
		slices.SortFunc(p.Entries, func(a, b pagedEntry) int { return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), cmp.Compare(a.Key, b.Key)) })
	case "/log":
		for _, e := range s.log {
			if e.Seq > since && s.collection(e.Key) == collection {
				p.Entries = append(p.Entries, e)
			}
		}
	}
	p.End = len(p.Entries) <= pageSize
	p.Entries = p.Entries[:min(len(p.Entries), pageSize)]
	_ = json.NewEncoder(w).Encode(p)
}

// pagedSource is a careful client, but for its flaw.
type pagedSource struct {
	url    string
	model  gapless.ChangeModel
	flaw   string
	client *http.Client
	over   <-chan struct{} // closed when the test is
	mu     sync.Mutex
	shared string // where a careless source keeps the page that it is at
}

// get fetches a page or another document.
func (s *pagedSource) get(ctx context.Context, into any, path string, query ...string) error {
	if s.flaw == "goes on when cancelled" {
		ctx = context.WithoutCancel(ctx)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path+"?"+strings.Join(query, "&"), nil)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return gapless.Because(gapless.CauseUnreachable, err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusForbidden && s.flaw == "takes forbidden for the end":
		return json.Unmarshal([]byte(`{"end":true}`), into)
	case answer.StatusCode == http.StatusTooManyRequests && s.flaw == "comes back at once":
		return s.get(ctx, into, path, query...)
	case answer.StatusCode == http.StatusTooManyRequests && s.flaw == "does not classify":
		return errors.New("status 429")
	case answer.StatusCode == http.StatusServiceUnavailable && s.flaw == "expects no outage":
		return errors.New("status 503")
	case answer.StatusCode == http.StatusUnauthorized:
		return gapless.Because(gapless.CauseAuthentication, errors.New("unauthorized"))
	case answer.StatusCode == http.StatusForbidden:
		return gapless.Because(gapless.CauseForbidden, errors.New("forbidden"))
	case answer.StatusCode == http.StatusNotFound && s.flaw == "takes a missing collection for an empty one":
		return json.Unmarshal([]byte(`{"end":true}`), into)
	case answer.StatusCode == http.StatusNotFound:
		return gapless.Unrecoverable(errors.New("no such collection"))
	case answer.StatusCode != http.StatusOK:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		if s.flaw == "forgets the time" {
			seconds = 0
		}
		return gapless.Later(time.Duration(seconds)*time.Second, gapless.Recoverable(fmt.Errorf("status %d", answer.StatusCode)))
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil && s.flaw != "reads what there is" {
		return gapless.Because(gapless.CauseUnreachable, err)
	}
	if p, ok := into.(*page); ok && body.Len() == 0 && s.flaw == "takes a blank page for the end" {
		p.End = true
		return nil
	}
	err = json.Unmarshal(body.Bytes(), into)
	if p, ok := into.(*page); ok && err != nil && (s.flaw == "reads what there is" || s.flaw == "salvages half a page") && body.Len() > 0 {
		p.End = true
		return nil
	}
	if err != nil {
		return gapless.Because(gapless.CauseUnreadable, err)
	}
	return nil
}

// pages calls fn for every page of a path, from the cursor at on.
func (s *pagedSource) pages(ctx context.Context, path, at string, cursor func(last pagedEntry) string, fn func(p page) error) error {
	path, collection, _ := strings.Cut(path, "?")
	for {
		var p page
		if s.flaw == "shares its cursor" {
			s.mu.Lock()
			at = s.shared
			s.mu.Unlock()
		}
		if err := s.get(ctx, &p, path, collection, at); err != nil {
			if s.flaw == "takes cancelled for the end" && ctx.Err() != nil {
				return nil
			}
			return err
		}
		if len(p.Entries) == 0 && !p.End && s.flaw != "takes an empty page for the end" {
			return gapless.Recoverable(errors.New("a page without records that is not the last"))
		}
		if s.flaw == "shares its cursor" && len(p.Entries) > 0 {
			s.mu.Lock()
			s.shared = cursor(p.Entries[len(p.Entries)-1])
			s.mu.Unlock()
		}
		if err := fn(p); err != nil {
			if s.flaw == "hides the end of the output" {
				return nil
			}
			return err
		}
		if p.End || len(p.Entries) == 0 {
			return nil
		}
		at = cursor(p.Entries[len(p.Entries)-1])
	}
}

func (s *pagedSource) Describe(ctx context.Context) (gapless.Description, error) {
	d := gapless.Description{Model: s.model, Schema: "1"}
	if s.flaw == "has a new schema each time" {
		d.Schema = fmt.Sprintf("%p", s)
	}
	err := s.get(ctx, &d.Collections, "/collections")
	if s.flaw == "knows its partitions by heart" {
		d.Collections = []string{"r", "s"}
	}
	return d, err
}

func (s *pagedSource) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	at := "after=" + string(after)
	if s.flaw == "resumes behind the end" && after != "" {
		at = "after=z"
	}
	cursor := func(last pagedEntry) string { return "after=" + last.Key }
	return s.pages(ctx, "/records?collection="+p.Collection, at, cursor, func(page page) error {
		if s.flaw == "marks before it emits" && len(page.Entries) > 0 {
			if err := out.Mark(gapless.Mark(page.Entries[len(page.Entries)-1].Key)); err != nil {
				return err
			}
		}
		for _, e := range page.Entries {
			if err := s.emit(out, e); err != nil {
				return err
			}
		}
		if s.flaw == "emits what does not exist" {
			if err := out.Delete("ghost"); err != nil {
				return err
			}
		}
		if len(page.Entries) == 0 || page.End || s.flaw == "marks before it emits" {
			return nil
		}
		return out.Mark(gapless.Mark(page.Entries[len(page.Entries)-1].Key))
	})
}

func (s *pagedSource) emit(out *gapless.Output, e pagedEntry) error {
	if e.Deleted {
		if s.flaw == "does not tell deletes" {
			return nil
		}
		return out.Delete(e.Key)
	}
	r := gapless.Record{Key: e.Key, Version: strconv.Itoa(e.Seq), Data: fmt.Appendf(nil, `{"n":%d}`, e.N)}
	if s.flaw == "emits everything twice" {
		if err := out.Upsert(r); err != nil {
			return err
		}
	}
	return out.Upsert(r)
}

func (s *pagedSource) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	return true, nil
}

type pagedNow struct{ Stamp, Seq, Floor int }

func (n pagedNow) at(model gapless.ChangeModel) int {
	if model == gapless.ModelLog {
		return n.Seq
	}
	return n.Stamp
}

func (s *pagedSource) Position(ctx context.Context, _ gapless.Partition) (gapless.Position, error) {
	var now pagedNow
	err := s.get(ctx, &now, "/now")
	if s.flaw == "takes no position for the first" && err != nil {
		return "0", nil
	}
	if err != nil {
		return "", err
	}
	at := now.at(s.model)
	if s.flaw == "takes a position that is ahead" {
		at++
	}
	return gapless.Position(strconv.Itoa(at)), nil
}

func (s *pagedSource) CheckPosition(ctx context.Context, _ gapless.Partition, from gapless.Position) error {
	_, err := s.known(ctx, from)
	return err
}

// known returns where a position is.
func (s *pagedSource) known(ctx context.Context, from gapless.Position) (int, error) {
	var now pagedNow
	if err := s.get(ctx, &now, "/now"); err != nil {
		return 0, err
	}
	at, err := strconv.Atoi(string(from))
	if s.flaw == "reads from any position" && err != nil {
		return now.at(s.model), nil
	}
	if s.flaw == "takes a position that is ahead" && at == now.at(s.model)+1 {
		return at, nil
	}
	if err != nil || at < 0 || at > now.at(s.model) && s.flaw != "trusts the clock" || at < now.Floor && s.flaw != "goes on after the log was cut" {
		return 0, gapless.Expired(fmt.Errorf("position %q is not known", from))
	}
	return at, nil
}

func (s *pagedSource) ReadChanges(ctx context.Context, p gapless.Partition, from, _ gapless.Position, out *gapless.Output) error {
	if s.flaw == "forgets who follows" {
		go func() { <-s.over }()
	}
	at, err := s.known(ctx, from)
	if err != nil {
		return err
	}
	path, cursor, mark := "/log", func(e pagedEntry) string { return fmt.Sprintf("since=%d", e.Seq) }, func(e pagedEntry) int { return e.Seq }
	first := fmt.Sprintf("since=%d", at)
	if s.model == gapless.ModelModified {
		if s.flaw == "reads what is later than its position" {
			first = fmt.Sprintf("since=%d", at+1)
		}
		path, mark = "/modified", func(e pagedEntry) int { return e.Stamp }
		cursor = func(e pagedEntry) string { return "since=0&after=" + fmt.Sprintf("%09d+%s", e.Stamp, e.Key) }
		if s.flaw == "turns pages by time" {
			cursor = func(e pagedEntry) string { return fmt.Sprintf("since=%d", e.Stamp+1) }
		}
	}
	return s.pages(ctx, path+"?collection="+p.Collection, first, cursor, func(page page) error {
		if s.flaw == "emits the latest first" {
			slices.Reverse(page.Entries)
		}
		for _, e := range page.Entries {
			if err := s.emit(out, e); err != nil {
				return err
			}
			if s.flaw == "marks what it has not emitted" {
				if err := out.Mark(gapless.Mark(strconv.Itoa(mark(page.Entries[len(page.Entries)-1])))); err != nil {
					return err
				}
			}
		}
		if len(page.Entries) == 0 {
			return nil
		}
		last := page.Entries[len(page.Entries)-1]
		if s.flaw == "emits the latest first" {
			last = page.Entries[0]
		}
		return out.Mark(gapless.Mark(strconv.Itoa(mark(last))))
	})
}

type pagedModified struct{ *pagedSource }

func (s pagedModified) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	return s.pages(ctx, "/records?collection="+p.Collection, "",
		func(last pagedEntry) string { return "after=" + last.Key },
		func(page page) error {
			if page.End && s.flaw == "forgets the last page of keys" {
				return nil
			}
			for _, e := range page.Entries {
				if err := out.Key(e.Key, strconv.Itoa(e.Seq)); err != nil {
					return err
				}
			}
			return nil
		})
}

func (s pagedModified) Fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	for _, key := range keys {
		var found page
		if err := s.get(ctx, &found, "/record", "collection="+p.Collection, "key="+key); err != nil {
			return err
		}
		if !found.End {
			return gapless.Recoverable(errors.New("an answer that is none"))
		}
		err := error(nil)
		if len(found.Entries) > 0 {
			err = s.emit(out, found.Entries[0])
		} else if s.flaw != "fetches without deletes" {
			err = out.Delete(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *pagedSource) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// pagedCase is the paged system and its source under check.
func pagedCase(model gapless.ChangeModel, flaw string) SourceCase {
	return SourceCase{New: func(t testing.TB, b *Breaker) SourceSystem {
		system := &paged{collections: []string{"r", "s"}, flaw: flaw}
		server := httptest.NewServer(b.Handler(system))
		over := make(chan struct{})
		t.Cleanup(func() {
			close(over)
			server.Close()
		})
		b.EmptyPage = func(r *http.Request, body []byte) []byte {
			if r.URL.Path == "/collections" || r.URL.Path == "/now" {
				return body
			}
			return []byte(`{"entries":[]}`)
		}
		return SourceSystem{
			Open: func() gapless.Source {
				s := &pagedSource{url: server.URL, model: model, flaw: flaw, client: &http.Client{Transport: &http.Transport{}}, over: over}
				switch flaw {
				case "leaves a goroutine behind":
					go func() { <-s.over }()
				case "leaves a file open":
					f, err := os.Open(os.Args[0])
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = f.Close() })
				}
				if model == gapless.ModelModified {
					return pagedModified{s}
				}
				return s
			},
			Put:    func(name string, revision int) { system.edit(name, revision, false) },
			Remove: func(name string) { system.edit(name, 0, true) },
			Clock: func(seconds int) {
				system.mu.Lock()
				defer system.mu.Unlock()
				system.clock = 1000 + seconds
			},
			Expire: func() {
				system.mu.Lock()
				defer system.mu.Unlock()
				system.floor = len(system.log)
				if model == gapless.ModelModified {
					system.floor = system.log[len(system.log)-1].Stamp + 1
					system.clock = system.floor
				}
			},
			Split:  func() { system.collections = []string{"r", "s", "t"} },
			Vanish: system.vanish,
		}
	}}
}

// vanish takes the last collection away.
func (s *paged) vanish() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.collections[len(s.collections)-1]
	var names []string
	for _, e := range s.latest(last) {
		if !e.Deleted {
			names = append(names, e.Key)
		}
	}
	s.log = slices.DeleteFunc(s.log, func(e pagedEntry) bool { return s.collection(e.Key) == last })
	s.collections = s.collections[:len(s.collections)-1]
	return names
}
