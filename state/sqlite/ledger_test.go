package sqlite

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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
	entries := sampleEntries(news)
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
	entries := sampleEntries(news)
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
