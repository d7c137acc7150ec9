package sim

import (
	"fmt"
	"strings"
	"time"
)

// actor is whoever makes outside calls one after the other: the reader of one
// partition in one process, say. Actors are numbered below instants.
type actor uint16

// instants is how many nanoseconds apart the instants of one actor are. Within
// such a span each actor has an instant of its own, so that no two of them
// ever wake at the same time, and the order of all that happens is decided by
// virtual time alone.
const instants = 1 << 12

// clock sends actors to sleep. How long depends on the seed, the actor, and
// how often it has slept before; on nothing that others do.
type clock struct {
	seed  uint64
	slept [instants]uint32
}

// sleep lets time pass for a, at most about the time given.
func (c *clock) sleep(a actor, most time.Duration) {
	c.slept[a]++
	random := mix(c.seed ^ uint64(a)<<32 ^ uint64(c.slept[a]))
	c.sleepUntil(a, time.Now().Add(time.Duration(random%uint64(most))))
}

// sleepUntil lets time pass for a until its first instant after t.
func (*clock) sleepUntil(a actor, t time.Time) {
	now := time.Now()
	if t.Before(now) {
		t = now
	}
	wake := t.UnixNano()/instants*instants + instants + int64(a)
	time.Sleep(time.Unix(0, wake).Sub(now)) //nolint:forbidigo // the time is virtual
}

// mix scatters a number over all 64 bits (the finisher of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// trace is what happened, a line each, if anybody wants to know.
type trace struct {
	wanted bool
	began  time.Time
	text   strings.Builder
}

func (t *trace) add(format string, args ...any) {
	if t.wanted {
		fmt.Fprintf(&t.text, "%12s  %s\n", time.Since(t.began), fmt.Sprintf(format, args...))
	}
}
