package transfer

import (
	"context"
	"errors"
	"io/fs"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// stream is one of the goroutines that bring files, group by group.
type stream struct {
	*run
	buf []byte
}

// bring brings a group of files. An error ends the run.
func (s *stream) bring(ctx context.Context, files []File) error {
	g := &group{stream: s, byPath: make(map[string]*pending, len(files))}
	for _, f := range files {
		p, err := s.look(ctx, f)
		if err != nil {
			return err
		}
		if p != nil {
			g.files = append(g.files, p)
			g.byPath[p.Path] = p
		}
	}
	return g.bring(ctx)
}

// look finds out what is here of a file, and returns nil if nothing more is to
// be done about it.
func (s *stream) look(ctx context.Context, f File) (*pending, error) {
	p := &pending{File: f, part: partName(f.Path)}
	err := s.lookInPlace(ctx, p)
	if err != nil && context.Cause(ctx) != nil {
		return nil, context.Cause(ctx)
	}
	switch {
	case p.done:
		return nil, nil
	case s.job.VerifyOnly:
		s.tally.verdict(EventFailed, f, err)
		return nil, nil
	case s.job.DryRun:
		s.tally.verdict(EventMissing, f, nil)
		return nil, nil
	case s.folder.resuming:
		err = s.lookForPart(ctx, p)
	default:
		err = nil // why it is not right does not matter: it is fetched
	}
	if p.done {
		return nil, err
	}
	return p, err
}

// lookInPlace looks at the file of that name, and returns why it is not the one
// that is wanted.
func (s *stream) lookInPlace(ctx context.Context, p *pending) error {
	info, err := s.folder.looks(p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gapless.Recoverable(errors.New("it is not there"))
	case err != nil:
		return gapless.Recoverable(err)
	case !info.Mode().IsRegular():
		return unreadable("it is not a file")
	case p.Size >= 0 && info.Size() != p.Size:
		return unreadable("it has %d bytes where %d were promised", info.Size(), p.Size)
	case p.Hash == "" && !s.job.VerifyOnly:
		return nil
	}
	if p.Hash != "" {
		same, err := holds(ctx, s.folder.root, p.Path, p.File, s.buf)
		if err != nil {
			return gapless.Recoverable(err)
		}
		if !same {
			return unreadable("its %s is not the one that was promised", p.Algorithm)
		}
		after, err := s.folder.looks(p.Path)
		if err != nil {
			return gapless.Recoverable(err)
		}
		if after.Size() != info.Size() || !after.ModTime().Equal(info.ModTime()) {
			return unreadable("it was changed while it was read")
		}
	}
	if s.done == nil {
		p.done = true
		s.tally.verdict(EventPresent, p.File, nil)
		return nil
	}
	if err := stampFile(s.folder.root, p.Path, p.Modified); err != nil {
		return s.folder.problem("give a file its time", err)
	}
	if info, err = s.folder.looks(p.Path); err != nil {
		return s.folder.problem("look at a file", err)
	}
	f := finished{File: p.File, modified: info.ModTime()}
	f.Size = info.Size()
	return s.hand(ctx, p, f)
}

// lookForPart looks at what an earlier run left of a file.
func (s *stream) lookForPart(ctx context.Context, p *pending) error {
	p.offset, p.validator = s.folder.part(p.part)
	p.made, p.validated = true, true
	usable := p.offset > 0 && (p.Size < 0 || p.offset <= p.Size) && (p.Hash != "" || (p.validator != "" && p.offset != p.Size))
	if !usable {
		return s.forget(p)
	}
	p.best = p.offset
	if p.Hash == "" || (p.Size >= 0 && p.offset < p.Size) {
		return nil
	}
	same, err := holds(ctx, s.folder.parts, p.part, p.File, s.buf)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return s.folder.problem("read an unfinished file", err)
	}
	if !same && p.Size < 0 {
		return nil
	}
	if !same {
		return s.forget(p)
	}
	file, err := s.folder.openPart(p.part, p.offset)
	if err != nil {
		return err
	}
	return s.finish(ctx, p, file)
}

// group is the files of one call of the supplier, and of those that follow for
// what is missing.
type group struct {
	*stream
	files  []*pending
	byPath map[string]*pending
	// stopped is the error of deliver.
	stopped error
	// moved is whether the call brought anything.
	moved bool
}

// bring calls the supplier until all is here or there is no hope.
func (g *group) bring(ctx context.Context) error {
	vain := 0
	for wanted := g.wanted(); len(wanted) > 0; wanted = g.wanted() {
		g.moved = false
		err := g.call(ctx, wanted)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if g.stopped != nil {
			return g.stopped
		}
		again, err := g.judge(err)
		if err != nil {
			return err
		}
		if vain++; g.moved {
			vain = 0
		}
		missing := len(g.wanted()) > 0
		if missing && vain >= g.job.Attempts {
			g.giveUp(again)
		} else if missing {
			if err := g.pause(ctx, vain, again); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted returns what is missing. Without a hash or a validator nothing tells
// that the rest belongs to what is here, so that it is not asked for.
func (g *group) wanted() []Wanted {
	var list []Wanted
	for _, p := range g.files {
		if p.done {
			continue
		}
		w := Wanted{File: p.File, Offset: p.offset, Validator: p.validator}
		if p.Hash == "" && p.validator == "" {
			w.Offset = 0
		}
		list = append(list, w)
	}
	return list
}

// call calls the supplier once, under a guard.
func (g *group) call(ctx context.Context, wanted []Wanted) error {
	guarded, stop := withGuard(ctx, g.job.Idle)
	defer stop()
	err := g.job.Supplier.Supply(guarded, wanted, func(c Content) error { return g.deliver(guarded, c) })
	if silent := context.Cause(guarded); silent != nil {
		return silent
	}
	return err
}

// deliver takes one content from the supplier.
func (g *group) deliver(ctx context.Context, c Content) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	p := g.byPath[c.Path]
	if p == nil {
		g.tally.tell(Event{Kind: EventUnexpected, Path: c.Path, Bytes: c.Size})
		return nil
	}
	if p.done {
		return nil
	}
	p.err = g.receive(ctx, p, c)
	if p.done || p.offset >= p.best+leastPiece {
		g.moved = true
		p.best = max(p.best, p.offset)
	}
	if cause := context.Cause(ctx); cause != nil {
		p.err = nil
		return cause
	}
	if _, ok := errors.AsType[*stopError](p.err); ok {
		g.stopped = p.err
		return g.stopped
	}
	return nil
}

// judge sorts the error of a call: a file is given up, the call is made again
// because of it, or the run ends.
func (g *group) judge(err error) (again, end error) {
	if err == nil {
		return nil, nil
	}
	failure, ok := errors.AsType[*gapless.Failure](err)
	switch {
	case ok && failure.Kind == gapless.KindRejected:
		if p := g.byPath[failure.Key]; p != nil && !p.done {
			g.fail(p, err)
			g.moved = true
		}
		return err, nil
	case ok && (failure.Cause == gapless.CauseAuthentication || failure.Cause == gapless.CauseForbidden):
		return nil, err
	case gapless.KindOf(err) == gapless.KindRecoverable:
		return err, nil
	}
	return nil, err
}

// giveUp fails what is missing.
func (g *group) giveUp(err error) {
	for _, p := range g.files {
		switch {
		case p.done:
		case p.err != nil:
			g.fail(p, p.err)
		case err != nil:
			g.fail(p, err)
		default:
			g.fail(p, gapless.Recoverable(errors.New("it was not delivered")))
		}
	}
}

func (g *group) fail(p *pending, err error) {
	p.done = true
	g.tally.verdict(EventFailed, p.File, err)
}

// pause waits before the next call.
func (g *group) pause(ctx context.Context, vain int, because error) error {
	wait := max(httpx.Backoff(vain), gapless.WaitOf(because))
	path := ""
	for _, p := range g.files {
		if p.done {
			continue
		}
		if path == "" {
			path = p.Path
		}
		if because == nil {
			because = p.err
		}
	}
	g.tally.tell(Event{Kind: EventRetry, Path: path, Wait: wait, Err: because})
	return g.job.sleep(ctx, wait)
}
