package car

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
)

// maxUnsettledBytes bounds what is kept until the service has confirmed it.
const maxUnsettledBytes = 32 << 20

// refusalsBeforeGivingUp is how many rows a service may refuse, and none take,
// before it is the service that is refused.
const refusalsBeforeGivingUp = 20

// step is one thing to be done at the service: a page, which goes together with
// others, or an act, before which everything else is settled.
type step struct {
	page *page
	act  func(ctx context.Context) error
}

// flight sends steps in their order and keeps each until the service has
// confirmed it. A page that failed comes first in the queue again. It is used
// by one goroutine; each post has one of its own.
type flight struct {
	client   *Client
	envelope *envelope
	inFlight int
	// settled is called for every page that is done, refused for every row
	// that the service will never take.
	settled func(*page)
	refused func(*page, *row, error)

	ctx     context.Context //nolint:containedctx // of the posts, which outlive the call that starts them
	stop    context.CancelFunc
	posts   sync.WaitGroup
	results chan posted

	queue   []step
	posting []*page
	sent    []*page // accepted, not settled
	// refusals of rows, and whether anything was taken.
	refusals int
	taken    bool
	pause    time.Duration
}

// posted is how a post ended.
type posted struct {
	page *page
	id   string
	err  error
}

func newFlight(ctx context.Context, client *Client, inFlight int) *flight {
	f := &flight{client: client, inFlight: inFlight, results: make(chan posted, inFlight)}
	f.ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	return f
}

// close ends all posts and waits for their goroutines.
func (f *flight) close() {
	f.stop()
	f.posts.Wait()
}

// idle reports whether everything is settled.
func (f *flight) idle() bool { return len(f.queue)+len(f.posting)+len(f.sent) == 0 }

// roomy reports whether more can be queued.
func (f *flight) roomy() bool {
	return len(f.queue) == 0 && len(f.sent) < maxStatusIDs && f.unsettledBytes() < maxUnsettledBytes
}

func (f *flight) unsettledBytes() (n int64) {
	for _, p := range f.posting {
		n += p.bytes()
	}
	for _, p := range f.sent {
		n += p.bytes()
	}
	return n
}

// advance does what there is to do until a condition holds. After an error
// everything that is not settled is still there, to be tried again.
func (f *flight) advance(ctx context.Context, until func() bool) error {
	f.pause = firstPoll
	for {
		if err := f.harvest(); err != nil {
			return err
		}
		if until() {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		f.launch()
		if err := f.progress(ctx); err != nil {
			return err
		}
	}
}

// harvest takes the results that are there.
func (f *flight) harvest() error {
	for {
		select {
		case r := <-f.results:
			if err := f.land(r); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// launch posts pages from the queue, as far as their order allows.
func (f *flight) launch() {
	for len(f.queue) > 0 && len(f.posting) < f.inFlight && len(f.sent) < 2*maxStatusIDs && f.unsettledBytes() < maxUnsettledBytes {
		p := f.queue[0].page
		if p == nil || p.fence && len(f.posting)+len(f.sent) > 0 {
			return
		}
		f.queue = slices.Delete(f.queue, 0, 1)
		f.posting = append(f.posting, p)
		f.posts.Go(func() {
			id, err := f.client.Import(f.ctx, p.render(f.envelope))
			f.results <- posted{p, id, err}
		})
	}
}

// progress waits for the next thing to happen: an act, a post or the state of
// imports.
func (f *flight) progress(ctx context.Context) error {
	switch {
	case len(f.posting) > 0 && (len(f.sent) == 0 || len(f.posting) == f.inFlight || len(f.sent) < maxStatusIDs && f.unsettledBytes() < maxUnsettledBytes):
		select {
		case r := <-f.results:
			return f.land(r)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case len(f.sent) > 0:
		return f.poll(ctx)
	case len(f.queue) > 0 && f.queue[0].act != nil:
		if err := f.queue[0].act(ctx); err != nil {
			return err
		}
		f.queue = slices.Delete(f.queue, 0, 1)
	}
	return nil
}

// land takes the result of a post.
func (f *flight) land(r posted) error {
	f.posting = slices.DeleteFunc(f.posting, func(p *page) bool { return p == r.page })
	if r.err == nil {
		r.page.id, r.page.sent = r.id, time.Now()
		f.sent = append(f.sent, r.page)
		return nil
	}
	switch StatusOf(r.err) {
	case http.StatusRequestEntityTooLarge, http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusConflict:
		return f.refuse(r.page, r.err)
	}
	f.again(r.page)
	return r.err
}

// again puts pages first in the queue.
func (f *flight) again(pages ...*page) {
	for _, p := range slices.Backward(pages) {
		f.queue = slices.Insert(f.queue, 0, step{page: p})
	}
}

// refuse has the rows of a page found that the service will never take: it is
// sent again in two halves, until there is one row left.
func (f *flight) refuse(p *page, err error) error {
	switch len(p.rows) {
	case 0:
		return gapless.Unrecoverable(fmt.Errorf("the service refuses a report without rows: %w", err))
	case 1:
		if f.refusals++; !f.taken && f.refusals >= refusalsBeforeGivingUp {
			f.again(p)
			return gapless.Unrecoverable(fmt.Errorf("the service refused %d rows and took none: %w", f.refusals, err))
		}
		f.refused(p, &p.rows[0], err)
		f.settled(p)
	default:
		f.again(p.split())
	}
	return nil
}

// poll asks once how far imports are, and waits if none has moved.
func (f *flight) poll(ctx context.Context) error {
	asked := slices.Clone(f.sent[:min(len(f.sent), maxStatusIDs)])
	ids := make([]string, len(asked))
	for i, p := range asked {
		ids[i] = p.id
	}
	status, err := f.client.ImportStatus(ctx, ids)
	if err != nil {
		return err
	}
	var failures []error
	for _, id := range status.Complete {
		f.settled(f.take(id))
		f.taken = true
	}
	for _, id := range status.Unknown {
		f.again(f.take(id))
		failures = append(failures, gapless.Recoverable(fmt.Errorf("the service does not know import %s any more", clip(id))))
	}
	for i := range status.Failed {
		if err := f.fail(&status.Failed[i]); err != nil {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if len(status.Incomplete) < len(ids) {
		f.pause = firstPoll
		return nil
	}
	return f.rest(ctx, asked[0])
}

// rest waits before the next question about imports of which none has moved.
func (f *flight) rest(ctx context.Context, first *page) error {
	if limit := f.client.opts.JobTimeout; time.Since(first.sent) > limit {
		return gapless.Recoverable(fmt.Errorf("import %s has not ended after %s", clip(first.id), limit))
	}
	// Others may have ended meanwhile: they are asked for next.
	f.sent = append(f.sent[min(len(f.sent), maxStatusIDs):], f.sent[:min(len(f.sent), maxStatusIDs)]...)
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	f.pause = min(2*f.pause, lastPoll)
	select {
	case <-timer.C:
		return nil
	case r := <-f.results:
		return f.land(r)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take removes a page from those that are sent.
func (f *flight) take(id string) *page {
	i := slices.IndexFunc(f.sent, func(p *page) bool { return p.id == id })
	p := f.sent[i]
	f.sent = slices.Delete(f.sent, i, i+1)
	return p
}

// fail takes an import that ended in an error.
func (f *flight) fail(failure *ImportFailure) error {
	p := f.take(failure.ID)
	reason := fmt.Errorf("the service answers %s", cmp.Or(failure.Message, "no reason"))
	if failure.Status != 0 {
		reason = fmt.Errorf("the service answers %d %s", failure.Status, failure.Message)
	}
	if !failure.Permanent() {
		f.again(p)
		return gapless.Recoverable(fmt.Errorf("import %s: %w", clip(failure.ID), reason))
	}
	if named := f.named(p, failure); len(named) > 0 {
		rest := &page{buf: p.buf, fence: p.fence}
		bad := &page{buf: p.buf}
		for i := range p.rows {
			if err, ok := named[i]; ok {
				bad.rows = append(bad.rows, p.rows[i])
				f.refused(p, &p.rows[i], err)
			} else {
				rest.rows = append(rest.rows, p.rows[i])
			}
		}
		f.settled(bad)
		if len(rest.rows) > 0 {
			f.again(rest)
		}
		return nil
	}
	return f.refuse(p, reason)
}

// named returns the rows of a page that a service says are at fault.
func (f *flight) named(p *page, failure *ImportFailure) map[int]error {
	rows := map[int]error{}
	for _, r := range failure.Rows {
		if i := p.find(r.Collection, r.Index); i >= 0 {
			rows[i] = errors.New("the service refuses the row: " + cmp.Or(r.Message, failure.Message))
		}
	}
	return rows
}
