package sim

// Sabotage breaks one invariant in a way that the engine cannot see through:
// what is outside of it does not keep its contract. Tests use it to see the
// auditor find out.
type Sabotage uint8

// One saboteur for each invariant.
const (
	Nothing Sabotage = iota
	// CheckpointFirst: a sync makes the checkpoints durable and not the data.
	CheckpointFirst
	// LatePosition: a position turns out to be where the source was when it
	// had been read.
	LatePosition
	// MildOutcome: state remembers an unrecoverable outcome as recoverable.
	MildOutcome
	// FalseEnd: an enumeration that breaks off claims to be complete.
	FalseEnd
	// BlindStatus: a destination that was replaced shows what the first one
	// holds.
	BlindStatus
	// NoFence: the destination does not look at epochs.
	NoFence
	// EmptySync: a sync claims success and does nothing.
	EmptySync
	// SkippedBatch: a push that fails claims success.
	SkippedBatch
	// LostLetters: state stores no dead letters.
	LostLetters
	// HiddenLetters: state does not show the dead letters that are open.
	HiddenLetters
)
