package gapless

// Position is an opaque token that a source issues for "up to here": a model
// state id, a time, a log sequence number. Two positions are the same place
// exactly if their bytes are equal. Empty means none.
type Position string

// Mark is an opaque token that a source issues within one read, for
// "everything up to here has been emitted". Empty means none.
type Mark string

// Partition is the unit of planning, certificates, sweeping and parallel
// work: a collection or a slice of it.
type Partition struct {
	// ID is unique and stable within the connector.
	ID string
	// Collection that its records belong to.
	Collection string
	// Prefix, if not empty, is shared by exactly the keys of this slice.
	Prefix string
}

// Checkpoint is a position that a destination saved in order with the data.
// Everything pushed before it is durable if it is.
type Checkpoint struct {
	// Partition is the id of the partition.
	Partition string `json:"partition"`
	// Position up to which the destination holds everything; empty while the
	// first full run is under way.
	Position Position `json:"position,omitempty"`
	// Mark and Target describe an unfinished full run: how far it came, and
	// the position it will have reached when it completes.
	Mark   Mark     `json:"mark,omitempty"`
	Target Position `json:"target,omitempty"`
	// Run that wrote this checkpoint, and the count of checkpoints the
	// connector had written by then: two checkpoints are the same exactly if
	// both agree.
	Run string `json:"run"`
	Seq uint64 `json:"seq"`
	// Epoch of the runner that wrote it.
	Epoch uint64 `json:"epoch"`
}

// Same reports whether c and d are the same checkpoint.
func (c Checkpoint) Same(d Checkpoint) bool {
	return c.Partition == d.Partition && c.Run == d.Run && c.Seq == d.Seq && c.Position == d.Position
}

// Before reports whether c was written before d. Positions are opaque, so only
// epoch and sequence number can tell; an epoch is never below the time at which
// it was given out, so that the order holds across runs, restored backups and
// lost state.
func (c Checkpoint) Before(d Checkpoint) bool {
	return c.Epoch < d.Epoch || c.Epoch == d.Epoch && c.Seq < d.Seq
}

// Hash128 is a 128 bit hash, not cryptographic.
type Hash128 struct{ Hi, Lo uint64 }
