package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/event"
	"github.com/gapless-sync/gapless/transfer"
)

// Variables with what must not be on a command line.
const (
	passwordVariable = "GAPLESS_PASSWORD"
	tokenVariable    = "GAPLESS_TOKEN"
)

// fileList is what a download is for, and who brings it.
type fileList struct {
	// name of the event, transaction or list, for messages.
	name     string
	files    iter.Seq2[transfer.File, error]
	supplier transfer.Supplier
	group    int
	closers  []io.Closer
}

func (l *fileList) close() (err error) {
	for _, c := range l.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

// openList opens the list that the command line names. It is to be closed
// unless there is an error; it has its name even then.
func (w *world) openList(ctx context.Context, o *downloadOptions, notify func(pacifica.Notice)) (l *fileList, err error) {
	l = &fileList{group: 1}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	access, err := w.access(o)
	if err != nil {
		return l, err
	}
	if o.manifest != "" {
		return l, w.openManifest(ctx, o, access, l)
	}
	carts, err := pacifica.NewCartAPI(pacifica.CartOptions{URL: o.cart, Access: access, Notify: notify})
	if err != nil {
		return l, err
	}
	l.closers = append(l.closers, carts)
	l.supplier, l.group = &pacifica.Carts{API: carts, Wait: o.timeout, Keep: o.keepCart}, o.cartSize
	if o.event != "" {
		return l, w.readEvents(ctx, o, l)
	}
	l.name = fmt.Sprintf("transaction %d", o.transaction)
	policy, err := pacifica.NewPolicy(o.policy, access)
	if err != nil {
		return l, err
	}
	l.closers = append(l.closers, policy)
	doc, err := policy.Transaction(ctx, o.transaction)
	l.files = pacifica.FilesOfTransaction(doc)
	return l, err
}

// readEvents reads one event or a list of events.
func (w *world) readEvents(ctx context.Context, o *downloadOptions, l *fileList) error {
	in, err := w.openInput(ctx, o, o.event, l)
	if err != nil {
		return err
	}
	doc, err := io.ReadAll(io.LimitReader(in, event.MaxSize+1))
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	var events []event.Event
	if bytes.HasPrefix(bytes.TrimSpace(doc), []byte("[")) {
		events, err = event.DecodeBatch(doc)
	} else {
		events = make([]event.Event, 1)
		events[0], err = event.Decode(doc)
	}
	if err != nil {
		return gapless.Errorf(gapless.CodeFileList, "", "%w", err)
	}
	if len(events) == 0 {
		return gapless.Errorf(gapless.CodeFileList, "", "there are no events in it")
	}
	l.files = func(yield func(transfer.File, error) bool) {
		for _, e := range events {
			for f, err := range pacifica.FilesOfEvent(e) {
				if !yield(f, err) || err != nil {
					return
				}
			}
		}
	}
	return nil
}

func (w *world) openManifest(ctx context.Context, o *downloadOptions, access pacifica.Access, l *fileList) error {
	in, err := w.openInput(ctx, o, o.manifest, l)
	if err != nil {
		return err
	}
	var base *url.URL
	if o.base != "" {
		if base, err = url.Parse(o.base); err != nil {
			return usage("--base is no URL")
		}
		if base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
			return usage("--base is not of the form https://host/folder/")
		}
		base = base.JoinPath("/")
	}
	web, err := newWeb(base, access, o.streams)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, web)
	l.files, l.supplier = transfer.ReadList(in, base), web
	return nil
}

// openInput opens a file, or standard input for -. What waits for it, such as a
// pipe that nothing comes through, ends with ctx.
func (w *world) openInput(ctx context.Context, o *downloadOptions, path string, l *fileList) (io.Reader, error) {
	l.name = "standard input"
	source := o.in
	if path != "-" {
		l.name = path
		file, err := os.Open(w.abs(path))
		if err != nil {
			return nil, usage("open the list: %w", err)
		}
		l.closers = append(l.closers, file)
		source = file
	}
	out, in := io.Pipe()
	l.closers = append(l.closers, out)
	release := context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer release()
		_, err := io.Copy(in, source)
		_ = in.CloseWithError(err)
	}()
	return out, nil
}

// access returns the credentials that the command line, its files and the
// environment give.
func (w *world) access(o *downloadOptions) (a pacifica.Access, err error) {
	a.Timeout, a.Login = o.idle, o.login
	if a.Header, err = w.headers(o.headerFile); err != nil {
		return a, err
	}
	token, password := "", ""
	switch {
	case o.tokenFile != "":
		token, err = w.secret("--token-file", o.tokenFile)
	case o.login == "" && a.Header.Get("Authorization") == "":
		token, _ = w.lookup(tokenVariable)
	}
	if err != nil {
		return a, err
	}
	switch {
	case o.passwordFile != "":
		password, err = w.secret("--password-file", o.passwordFile)
	case o.login != "":
		var set bool
		if password, set = w.lookup(passwordVariable); !set {
			err = usage("there is no password for --user %s", o.login).
				WithHint("give it by --password-file or $%s; the login in ~/.netrc is taken without --user", passwordVariable)
		}
	}
	if err != nil {
		return a, err
	}
	a.Token, a.Password = gapless.Secret(token), gapless.Secret(password)
	a.TLS, err = pacifica.TLSFiles(w.absIf(o.ca), w.absIf(o.certificate), w.absIf(o.keyFile))
	return a, err
}

// absIf is abs, but leaves no path as it is.
func (w *world) absIf(path string) string {
	if path == "" {
		return ""
	}
	return w.abs(path)
}

// secret reads a file that holds nothing but a secret.
func (w *world) secret(flag, path string) (string, error) {
	text, err := os.ReadFile(w.abs(path))
	if err != nil {
		return "", usage("%s: %w", flag, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", usage("%s: %s is empty", flag, path)
	}
	return secret, nil
}

// headers reads a file of header lines. Errors do not repeat them.
func (w *world) headers(path string) (http.Header, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(w.abs(path))
	if err != nil {
		return nil, usage("--header-file: %w", err)
	}
	text = append(bytes.TrimSpace(text), "\r\n\r\n"...)
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(text))).ReadMIMEHeader()
	if err != nil || len(header) == 0 {
		return nil, usage("--header-file: %s does not have lines such as X-Key: abc", path)
	}
	return http.Header(header), nil
}
