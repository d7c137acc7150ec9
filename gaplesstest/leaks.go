package gaplesstest

import (
	"context"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// leakRounds is how often something is opened, used and closed to see whether
// something of it stays.
const leakRounds = 8

// leaks fails t if round, which opens, uses and closes a connector, leaves
// goroutines or open files behind. Goroutines are known by the label that they
// inherit, so that other tests may run at the same time; files by their number,
// which therefore has to grow three times in a row.
func leaks(t testing.TB, round func(ctx context.Context)) {
	t.Helper()
	round(t.Context()) // what is opened once per process is no leak
	grown := 0
	for range 3 {
		before := openFiles()
		for range leakRounds {
			round(t.Context())
		}
		if settles(func() bool { return openFiles() < before+leakRounds }) {
			break
		}
		grown++
	}
	if grown == 3 {
		t.Errorf("open files grow by one each time a connector is opened, used and closed: %d are open now", openFiles())
	}
	label := t.Name()
	pprof.Do(t.Context(), pprof.Labels(leakLabel, label), round)
	var left string
	if !settles(func() bool { left = labelled(label); return left == "" }) {
		t.Errorf("goroutines go on after everything was closed:\n%s", left)
	}
}

const leakLabel = "gaplesstest"

// settles waits a while for a condition.
func settles(done func() bool) bool {
	deadline := time.Now().Add(2 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
	return true
}

// openFiles counts the open files of this process; 0 where there is no such
// list.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// labelled returns the stacks of the goroutines that carry a label.
func labelled(label string) string {
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return err.Error()
	}
	var found []string
	for group := range strings.SplitSeq(text.String(), "\n\n") {
		if strings.Contains(group, `"`+leakLabel+`":"`+label+`"`) {
			found = append(found, group)
		}
	}
	return strings.Join(found, "\n\n")
}
