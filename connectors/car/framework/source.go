package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
)

// importer makes a source of the SDK of an author's hooks. The hooks write
// into a journal, which is read behind them; an incremental import is read
// when all of it is there, because any of its hooks may still give up.
type importer struct {
	Connector
	source string
	// dir holds the journals of this source.
	dir string
	// keep leaves journals behind that nobody will read.
	keep     bool
	log      *slog.Logger
	service  service
	vertices []string // of the schema extension
	// totals of the last import that was collected.
	totals map[string]*counts
	// journals that this run has written or read.
	journals []string
	// position of the run, given by the author.
	position gapless.Position
	// step is called at each step of the collection; tests die there.
	step func(name string)
}

// service is what an import asks the CAR service itself.
type service interface {
	Querier
	// ImportSchema returns the JSON Schema of reports.
	ImportSchema(ctx context.Context) (json.RawMessage, error)
}

// description is what the engine is told; the fingerprint of an adopted state
// is made from it.
func description() gapless.Description {
	return gapless.Description{Model: gapless.ModelLog, Collections: []string{car.Model}}
}

// Describe implements [gapless.Source].
func (*importer) Describe(context.Context) (gapless.Description, error) { return description(), nil }

// Position implements [gapless.Positioner].
func (i *importer) Position(ctx context.Context, _ gapless.Partition) (gapless.Position, error) {
	var id string
	err := i.call("NewModelStateID", func() error {
		var err error
		id, err = i.Full.NewModelStateID(ctx)
		return err
	})
	i.position = gapless.Position(id)
	return i.position, err
}

// call calls a hook. A panic of it is an error without a class.
func (i *importer) call(hook string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: %w", hook, &panicError{v, debug.Stack()})
		}
	}()
	i.step("before " + hook)
	defer i.step("after " + hook)
	if err := fn(); err != nil {
		return fmt.Errorf("%s: %w", hook, err)
	}
	return nil
}

// CanResume implements [gapless.Resumer]: an import whose collection was
// complete goes on behind the mark without asking the data source again.
func (i *importer) CanResume(_ context.Context, _ gapless.Partition, after gapless.Mark, started gapless.Position) (bool, error) {
	j, at, err := i.reopen(after)
	if err != nil {
		i.log.Info("What an earlier full import has read cannot be used: " + err.Error())
		return false, nil
	}
	return at.position == string(started), j.close()
}

// reopened is where a journal of an earlier run is read on.
type reopened struct {
	place
	position string
}

func (i *importer) reopen(after gapless.Mark) (*journal, reopened, error) {
	dir, at, err := parseMark(i.dir, string(after))
	if err != nil {
		return nil, reopened{}, err
	}
	j, s, err := openJournal(dir, at)
	if err != nil {
		return nil, reopened{}, err
	}
	if s.Source != i.source {
		return nil, reopened{}, errors.Join(fmt.Errorf("the journal is of source %s", s.Source), j.close())
	}
	i.totals, i.journals = s.Counts, append(i.journals, dir)
	return j, reopened{at, s.Position}, nil
}

// ReadAll implements [gapless.Source] with a full import.
func (i *importer) ReadAll(ctx context.Context, _ gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	if after != "" {
		j, at, err := i.reopen(after)
		if err != nil {
			return gapless.Expired(err)
		}
		i.log.Info("Resuming the full import from its journal...")
		return errors.Join(i.follow(ctx, j, at.place, true, out), j.close())
	}
	i.log.Info("Attempting full import...")
	j, err := i.newJournal()
	if err != nil {
		return err
	}
	collecting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	collected := make(chan error, 1)
	go func() {
		err := i.collectFull(collecting, j)
		if err != nil {
			j.fail(err)
		}
		collected <- err
	}()
	err = i.follow(ctx, j, place{}, true, out)
	if err != nil {
		stop(err)
	}
	if collectErr := <-collected; collectErr != nil && ctx.Err() == nil {
		err = collectErr
	}
	return errors.Join(err, j.close())
}

// ReadChanges implements [gapless.ChangeReader] with an incremental import.
func (i *importer) ReadChanges(ctx context.Context, _ gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	if i.Incremental == nil {
		return gapless.Expired(ErrIncrementalNotPossible)
	}
	j, err := i.newJournal()
	if err != nil {
		return err
	}
	err = i.collectChanges(ctx, j, string(from), string(to))
	if errors.Is(err, ErrIncrementalNotPossible) {
		i.log.Info("The incremental import was given up: " + err.Error())
		err = gapless.Expired(err)
	}
	if err == nil {
		err = i.follow(ctx, j, place{}, false, out)
	}
	return errors.Join(err, j.close())
}

// newJournal starts a journal. Whatever is left of earlier ones will not be
// read any more.
func (i *importer) newJournal() (*journal, error) {
	if !i.keep {
		if err := forget(i.dir); err != nil {
			return nil, gapless.Recoverable(err)
		}
	}
	j, err := createJournal(i.dir)
	if err != nil {
		return nil, storeFailure(err)
	}
	i.journals = append(i.journals, j.dir)
	return j, nil
}

// storeFailure classifies a failure of the journal: it leaves no gap.
func storeFailure(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return gapless.Errorf(gapless.CodeStoreFull, "", "%w", err)
	}
	if _, isPath := errors.AsType[*fs.PathError](err); isPath {
		return gapless.Recoverable(err)
	}
	return err
}

func (i *importer) newHandler(ctx context.Context, j *journal, full bool) (*DataHandler, error) {
	text, err := i.service.ImportSchema(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the import schema: %w", err)
	}
	rules, err := compileRules(text)
	if err != nil {
		i.log.Warn("Rows are not validated before they are sent: " + err.Error())
	}
	return &DataHandler{
		journal: j, rules: rules, log: i.log, service: i.service, source: i.source, vertices: i.vertices, full: full,
		counts: map[string]*counts{}, ends: map[string]ends{},
	}, nil
}

// collectFull calls the hooks of a full import.
func (i *importer) collectFull(ctx context.Context, j *journal) error {
	h, err := i.newHandler(ctx, j, true)
	if err != nil {
		return err
	}
	if err := i.collect(ctx, h, i.Full.ImportVertices, i.Full.ImportEdges, nil); err != nil {
		return err
	}
	i.totals = h.totals()
	i.step("before seal")
	defer i.step("after seal")
	return storeFailure(j.complete(seal{Source: i.source, Position: string(i.position), Counts: i.totals}))
}

// collectChanges calls the hooks of an incremental import.
func (i *importer) collectChanges(ctx context.Context, j *journal, last, next string) error {
	err := i.call("DataForDelta", func() error { return i.Incremental.DataForDelta(ctx, last, next) })
	if err != nil {
		return err
	}
	h, err := i.newHandler(ctx, j, false)
	if err != nil {
		return err
	}
	err = i.collect(ctx, h, i.Incremental.ImportVertices, i.Incremental.ImportEdges, i.Incremental.DeleteVertices)
	i.totals = h.totals()
	return err
}

// collect calls the hooks that hand over rows. It returns nil only if all of
// them have, and every row is in the journal.
func (i *importer) collect(ctx context.Context, h *DataHandler, vertices, edges, deletes func(context.Context, *DataHandler) error) error {
	hook := func(name string, fn func(context.Context, *DataHandler) error) error {
		if err := i.call(name, func() error { return fn(ctx, h) }); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err // a hook that was told to stop has not seen the end
		}
		return storeFailure(h.failure())
	}
	if err := hook("ImportVertices", vertices); err != nil {
		return err
	}
	if err := h.endVertices(); err != nil {
		return storeFailure(err)
	}
	if err := hook("ImportEdges", edges); err != nil {
		return err
	}
	if deletes != nil {
		if err := hook("DeleteVertices", deletes); err != nil {
			return err
		}
	}
	return storeFailure(errors.Join(h.journal.end(laneEdges), h.journal.end(laneRest)))
}

// follow emits what is in a journal from a place on, and what is added to it
// until it ends.
func (i *importer) follow(ctx context.Context, j *journal, at place, marks bool, out *gapless.Output) error {
	for l := range lanes {
		r := laneReader{file: j.lanes[l].file, offset: at[l]}
		for {
			size, err := j.wait(ctx, l, r.offset)
			if err != nil {
				return err
			}
			if size == r.offset {
				break
			}
			chunk, err := r.next(size)
			if err != nil {
				return storeFailure(err)
			}
			if err := emit(chunk, out); err != nil {
				return err
			}
			if at[l] = r.offset; marks {
				if err := out.Mark(gapless.Mark(at.mark(j))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// emit hands over the frames of a chunk.
func emit(chunk []byte, out *gapless.Output) error {
	for len(chunk) > 0 {
		f, size, err := cutFrame(chunk)
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		chunk = chunk[size:]
		switch f.kind {
		case frameUpsert:
			b := out.Batch()
			b.AppendRow(gapless.Row{Key: b.AppendBytes(f.key), Data: b.AppendBytes(f.data)})
			err = out.FlushIfFull()
		case frameDelete:
			err = out.Delete(string(f.key))
		case frameReject:
			var r rejection
			if err := json.Unmarshal(f.data, &r); err != nil {
				return fmt.Errorf("read a rejected row from the journal: %w", err)
			}
			err = out.Reject(gapless.Rejection{Key: string(f.key), Raw: r.Row, Err: errors.New(r.Reason)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tidy removes the journals of this run, unless the next one may resume from
// it. Others are none of its business: they may be those of a process that
// runs now.
func (i *importer) tidy(complete bool) error {
	var errs []error
	for _, dir := range i.journals {
		_, err := os.Stat(filepath.Join(dir, sealFile))
		if sealed := err == nil; !i.keep && (complete || !sealed) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

var (
	_ gapless.Source       = (*importer)(nil)
	_ gapless.Positioner   = (*importer)(nil)
	_ gapless.ChangeReader = (*importer)(nil)
	_ gapless.Resumer      = (*importer)(nil)
)
