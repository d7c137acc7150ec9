package car

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// DestinationOptions say what a destination imports as.
type DestinationOptions struct {
	// Source is the unique id of the source at the service. No two connectors
	// share one.
	Source      string
	Description string
	// SourceFields and ReportFields are further fields of the objects that
	// describe the source and the report in every import.
	SourceFields map[string]any
	ReportFields map[string]any
	// Model says that the records come from the one partition [Model].
	Model bool
	// State is the folder in which a small file remembers what the service has
	// no place for: the run of the last checkpoint, a full import that is
	// open, and how many rows the last one had. Without it a broken full
	// import begins anew and its size is not compared.
	State string
	// PageRows and PageBytes bound one import. Default to 2,000 and 7.5 MiB; a
	// larger row is sent alone.
	PageRows  int
	PageBytes int64
	// InFlight is how many imports are sent at once. Defaults to 4.
	InFlight int
	// Extension is stored at the service unless it is there; nil for none.
	Extension *Extension
	// ApproveShrink lets a full import end that has far fewer rows than the
	// one before.
	ApproveShrink bool
}

// Destination imports into one source of a service.
type Destination struct {
	client      *Client
	opts        DestinationOptions
	collections collections
}

var (
	_ gapless.Destination = (*Destination)(nil)
	_ gapless.Closer      = (*Destination)(nil)
)

// NewDestination returns a destination of client's service. Its sessions are
// [gapless.FullRunner]s. Errors are [gapless.Misconfigured].
func NewDestination(client *Client, opts DestinationOptions) (*Destination, error) {
	switch {
	case opts.Source == "" || opts.Source == "." || opts.Source == ".." || strings.ContainsAny(opts.Source, "\r\n\x00"):
		return nil, invalidOption("source", fmt.Errorf("%q cannot be the id of a source", clip(opts.Source)))
	case opts.PageRows < 0 || opts.InFlight < 0 || opts.InFlight > maxStatusIDs:
		return nil, invalidOption("in_flight", fmt.Errorf("imports have at least one row, and at most %d are sent at once", maxStatusIDs))
	case opts.PageBytes < 0 || opts.PageBytes > wire.MaxReportBytes:
		return nil, invalidOption("page_size", fmt.Errorf("services take at most %s at once", gapless.ByteSize(wire.MaxReportBytes)))
	}
	opts.PageRows = cmp.Or(opts.PageRows, wire.PageRows)
	opts.PageBytes = cmp.Or(opts.PageBytes, wire.MaxReportBytes-wire.MaxReportBytes/16)
	opts.InFlight = cmp.Or(opts.InFlight, 4)
	known, err := newCollections(opts.Extension)
	if err != nil {
		return nil, invalidOption("extension", err)
	}
	return &Destination{client, opts, known}, nil
}

// Open implements [gapless.Destination]. The epoch stands beside the
// checkpoints at the service or, where those are one plain position, in the
// file of [DestinationOptions.State].
func (d *Destination) Open(ctx context.Context, _ string, epoch uint64) (gapless.Session, error) {
	created := false
	if epoch > 0 {
		var err error
		if created, err = d.client.Prepare(ctx); err != nil {
			return nil, err
		}
		if d.opts.Extension != nil {
			if err := d.client.Extend(ctx, *d.opts.Extension); err != nil {
				return nil, err
			}
		}
	}
	document, err := d.client.Source(ctx, d.opts.Source)
	absent := errors.Is(err, gapless.ErrNotFound)
	if err != nil && !absent {
		return nil, err
	}
	file, err := openSidecar(d.opts.State, d.opts.Source)
	if err != nil {
		return nil, err
	}
	s, err := newSession(ctx, d, epoch, &state{sidecar: file, created: created, fresh: &document, position: position(document)})
	if err != nil {
		return nil, err
	}
	if s.before = decodeLedger(document.ModelStateID).Epoch; d.opts.Model {
		s.before = file.Epoch
	}
	if epoch > 0 {
		if err := s.begin(ctx, absent); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if d.opts.Model { // one partition of everything, whose full runs retire the rest
		return s, nil
	}
	return listing{s}, nil
}

// Close implements [gapless.Closer]: it drops the client's idle connections.
func (d *Destination) Close() error {
	d.client.Close()
	return nil
}

// Predecessor implements [gapless.Successor].
func (s *session) Predecessor() uint64 { return s.before }

// begin makes the session's epoch the one in force.
func (s *session) begin(ctx context.Context, absent bool) error {
	if s.destination.opts.Model {
		if s.state.sidecar.Epoch > s.epoch {
			return s.fenced(s.state.sidecar.Epoch)
		}
		s.state.sidecar.Epoch = s.epoch
		return s.state.sidecar.save()
	}
	if absent {
		if err := s.introduce(ctx); err != nil {
			return err
		}
	}
	held := decodeLedger(s.state.fresh.ModelStateID)
	if held.Epoch > s.epoch {
		return s.fenced(held.Epoch)
	}
	if held.Epoch == s.epoch {
		return nil
	}
	held.Epoch = s.epoch
	if err := s.client.PatchSource(ctx, s.destination.opts.Source, map[string]any{modelStateID: held.encode()}); err != nil {
		return err
	}
	s.state.fresh = nil
	_, err := s.ledger(ctx) // another one may have written at the same moment
	return err
}

// introduce imports a report without rows, so that the service knows the
// source.
func (s *session) introduce(ctx context.Context) error {
	s.queue = append(s.queue, step{page: &page{}})
	return s.advance(ctx, s.idle)
}

func (s *session) fenced(epoch uint64) error {
	return fmt.Errorf("source %s has epoch %d, which is now %d: %w", s.destination.opts.Source, s.epoch, epoch, gapless.ErrFenced)
}

// document reads the source; the reading of Open serves once.
func (s *session) document(ctx context.Context) (SourceDocument, error) {
	if d := s.state.fresh; d != nil {
		s.state.fresh = nil
		return *d, nil
	}
	d, err := s.client.Source(ctx, s.destination.opts.Source)
	if errors.Is(err, gapless.ErrNotFound) {
		return SourceDocument{}, nil
	}
	return d, err
}

// ledger reads the checkpoints at the service, unless a newer runner has
// written there.
func (s *session) ledger(ctx context.Context) (ledger, error) {
	d, err := s.document(ctx)
	if err != nil {
		return ledger{}, err
	}
	held := decodeLedger(d.ModelStateID)
	if s.epoch != 0 && held.Epoch > s.epoch {
		return ledger{}, s.fenced(held.Epoch)
	}
	return held, nil
}

// writable reports why the session cannot write.
func (s *session) writable(ctx context.Context) error {
	if s.epoch == 0 {
		return fmt.Errorf("the session of source %s is for reading only: %w", s.destination.opts.Source, gapless.ErrFenced)
	}
	if s.destination.opts.Model {
		s.state.fresh = nil // it is as it was before this session wrote
		return s.newest()
	}
	_, err := s.ledger(ctx)
	return err
}

// newest reports whether no newer session has written to the file.
func (s *session) newest() error {
	file, err := openSidecar(s.destination.opts.State, s.destination.opts.Source)
	if err == nil && s.epoch != 0 && file.Epoch > s.epoch {
		err = s.fenced(file.Epoch)
	}
	return err
}

// Status implements [gapless.Session].
func (s *session) Status(ctx context.Context) (gapless.Status, error) {
	status := gapless.Status{Checkpoints: map[string]gapless.Checkpoint{}}
	if s.destination.opts.Model {
		if err := s.newest(); err != nil {
			return status, err
		}
	}
	d, err := s.document(ctx)
	if err != nil || d.Fields == nil {
		return status, err
	}
	if !s.destination.opts.Model {
		if held := decodeLedger(d.ModelStateID); s.epoch != 0 && held.Epoch > s.epoch {
			return status, s.fenced(held.Epoch)
		}
	}
	s.state.position = position(d)
	held := s.checkpoints(d)
	status.Holds = len(held) > 0 || !s.destination.opts.Model && position(d) != ""
	if !s.state.created {
		status.Checkpoints = held
	}
	return status, nil
}

// checkpoints returns those that the document of the source stands for.
func (s *session) checkpoints(d SourceDocument) map[string]gapless.Checkpoint {
	if !s.destination.opts.Model {
		return decodeLedger(d.ModelStateID).Checkpoints
	}
	held := map[string]gapless.Checkpoint{}
	if c, ok := s.state.sidecar.checkpoint(position(d)); ok {
		held[Model] = c
	}
	return held
}

// Sync implements [gapless.Session]: it waits until every import is complete
// and every delete was taken.
func (s *session) Sync(ctx context.Context, checkpoints []gapless.Checkpoint) (gapless.Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return gapless.Receipt{}, err
	}
	s.rotate()
	if err := s.advance(ctx, s.idle); err != nil {
		return gapless.Receipt{}, err
	}
	s.account(checkpoints)
	var err error
	if s.destination.opts.Model {
		err = s.saveModel(ctx, checkpoints)
	} else {
		err = s.saveLedger(ctx, checkpoints)
	}
	if err != nil {
		return gapless.Receipt{}, err
	}
	r := gapless.Receipt{Rejected: s.late}
	s.late = nil
	return r, nil
}
