package gaplesstest

import (
	"fmt"
	"slices"
)

// account is everything that was done to the records of a system, in order, by
// which what the system says later is judged.
type account struct{ history []edit }

// edit is one thing that happened to a record.
type edit struct {
	name     string
	revision int // 0 deletes
}

// name returns the name of record i.
func name(i int) string { return fmt.Sprintf("r-%04d", i) }

// next gives a record its next revision.
func (a *account) next(name string) edit {
	a.history = append(a.history, edit{name, len(a.history) + 1})
	return a.history[len(a.history)-1]
}

// gone deletes a record.
func (a *account) gone(name string) edit {
	a.history = append(a.history, edit{name, 0})
	return a.history[len(a.history)-1]
}

// moment is a point in the history: how many edits came before it.
type moment int

func (a *account) now() moment { return moment(len(a.history)) }

// replica is what somebody who follows a source holds: revisions by name.
type replica map[string]int

// at returns what there was at a moment.
func (a *account) at(m moment) replica {
	r := replica{}
	for _, e := range a.history[:m] {
		r.apply(e)
	}
	return r
}

func (r replica) apply(e edit) {
	if e.revision == 0 {
		delete(r, e.name)
		return
	}
	r[e.name] = e.revision
}

// differences returns what r lacks of the state at a moment, or of any state
// that a record had since. Where deletes are not told, a record that is gone
// may be there still.
func (a *account) differences(r replica, since moment, deletesTold bool) []string {
	allowed := map[string][]int{} // revisions by name; 0 for none
	for name, revision := range a.at(since) {
		allowed[name] = []int{revision}
	}
	for name := range a.at(since).everything(r, a.history) {
		if allowed[name] == nil {
			allowed[name] = []int{0}
		}
	}
	for _, e := range a.history[since:] {
		allowed[e.name] = append(allowed[e.name], e.revision)
	}
	var problems []string
	for name, revisions := range allowed {
		has := r[name]
		if slices.Contains(revisions, has) || !deletesTold && slices.Contains(revisions, 0) {
			continue
		}
		problems = append(problems, difference(name, has, revisions[len(revisions)-1]))
	}
	return problems
}

// everything returns all names there are.
func (r replica) everything(other replica, history []edit) map[string]bool {
	names := map[string]bool{}
	for name := range r {
		names[name] = true
	}
	for name := range other {
		names[name] = true
	}
	for _, e := range history {
		names[e.name] = true
	}
	return names
}

func difference(name string, has, want int) string {
	switch {
	case has == 0:
		return fmt.Sprintf("%s is missing: the outside system holds revision %d", name, want)
	case want == 0:
		return fmt.Sprintf("%s was emitted with revision %d: the outside system holds no such record", name, has)
	}
	return fmt.Sprintf("%s was left at revision %d: the outside system holds revision %d", name, has, want)
}
