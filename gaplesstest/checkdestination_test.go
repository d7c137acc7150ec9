package gaplesstest

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/gapless-sync/gapless"
)

// memoryDestination is a destination of this package under check.
func memoryDestination() DestinationCase {
	return DestinationCase{New: func(t testing.TB, b *Breaker) DestinationSystem {
		b.Allow(Lost)
		d, ids := NewDestination("1"), 1
		d.Faults.Set(func(string, int, int) error {
			err := b.Call(context.Background())
			if errors.Is(err, Lost) {
				return Ambiguous(gapless.Recoverable(err))
			}
			return mean(err)
		})
		return DestinationSystem{
			Open: func() gapless.Destination { return d },
			Holds: func() map[string]int {
				all := map[string]int{}
				for _, collection := range []string{"r", "s"} {
					for key, data := range d.Records(connectorName, collection) {
						_, all[key] = readPlain(gapless.Partition{}, gapless.Change{Record: gapless.Record{Key: key, Data: []byte(data)}})
					}
				}
				return all
			},
			Refused: func(p gapless.Partition, name string) gapless.Record {
				return gapless.Record{Key: name, Data: []byte(`{"n":"refuse"}`)}
			},
			Crash:  func() { d.Crash(2) },
			Server: true,
			Replace: func() {
				ids++
				d.Restore(NewDestination(strconv.Itoa(ids)))
			},
		}
	}}
}

func TestMemoryDestination(t *testing.T) {
	t.Parallel()
	CheckDestination(t, memoryDestination())
}
