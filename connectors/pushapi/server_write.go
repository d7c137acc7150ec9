package pushapi

import (
	"errors"

	"github.com/gapless-sync/gapless"
)

// intent is what a request says about its write: what is done, on which
// condition, and whether it is done at all.
type intent struct {
	StoreCommit
	dry bool
}

// intent reads what every command that writes may have.
func (c *exchange) intent() (in intent, err error) {
	if in.dry, err = c.flag(ParamDryRun, false); err != nil {
		return in, err
	}
	value, set, err := c.optional(ParamIfCheckpoint)
	if err != nil {
		return in, err
	}
	absent, err := c.flag(ParamIfAbsent, false)
	if err != nil {
		return in, err
	}
	name, _, err := c.optional(ParamIfName)
	switch {
	case err != nil:
		return in, err
	case set && absent:
		return in, Errorf(TypeInvalidParameter, "contradictory parameters", "a checkpoint cannot be absent and have a value: send %s or %s", ParamIfCheckpoint, ParamIfAbsent)
	case set || absent:
		in.If = &Expectation{Name: name, Set: set, Value: value}
	}
	return in, nil
}

// documentIntent reads what commands with documents may have besides.
func (c *exchange) documentIntent() (intent, error) {
	in, err := c.intent()
	if err != nil {
		return in, err
	}
	in.Each = c.r.Header.Get(HeaderItems) == ItemsEach
	if err := c.intendCheckpoint(&in); err != nil {
		return in, err
	}
	if in.Each && in.Checkpoint != nil {
		return in, Errorf(TypeInvalidParameter, "contradictory parameters", "a checkpoint would pass documents that were refused: send %s or the header %s", ParamCheckpoint, HeaderItems)
	}
	return in, nil
}

// intendCheckpoint reads the checkpoint that the request sets, if it does.
func (c *exchange) intendCheckpoint(in *intent) error {
	value, set, err := c.optional(ParamCheckpoint)
	if err != nil {
		return err
	}
	name, err := c.checkpointName()
	if err != nil {
		return err
	}
	if in.Sync, err = c.flag(ParamSync, false); err != nil {
		return err
	}
	if len(value) > maxCheckpointBytes {
		return Errorf(TypeInvalidParameter, "invalid checkpoint", "the value has %d bytes, more than %d", len(value), maxCheckpointBytes)
	}
	if set {
		in.Checkpoint = &CheckpointInfo{Name: name, Value: value}
	}
	return nil
}

// carryOut is commit for what needs no contents of parts.
func (c *exchange) carryOut(in intent) (receipt gapless.Receipt, err error) {
	if in.dry {
		return c.rehearse(in)
	}
	write, err := c.corpus.Begin(c.r.Context())
	if err != nil {
		return receipt, err
	}
	defer func() { err = errors.Join(err, write.Discard()) }()
	return c.commit(write, in)
}

func (c *exchange) commit(write StoreWrite, in intent) (gapless.Receipt, error) {
	if in.dry {
		return c.rehearse(in)
	}
	return write.Commit(c.r.Context(), in.StoreCommit)
}

// rehearse returns what a commit would, and does nothing.
func (c *exchange) rehearse(in intent) (receipt gapless.Receipt, err error) {
	snapshot, err := c.corpus.Snapshot(c.r.Context(), true)
	if err != nil {
		return receipt, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	if in.If != nil {
		list, err := snapshot.Checkpoints(c.r.Context())
		if err != nil {
			return receipt, err
		}
		if value, set := list[in.If.Name]; set != in.If.Set || value != in.If.Value {
			return receipt, ErrCheckpointMismatch
		}
	}
	if in.Batch != nil {
		if err := c.rehearseRows(snapshot, in, &receipt); err != nil {
			return receipt, err
		}
		receipt.Serial += uint64(in.Batch.Len() - len(receipt.Rejected))
	}
	receipt.Serial += snapshot.Serial()
	return receipt, nil
}

func (c *exchange) rehearseRows(snapshot StoreSnapshot, in intent, receipt *gapless.Receipt) error {
	for i := range in.Batch.Rows {
		if in.Batch.Rows[i].Op != gapless.OpPatch {
			continue
		}
		uri := string(in.Batch.Key(i))
		switch _, err := snapshot.Stamp(c.r.Context(), uri); {
		case errors.Is(err, gapless.ErrNotFound):
			receipt.Rejected = append(receipt.Rejected, gapless.Rejection{Key: uri, Err: err})
		case err != nil:
			return err
		}
	}
	if len(receipt.Rejected) > 0 && !in.Each {
		return ErrRowRefused
	}
	return nil
}
