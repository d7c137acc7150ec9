package pushapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Names of checkpoints at the server.
const (
	epochName        = "gapless.epoch"
	checkpointPrefix = "gapless.checkpoint."
)

// fenceAttempts bounds how often an epoch is written against others.
const fenceAttempts = 5

// destination pushes records to a server.
type destination struct {
	// connect returns a client for a connector that nobody else uses.
	connect func(connector string) (PushAPI, error)
	dialect Dialect
}

var _ gapless.Destination = (*destination)(nil)

// Open implements [gapless.Destination]. The epoch is a checkpoint of its own
// that is synced before the session begins. Servers that take conditions check
// it together with every write; before others it is read ahead of every write,
// which leaves a moment in between.
func (d *destination) Open(ctx context.Context, connector string, epoch uint64) (gapless.Session, error) {
	api, err := d.connect(connector)
	if err != nil {
		return nil, err
	}
	s := &session{api: api, epoch: epoch, pushed: d.dialect != DialectLegacy}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(classify(err), api.Close(ctx))
	}
	return s, nil
}

func (s *session) begin(ctx context.Context) (err error) {
	if s.id, err = s.api.StartPushSession(ctx); err != nil {
		return err
	}
	if c, ok := s.api.(Committer); ok {
		list, err := c.Capabilities(ctx)
		if err != nil {
			return err
		}
		s.ordered = slices.Contains(list, CapabilityCursor)
		if slices.Contains(list, CapabilityCommit) && slices.Contains(list, CapabilityCondition) && slices.Contains(list, CapabilityItems) {
			s.committer = c
		}
	}
	held, err := s.heldEpoch(ctx)
	if err != nil {
		return err
	}
	if s.before = epochOf(held); s.epoch == 0 {
		return nil
	}
	if err := s.outlives(held); err != nil {
		return err
	}
	return s.fence(ctx, held)
}

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

// fence makes the session's epoch the server's, where held was read, unless
// that has a higher one.
func (s *session) fence(ctx context.Context, held *Expectation) (err error) {
	for range fenceAttempts {
		own := CheckpointInfo{Name: epochName, Value: s.condition().Value}
		if s.committer == nil {
			_, err = s.api.SetCheckpoint(ctx, own.Value, CheckpointOptions{Name: own.Name, Sync: true})
		} else {
			_, err = s.committer.Commit(ctx, Commit{Command: CommandSetCheckpoint, Checkpoint: &own, Sync: true, If: held})
		}
		if err != nil && !errors.Is(err, ErrCheckpointMismatch) {
			return err
		}
		// Another one may have written at the same moment.
		if held, err = s.readEpoch(ctx); err != nil || held.Value == own.Value {
			return err
		}
	}
	return gapless.Recoverable(fmt.Errorf("others open sessions of connector %s all the time", s.api.SourceName()))
}

// readEpoch returns what the server's epoch is, or [gapless.ErrFenced] if it is
// higher than the session's.
func (s *session) readEpoch(ctx context.Context) (*Expectation, error) {
	held, err := s.heldEpoch(ctx)
	if err == nil {
		err = s.outlives(held)
	}
	return held, err
}

// outlives returns [gapless.ErrFenced] if a newer session has begun.
func (s *session) outlives(held *Expectation) error {
	if epoch := epochOf(held); epoch > s.epoch {
		return fmt.Errorf("connector %s has epoch %d, which is now %d: %w", s.api.SourceName(), s.epoch, epoch, gapless.ErrFenced)
	}
	return nil
}

// heldEpoch returns the checkpoint that is the server's epoch.
func (s *session) heldEpoch(ctx context.Context) (*Expectation, error) {
	value, set, err := s.api.GetCheckpoint(ctx, CheckpointQuery{Name: epochName, Pushed: s.pushed})
	held := &Expectation{Name: epochName, Set: set, Value: value}
	if _, e := strconv.ParseUint(value, 10, 64); err == nil && value != "" && e != nil {
		err = gapless.Misconfigured(fmt.Errorf("checkpoint %s of connector %s is %q and not of this program", epochName, s.api.SourceName(), clip(value)))
	}
	return held, err
}

// epochOf is the epoch of a checkpoint that heldEpoch returned; 0 if there is
// none yet.
func epochOf(held *Expectation) uint64 {
	epoch, err := strconv.ParseUint(held.Value, 10, 64)
	if err != nil {
		return 0
	}
	return epoch
}

// session is one connector's way into a server.
type session struct {
	api       PushAPI
	committer Committer // nil if the server has no conditions
	id        SessionID
	epoch     uint64
	before    uint64 // the server's epoch until then
	pushed    bool   // the server can be asked for what is not synced
	ordered   bool   // the server enumerates in order
	failure   error
}

var (
	_ gapless.Session    = (*session)(nil)
	_ gapless.Enumerator = (*session)(nil)
	_ gapless.Searchable = (*session)(nil)
	_ gapless.Successor  = (*session)(nil)
)

// usable reports why the session cannot go on.
func (s *session) usable(ctx context.Context) error {
	if s.failure != nil || s.epoch == 0 {
		return s.failure
	}
	held, err := s.readEpoch(ctx)
	if err == nil && held.Value != s.condition().Value {
		err = s.fence(ctx, held) // an older session overwrote it, or somebody cleared all checkpoints
	}
	return s.fail(err)
}

// writable is usable for methods that change something. With conditions the
// server checks the epoch itself.
func (s *session) writable(ctx context.Context) error {
	if s.epoch == 0 {
		return fmt.Errorf("the session of connector %s is for reading only: %w", s.api.SourceName(), gapless.ErrFenced)
	}
	if s.committer != nil {
		return s.failure
	}
	return s.usable(ctx)
}

// fail classifies an error and ends the session if nothing can go on after it.
func (s *session) fail(err error) error {
	err = classify(err)
	if errors.Is(err, gapless.ErrIncarnation) || errors.Is(err, gapless.ErrFenced) {
		s.failure = err
	}
	return err
}

func (s *session) condition() *Expectation {
	return &Expectation{Name: epochName, Set: true, Value: strconv.FormatUint(s.epoch, 10)}
}

// Status implements [gapless.Session].
func (s *session) Status(ctx context.Context) (gapless.Status, error) {
	if err := s.usable(ctx); err != nil {
		return gapless.Status{}, err
	}
	status := gapless.Status{Incarnation: string(s.id), Checkpoints: map[string]gapless.Checkpoint{}}
	for info, err := range s.api.EnumerateCheckpointsInfo(ctx, CheckpointQuery{}) {
		if err != nil {
			return gapless.Status{}, s.fail(err)
		}
		if !strings.HasPrefix(info.Name, checkpointPrefix) {
			continue
		}
		c, err := decodeCheckpoint(info.Value)
		if err != nil {
			return gapless.Status{}, gapless.Unrecoverable(fmt.Errorf("checkpoint %q of connector %s: %w", clip(info.Name), s.api.SourceName(), err))
		}
		status.Checkpoints[c.Partition] = c
	}
	if status.Holds = len(status.Checkpoints) > 0; status.Holds {
		return status, nil
	}
	n, err := s.api.CountSyncedEntries(ctx, "", RecursiveDocuments)
	if err != nil {
		return gapless.Status{}, s.fail(err)
	}
	status.Holds = n > 0
	return status, nil
}

// Sync implements [gapless.Session]. Each checkpoint has its place behind what
// was pushed, and the last one makes all of it durable. When every partition
// is complete, the server is asked to index.
func (s *session) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return gapless.Receipt{}, err
	}
	marks := []CheckpointInfo{{Name: epochName, Value: s.condition().Value}}
	if len(checkpoints) > 0 {
		marks = marks[:0]
	}
	complete := len(checkpoints) > 0
	for i := range checkpoints {
		c := &checkpoints[i]
		marks = append(marks, CheckpointInfo{Name: checkpointPrefix + c.Partition, Value: encodeCheckpoint(c)})
		complete = complete && c.Mark == "" && c.Position != ""
	}
	var receipt gapless.Receipt
	for i := range marks {
		serial, err := s.setCheckpoint(ctx, &marks[i], i == len(marks)-1)
		if err != nil {
			return gapless.Receipt{}, s.fail(err)
		}
		receipt.Serial = serial
	}
	if complete {
		if err := s.api.TriggerIndexingJob(ctx); err != nil {
			return gapless.Receipt{}, s.fail(err)
		}
	}
	return receipt, nil
}

func (s *session) setCheckpoint(ctx context.Context, mark *CheckpointInfo, sync bool) (uint64, error) {
	if s.committer == nil {
		return s.api.SetCheckpoint(ctx, mark.Value, CheckpointOptions{Name: mark.Name, Sync: sync})
	}
	result, err := s.committer.Commit(ctx, Commit{Command: CommandSetCheckpoint, Checkpoint: mark, Sync: sync, If: s.condition()})
	return result.Serial, err
}

// Searchable implements [gapless.Searchable].
func (s *session) Searchable(ctx context.Context, serial uint64) (bool, error) {
	if err := s.usable(ctx); err != nil {
		return false, err
	}
	answer, err := s.api.AreDocumentsSearchable(ctx, serial)
	return answer == SearchableYes, s.fail(err)
}

// Enumerate implements [gapless.Enumerator].
func (s *session) Enumerate(ctx context.Context, p gapless.Partition, fn func(key, version []byte) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	folder := folderOf(p.Collection)
	root := folder + p.Prefix[:strings.LastIndexByte(p.Prefix, '/')+1]
	last := ""
	var key, version []byte
	for entry, err := range s.api.EnumerateSyncedEntries(ctx, root, RecursiveDocuments) {
		if err != nil {
			return s.fail(err)
		}
		name, inside := strings.CutPrefix(entry.URI, folder)
		if entry.Folder || !inside || name == "" || !strings.HasPrefix(name, p.Prefix) {
			continue
		}
		if s.ordered && name <= last {
			return gapless.Unrecoverable(fmt.Errorf("the server enumerates %q behind %q", clip(entry.URI), clip(folder+last)))
		}
		last = name
		key, version = append(key[:0], name...), append(version[:0], entry.Stamp...)
		if err := fn(key, version); err != nil {
			return err
		}
	}
	return nil
}

// Close implements [gapless.Session].
func (s *session) Close() error { return s.api.Close(context.Background()) }
