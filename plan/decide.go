package plan

import (
	"strconv"

	"github.com/gapless-sync/gapless"
)

// Mode is what a run does with a partition.
type Mode string

// The modes, from the most expensive to the cheapest.
const (
	// ModeFull reads everything and pushes everything.
	ModeFull Mode = "full"
	// ModeResume continues an unfinished full run behind its last mark.
	ModeResume Mode = "resume"
	// ModeCompare reads everything and pushes what differs from the baseline.
	ModeCompare Mode = "compare"
	// ModeIncremental reads what changed since a position.
	ModeIncremental Mode = "incremental"
	// ModeRepair reads only the records that were found to differ.
	ModeRepair Mode = "repair"
	// ModeNothing reads nothing.
	ModeNothing Mode = "nothing"
)

// Decision is what will be done with one partition, and why.
type Decision struct {
	Partition string `json:"partition"`
	// Rule that fired: an id of [Rules].
	Rule string `json:"rule"`
	Mode Mode   `json:"mode"`
	// From is the position that the mode builds on; empty for full and resume.
	From gapless.Position `json:"from,omitempty"`
	// To is the position that the partition will have reached.
	To gapless.Position `json:"to,omitempty"`
	// Mark to continue behind, for ModeResume.
	Mark gapless.Mark `json:"mark,omitempty"`
	// Keys: all keys are enumerated as well; what they lack is deleted, under
	// the guard.
	Keys bool `json:"keys,omitempty"`
	// Sweep: what the enumeration lacks is deleted, under the guard. True for
	// exactly the modes that read everything.
	Sweep bool `json:"sweep,omitempty"`
	// Repair: records found to differ are pushed again, whether or not the mode
	// would touch them. False for ModeFull, which pushes them anyway, and where
	// they cannot be read; then they stay found until a later run repairs them.
	Repair bool `json:"repair,omitempty"`
	// Reason is a sentence that names the facts.
	Reason string `json:"reason"`
	// Disagreement: destination and state remember different checkpoints. It is
	// reported whatever the mode.
	Disagreement bool `json:"disagreement,omitempty"`
}

// Text returns the decision as one line.
func (d Decision) Text() string {
	line := d.Partition + ": " + string(d.Mode)
	if d.Mark != "" {
		line += " behind " + quote(string(d.Mark))
	}
	switch {
	case d.From != "" && d.From == d.To:
		line += " at " + quote(string(d.To))
	case d.From != "":
		line += " from " + quote(string(d.From)) + " up to " + quote(string(d.To))
	case d.To != "":
		line += " up to " + quote(string(d.To))
	}
	if d.Keys {
		line += ", all keys looked at"
	}
	if d.Repair && d.Mode != ModeRepair {
		line += ", differences repaired"
	}
	line += " (" + d.Rule + ": " + d.Reason + ")"
	if d.Disagreement && d.Rule != "P10" {
		line += " [destination and state disagree on the checkpoint]"
	}
	return line
}

// quote shows an opaque token: quoted, and cut in the middle if it is long.
func quote(token string) string {
	const limit = 40
	if len(token) > limit {
		token = token[:limit/2] + "..." + token[len(token)-limit/2:]
	}
	return strconv.Quote(token)
}

// Rule is a row of the decision table.
type Rule struct {
	// ID is P0 to P11.
	ID string `json:"id"`
	// Facts says when the rule fires, provided that none above it did.
	Facts string `json:"facts"`
	// Decision says what is done then.
	Decision string `json:"decision"`

	decide func(f *Facts, d *Decision) bool
}

// Rules returns the decision table in the order in which it is tried.
func Rules() []Rule {
	rules := table()
	return rules[:]
}

// Decide returns what to do with a partition: the first rule that matches. It
// is a pure function and never fails; unknown values of a fact count as the
// most careful one.
//
// Differences found by a verification are never forgotten and never delay
// news: whichever rule fires carries their repair along, and P8 repairs alone
// only where there is nothing else to do.
func Decide(f Facts) Decision {
	d := Decision{Partition: f.Partition, Disagreement: f.disagree()}
	rules := table()
	for i := range rules {
		if rules[i].decide(&f, &d) {
			d.Rule = rules[i].ID
			break
		}
	}
	complete(&f, &d)
	return d
}

// complete fills in what follows from the mode.
func complete(f *Facts, d *Decision) {
	d.To = f.SourcePosition
	d.Repair = f.Differences > 0 && (f.CanFetch || d.Mode == ModeCompare)
	switch d.Mode {
	case ModeFull:
		d.Sweep, d.Keys, d.Repair = true, false, false
	case ModeResume:
		d.Sweep = true
		d.Mark, d.To = f.Destination.Mark, f.Destination.Target
	case ModeCompare:
		d.Sweep = true
		d.From = f.Destination.Position
	case ModeIncremental:
		d.From = f.Start()
	case ModeRepair, ModeNothing:
		d.From = f.Destination.Position
	}
}
