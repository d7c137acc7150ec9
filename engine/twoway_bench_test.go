package engine_test

import (
	"fmt"
	"testing"

	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
)

// BenchmarkTwoWay brings 20,000 records of 300 bytes from one side to an empty
// other one, and reports the rate of the whole run.
func BenchmarkTwoWay(b *testing.B) {
	const records = 20_000
	for b.Loop() {
		b.StopTimer()
		this, other := gaplesstest.NewReplica("a", "r"), gaplesstest.NewReplica("b", "r")
		this.Load("r", records, func(i int) (string, string) {
			return fmt.Sprintf("k%08d", i), fmt.Sprintf(`{"name":"record %d","a":1,"b":"two","c":[1,2,3],"d":{"e":null},"text":"%0220d"}`, i, i)
		})
		p := newPair(b, this, other)
		p.settings = engine.Settings{}
		b.StartTimer()
		p.mustRun()
		if len(other.Records("r")) != records {
			b.Fatal("records are missing")
		}
	}
	b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
