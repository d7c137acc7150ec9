package plan

import "github.com/gapless-sync/gapless"

// Outcome is how a run of one partition ended.
type Outcome string

// The outcomes. Only OutcomeUnrecoverable may have left a gap.
const (
	// OutcomeNone: no run of the partition is known to have ended.
	OutcomeNone          Outcome = ""
	OutcomeComplete      Outcome = "complete"
	OutcomeRecoverable   Outcome = "recoverable"
	OutcomeUnrecoverable Outcome = "unrecoverable"
	// OutcomeRefused: the delete guard stopped it.
	OutcomeRefused     Outcome = "refused"
	OutcomeInterrupted Outcome = "interrupted"
)

// Facts is everything a decision about one partition rests on. The zero value
// of each field is either harmless or the more careful answer.
type Facts struct {
	// Partition is the id of the partition.
	Partition string `json:"partition"`
	// Model is the source's change model; an unknown one counts as
	// [gapless.ModelFull].
	Model gapless.ChangeModel `json:"model"`

	// DestinationNew: state knows of no earlier contact of this connector with
	// this destination. It holds even if the destination shows a checkpoint:
	// whoever lost its whole state lost the fingerprints and the last outcome
	// as well, so that nothing excludes a gap.
	DestinationNew bool `json:"destination_new,omitempty"`
	// DestinationReplaced: the store's id is another one than the one in state.
	DestinationReplaced bool `json:"destination_replaced,omitempty"`
	// DestinationEmpty: the destination holds nothing of this connector.
	DestinationEmpty bool `json:"destination_empty,omitempty"`

	// Destination is the checkpoint read back at the destination and State the
	// one remembered in state; the zero value means that there is none.
	Destination gapless.Checkpoint `json:"destination"`
	State       gapless.Checkpoint `json:"state"`

	// LastOutcome is how the last run of the partition ended. Unrecoverable
	// stands until a full run of the partition has completed, whatever happens
	// in between.
	LastOutcome Outcome `json:"last_outcome,omitempty"`
	// Undone: that outcome stands for a run of the partition that was undone.
	Undone bool `json:"undone,omitempty"`
	// FullUnfinished: a full run of the partition began, and the destination
	// does not hold the final checkpoint of a full run that began then or
	// later. It keeps the reason of that run alive even if the run wrote no
	// mark.
	FullUnfinished bool `json:"full_unfinished,omitempty"`
	// ProgressIntact: the local progress of the unfinished full run (such as
	// the keys seen so far) belongs to that run and reaches at least to
	// Destination.Mark.
	ProgressIntact bool `json:"progress_intact,omitempty"`
	// ProgressHonoured: the source still honours Destination.Mark.
	ProgressHonoured bool `json:"progress_honoured,omitempty"`

	// Unaccounted: destination and state disagree, and reading the changes since
	// the position of [Facts.Start] might not make up for it: no certificate
	// accounts for what lies before, later runs brought more than changes
	// (everything, under another mapping perhaps, or repairs), or the
	// destination's checkpoint is of a run that is not remembered.
	Unaccounted bool `json:"unaccounted,omitempty"`
	// PositionExpired: the source says that the position of [Facts.Start] has
	// expired or is unknown.
	PositionExpired bool `json:"position_expired,omitempty"`
	// FingerprintChanged: filter, mapping, key or schema differ from those that
	// the last full run of the partition began with, finished or not, in a way
	// that alters existing records. Unknown counts as changed.
	FingerprintChanged bool `json:"fingerprint_changed,omitempty"`
	// BaselineValid: the fingerprints kept by delta belong to exactly the
	// destination's checkpoint, and nothing has been pushed to the partition
	// since: a run that pushes differences and does not complete invalidates
	// them before its first push.
	BaselineValid bool `json:"baseline_valid,omitempty"`

	// Differences is how many records a verification or a retry found to
	// differ and no run has repaired yet.
	Differences int `json:"differences,omitempty"`
	// CanFetch: the source can read single records.
	CanFetch bool `json:"can_fetch,omitempty"`

	// SourcePosition is where the source is now; empty if it issues none.
	SourcePosition gapless.Position `json:"source_position,omitempty"`
	// CanReadKeys: the source can enumerate keys alone.
	CanReadKeys bool `json:"can_read_keys,omitempty"`
	// ReconcileDue: a periodic key enumeration is due, or one that was decided
	// has not completed since. It matters for [gapless.ModelModified] only.
	ReconcileDue bool `json:"reconcile_due,omitempty"`
	// Forced: the operator asked for a full run.
	Forced bool `json:"forced,omitempty"`
}

// Start returns the position that an incremental run would continue from:
// that of the older of the two checkpoints. Empty means that there is none.
func (f *Facts) Start() gapless.Position {
	if f.State.Position != "" && f.State.Before(f.Destination) {
		return f.State.Position
	}
	return f.Destination.Position
}

// exists reports whether c is a checkpoint at all. One without position and
// mark is: it ends a run over a source that issues no positions.
func exists(c *gapless.Checkpoint) bool {
	return c.Run != "" || c.Seq != 0 || c.Position != "" || c.Mark != "" || c.Target != ""
}

// underWay reports whether c was written in the middle of a full run.
func underWay(c *gapless.Checkpoint) bool { return c.Mark != "" || c.Target != "" }

func (f *Facts) agree() bool {
	return exists(&f.Destination) && f.Destination.Same(f.State)
}

func (f *Facts) disagree() bool {
	return (exists(&f.Destination) || exists(&f.State)) && !f.Destination.Same(f.State)
}

// unfinished reports whether a full run began that the destination's
// checkpoint does not show to have ended. A mark that only state remembers
// counts, unless the destination is further on in the same run: then the run
// ended between the two writes.
func (f *Facts) unfinished() bool {
	if f.FullUnfinished || underWay(&f.Destination) {
		return true
	}
	return underWay(&f.State) && !f.stateBehind()
}

// stateBehind reports whether both checkpoints are of one run and state's is
// the earlier.
func (f *Facts) stateBehind() bool {
	d, s := &f.Destination, &f.State
	return d.Run != "" && s.Run == d.Run && s.Seq < d.Seq
}

// readsChanges reports whether the source can tell changes at all.
func (f *Facts) readsChanges() bool {
	return f.Model == gapless.ModelLog || f.Model == gapless.ModelModified
}

// keysDue reports whether deletes can only be found by looking at all keys.
func (f *Facts) keysDue() bool {
	return f.Model == gapless.ModelModified && (f.ReconcileDue || f.disagree())
}

// unmoved reports whether it is proved that the source has not moved since
// the destination's checkpoint: both sides agree on it, the run that wrote it
// completed, and the source's position is the very same.
func (f *Facts) unmoved() bool {
	return f.agree() && f.LastOutcome == OutcomeComplete &&
		f.SourcePosition != "" && f.SourcePosition == f.Destination.Position
}
