package gaplesstest

import (
	"slices"
	"testing"

	"github.com/gapless-sync/gapless"
)

func TestPagedSources(t *testing.T) {
	t.Parallel()
	for _, model := range []gapless.ChangeModel{gapless.ModelLog, gapless.ModelModified} {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			CheckSource(t, pagedCase(model, ""))
		})
	}
}

// Each flaw is found by the check that is named for it.
func TestSourceFlaws(t *testing.T) {
	t.Parallel()
	for model, flaws := range map[gapless.ChangeModel][]flawed{gapless.ModelLog: logFlaws(), gapless.ModelModified: modifiedFlaws()} {
		for _, f := range flaws {
			t.Run(f.flaw, func(t *testing.T) {
				t.Parallel()
				judged(t, f, sourceChecks(), func(t testing.TB) *outside {
					o := pagedCase(model, f.flaw).world(t)
					o.brief = true
					return o
				})
			})
		}
	}
}

// Each check finds a flaw.
func TestSourceChecksFind(t *testing.T) {
	t.Parallel()
	finds(t, sourceChecks(), slices.Concat(logFlaws(), modifiedFlaws()))
}

// logFlaws are those of a source that tells every change.
func logFlaws() []flawed {
	return []flawed{
		{"has a new schema each time", "describe", ""},
		{"emits everything twice", "complete", "engine"},
		{"emits what does not exist", "bounds engine", "complete"},
		{"hides the end of the output", "stop", "resume resume-changes ties"},
		{"marks before it emits", "resume", ""},
		{"resumes behind the end", "resume", "*"},
		{"shares its cursor", "concurrent", "*"},
		{"takes a position that is ahead", "position changes", "*"},
		{"emits the latest first", "order changes", "*"},
		{"marks what it has not emitted", "resume-changes", "ties"},
		{"does not tell deletes", "deletes changes", "*"},
		{"reads from any position", "expired", ""},
		{"goes on after the log was cut", "expired", ""},
		{"knows its partitions by heart", "partitions", "vanished"},
		{"takes a missing collection for an empty one", "vanished", ""},
		{"does not classify", "throttled retry-after", "engine"},
		{"expects no outage", "unavailable", "engine"},
		{"takes forbidden for the end", "forbidden", "engine"},
		{"reads what there is", "cut truncated", "engine"},
		{"salvages half a page", "truncated", "engine"},
		{"takes a blank page for the end", "blank", "engine"},
		{"takes an empty page for the end", "emptied", ""},
		{"takes no position for the first", "forbidden unauthorized", ""},
		{"comes back at once", "retry-after", ""},
		{"forgets the time", "retry-after", ""},
		{"goes on when cancelled", "cancel", ""},
		{"takes cancelled for the end", "cancel", ""},
		{"leaves a goroutine behind", "leaks", ""},
		{"leaves a file open", "leaks", ""},
		{"forgets who follows", "leaks", ""},
	}
}

// modifiedFlaws are those of a source that goes by times.
func modifiedFlaws() []flawed {
	return []flawed{
		{"reads what is later than its position", "ties while-changing", "*"},
		{"turns pages by time", "ties", "*"},
		{"trusts the clock", "clock-skew", ""},
		{"forgets the last page of keys", "keys", "emptied engine"},
		{"fetches without deletes", "fetch", ""},
		{"sums keys alone", "sums", ""},
	}
}
