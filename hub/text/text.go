package text

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxTextBytes is how much text of one content is kept; what follows is
	// not searched.
	MaxTextBytes = 256 << 10
	// MaxWholeBytes is the size of the largest content in a format that has to
	// be read as a whole: PDF and office documents.
	MaxWholeBytes = 32 << 20
	// headBytes is how much is read of a content in any other format. Markup
	// has more bytes than text.
	headBytes = 4 * MaxTextBytes
	// maxTime is how long a conversion takes at most.
	maxTime = 5 * time.Second
	// maxUnpacked bounds what the entries of an archive unpack to, together.
	maxUnpacked = 64 << 20
)

// Content is what is to be converted.
type Content struct {
	// Type is the media type; empty or application/octet-stream if it is not
	// known. Its parameters charset and name count.
	Type string
	// Names are names of files, the best first, whose extension may tell the
	// format if Type does not.
	Names []string
	// Size in bytes.
	Size int64
	// Read returns the first bytes, as many as limit unless there are fewer.
	Read func(limit int64) ([]byte, error)
}

// Reason says why a content has no text: a part of a sentence that begins in
// lower case.
type Reason string

// Error returns the reason.
func (r Reason) Error() string { return string(r) }

func reasonf(format string, args ...any) Reason { return Reason(fmt.Sprintf(format, args...)) }

// Refusal returns the [Reason] for which a content has no text, as far as that
// can be said without reading it, and else nil.
func Refusal(c Content) error {
	f, err := c.declared()
	switch {
	case err != nil:
		return err
	case c.Size == 0:
		return Reason("it is empty")
	case f != nil && f.whole && c.Size > MaxWholeBytes:
		return reasonf("larger than %d MiB", MaxWholeBytes>>20)
	}
	return nil
}

// Convert returns the text of a content: valid UTF-8 of at most [MaxTextBytes]
// without the character zero. The error is a [Reason], the cause for which ctx
// ended, or an error of c.Read.
func Convert(ctx context.Context, c Content) (text []byte, err error) {
	if err := Refusal(c); err != nil {
		return nil, err
	}
	head, err := c.Read(headBytes)
	if err != nil {
		return nil, err
	}
	f, err := c.format(head)
	if err != nil {
		return nil, err
	}
	if f.whole {
		if c.Size > MaxWholeBytes {
			return nil, reasonf("larger than %d MiB", MaxWholeBytes>>20)
		}
		if head, err = c.Read(MaxWholeBytes); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeoutCause(ctx, maxTime, reasonf("it takes longer than %v to read", maxTime))
	defer cancel()
	w := &work{ctx: limited}
	if err := w.convert(f, head, c.charset()); err != nil {
		return nil, err
	}
	return w.result()
}

// convert runs a converter. One that panics has met a content that nobody
// thought of: that costs its text, and not the process.
func (w *work) convert(f *format, content []byte, charset string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = reasonf("the %s cannot be read: %v", f.name, r)
		}
	}()
	err = f.read(w, content, charset)
	if err == nil || errors.Is(err, errFull) {
		return nil
	}
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	reason, ok := errors.AsType[Reason](err)
	if !ok {
		reason = reasonf("damaged %s: %v", f.name, err)
	}
	return reason
}

// work is one conversion: its text so far, and what it has used up.
type work struct {
	ctx      context.Context //nolint:containedctx // it lives for one call of Convert, and every loop asks it
	text     []byte
	steps    int
	unpacked int64
}

var errFull = errors.New("there is as much text as is kept")

// step returns why the conversion has to end; every loop calls it.
func (w *work) step() error {
	if w.steps++; w.steps%1024 == 0 {
		return context.Cause(w.ctx)
	}
	return nil
}

// add adds text, which need not be valid yet.
func (w *work) add(text []byte) error {
	room := MaxTextBytes - len(w.text)
	w.text = append(w.text, text[:min(len(text), room)]...)
	if len(text) >= room {
		return errFull
	}
	return w.step()
}

// blank separates what comes from what was.
func (w *work) blank(c byte) error {
	if n := len(w.text); n == 0 || w.text[n-1] <= ' ' {
		return w.step()
	}
	return w.add([]byte{c})
}

// result returns the text, so that words can be found: ligatures are letters,
// and hyphens that may or may not be shown are not there.
func (w *work) result() ([]byte, error) {
	text := bytes.ToValidUTF8(w.text, []byte(" "))
	text = bytes.ReplaceAll(text, []byte{0}, []byte(" "))
	if !isASCII(text) {
		text = []byte(strings.NewReplacer("\u00ad", "", "ﬀ", "ff", "ﬁ", "fi", "ﬂ", "fl", "ﬃ", "ffi", "ﬄ", "ffl", "ﬅ", "st", "ﬆ", "st").Replace(string(text)))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, Reason("there is no text in it")
	}
	return text, nil
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
