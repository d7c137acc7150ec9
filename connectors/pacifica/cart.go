package pacifica

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/transfer"
)

// The headers that tell how a cart is.
const (
	headerStatus  = "X-Pacifica-Status"
	headerMessage = "X-Pacifica-Message"
)

const (
	// DefaultWait is how long a cart may take until it is ready.
	DefaultWait = time.Hour
	// noticeAfter is how long a cart may be pending before it is told of, each
	// time anew.
	noticeAfter = 2 * time.Minute
	// patience is how long a server may be away while a cart is waited for.
	patience = time.Minute
	// A cart is asked for first after pollFirst, then less and less often.
	pollFirst = 20 * time.Millisecond
	pollLast  = 5 * time.Second
	// maxOrder bounds the order of one cart in bytes, as servers do.
	maxOrder = 100 << 20
	// maxWirePath bounds a path in an order, in characters: the column that
	// cart servers keep it in.
	maxWirePath = 255
	// rootFolder is asked for as the one folder at the top of an archive.
	rootFolder = "data"
	// cleanUp is how long deleting a cart may take when all else has ended.
	cleanUp = 10 * time.Second
)

// CartOptions are the arguments of [NewCartAPI]. The zero value speaks to the
// cart server that the environment names, or to the one on this machine.
type CartOptions struct {
	// URL below which the carts are. Defaults to CARTD_CART_API_URL, and if that
	// is empty, to the following three.
	URL string
	// Proto, Addr and Port default to CARTD_PROTO, CARTD_ADDR and CARTD_PORT, or
	// to http, 127.0.0.1 and 8081.
	Proto, Addr, Port string
	Access
	// Extra are further members of an order, such as bundle. A server may damage
	// bundles: every file is verified, but some may be missing.
	Extra map[string]any
	// Notify is told what becomes of carts, from several goroutines. May be nil.
	Notify func(Notice)

	newID func() string
}

// address returns the base address.
func (o *CartOptions) address() string {
	getenv := func(name, given, standard string) string { return cmp.Or(given, o.env(name), standard) }
	if address := getenv("CARTD_CART_API_URL", o.URL, ""); address != "" {
		return address
	}
	return fmt.Sprintf("%s://%s:%s", getenv("CARTD_PROTO", o.Proto, "http"), getenv("CARTD_ADDR", o.Addr, "127.0.0.1"), getenv("CARTD_PORT", o.Port, "8081"))
}

// NoticeKind says what became of a cart.
type NoticeKind string

// The kinds of notices.
const (
	// NoticeOrdered: the server took the order.
	NoticeOrdered NoticeKind = "ordered"
	// NoticePending: the cart is still not ready.
	NoticePending NoticeKind = "pending"
	// NoticeReady: the cart can be downloaded.
	NoticeReady NoticeKind = "ready"
	// NoticeGone: the server no longer knows the cart; it is ordered anew.
	NoticeGone NoticeKind = "gone"
	// NoticeSplit: the cart could not be staged, and its halves are ordered.
	NoticeSplit NoticeKind = "split"
	// NoticeLeft: the cart could not be deleted and takes room at the server.
	NoticeLeft NoticeKind = "left"
)

// Notice tells what became of a cart.
type Notice struct {
	Kind NoticeKind
	// Cart is its address.
	Cart string
	// Elapsed since it is waited for.
	Elapsed time.Duration
	// Message of the server, or the reason.
	Message string
}

// CartAPI orders carts at one server. It is safe for concurrent use.
type CartAPI struct {
	server *server
	opts   CartOptions
}

// NewCartAPI returns a client; it connects when it is first used. Its errors are
// [gapless.Misconfigured] and name the option at fault.
func NewCartAPI(opts CartOptions) (*CartAPI, error) {
	if opts.newID == nil {
		opts.newID = newUUID
	}
	s, err := newServer("cart", opts.address(), opts.Access)
	if err != nil {
		return nil, err
	}
	return &CartAPI{server: s, opts: opts}, nil
}

// URL returns the address below which the carts are, without credentials.
func (a *CartAPI) URL() string { return a.server.base.String() }

// Close drops idle connections.
func (a *CartAPI) Close() error {
	a.server.door.close()
	return nil
}

func (a *CartAPI) notify(n Notice) {
	if a.opts.Notify != nil {
		a.opts.Notify(n)
	}
}

// newUUID returns a random UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// SetupCart orders the files in one cart and returns its address. A list that a
// cart server would choke on is refused with [gapless.CodeFileList] before
// anything is sent: an empty one, an id or a path that cannot be staged, one
// path twice. If the order fails, the cart is deleted as far as there is one.
func (a *CartAPI) SetupCart(ctx context.Context, files iter.Seq2[transfer.File, error]) (string, error) {
	body, err := a.order(files)
	if err != nil {
		return "", err
	}
	cart := a.server.base.JoinPath(url.PathEscape(a.opts.newID())).String()
	c := &call{what: "order cart " + cart, method: http.MethodPost, url: cart, body: body, header: http.Header{"Content-Type": {"application/json"}}}
	answer, err := a.server.send(ctx, c)
	if err != nil {
		a.discard(ctx, cart)
		return "", err
	}
	defer answer.Close()
	if answer.StatusCode != http.StatusCreated {
		err := a.server.refuse(c, answer)
		a.discard(ctx, cart)
		return "", err
	}
	a.notify(Notice{Kind: NoticeOrdered, Cart: cart})
	return cart, nil
}

// orderedFile is a file as an order names it.
type orderedFile struct {
	ID        json.RawMessage `json:"id"`
	Path      string          `json:"path"`
	Hash      string          `json:"hashsum"`
	Algorithm string          `json:"hashtype"`
}

// order returns the body of an order.
func (a *CartAPI) order(files iter.Seq2[transfer.File, error]) ([]byte, error) {
	var body bytes.Buffer
	body.WriteString(`{"fileids": [`)
	encode := json.NewEncoder(&body)
	encode.SetEscapeHTML(false)
	paths, count := orderedPaths{}, 0
	for file, err := range files {
		if err != nil {
			return nil, err
		}
		if file, err = checkOrdered(file); err == nil {
			err = paths.add(wirePath(file.Path))
		}
		if err != nil {
			return nil, gapless.Errorf(gapless.CodeFileList, "", "%w", err)
		}
		if count++; count > 1 {
			body.WriteString(", ")
		}
		if err := encode.Encode(orderedFile{wireID(file.Origin), wirePath(file.Path), file.Hash, file.Algorithm}); err != nil {
			return nil, fmt.Errorf("order %q: %w", file.Path, err)
		}
		body.Truncate(body.Len() - 1) // the line feed
		if body.Len() > maxOrder {
			return nil, gapless.Errorf(gapless.CodeFileList, "", "the order of one cart has more than %s; order several", gapless.ByteSize(maxOrder))
		}
	}
	if count == 0 {
		return nil, gapless.Errorf(gapless.CodeFileList, "", "there are no files to order")
	}
	body.WriteByte(']')
	if len(a.opts.Extra) > 0 {
		extra, err := json.Marshal(a.opts.Extra)
		if err != nil {
			return nil, invalidOption("extra", err)
		}
		body.WriteString(", ")
		body.Write(extra[1 : len(extra)-1])
	}
	body.WriteByte('}')
	return body.Bytes(), nil
}

// checkOrdered returns why a file cannot be ordered.
func checkOrdered(file transfer.File) (transfer.File, error) {
	file, err := file.Check()
	switch {
	case err != nil:
		return file, err
	case file.Origin == "":
		return file, fmt.Errorf("%q has no id", file.Path)
	case !utf8.ValidString(file.Origin) || len(file.Origin) > transfer.MaxPath || strings.ContainsFunc(file.Origin, unicode.IsControl):
		return file, fmt.Errorf("%q has the id %q, which no archive has", file.Path, clip(file.Origin))
	}
	return file, nil
}

// orderedPaths holds the paths of an order, true, and their folders, false.
type orderedPaths map[string]bool

func (o orderedPaths) add(path string) error {
	if isFile, known := o[path]; known && isFile {
		return fmt.Errorf("two files have the path %q", path)
	} else if known {
		return fmt.Errorf("%q is a file and a folder", path)
	}
	o[path] = true
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if o[path[:i]] {
			return fmt.Errorf("%q is a file and a folder", path[:i])
		}
		o[path[:i]] = false
	}
	return nil
}

// wirePath returns the path that a file has in its cart: its own, unless that is
// longer than cart servers take.
func wirePath(path string) string {
	if utf8.RuneCountInString(path) <= maxWirePath {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return "long/" + hex.EncodeToString(sum[:])
}

// wireID returns an id as JSON: a number if it is one.
func wireID(id string) json.RawMessage {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil && strconv.FormatInt(n, 10) == id {
		return json.RawMessage(id)
	}
	text, _ := json.Marshal(id) // a string never fails
	return text
}

// stagingError is a cart that the server gave up.
type stagingError struct{ message string }

func (e *stagingError) Error() string {
	return "the server could not stage it: " + cmp.Or(e.message, "it does not say why")
}

// cartFailed gives an error about a cart its code.
func cartFailed(cart string, err error) error {
	return gapless.Errorf(gapless.CodeCart, "cart "+cart, "%w", err)
}

// WaitForCart returns when the cart is ready. wait bounds that by the clock; 0
// is [DefaultWait]. Its errors are [gapless.Expired] if the server no longer
// knows the cart, and [gapless.CodeCart] if it could not be staged or is not
// ready in time.
func (a *CartAPI) WaitForCart(ctx context.Context, cart string, wait time.Duration) error {
	wait = cmp.Or(wait, DefaultWait)
	late := fmt.Errorf("the cart is not ready after %s", wait)
	bounded, cancel := context.WithTimeoutCause(ctx, wait, late)
	defer cancel()
	heard, err := a.poll(bounded, cart)
	if errors.Is(err, late) {
		return cartFailed(cart, gapless.Because(gapless.CauseUnreachable, fmt.Errorf("%w; heard last: %s", late, cmp.Or(heard, "nothing"))))
	}
	return err
}

// poll asks for a cart until it is ready, less and less often. A server that is
// away for less than patience does not lose what it has staged. It returns what
// was heard last.
func (a *CartAPI) poll(ctx context.Context, cart string) (heard string, err error) {
	began, told := time.Now(), time.Duration(0)
	answered := began
	for pause := pollFirst; ; pause = min(pause*3/2, pollLast) {
		status, message, err := a.status(ctx, cart)
		now := time.Now()
		elapsed := now.Sub(began)
		switch {
		case err == nil:
			heard, answered = strings.TrimSpace(status+" "+message), now
		case ctx.Err() == nil && again(err) && now.Sub(answered) < patience:
			heard = err.Error()
		default:
			return heard, err
		}
		if status == "ready" {
			a.notify(Notice{Kind: NoticeReady, Cart: cart, Elapsed: elapsed})
			return heard, nil
		}
		if elapsed-told >= noticeAfter {
			told = elapsed
			a.notify(Notice{Kind: NoticePending, Cart: cart, Elapsed: elapsed, Message: heard})
		}
		if err := a.server.access.sleep(ctx, pause); err != nil {
			return heard, err
		}
	}
}

// status asks how a cart is: pending or ready, or else an error.
func (a *CartAPI) status(ctx context.Context, cart string) (status, message string, err error) {
	c := &call{what: "ask for cart " + cart, method: http.MethodHead, url: cart, takes: func(r *http.Response) bool {
		return r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusInternalServerError && r.Header.Get(headerStatus) != ""
	}}
	answer, err := a.server.send(ctx, c)
	if err != nil {
		return "", "", err
	}
	defer answer.Close()
	status, message = a.server.say(answer.Header.Get(headerStatus)), a.server.say(answer.Header.Get(headerMessage))
	switch {
	case answer.StatusCode == http.StatusNotFound, status == "deleted":
		return "", "", errGone(cart)
	case status == "error":
		return "", "", cartFailed(cart, gapless.Recoverable(&stagingError{message}))
	case answer.StatusCode/100 != 2:
		return "", "", cartFailed(cart, gapless.Recoverable(&stagingError{status + " " + message}))
	}
	switch status {
	case "ready", "staging", "waiting", "bundling":
		return status, message, nil
	case "":
		err = fmt.Errorf("the answer %d has no %s; is this a cart server?", answer.StatusCode, headerStatus)
	default:
		err = fmt.Errorf("unknown status %q", status)
	}
	return "", "", cartFailed(cart, gapless.Because(gapless.CauseUnreadable, err))
}

func errGone(cart string) error {
	return cartFailed(cart, gapless.Expired(errors.New("the server no longer knows it")))
}

// Delete deletes the cart. It is no error if there is none.
func (a *CartAPI) Delete(ctx context.Context, cart string) error {
	answer, err := a.server.send(ctx, &call{what: "delete cart " + cart, method: http.MethodDelete, url: cart, takes: func(r *http.Response) bool {
		return r.StatusCode == http.StatusNotFound
	}})
	if err != nil {
		return err
	}
	return answer.Close()
}

// discard deletes a cart that is of no more use, even if the context has ended,
// and tells of a failure.
func (a *CartAPI) discard(ctx context.Context, cart string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	if err := a.Delete(ctx, cart); err != nil {
		a.notify(Notice{Kind: NoticeLeft, Cart: cart, Message: err.Error()})
	}
}

// messageOf returns the message of an answer: that of a JSON object that has
// one, or the text itself.
func messageOf(body []byte) string {
	var named struct {
		Message *string `json:"message"`
	}
	if json.Unmarshal(body, &named) == nil && named.Message != nil {
		return *named.Message
	}
	return string(body)
}
