package hub

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gapless-sync/gapless"
)

var (
	// ErrRefused says that a commit that was to be applied whole had a row
	// that cannot be; the receipt names such rows.
	ErrRefused = errors.New("a row was refused, and with it the whole commit")
	// ErrConflict says that a checkpoint is not what a commit requires.
	ErrConflict = errors.New("a checkpoint is not what the commit requires")
)

// Commit is what one write does, as a whole or not at all, and in this order.
type Commit struct {
	// If has to hold, on what has been pushed, or the answer is [ErrConflict].
	If []Condition
	// Batch of changes; may be nil.
	Batch *gapless.Batch
	// More batches, of other collections, behind it. Their rows have no parts.
	More []*gapless.Batch
	// Whole says that one row that is rejected refuses all: [ErrRefused].
	Whole bool
	// ClearCheckpoints removes all checkpoints of the session's connector.
	ClearCheckpoints bool
	// Checkpoints are set behind all that.
	Checkpoints []gapless.Checkpoint

	expect []gapless.Expectation // of the rows of Batch, if not nil
}

// Condition is what the checkpoint of a partition has to be.
type Condition struct {
	Partition string
	// Set says whether there has to be a checkpoint at all, and Position what
	// its position has to be then.
	Set      bool
	Position gapless.Position
}

func (c *Commit) empty() bool {
	return c.rows() == 0 && len(c.Checkpoints) == 0 && len(c.If) == 0 && !c.ClearCheckpoints
}

func (c *Commit) rows() int {
	n := len(c.Batch.Rows)
	for _, b := range c.More {
		n += len(b.Rows)
	}
	return n
}

// holds returns [ErrConflict] unless all conditions do.
func (s *Session) holds(conditions []Condition) error {
	for _, c := range conditions {
		value, err := get(s.hub.store.db, idKey(spaceCheckpoint, s.writer.id, c.Partition))
		if err != nil {
			return err
		}
		cp, set := gapless.Checkpoint{}, value != nil
		if set {
			if cp, err = decodeCheckpoint(value); err != nil {
				return err
			}
		}
		if set != c.Set || cp.Position != c.Position {
			return gapless.Recoverable(fmt.Errorf("checkpoint %q: %w", c.Partition, ErrConflict))
		}
	}
	return nil
}

// Commit applies c, unsynced.
func (s *Session) Commit(ctx context.Context, c Commit) (gapless.Receipt, error) {
	return s.commit(ctx, nil, &c)
}

// Upload takes in the contents of parts ahead of the commit that they belong
// to, so that a server can keep them as they arrive: in bounded memory,
// whatever their size and number. It is used by one goroutine.
type Upload struct {
	session *Session
	stage   *stage
	done    bool
}

// Upload begins one. It ends with Commit or Discard.
func (s *Session) Upload() *Upload { return &Upload{session: s} }

var errUploadDone = errors.New("hub: the upload has ended")

// Part reads content to its end and returns a part without name and type,
// which fits into the batch of this upload's commit, once. After an error the
// upload can only be discarded.
func (u *Upload) Part(ctx context.Context, content io.Reader) (gapless.Part, error) {
	h := u.session.hub
	if u.done {
		return gapless.Part{}, errUploadDone
	}
	if err := u.session.begin(); err != nil {
		return gapless.Part{}, err
	}
	defer h.end()
	if u.stage == nil {
		u.stage = h.newStage()
	}
	kept := &uploaded{stage: u.stage, part: u.stage.newPart()}
	if err := u.stage.read(ctx, &kept.part, content); err != nil {
		return gapless.Part{}, err
	}
	u.stage.waiting++
	return gapless.Part{Size: kept.part.size, Open: func(context.Context) (io.ReadCloser, error) { return kept, nil }}, nil
}

// Commit applies c, whose batch has every part of the upload. An upload that
// was used up, by whatever outcome, cannot be used again.
func (u *Upload) Commit(ctx context.Context, c Commit) (gapless.Receipt, error) {
	if u.done {
		return gapless.Receipt{}, errUploadDone
	}
	u.done = true
	return u.session.commit(ctx, u.stage, &c)
}

// Discard ends an upload that is not to be committed; after Commit it does
// nothing.
func (u *Upload) Discard() error {
	if u.done {
		return nil
	}
	u.done = true
	if err := u.session.hub.begin(); err != nil {
		return err
	}
	defer u.session.hub.end()
	return u.stage.discard()
}

// uploaded is a part whose content the stage has already.
type uploaded struct {
	stage   *stage
	part    storedPart
	claimed bool
}

var errUploaded = errors.New("the part was uploaded for another commit, or is in this one twice")

// claim gives the content to s, which has the part's name and type.
func (u *uploaded) claim(st *stage, s *storedPart) error {
	if u.stage != st || u.claimed {
		return fmt.Errorf("%w: %w", errStage, errUploaded)
	}
	u.claimed = true
	st.waiting--
	s.size, s.hash, s.blob = u.part.size, u.part.hash, u.part.blob
	return nil
}

// Read fails: only the commit of the upload can use the part.
func (u *uploaded) Read([]byte) (int, error) { return 0, errUploaded }

// Close does nothing.
func (u *uploaded) Close() error { return nil }

// unclaimed returns an error if there is content that no row has: it would
// stay for ever.
func (st *stage) unclaimed() error {
	if st != nil && st.waiting > 0 {
		return fmt.Errorf("hub: the commit leaves out %d parts of its upload", st.waiting)
	}
	return nil
}
