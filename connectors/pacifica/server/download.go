package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// download sends the archive of a cart, or a range of it.
func (c *exchange) download(k key) error {
	p, err := c.s.carts.pin(k)
	switch {
	case errors.Is(err, errNotReady):
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		c.w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(c.w, err.Error()) // the client is gone
		return nil
	case err != nil:
		return errNoCart()
	}
	var delivered bool
	defer func() {
		if err := c.s.carts.unpin(p.cart, delivered); err != nil {
			c.s.opts.Logger.WarnContext(c.r.Context(), "the use of a cart could not be noted", "cart", k.uid, "error", err)
		}
	}()
	name, root, err := names(c.r.URL.RawQuery, p.label)
	if err != nil {
		return err
	}
	a, err := c.s.carts.layout(p, root)
	switch {
	case errors.Is(err, gapless.ErrNotFound):
		return errNoCart()
	case err != nil:
		return err
	}
	delivered, err = c.send(a, name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errGone) {
		c.s.opts.Logger.WarnContext(c.r.Context(), "a download was broken off", "cart", k.uid, "error", err)
		if c.s.carts.again(p.cart) {
			c.s.begin(p.cart)
		}
	}
	c.abort()
	return nil
}

// names returns what an archive is called and its top folder, "" for none.
func names(rawQuery string, l label) (name, root string, err error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil || len(query["filename"]) > 1 {
		return "", "", refuse(http.StatusBadRequest, "the query cannot be read, or has more than one filename")
	}
	name = "data_" + l.Ordered.Format("2006_01_02_15_04_05") + ".tar"
	if query.Has("filename") {
		name = query.Get("filename")
	}
	if l.Bundle {
		return name, l.UID, nil
	}
	root = tidy(strings.ReplaceAll(name, ".tar", ""))
	if root == "" {
		return name, "", nil
	}
	if err := transfer.CheckPath(root); err != nil {
		return "", "", refuse(http.StatusBadRequest, "filename cannot be a folder: %v", err)
	}
	return name, root, nil
}

// errGone says that the client has left, or the server is being stopped: the
// cart has no part in it.
var errGone = errors.New("the download was given up")

// send sends an archive as the request asks for. It returns errGone, or what
// has become of a file.
func (c *exchange) send(a *archive, name string) (delivered bool, err error) {
	header := c.w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", disposition(name))
	header.Set("ETag", a.etag)
	if strings.Contains(c.r.Header.Get("Range"), ",") {
		c.r.Header.Del("Range") // several ranges are answered with all, as a server may
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	defer context.AfterFunc(c.s.running, cancel)()
	body := newReader(ctx, c.s.opts.Files, a)
	out := &outlet{ResponseWriter: c.w, ctx: ctx, buffers: &c.s.buffers}
	http.ServeContent(out, c.r, "", time.Time{}, body)
	body.close()
	if ctx.Err() != nil || out.err != nil {
		return false, errGone
	}
	return body.offset == a.size(), body.failure()
}

// disposition returns the header that names a file to be saved.
func disposition(name string) string {
	if d := mime.FormatMediaType("attachment", map[string]string{"filename": name}); d != "" {
		return d
	}
	return "attachment"
}
