package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// sampleNews are of records of 300 bytes; their keys are in no order, like
// those of a source that numbers by chance.
func sampleNews(n int, side state.Side, seen bool) []state.News {
	random := rand.New(rand.NewPCG(1, 2))
	news := make([]state.News, n)
	data := make([]byte, 300)
	for i := range news {
		key := fmt.Sprintf("urn:uuid:%016x-%08d", random.Uint64(), i)
		news[i] = state.News{Side: side, Collection: "org_organisation", Key: key, Seen: seen, Digest: proof.Digest{Count: 1, Hi: random.Uint64(), Lo: random.Uint64()}}
		if !seen {
			news[i].Version, news[i].Modified, news[i].Data = "2026-11-21T12:00:00", time.Unix(1, 2), data
		}
	}
	return news
}

const benchmarkRows, benchmarkBatch = 100_000, 4096

func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.N)*float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

func stageAll(b *testing.B, s *Store, l state.Lease, news []state.News) {
	b.Helper()
	for len(news) > 0 {
		batch := news[:min(len(news), benchmarkBatch)]
		if err := s.Stage(b.Context(), l, batch); err != nil {
			b.Fatal(err)
		}
		news = news[len(batch):]
	}
}

func TestDamagedNewsAreNamed(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, t.TempDir())
	l := mustAcquire(t, s)
	for _, set := range []string{"body = x'00'", "side = 2", "side = -1", "seen = TRUE", "body = substr(body, 1, 30)"} {
		if err := s.Stage(t.Context(), l, []state.News{{Collection: "a", Key: "k", Data: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		mustExec(t, s, `UPDATE news SET `+set)
		if got, err := s.Unsettled(t.Context(), "c", "a", "", true, 10); !errors.Is(err, errNews) {
			t.Errorf("%s: %+v, %v", set, got, err)
		}
		if err := s.Unstage(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzDecodeBody(f *testing.F) {
	for _, n := range []state.News{
		{}, {Seen: true, Digest: proof.Digest{Count: 1, Hi: 2, Lo: 3}}, {Op: gapless.OpDelete, Version: "v", Modified: time.Unix(-5, 1).UTC()},
		{Version: strings.Repeat("v", 200), Data: []byte("{}")},
	} {
		f.Add(appendBody(nil, &n), n.Seen)
	}
	f.Add([]byte(nil), true)
	f.Add(slices.Repeat([]byte{0xff}, 50), false)
	f.Fuzz(func(t *testing.T, body []byte, seen bool) {
		n, again := state.News{Seen: seen}, state.News{Seen: seen}
		if decodeBody(body, &n) != nil {
			return
		}
		if err := decodeBody(appendBody(nil, &n), &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(n, again); diff != "" {
			t.Errorf("%x (-once +again):\n%s", body, diff)
		}
	})
}

func BenchmarkStage(b *testing.B) {
	for _, bench := range []struct {
		name  string
		seen  bool
		again bool
	}{{"new", false, false}, {"again", false, true}, {"seen", true, false}} {
		b.Run(bench.name, func(b *testing.B) {
			s := mustOpen(b, b.TempDir())
			l := mustAcquire(b, s)
			news := sampleNews(benchmarkRows, state.This, bench.seen)
			if bench.again {
				stageAll(b, s, l, news)
			}
			for b.Loop() {
				if !bench.again {
					b.StopTimer()
					if err := s.Unstage(b.Context(), l); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				stageAll(b, s, l, news)
			}
			perRow(b, len(news))
		})
	}
}

func sampleEntries(news []state.News) []state.Entry {
	entries := make([]state.Entry, len(news))
	slices.SortFunc(news, func(a, b state.News) int { return strings.Compare(a.Key, b.Key) }) // as they are settled
	for i, n := range news {
		entries[i] = state.Entry{Collection: n.Collection, Key: n.Key, Live: [2]bool{true, true}, Value: make([]byte, 100)}
	}
	return entries
}

func commitAll(b *testing.B, s *Store, l state.Lease, entries []state.Entry) {
	b.Helper()
	for len(entries) > 0 {
		batch := entries[:min(len(entries), benchmarkBatch)]
		if err := s.Commit(b.Context(), l, state.Commit{Entries: batch}); err != nil {
			b.Fatal(err)
		}
		entries = entries[len(batch):]
	}
}

func BenchmarkSettle(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	l := mustAcquire(b, s)
	news := sampleNews(benchmarkRows, state.This, false)
	entries := sampleEntries(slices.Clone(news))
	for b.Loop() {
		b.StopTimer()
		stageAll(b, s, l, news)
		b.StartTimer()
		commitAll(b, s, l, entries)
	}
	perRow(b, len(news))
}

func BenchmarkLedger(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	l := mustAcquire(b, s)
	news := sampleNews(benchmarkRows, state.This, false)
	entries := sampleEntries(slices.Clone(news))
	commitAll(b, s, l, entries)
	stageAll(b, s, l, news)
	stageAll(b, s, l, sampleNews(benchmarkRows, state.Other, true))
	for _, all := range []bool{false, true} {
		b.Run(fmt.Sprintf("unsettled, all %t", all), func(b *testing.B) {
			for b.Loop() {
				after, total := "", 0
				for {
					page, err := s.Unsettled(b.Context(), "c", "org_organisation", after, all, 1000)
					if err != nil {
						b.Fatal(err)
					}
					if len(page) == 0 {
						break
					}
					total += len(page)
					after = page[len(page)-1].Key
				}
				if total != benchmarkRows {
					b.Fatal(total)
				}
			}
			perRow(b, benchmarkRows)
		})
	}
	b.Run("entries", func(b *testing.B) {
		keys := make([]string, benchmarkBatch)
		for i := range keys {
			keys[i] = news[i].Key
		}
		for b.Loop() {
			if got, err := s.Entries(b.Context(), "c", "org_organisation", keys); err != nil || len(got) != len(keys) {
				b.Fatal(len(got), err)
			}
		}
		perRow(b, len(keys))
	})
	b.Run("count unseen", func(b *testing.B) {
		for b.Loop() {
			if unseen, live, err := s.CountUnseen(b.Context(), "c", "org_organisation", state.Other, ""); err != nil || unseen != 0 || live != benchmarkRows {
				b.Fatal(unseen, live, err)
			}
		}
		perRow(b, benchmarkRows)
	})
}
