package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

func stageNews(t *testing.T, s state.Store, l state.Lease, news ...state.News) {
	t.Helper()
	if err := s.Stage(t.Context(), l, news); err != nil {
		t.Fatal(err)
	}
}

// unsettled reads page by page.
func unsettled(t *testing.T, s state.Store, connector, collection string, all bool, limit int) []state.Unsettled {
	t.Helper()
	var keys []state.Unsettled
	after := ""
	for {
		page, err := s.Unsettled(t.Context(), connector, collection, after, all, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit {
			t.Fatalf("page of %d keys, want at most %d", len(page), limit)
		}
		keys = append(keys, page...)
		if len(page) < limit {
			return keys
		}
		after = page[limit-1].Key
	}
}

// unseen reads page by page.
func unseen(t *testing.T, s state.Store, connector, collection string, side state.Side, prefix string, limit int) []string {
	t.Helper()
	var keys []string
	after := ""
	for {
		page, err := s.Unseen(t.Context(), connector, collection, side, prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit {
			t.Fatalf("page of %d keys, want at most %d", len(page), limit)
		}
		keys = append(keys, page...)
		if len(page) < limit {
			return keys
		}
		after = page[limit-1]
	}
}

func stageRoundTrip(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	most := proof.Digest{Count: 1<<63 + 5, Hi: 1<<64 - 1, Lo: 1<<64 - 2}
	news := []state.News{
		{Side: state.Other, Collection: odd, Key: odd, Version: odd, Modified: at(1), Data: []byte(`{"a":1}`), Digest: most},
		{Side: state.This, Collection: odd, Key: odd, Op: gapless.OpDelete, Version: "2", Modified: time.Unix(-1, 5).UTC()},
		{Side: state.Other, Collection: odd, Key: "seen", Seen: true, Digest: most},
		{Side: state.This, Collection: odd, Key: "bare"},
		{Side: state.This, Collection: odd, Key: strings.Repeat("\xff", gapless.MaxKeyBytes), Data: []byte("{}")},
		{Side: state.This, Collection: odd, Key: "\x00", Data: []byte("{}")},
		{Side: state.This, Collection: "another", Key: "k"},
	}
	stageNews(t, s, l, news...)
	stageNews(t, s, l)
	want := []state.Unsettled{
		{Key: news[5].Key, News: [2]*state.News{&news[5], nil}},
		{Key: odd, News: [2]*state.News{&news[1], &news[0]}},
		{Key: "bare", News: [2]*state.News{&news[3], nil}},
		{Key: "seen", News: [2]*state.News{nil, &news[2]}},
		{Key: news[4].Key, News: [2]*state.News{&news[4], nil}},
	}
	equal(t, "all", want, unsettled(t, s, "c", odd, true, 10))
	equal(t, "not just seen", slices.Delete(slices.Clone(want), 3, 4), unsettled(t, s, "c", odd, false, 10))
	equal(t, "another collection", []state.Unsettled{{Key: "k", News: [2]*state.News{&news[6], nil}}}, unsettled(t, s, "c", "another", false, 1))
	if got := unsettled(t, s, "x", odd, true, 10); len(got) != 0 {
		t.Errorf("another connector: %v", got)
	}
	if collections, err := s.Ledgered(t.Context(), "c"); err != nil || len(collections) != 0 {
		t.Errorf("collections with entries are %q, %v", collections, err)
	}

	other := acquire(t, s, "other", at(0))
	stageNews(t, s, other, news[0])
	if err := s.Unstage(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	for _, collection := range []string{odd, "another"} {
		if got := unsettled(t, s, "c", collection, true, 10); len(got) != 0 {
			t.Errorf("%s was not unstaged: %v", collection, got)
		}
	}
	if got := unsettled(t, s, "other", odd, true, 10); len(got) != 1 {
		t.Errorf("another connector was unstaged: %v", got)
	}
}

func stageMerges(t *testing.T, s state.Store) {
	one := proof.Digest{Count: 1, Hi: 1<<63 + 1, Lo: 1<<63 + 7}
	var two, three proof.Digest
	for range 3 {
		three.Merge(one)
	}
	two.Merge(one)
	two.Merge(one)
	seen := state.News{Collection: "a", Key: "k", Seen: true, Digest: one}
	first := state.News{Collection: "a", Key: "k", Version: "1", Modified: at(1), Data: []byte("1"), Digest: one}
	last := state.News{Collection: "a", Key: "k", Op: gapless.OpDelete, Version: "2", Digest: one}
	with := func(n state.News, d proof.Digest) state.News {
		n.Digest = d
		return n
	}
	for _, test := range []struct {
		name string
		news []state.News
		want state.News
	}{
		{"seen twice", []state.News{seen, seen}, with(seen, two)},
		{"seen, then read", []state.News{seen, first}, with(first, two)},
		{"read, then seen", []state.News{first, seen}, with(first, two)},
		{"read twice", []state.News{first, last}, with(last, two)},
		{"read, seen, read", []state.News{last, seen, first}, with(first, three)},
		{"read, read, seen", []state.News{first, last, seen}, with(last, three)},
	} {
		for name, calls := range map[string]int{"one call": len(test.news), "a call each": 1} {
			l := acquire(t, s, test.name+name, at(0))
			for part := range slices.Chunk(test.news, calls) {
				stageNews(t, s, l, part...)
			}
			got := unsettled(t, s, l.Connector, "a", true, 10)
			equal(t, test.name+" in "+name, []state.Unsettled{{Key: "k", News: [2]*state.News{&test.want, nil}}}, got)
		}
	}
}

func stageNonsense(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	for name, n := range map[string]state.News{
		"no collection":         {Key: "k"},
		"no key":                {Collection: "a"},
		"key too long":          {Collection: "a", Key: strings.Repeat("k", gapless.MaxKeyBytes+1)},
		"no such side":          {Collection: "a", Key: "k", Side: 2},
		"a patch":               {Collection: "a", Key: "k", Op: gapless.OpPatch},
		"seen deleted":          {Collection: "a", Key: "k", Seen: true, Op: gapless.OpDelete},
		"seen with a version":   {Collection: "a", Key: "k", Seen: true, Version: "1"},
		"seen with a time":      {Collection: "a", Key: "k", Seen: true, Modified: at(1)},
		"seen with its content": {Collection: "a", Key: "k", Seen: true, Data: []byte("1")},
	} {
		if err := s.Stage(t.Context(), l, []state.News{{Collection: "a", Key: "fine"}, n}); err == nil {
			t.Errorf("staged: %s", name)
		}
	}
	if got := unsettled(t, s, "c", "a", true, 10); len(got) != 0 {
		t.Errorf("half a call was staged: %v", got)
	}
}

func stageFenced(t *testing.T, s state.Store) {
	old := acquire(t, s, "c", at(0))
	kept := state.News{Collection: "a", Key: "k", Data: []byte("1")}
	stageNews(t, s, old, kept)
	next, err := s.Acquire(t.Context(), "c", "b", ttl, at(61))
	if err != nil {
		t.Fatal(err)
	}
	forged := old
	forged.Epoch = next.Epoch
	for name, l := range map[string]state.Lease{"old epoch": old, "forged epoch": forged, "nobody": {Connector: "x"}} {
		wantFenced(t, name+" stages", s.Stage(t.Context(), l, []state.News{{Collection: "a", Key: "new"}}))
		wantFenced(t, name+" stages nothing", s.Stage(t.Context(), l, nil))
		wantFenced(t, name+" unstages", s.Unstage(t.Context(), l))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gapless.ErrInterrupted)
	if err := s.Stage(ctx, next, []state.News{{Collection: "a", Key: "new"}}); !errors.Is(err, gapless.ErrInterrupted) {
		t.Errorf("cancelled: %v", err)
	}
	want := []state.Unsettled{{Key: "k", News: [2]*state.News{&kept, nil}}}
	equal(t, "what was staged before", want, unsettled(t, s, "c", "a", true, 10))
	if err := s.Unstage(t.Context(), next); err != nil {
		t.Error(err)
	}
}

func entriesSettle(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	seen := state.News{Collection: "a", Key: "1", Seen: true}
	for _, key := range []string{"1", "2", "3"} {
		for _, side := range []state.Side{state.This, state.Other} {
			stageNews(t, s, l, state.News{Side: side, Collection: "a", Key: key, Data: []byte("1")})
		}
	}
	stageNews(t, s, l, seen, state.News{Collection: "b", Key: "1"})
	closed := state.Entry{Collection: "a", Key: "1", Live: [2]bool{true, false}, Value: []byte("v1")}
	open := state.Entry{Collection: "a", Key: "2", Live: [2]bool{false, true}, Open: true, Value: []byte("v2")}
	commit(t, s, l, state.Commit{Entries: []state.Entry{closed, open, {Collection: "a", Key: "3", Open: true, Live: [2]bool{true, true}}}})

	got := unsettled(t, s, "c", "a", false, 1)
	equal(t, "unsettled", []state.Unsettled{{Key: "2", Entry: open.Value}}, got)
	got = unsettled(t, s, "c", "a", true, 1)
	equal(t, "everything", []state.Unsettled{{Key: "1", Entry: closed.Value}, {Key: "2", Entry: open.Value}}, got)
	if got := unsettled(t, s, "c", "b", false, 9); len(got) != 1 {
		t.Errorf("news of the same key in another collection: %v", got)
	}
	entries := func(keys ...string) map[string]state.Entry {
		got, err := s.Entries(t.Context(), "c", "a", keys)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	equal(t, "entries", map[string]state.Entry{"1": closed, "2": open}, entries("2", "1", "3", "x", "1", ""))
	equal(t, "entries of no keys", map[string]state.Entry{}, entries())

	// Deleted, stored twice, deleted and stored: the last one counts.
	replaced := state.Entry{Collection: "a", Key: "2", Value: []byte("v3")}
	commit(t, s, l, state.Commit{Entries: []state.Entry{{Collection: "a", Key: "1"}, {Collection: "a", Key: "2"}, replaced, {Collection: "a", Key: "9"}}})
	equal(t, "replaced", map[string]state.Entry{"2": replaced}, entries("1", "2", "9"))
	commit(t, s, l, state.Commit{Entries: []state.Entry{closed, replaced, {Collection: "a", Key: "2"}}})
	equal(t, "deleted at last", map[string]state.Entry{"1": closed}, entries("1", "2"))
	commit(t, s, l, state.Commit{Entries: []state.Entry{{Collection: odd, Key: odd, Value: []byte("v")}, {Collection: "0", Key: "k", Value: []byte("v")}}})
	collections, err := s.Ledgered(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "collections with entries", []string{"0", "a", odd}, collections)
	commit(t, s, l, state.Commit{Entries: []state.Entry{{Collection: odd, Key: odd}, {Collection: "a", Key: "1"}}})
	if collections, err = s.Ledgered(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	equal(t, "collections with entries at last", []string{"0"}, collections)
}

func unseenKeys(t *testing.T, s state.Store) {
	l := acquire(t, s, "c", at(0))
	last := strings.Repeat("\xff", gapless.MaxKeyBytes)
	keys := []string{"\x00", "\x00\x00", "a", "a\x00", "a\xff", "a\xff\xff", "b", "\xff", "\xff\x00", last}
	var entries []state.Entry
	for _, key := range keys {
		entries = append(entries, state.Entry{Collection: "a", Key: key, Live: [2]bool{true, key != "b"}, Value: []byte("v")})
	}
	commit(t, s, l, state.Commit{Entries: append(entries, state.Entry{Collection: "b", Key: "elsewhere", Live: [2]bool{true, true}, Value: []byte("v")})})
	stageNews(t, s, l,
		state.News{Side: state.This, Collection: "a", Key: "a\x00", Seen: true},
		state.News{Side: state.This, Collection: "a", Key: "a\xff", Op: gapless.OpDelete},
		state.News{Side: state.Other, Collection: "a", Key: "a", Seen: true},
		state.News{Side: state.This, Collection: "a", Key: "new"},
		state.News{Side: state.This, Collection: "b", Key: "b"},
	)
	for _, test := range []struct {
		name   string
		side   state.Side
		prefix string
		want   []string
		live   uint64
	}{
		{"this", state.This, "", []string{"\x00", "\x00\x00", "a", "a\xff\xff", "b", "\xff", "\xff\x00", last}, 10},
		{"other", state.Other, "", []string{"\x00", "\x00\x00", "a\x00", "a\xff", "a\xff\xff", "\xff", "\xff\x00", last}, 9},
		{"prefix", state.This, "a", []string{"a", "a\xff\xff"}, 4},
		{"prefix that ends with the last byte", state.This, "a\xff", []string{"a\xff\xff"}, 2},
		{"prefix of the last bytes", state.This, "\xff", []string{"\xff", "\xff\x00", last}, 3},
		{"prefix of NUL", state.Other, "\x00", []string{"\x00", "\x00\x00"}, 2},
		{"prefix of none", state.Other, "c", nil, 0},
	} {
		for _, limit := range []int{1, 2, 100} {
			equal(t, test.name, test.want, unseen(t, s, "c", "a", test.side, test.prefix, limit))
		}
		count, live, err := s.CountUnseen(t.Context(), "c", "a", test.side, test.prefix)
		if err != nil || count != uint64(len(test.want)) || live != test.live {
			t.Errorf("%s: %d of %d unseen, %v, want %d of %d", test.name, count, live, err, len(test.want), test.live)
		}
	}
	if count, live, err := s.CountUnseen(t.Context(), "x", "a", state.This, ""); err != nil || count+live != 0 {
		t.Errorf("of nobody: %d of %d, %v", count, live, err)
	}
}

func ledgerLarge(t *testing.T, s state.Store) {
	keys, batch := 100_000, 5000
	if testing.Short() {
		keys, batch = 10_000, 500
	}
	l := acquire(t, s, "c", at(0))
	var news []state.News
	var entries []state.Entry
	for i := range keys {
		key := fmt.Sprintf("%06d", (i*7919)%keys) // all of them, in no order
		news = append(news, state.News{Collection: "a", Key: key, Seen: i%10 == 0, Digest: proof.Digest{Count: 1}})
		entries = append(entries, state.Entry{Collection: "a", Key: key, Live: [2]bool{true, true}, Value: []byte(key)})
	}
	start := time.Now()
	for part := range slices.Chunk(news, batch) {
		stageNews(t, s, l, part...)
	}
	staged := time.Since(start)
	for _, all := range []bool{false, true} {
		start = time.Now()
		got := unsettled(t, s, "c", "a", all, 999)
		t.Logf("%d keys read in %s", len(got), time.Since(start))
		if want := map[bool]int{false: keys * 9 / 10, true: keys}[all]; len(got) != want {
			t.Errorf("%d unsettled keys, want %d", len(got), want)
		}
		if !slices.IsSortedFunc(got, func(a, b state.Unsettled) int { return strings.Compare(a.Key, b.Key) }) {
			t.Error("keys are not in order")
		}
	}
	start = time.Now()
	for part := range slices.Chunk(entries, batch) {
		commit(t, s, l, state.Commit{Entries: part})
	}
	t.Logf("%d keys: staged in %s, settled in %s", keys, staged, time.Since(start))
	if got := unsettled(t, s, "c", "a", false, batch); len(got) != 0 {
		t.Errorf("%d keys are still unsettled", len(got))
	}
	if got := unseen(t, s, "c", "a", state.Other, "", 999); len(got) != keys || !slices.IsSorted(got) {
		t.Errorf("%d keys unseen, in order: %t", len(got), slices.IsSorted(got))
	}
}
