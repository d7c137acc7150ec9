package pacifica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
	"github.com/gapless-sync/gapless/transfer"
)

// errNotReady is the answer to a download that comes too early.
var errNotReady = errors.New("the cart is not ready for download")

// Download delivers the files of a cart that is ready, in the order of its
// archive, and what else is in it. Of a server that has ranges, an archive that
// breaks off is continued, and of a file that is here in part only the rest is
// fetched. It returns [gapless.Expired] if the server no longer knows the cart,
// and an error if the archive is damaged, is cut short, lacks one of the files,
// or goes on and on beside them.
func (a *CartAPI) Download(ctx context.Context, cart string, files []transfer.Wanted, deliver transfer.Deliver) error {
	body := &archive{ctx: ctx, api: a, cart: cart, due: surplus + int64(len(files))*surplusOfFile}
	for _, f := range files {
		body.probe = body.probe || f.Offset >= leastPass
	}
	if err := body.open(); err != nil {
		return err
	}
	defer body.close()
	u := &unpacking{cart: cart, wanted: make(map[string]transfer.Wanted, len(files)), body: body, deliver: deliver}
	for _, f := range files {
		u.wanted[wirePath(f.Path)] = f
	}
	err := transfer.Untar(ctx, body, u.rename, u.take)
	switch {
	case u.stopped != nil:
		return u.stopped
	case ctx.Err() != nil:
		return fmt.Errorf("download cart %s: %w", cart, context.Cause(ctx))
	case body.err != nil:
		return body.err
	case err != nil:
		return cartFailed(cart, err)
	}
	return u.complete()
}

// archive is the archive of a cart on its way, over one connection or several.
type archive struct {
	ctx    context.Context //nolint:containedctx // an archive lives for one download
	api    *CartAPI
	cart   string
	answer *answer // nil between two connections
	// probe asks for no more than the beginning at first, because what follows
	// may not be wanted.
	probe bool
	// tag is the strong ETag of an archive that can be continued; otherwise
	// empty.
	tag      string
	position int64
	// total size, if what was asked for is a part of it; otherwise 0.
	total int64
	// due is how many bytes may come at most, for what is known so far.
	due int64
	// passed is how many bytes that follow are not wanted.
	passed int64
	vain   int   // connections in a row that brought nothing
	err    error // that ended it, classified
}

// open asks for the archive, from the position on.
func (b *archive) open() error {
	c := &call{what: "download cart " + b.cart, method: http.MethodGet, url: b.cart + "?filename=" + rootFolder, header: http.Header{}}
	c.takes = func(r *http.Response) bool { return r.StatusCode == http.StatusNotFound }
	switch {
	case b.position > 0:
		c.header.Set("Range", fmt.Sprintf("bytes=%d-", b.position))
		c.header.Set("If-Range", b.tag)
	case b.probe:
		c.header.Set("Range", fmt.Sprintf("bytes=0-%d", probeSize-1))
	}
	a, err := b.api.server.send(b.ctx, c)
	if err != nil {
		return err
	}
	if err := b.accept(c, a); err != nil {
		_ = a.Close() // it is of no use either way
		return err
	}
	b.answer = a
	if b.total > 0 && b.tag == "" { // a part, of which nobody can say what it is a part of
		b.close()
		b.probe = false
		return b.open()
	}
	return nil
}

// accept looks at the head of an answer.
func (b *archive) accept(c *call, a *answer) error {
	encoding := a.Header.Get("Content-Encoding")
	var first, last, total int64
	if a.StatusCode == http.StatusPartialContent && c.header.Get("Range") != "" {
		_, err := fmt.Sscanf(a.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total)
		if err != nil || first != b.position || total <= first {
			return cartFailed(b.cart, gapless.Because(gapless.CauseUnreadable, errors.New("another part of the archive came than was asked for")))
		}
	}
	switch {
	case a.StatusCode == http.StatusNotFound:
		return errGone(b.cart)
	case a.StatusCode == http.StatusAccepted:
		return cartFailed(b.cart, gapless.Recoverable(errNotReady))
	case a.StatusCode == http.StatusOK && b.position > 0, b.tag != "" && a.Header.Get("ETag") != b.tag:
		return cartFailed(b.cart, gapless.Recoverable(errors.New("the archive has changed on its way")))
	case a.StatusCode != http.StatusOK && total == 0:
		return b.api.server.refuse(c, a)
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return cartFailed(b.cart, gapless.Because(gapless.CauseUnreadable, fmt.Errorf("the archive came compressed (%s), which was not asked for", b.api.server.say(encoding))))
	}
	b.total = total
	if tag := a.Header.Get("ETag"); strings.HasPrefix(tag, `"`) && (total > 0 || a.Header.Get("Accept-Ranges") == "bytes") {
		b.tag = tag
	}
	return nil
}

func (b *archive) close() {
	if b.answer != nil {
		_ = b.answer.Close() // what was read is judged already
		b.answer = nil
	}
}

// pass makes the next n bytes come as zeros, without their being fetched. It
// reports whether it can.
func (b *archive) pass(n int64) bool {
	if b.tag == "" {
		return false
	}
	b.close()
	b.passed = n
	return true
}

// Read implements [io.Reader].
func (b *archive) Read(p []byte) (int, error) {
	if b.passed > 0 {
		n := int(min(int64(len(p)), b.passed))
		clear(p[:n])
		b.passed -= int64(n)
		b.position += int64(n)
		return n, nil
	}
	if b.position > b.due && b.err == nil {
		b.err = cartFailed(b.cart, gapless.Because(gapless.CauseUnreadable, errors.New("the archive brings more than the files that were ordered")))
	}
	for b.err == nil {
		if b.answer == nil {
			if b.err = b.open(); b.err != nil {
				break
			}
		}
		n, err := b.answer.body.Read(p)
		b.position += int64(n)
		if n > 0 {
			b.vain = 0
		}
		ended := err == io.EOF
		if err == nil || ended && b.position >= b.total {
			return n, err
		}
		b.close()
		switch {
		case b.tag == "" || b.vain > b.api.server.access.Retries || b.ctx.Err() != nil:
			b.err = b.api.server.unreachable(b.ctx, "download cart "+b.cart, err)
		case b.vain > 0:
			b.err = b.api.server.access.sleep(b.ctx, httpx.Backoff(b.vain))
		}
		b.vain++
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// unpacking is an archive and the files that are wanted of it.
type unpacking struct {
	cart    string
	wanted  map[string]transfer.Wanted // by path in the cart; without those that came
	body    *archive
	deliver transfer.Deliver
	stopped error // what deliver returned
}

// rename returns the path that a member of the archive has at the target. The
// folder at the top is the one that was asked for or, in bundles, the cart's id.
func (u *unpacking) rename(member string) (string, error) {
	top, path, _ := strings.Cut(member, "/")
	if top != rootFolder && !strings.HasSuffix(u.cart, "/"+top) {
		return "", gapless.Because(gapless.CauseUnreadable, fmt.Errorf("the archive's member %.300q is not below %q", member, rootFolder))
	}
	if file, ok := u.wanted[path]; ok {
		return file.Path, nil
	}
	return path, nil
}

// take delivers a member. Of a file whose beginning is here, the hash decides
// whether that and the rest are one file.
func (u *unpacking) take(c transfer.Content) error {
	path := wirePath(c.Path)
	w, wanted := u.wanted[path]
	delete(u.wanted, path)
	if wanted && (w.Size < 0 || w.Size == c.Size) {
		u.body.due += c.Size
	}
	if w.Offset >= leastPass && w.Offset <= c.Size && w.Hash != "" && u.body.pass(w.Offset) {
		if _, err := io.CopyN(io.Discard, c.Body, w.Offset); err != nil {
			return err
		}
		c.Offset = w.Offset
	}
	u.stopped = u.deliver(c)
	return u.stopped
}

const (
	// leastPass is how much of a file has to be here for a new request to be
	// cheaper.
	leastPass = 1 << 20
	// An archive may have this much, in all and for each file, beside the
	// contents of the files: headers, folders, padding, or a file that nobody
	// asked for.
	surplus       = 64 << 20
	surplusOfFile = 64 << 10
	// probeSize is how much is asked for at first if more may not be wanted.
	probeSize = 64 << 10
)

// complete returns an error if a file did not come.
func (u *unpacking) complete() error {
	if len(u.wanted) == 0 {
		return nil
	}
	first := ""
	for path := range u.wanted {
		if first == "" || path < first {
			first = path
		}
	}
	return cartFailed(u.cart, gapless.Recoverable(fmt.Errorf("the archive lacks %d of the files, among them %q", len(u.wanted), u.wanted[first].Path)))
}
