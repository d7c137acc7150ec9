package car

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

// modelStateID is the field of a source's document that holds its position.
const modelStateID = "model_state_id"

// ledgerPrefix begins the position of a source that has several partitions:
// what follows is a [ledger].
const ledgerPrefix = "gapless:"

// ledger is the checkpoints of all partitions, and the epoch of the runner that
// may write them.
type ledger struct {
	Epoch       uint64                        `json:"epoch"`
	Checkpoints map[string]gapless.Checkpoint `json:"checkpoints,omitempty"`
}

func isLedger(text string) bool { return strings.HasPrefix(text, ledgerPrefix) }

// decodeLedger reads a ledger; a position of another make is an empty one.
func decodeLedger(text string) ledger {
	var l ledger
	body, ok := strings.CutPrefix(text, ledgerPrefix)
	if !ok || json.Unmarshal([]byte(body), &l) != nil {
		l = ledger{}
	}
	if l.Checkpoints == nil {
		l.Checkpoints = map[string]gapless.Checkpoint{}
	}
	return l
}

func (l *ledger) encode() string {
	body, err := json.Marshal(l)
	if err != nil {
		return "" // of texts and numbers, never
	}
	return ledgerPrefix + string(body)
}

// state is what a session knows of its source beyond the rows.
type state struct {
	sidecar *sidecar
	// created reports that the service's database is new, so that no checkpoint
	// there proves anything.
	created bool
	// fresh is the source's document as Open read it; nil once it was used.
	fresh *SourceDocument
	// position at the service, as far as it is known.
	position string
	// full is the full import of this session; nil if there is none.
	full *fullImport
}

// position returns the position of a source that has just one.
func position(d SourceDocument) string {
	if isLedger(d.ModelStateID) {
		return ""
	}
	return d.ModelStateID
}

// saveModel writes the one checkpoint of a model. The file names it before the
// service does, so that it is found whichever of the two comes last.
func (s *session) saveModel(ctx context.Context, checkpoints []gapless.Checkpoint) error {
	file := s.state.sidecar
	if len(checkpoints) == 0 {
		return file.save()
	}
	c := checkpoints[len(checkpoints)-1]
	if c.Partition != Model {
		return gapless.Misconfigured(fmt.Errorf("partition %s: the source of a model has the one partition %s", c.Partition, Model))
	}
	next := saved{State: s.state.position, Checkpoint: c}
	if c.Position != "" {
		next.State = string(c.Position)
	}
	if file.Next != nil && file.Next.State == s.state.position {
		file.Last = file.Next // it is in force until the service has the next one
	}
	file.Next = &next
	if err := file.save(); err != nil {
		return err
	}
	if c.Position != "" {
		if err := s.client.PatchSource(ctx, s.destination.opts.Source, map[string]any{modelStateID: next.State}); err != nil {
			return err
		}
		s.state.position = next.State
	}
	file.Last, file.Next = file.Next, nil
	return nil
}

// saveLedger writes checkpoints beside those of other partitions.
func (s *session) saveLedger(ctx context.Context, checkpoints []gapless.Checkpoint) error {
	if err := s.state.sidecar.save(); err != nil || len(checkpoints) == 0 {
		return err
	}
	held, err := s.ledger(ctx)
	if err != nil {
		return err
	}
	held.Epoch = s.epoch
	for _, c := range checkpoints {
		held.Checkpoints[c.Partition] = c
	}
	return s.client.PatchSource(ctx, s.destination.opts.Source, map[string]any{modelStateID: held.encode()})
}

// BeginFull implements [gapless.FullRunner].
func (s *session) BeginFull(ctx context.Context, resumed bool) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	file := s.state.sidecar
	if resumed {
		return s.resumeFull(ctx)
	}
	if file.Full != nil {
		file.Full = nil
		if err := file.save(); err != nil {
			return err
		}
	}
	if err := s.client.BeginFullImport(ctx, s.destination.opts.Source); err != nil {
		return err
	}
	if err := s.introduce(ctx); err != nil {
		return err
	}
	d, err := s.client.Source(ctx, s.destination.opts.Source)
	if err != nil {
		return unsettled(err)
	}
	full := &fullImport{Report: s.envelope.report, Epoch: s.epoch, Rows: map[string]uint64{}}
	if d.Full != nil {
		full.Generation = d.Full.Generation
	}
	s.state.full, file.Full = full, full
	clear(s.tallies)
	return file.save()
}

// resumeFull goes on with the full import that the file remembers, if the
// service has it open too.
func (s *session) resumeFull(ctx context.Context) error {
	full := s.state.sidecar.Full
	if full == nil {
		return gapless.Expired(errors.New("no full import is open"))
	}
	d, err := s.client.Source(ctx, s.destination.opts.Source)
	switch {
	case errors.Is(err, gapless.ErrNotFound), err == nil && d.Full != nil && (!d.Full.Open || d.Full.Generation != full.Generation):
		return gapless.Expired(errors.New("the service does not have this full import open any more"))
	case err != nil:
		return err
	}
	for _, c := range s.checkpoints(d) {
		if c.Mark != "" && c.Epoch < full.Epoch {
			return gapless.Expired(errors.New("the full import that is open was begun after what is marked"))
		}
	}
	e, err := newEnvelope(&s.destination.opts, full.Report)
	if err != nil {
		return gapless.Misconfigured(err)
	}
	if full.Rows == nil {
		full.Rows = map[string]uint64{}
	}
	s.envelope, s.state.full = e, full
	return nil
}

// EndFull implements [gapless.FullRunner].
func (s *session) EndFull(ctx context.Context) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	full := s.state.full
	if full == nil {
		return gapless.Unrecoverable(errors.New("no full import is open"))
	}
	if !s.idle() || len(s.open) > 0 || s.leaving.any() {
		return gapless.Unrecoverable(errors.New("end of a full import before all of it is synced"))
	}
	s.accountAll()
	if full.Kept > 0 {
		return gapless.Recoverable(fmt.Errorf("%d rows were refused; they exist, so nothing is retired", full.Kept))
	}
	if !s.destination.opts.ApproveShrink {
		if err := s.state.guard(s.destination.opts.Source); err != nil {
			return err
		}
	}
	if err := s.client.EndFullImport(ctx, s.destination.opts.Source); err != nil {
		return err
	}
	s.state.full, s.state.sidecar.Full, s.state.sidecar.Rows = nil, nil, full.Rows
	return s.state.sidecar.save()
}

// What a full import may lack of what the one before had, in each collection,
// before a person has to look at it: both bounds have to be passed.
const (
	guardPercent = 10
	guardRows    = 20
)

// guard refuses to end a full import that has far fewer rows than the last.
func (st *state) guard(source string) error {
	before, now := total(st.sidecar.Rows), total(st.full.Rows)
	if now == 0 && before > 0 {
		return shrunk(gapless.CodeEmptySource, source, "the full import", now, before)
	}
	for _, name := range slices.Sorted(maps.Keys(st.sidecar.Rows)) {
		before, now := st.sidecar.Rows[name], st.full.Rows[name]
		if now+guardRows < before && (before-now)*100 > guardPercent*before {
			return shrunk(gapless.CodeGuard, source, name, now, before)
		}
	}
	return nil
}

func total(rows map[string]uint64) (n uint64) {
	for _, count := range rows {
		n += count
	}
	return n
}

func shrunk(code gapless.Code, source, what string, now, before uint64) error {
	return gapless.Errorf(code, source, "%s has %d rows and had %d; the full import is left open and nothing is retired", what, now, before).
		WithHint("look at what the source delivers; if that is right, run again with approve_shrink: true")
}
