package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

func (j *Job) setDefaults() {
	j.Group = max(1, j.Group)
	j.Streams = cmp.Or(max(0, j.Streams), 4)
	j.Attempts = cmp.Or(max(0, j.Attempts), 5)
	j.Idle = cmp.Or(max(0, j.Idle), time.Minute)
	if j.sleep == nil {
		j.sleep = httpx.Sleep
	}
	if j.through == nil {
		j.through = func(w io.Writer) io.Writer { return w }
	}
}

// looksOnly reports whether nothing is fetched or written.
func (j *Job) looksOnly() bool { return j.VerifyOnly || j.DryRun }

// run is a job under way.
type run struct {
	job      Job
	folder   *folder
	plan     *plan
	tally    *tally
	throttle throttle
	// done takes files whose content is right; nil if nothing is written.
	done chan finished
}

// Run brings the files of a job into its folder. It may be called again with the
// same job, also after a crash: what was verified is not read again, and what
// was begun is continued. The report is of use also with an error.
//
// Errors are of [gapless.CodeFileList] if the list cannot be used, of
// [gapless.CodeFiles] with the first failure in it if files are missing or wrong
// in the end, of [gapless.CodeStoreFull] and [gapless.CodeStoreLocked]; when ctx
// ends, its cause.
func Run(ctx context.Context, job Job) (Report, error) {
	begin := time.Now()
	job.setDefaults()
	r := &run{job: job, tally: &tally{events: job.Events}, throttle: newThrottle(job.Bandwidth)}
	if job.Total > 0 {
		over := gapless.Recoverable(fmt.Errorf("the time of %s is over", job.Total))
		timed, cancel := context.WithTimeoutCause(ctx, job.Total, over)
		defer cancel()
		ctx = timed
	}
	err := r.prepare(ctx)
	return r.tally.result(begin), err
}

// prepare opens everything and closes it again.
func (r *run) prepare(ctx context.Context) (err error) {
	r.plan, err = makePlan(ctx, r.job.Files, r.job.AllowUnverified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.plan.close()) }()
	r.folder, err = openFolder(r.job.Dir, !r.job.looksOnly())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.folder.close()) }()
	verified, err := openJournal(r.folder.state, !r.job.looksOnly())
	if err != nil {
		return r.folder.problem("open the journal", err)
	}
	defer func() { err = errors.Join(err, verified.close()) }()
	known := verified
	if r.job.VerifyOnly {
		known = &journal{}
	}
	if err := r.plan.settle(ctx, r.folder.fold(), known, r.folder.looks); err != nil {
		return err
	}
	if err := r.checkSpace(); err != nil {
		return err
	}
	r.tally.tell(Event{Kind: EventPlanned, Files: r.plan.files(), Bytes: r.plan.bytes})
	if err := r.bring(ctx, verified); err != nil {
		return r.stopped(err)
	}
	return r.verdict()
}

// checkSpace refuses to begin what cannot fit.
func (r *run) checkSpace() error {
	free, known := freeBytes(r.job.Dir)
	if r.job.looksOnly() || !known || r.plan.absent <= free {
		return nil
	}
	begun, err := r.folder.unfinished()
	if err != nil {
		return err
	}
	need := r.plan.absent - begun
	for l, err := range r.plan.distinct() {
		if err != nil {
			return err
		}
		if info, err := r.folder.looks(l.Path); err == nil && !l.present && info.Size() == l.Size {
			need -= l.Size
		}
	}
	if need <= free {
		return nil
	}
	return gapless.Errorf(gapless.CodeStoreFull, r.job.Dir, "%s are wanted and %s are free", gapless.ByteSize(need), gapless.ByteSize(free))
}

// bring runs the streams and the committer until all groups are through or one
// stream has to stop.
func (r *run) bring(ctx context.Context, verified *journal) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var committing sync.WaitGroup
	if !r.job.looksOnly() {
		names, err := r.folder.parts.Open(".")
		if err != nil {
			return r.folder.problem("open the folder", err)
		}
		defer names.Close()
		r.done = make(chan finished, 2*maxCommit)
		c := &committer{
			in: r.done, journal: verified, tally: r.tally, names: names, stop: stop,
			placer: &placer{folder: r.folder, real: map[string]bool{}, touched: map[string]bool{}},
		}
		committing.Go(c.run)
	}
	r.streams(ctx, stop)
	if r.done != nil {
		close(r.done)
	}
	committing.Wait()
	return context.Cause(ctx)
}

// streams runs the streams until the list is through.
func (r *run) streams(ctx context.Context, stop func(error)) {
	next, end := iter.Pull2(r.plan.distinct())
	defer end()
	var mu sync.Mutex // guards next
	var streams sync.WaitGroup
	for range r.job.Streams {
		streams.Go(func() {
			s := &stream{run: r, buf: make([]byte, pieceSize)}
			for ctx.Err() == nil {
				mu.Lock()
				files, err := r.group(next)
				mu.Unlock()
				if err == nil && len(files) == 0 {
					return
				}
				if err == nil {
					err = s.bring(ctx, files)
				}
				if err != nil {
					stop(err)
				}
			}
		})
	}
	streams.Wait()
}

// group returns the next files that are not known to be here.
func (r *run) group(next func() (planned, error, bool)) ([]File, error) {
	var files []File
	for len(files) < r.job.Group {
		l, err, more := next()
		if !more || err != nil {
			return files, err
		}
		if l.present {
			r.tally.verdict(EventPresent, l.File, nil)
		} else {
			files = append(files, l.File)
		}
	}
	return files, nil
}

// stopped tells why a run ended before its end.
func (r *run) stopped(err error) error {
	if e, ok := errors.AsType[*stopError](err); ok {
		err = e.err
	}
	if _, ok := errors.AsType[*gapless.Error](err); ok {
		return err
	}
	report := r.tally.result(time.Time{})
	here := report.Present + report.Fetched
	return gapless.Errorf(gapless.CodeFiles, r.job.Dir, "stopped with %d of %d files: %w", here, report.Files, err)
}

// verdict is the error of a run that came to its end.
func (r *run) verdict() error {
	report := r.tally.result(time.Time{})
	if report.Failed > 0 {
		first := report.Failures[0]
		return gapless.Errorf(gapless.CodeFiles, r.job.Dir, "%d of %d files are missing or wrong; %q: %w", report.Failed, report.Files, first.Path, first.Err)
	}
	if through := report.Present + report.Fetched + report.Missing; through != report.Files {
		return gapless.Errorf(gapless.CodeFiles, r.job.Dir, "%d of %d files are not accounted for", report.Files-through, report.Files)
	}
	return nil
}
