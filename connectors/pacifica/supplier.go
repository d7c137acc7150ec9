package pacifica

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
	"github.com/gapless-sync/gapless/transfer"
)

const (
	// DefaultCartFiles is how many files one cart holds: what staging a cart
	// costs grows with the square of that.
	DefaultCartFiles = 500
	// maxGone is how often a cart is ordered anew that the server has dropped.
	maxGone = 3
	// maxNotReady is how often a cart may turn out not to be ready that was said
	// to be.
	maxNotReady = 5
)

// Carts is the supplier of files whose origins are the ids of an archive. Every
// call of Supply is for one cart, and deletes it whatever happens. A cart that
// the server has dropped is ordered anew; of one that cannot be staged the
// halves are, so that the others come and the error names the file that does
// not.
type Carts struct {
	API *CartAPI
	// Wait bounds the staging of one cart; 0 is [DefaultWait].
	Wait time.Duration
	// Keep leaves the carts at the server.
	Keep bool
}

var _ transfer.Supplier = (*Carts)(nil)

// Supply implements [transfer.Supplier].
func (c *Carts) Supply(ctx context.Context, files []transfer.Wanted, deliver transfer.Deliver) error {
	s := &supply{Carts: c, came: make(map[string]bool, len(files))}
	// Twice the depth of halving finds one file, or two; more are found when
	// Supply is called again for the rest.
	s.splits = 2*bits.Len(uint(len(files))) + 2
	s.deliver = func(content transfer.Content) error {
		if err := deliver(content); err != nil {
			s.stopped = err
			return err
		}
		s.came[content.Path] = true
		return nil
	}
	for _, f := range files {
		if _, err := checkOrdered(f.File); err != nil {
			return gapless.Reject(f.Path, err)
		}
	}
	err := s.bring(ctx, files)
	switch {
	case s.stopped != nil:
		return s.stopped
	case err != nil && gapless.KindOf(err) == gapless.KindExpired:
		return gapless.Recoverable(err)
	}
	return err
}

// supply is one call of Supply.
type supply struct {
	*Carts
	deliver transfer.Deliver
	came    map[string]bool
	splits  int   // how many carts may still be halved
	stopped error // what deliver returned
}

// bring orders carts until the files are here, or there is no point.
func (s *supply) bring(ctx context.Context, files []transfer.Wanted) error {
	for gone := 0; ; gone++ {
		err := s.cart(ctx, files)
		if err == nil || s.stopped != nil || ctx.Err() != nil {
			return err
		}
		files = slices.DeleteFunc(slices.Clone(files), func(f transfer.Wanted) bool { return s.came[f.Path] })
		if _, staging := errors.AsType[*stagingError](err); staging {
			return s.halve(ctx, files, err)
		}
		if gapless.KindOf(err) != gapless.KindExpired || gone == maxGone {
			return err
		}
		if len(files) == 0 {
			return nil
		}
	}
}

// halve orders the halves of a cart that could not be staged because of err.
func (s *supply) halve(ctx context.Context, files []transfer.Wanted, err error) error {
	if len(files) < 2 || s.splits == 0 {
		return named(files, err)
	}
	s.splits--
	s.API.notify(Notice{Kind: NoticeSplit, Message: err.Error()})
	half := len(files) / 2
	first := s.bring(ctx, files[:half])
	if s.stopped != nil || ctx.Err() != nil {
		return first
	}
	return errors.Join(first, s.bring(ctx, files[half:]))
}

// named puts the files into an error that did not come.
func named(files []transfer.Wanted, err error) error {
	switch {
	case len(files) == 1:
		return fmt.Errorf("%q: %w", files[0].Path, err)
	case len(files) > 1:
		return fmt.Errorf("%q and %d more: %w", files[0].Path, len(files)-1, err)
	}
	return err
}

// cart orders one cart, waits for it and downloads it.
func (s *supply) cart(ctx context.Context, files []transfer.Wanted) error {
	cart, err := s.API.SetupCart(ctx, filesOf(files))
	if err != nil {
		return err
	}
	if !s.Keep {
		defer s.API.discard(ctx, cart)
	}
	for attempt := 0; ; attempt++ {
		if err = s.API.WaitForCart(ctx, cart, s.Wait); err == nil {
			err = s.API.Download(ctx, cart, files, s.deliver)
		}
		if !errors.Is(err, errNotReady) || attempt == maxNotReady {
			break
		}
		if err := s.API.server.access.sleep(ctx, httpx.Backoff(attempt)); err != nil {
			return err
		}
	}
	if gapless.KindOf(err) == gapless.KindExpired {
		s.API.notify(Notice{Kind: NoticeGone, Cart: cart})
	}
	return err
}

func filesOf(wanted []transfer.Wanted) iter.Seq2[transfer.File, error] {
	return func(yield func(transfer.File, error) bool) {
		for _, w := range wanted {
			if !yield(w.File, nil) {
				return
			}
		}
	}
}
