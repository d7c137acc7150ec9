package pdf

import (
	"context"
	"errors"
	"fmt"
)

// maxUnpacked bounds what all streams that are read unpack to, together, with
// the fonts.
const maxUnpacked = 64 << 20

var errUnpacked = fmt.Errorf("its streams unpack to more than %d MiB", maxUnpacked>>20)

// ErrEncrypted says that a file cannot be read without a password.
var ErrEncrypted = errors.New("encrypted")

// workBetweenChecks is how many bytes are looked at between two looks at the
// context.
const workBetweenChecks = 1 << 16

// budget is what reading one file may still use. The first thing that runs out
// ends everything.
type budget struct {
	ctx      context.Context //nolint:containedctx // it lives for one call of Text, and every loop asks it
	done     int             // bytes looked at since the last look at ctx
	unpacked int
	err      error
}

// work accounts for looking at n bytes and reports whether there is time left.
// Every loop calls it.
func (b *budget) work(n int) bool {
	if b.done += n; b.done >= workBetweenChecks {
		b.done = 0
		if b.err == nil {
			b.err = context.Cause(b.ctx)
		}
	}
	return b.err == nil
}

// unpack takes n bytes of memory for what the file makes of itself: unpacked
// data, fonts.
func (b *budget) unpack(n int) bool {
	if b.unpacked += n; b.unpacked > maxUnpacked && b.err == nil {
		b.err = errUnpacked
	}
	return b.work(n + 1)
}
