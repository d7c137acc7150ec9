package hub

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkIndex builds the index of 50,000 records anew: pages are metas with
// a text of about a kilobyte, rows nothing but short fields.
func BenchmarkIndex(b *testing.B) {
	for _, kind := range []string{"pages", "rows"} {
		b.Run(kind, func(b *testing.B) {
			const records = 50_000
			h := open(b, Options{Dir: b.TempDir()})
			s := session(b, h, "bench", 1)
			rng := rand.New(rand.NewPCG(1, 2))
			vocabulary := rand.NewZipf(rng, 1.1, 8, 50_000)
			for i := range records {
				text := ""
				if kind == "pages" {
					text = `,"text":"` + benchText(vocabulary, 160) + `"`
				}
				push(b, s, upsert(fmt.Sprintf("folder/%d/%07d.html", i%50, i), fmt.Sprintf(
					`{"title":%q,"author":["author%d","author%d"],"language":"%c%c","type":"page","modified":"2026-%02d-%02dT%02d:00:00Z","size":%d,"public":true%s}`,
					benchText(vocabulary, 4), rng.IntN(300), rng.IntN(300), 'a'+i%3, 'a'+i%5, 1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24), rng.IntN(100_000), text,
				)))
			}
			syncNow(b, s)
			if err := h.EnableSearch(); err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				if err := h.Rebuild(b.Context()); err != nil {
					b.Fatal(err)
				}
				n += records
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(folderBytes(b, h.indexer().dir))/records, "index-B/record")
		})
	}
}

func benchText(vocabulary *rand.Zipf, words int) string {
	var text strings.Builder
	for range words {
		fmt.Fprintf(&text, "word%x ", vocabulary.Uint64()*0x9E3779B1%0xFFFFF)
	}
	return text.String()
}

func folderBytes(tb testing.TB, dir string) (total int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		total += info.Size()
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return total
}
