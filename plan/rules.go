package plan

import (
	"strconv"

	"github.com/gapless-sync/gapless"
)

// table returns the rules in order. The last one matches whatever is left.
func table() [12]Rule {
	return [...]Rule{
		{"P0", "the operator asked for a full run", "full", forced},
		{"P1", "the destination is new, was replaced, or holds nothing of this connector", "full", newDestination},
		{"P2", "no checkpoint at the destination, or none that the source could continue from", "full", noCheckpoint},
		{"P3", "the last outcome is unrecoverable, covering this partition", "full (this partition only)", unrecoverable},
		{"P4", "the last full run did not finish", "resume if its progress is intact, the source still honours it, and filter, mapping, key and schema are as they were; otherwise full", unfinished},
		{"P5", "the source says that the position has expired or is unknown, or cannot name its new one", "full", expired},
		{"P6", "filter, mapping, key or schema changed in a way that alters existing records", "full", fingerprint},
		{"P7", "the source cannot tell changes, and an equal position does not prove that there are none", "compare: everything is read, only differences are pushed; full if there is no valid baseline or destination and state disagree", cannotTell},
		{"P8", "a verification found differences and there is nothing else to do, or the source cannot read single records", "repair just those; if the source cannot read single records compare, without trusting their fingerprints, or full if there is no valid baseline", differences},
		{"P9", "the source's position equals the checkpoint, on which destination and state agree after a complete run; no key enumeration is due", "nothing", nothing},
		{"P10", "destination and state disagree on the checkpoint", "incremental from the older of the two, with a key enumeration where the source cannot see deletes (full if it cannot enumerate keys, or if that might not make up for the difference); reported", disagreement},
		{"P11", "otherwise", "incremental from the checkpoint to the new position, with a key enumeration if one is due (full if the source cannot enumerate keys)", incremental},
	}
}

// choose sets mode and reason and reports that the rule matched.
func (d *Decision) choose(m Mode, reason string) bool {
	d.Mode, d.Reason = m, reason
	return true
}

func forced(f *Facts, d *Decision) bool {
	return f.Forced && d.choose(ModeFull, "a full run was asked for")
}

func newDestination(f *Facts, d *Decision) bool {
	switch {
	case f.DestinationReplaced:
		return d.choose(ModeFull, "the destination is another store than the one synced before")
	case f.DestinationEmpty:
		return d.choose(ModeFull, "the destination holds nothing of this connector")
	case f.DestinationNew:
		return d.choose(ModeFull, "no earlier contact with this destination is known")
	}
	return false
}

func noCheckpoint(f *Facts, d *Decision) bool {
	switch {
	case !exists(&f.Destination) && exists(&f.State):
		return d.choose(ModeFull, "the destination holds no checkpoint for this partition, although state remembers one")
	case !exists(&f.Destination):
		return d.choose(ModeFull, "the destination holds no checkpoint for this partition")
	case f.readsChanges() && f.Destination.Position == "" && !f.unfinished():
		return d.choose(ModeFull, "the destination's checkpoint has no position that the source could continue from")
	}
	return false
}

func unrecoverable(f *Facts, d *Decision) bool {
	if f.LastOutcome != OutcomeUnrecoverable {
		return false
	}
	if f.Undone {
		return d.choose(ModeFull, "a run of this partition was undone, so that the destination is not in step")
	}
	return d.choose(ModeFull, "the last run of this partition failed in a way that may have left a gap")
}

func unfinished(f *Facts, d *Decision) bool {
	if !f.unfinished() {
		return false
	}
	const begun = "the last full run did not finish"
	switch {
	case f.Destination.Mark == "":
		return d.choose(ModeFull, begun+" and left no mark at the destination to continue behind")
	case f.FingerprintChanged:
		return d.choose(ModeFull, begun+" and filter, mapping, key or schema have changed since it began")
	case !f.ProgressIntact:
		return d.choose(ModeFull, begun+" and its local progress is lost")
	case !f.ProgressHonoured:
		return d.choose(ModeFull, begun+" and the source no longer honours its mark")
	}
	return d.choose(ModeResume, begun+"; its progress is intact and the source still honours its mark")
}

func expired(f *Facts, d *Decision) bool {
	switch {
	case f.PositionExpired:
		return d.choose(ModeFull, "the source says that the checkpoint's position has expired or is unknown")
	case f.readsChanges() && f.SourcePosition == "":
		return d.choose(ModeFull, "the source does not say which position an incremental run would reach")
	}
	return false
}

func fingerprint(f *Facts, d *Decision) bool {
	return f.FingerprintChanged &&
		d.choose(ModeFull, "filter, mapping, key or schema changed in a way that alters existing records")
}

func cannotTell(f *Facts, d *Decision) bool {
	switch {
	case f.readsChanges() || f.unmoved():
		return false
	case f.disagree():
		return d.choose(ModeFull, "the source cannot tell changes, and destination and state disagree on the checkpoint, so that there is nothing to compare with")
	case !f.BaselineValid:
		return d.choose(ModeFull, "the source cannot tell changes, and no valid fingerprints of what the destination holds are kept to compare with")
	}
	return d.choose(ModeCompare, "the source cannot tell changes; everything is read and compared with the fingerprints of what the destination holds")
}

func differences(f *Facts, d *Decision) bool {
	if f.Differences <= 0 {
		return false
	}
	found := strconv.Itoa(f.Differences) + " records were found to differ"
	if f.Differences == 1 {
		found = "1 record was found to differ"
	}
	switch {
	case !f.CanFetch && f.BaselineValid && f.agree() && !f.readsChanges():
		return d.choose(ModeCompare, found+"; the source cannot read single records, so everything is read and compared")
	case !f.CanFetch:
		return d.choose(ModeFull, found+" and the source cannot read single records")
	case !f.unmoved() || f.keysDue():
		return false
	}
	return d.choose(ModeRepair, found+"; the source has not moved since the checkpoint")
}

func nothing(f *Facts, d *Decision) bool {
	return f.unmoved() && !f.keysDue() &&
		d.choose(ModeNothing, "the source's position equals the checkpoint, on which destination and state agree")
}

func disagreement(f *Facts, d *Decision) bool {
	if !f.disagree() {
		return false
	}
	which := "they remember different checkpoints"
	if !exists(&f.State) {
		which = "only the destination remembers one"
	}
	reason := "destination and state disagree on the checkpoint: " + which
	if f.Unaccounted {
		return d.choose(ModeFull, reason+", and reading the changes since might not make up for it")
	}
	return byChanges(f, d, reason)
}

func incremental(f *Facts, d *Decision) bool {
	switch {
	case f.keysDue():
		return byChanges(f, d, "the checkpoint is known to both sides and an enumeration of all keys is due")
	case f.SourcePosition == f.Destination.Position:
		return byChanges(f, d, "the source has not moved since the checkpoint, but the last run did not complete")
	}
	return byChanges(f, d, "the source has moved since the checkpoint, on which destination and state agree")
}

// byChanges decides on an incremental run together with the key enumeration
// it needs, or on a full one where the source cannot provide that. A run that
// the guard refused looks at all keys again: the deletes it refused are still
// to be decided on.
func byChanges(f *Facts, d *Decision, reason string) bool {
	if f.keysDue() && !f.CanReadKeys {
		return d.choose(ModeFull, reason+"; the source can neither tell deletes nor enumerate keys")
	}
	refused := f.LastOutcome == OutcomeRefused && f.Model == gapless.ModelModified
	d.Keys = f.keysDue() || refused && f.CanReadKeys
	return d.choose(ModeIncremental, reason)
}
