package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// destination is the truth of one store that records are pushed to. It is
// guarded by the world's lock.
type destination struct {
	id          string
	incarnation string
	epoch       uint64
	synced      map[string]gapless.Record // by collection/key
	pushed      map[string]gapless.Record // with what is not synced yet
	unsynced    []pushedChange            // in order
	checkpoints map[string]gapless.Checkpoint
	// excused are records that the destination lacks with a reason: it refused
	// them, or the source could not read them.
	excused map[string]bool
}

type pushedChange struct {
	name string // collection/key
	by   *process
	gapless.Change
}

func newDestination(id, incarnation string) *destination {
	return &destination{
		id: id, incarnation: incarnation, synced: map[string]gapless.Record{}, pushed: map[string]gapless.Record{},
		checkpoints: map[string]gapless.Checkpoint{}, excused: map[string]bool{},
	}
}

// clone copies what is durable.
func (d *destination) clone() *destination {
	return &destination{
		id: d.id, incarnation: d.incarnation, epoch: d.epoch, synced: maps.Clone(d.synced), pushed: maps.Clone(d.synced),
		checkpoints: maps.Clone(d.checkpoints), excused: maps.Clone(d.excused),
	}
}

func name(p gapless.Partition, key string) string { return p.Collection + "/" + key }

// apply carries out a change on one view of the records.
func apply(records map[string]gapless.Record, c pushedChange) {
	if c.Op == gapless.OpDelete {
		delete(records, c.name)
		return
	}
	records[c.name] = c.Record
}

// crash loses what is not synced, but for a part that reached the disk: of each
// record some of its changes, the earlier ones first.
func (d *destination) crash(incarnation string, survives func() bool) {
	lost := map[string]bool{}
	for _, c := range d.unsynced {
		if lost[c.name] = lost[c.name] || !survives(); !lost[c.name] {
			apply(d.synced, c)
		}
	}
	d.pushed, d.unsynced, d.incarnation = maps.Clone(d.synced), nil, incarnation
}

// push accepts a row, or says why it does not.
func (d *destination) push(by *process, p gapless.Partition, c gapless.Change) (tardy bool, refused error) {
	demanding := !by.world.lenient
	if demanding && strings.HasPrefix(string(c.Data), `{"v":9,`) {
		d.excused[name(p, c.Key)] = true
		return false, errRefused
	}
	if demanding && strings.HasPrefix(string(c.Data), `{"v":8,`) {
		return true, nil
	}
	change := pushedChange{name(p, c.Key), by, c}
	apply(d.pushed, change)
	d.unsynced = append(d.unsynced, change)
	return false, nil
}

var errRefused = errors.New("refused on request")

// sync makes durable what was pushed, with the checkpoints.
func (d *destination) sync(checkpoints []gapless.Checkpoint) {
	for _, c := range d.unsynced {
		apply(d.synced, c)
		delete(d.excused, c.name)
		c.by.rows.synced++
	}
	d.unsynced = nil
	for _, c := range checkpoints {
		d.checkpoints[c.Partition] = c
	}
}

func (d *destination) status() gapless.Status {
	return gapless.Status{
		ID: d.id, Incarnation: d.incarnation, Checkpoints: maps.Clone(d.checkpoints), Holds: len(d.synced) > 0 || len(d.checkpoints) > 0,
	}
}

// list returns the keys and versions of a partition.
func (d *destination) list(p gapless.Partition) []gapless.Record {
	var all []gapless.Record
	prefix := name(p, p.Prefix)
	for _, n := range slices.Sorted(maps.Keys(d.synced)) {
		if strings.HasPrefix(n, prefix) {
			all = append(all, gapless.Record{Key: n[len(p.Collection)+1:], Version: d.synced[n].Version})
		}
	}
	return all
}

// describe is one line for traces.
func describe(c gapless.Change) string {
	if c.Op == gapless.OpUpsert {
		return fmt.Sprintf("%s=%s", c.Key, c.Data)
	}
	return fmt.Sprintf("%s %s", c.Op, c.Key)
}
