package gaplesstest

import (
	"context"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
	"unicode"
)

// leakRounds is how often something is opened, used and closed to see whether
// something of it stays.
const leakRounds = 8

// leaks fails t if round, which opens, uses and closes a connector, leaves
// goroutines or open files behind. Goroutines are known by the label that they
// inherit, files by a number that grows three times in a row, so that other
// tests may run at the same time.
func leaks(t testing.TB, round func(ctx context.Context)) {
	t.Helper()
	if openFiles() == nil {
		unchecked(t, "open files: there is no /proc/self/fd to list them")
	}
	round(t.Context()) // what is opened once per process is no leak
	var grown []string
	for range 3 {
		before := openFiles()
		for range leakRounds {
			round(t.Context())
		}
		if settles(lag, func() bool { grown = growth(before, openFiles()); return len(grown) == 0 }) {
			break
		}
	}
	if len(grown) > 0 {
		t.Errorf("one more stays open each time a connector is opened, used and closed: %s", strings.Join(grown, ", "))
	}
	label := t.Name()
	pprof.Do(t.Context(), pprof.Labels(leakLabel, label), round)
	var left string
	if !settles(lag, func() bool { left = labelled(label); return left == "" }) {
		t.Errorf("goroutines go on after everything was closed:\n%s", left)
	}
}

const leakLabel = "gaplesstest"

// lag is how long after a call its effects may show.
const lag = 2 * time.Second

// settles waits a while for a condition.
func settles(within time.Duration, done func() bool) bool {
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(5 * time.Millisecond)
	}
	return true
}

// openFiles counts the open files of this process by what they are; none where
// there is no such list. Numbers in names are left out: of a file with a new
// name each time there are more and more.
func openFiles() map[string]int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	counts := map[string]int{}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil {
			counts[strings.Map(withoutDigits, target)]++
		}
	}
	return counts
}

func withoutDigits(r rune) rune {
	if unicode.IsDigit(r) {
		return -1
	}
	return r
}

// growth returns of what there is one more for each round.
func growth(before, after map[string]int) (grown []string) {
	for target, n := range after {
		if n >= before[target]+leakRounds {
			grown = append(grown, target)
		}
	}
	return grown
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
