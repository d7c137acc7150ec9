package sahana

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/httpx"
)

// tablePath returns where the records of a table stand: org_office is
// org/office.
func tablePath(table string) (string, error) {
	prefix, name, ok := strings.Cut(table, "_")
	plain := func(r rune) bool { return r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }
	if !ok || prefix == "" || name == "" || strings.ContainsFunc(table, func(r rune) bool { return !plain(r) }) {
		return "", fmt.Errorf("%q is no name of a table, such as org_organisation", clip(table))
	}
	return prefix + "/" + name, nil
}

// query is the parameters of a request, in order and escaped.
type query []string

func (q query) add(name, value string) query {
	return append(q, escape(name)+"="+escape(value))
}

func (q query) String() string { return strings.Join(q, "&") }

// escape percent-encodes everything that could mean something in a query.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// plainly asks for the records of one table and for nothing that belongs to
// others: each table is read on its own, because an Eden does not tell of a
// master whose components alone have changed. The service of Gapless does, and
// keeps them with their master.
func (c *client) plainly(q query) query {
	if c.kin.Load() {
		return append(q, "maxdepth=0", "nulls=true", "include_deleted=True")
	}
	return append(q, "mcomponents=none", "maxdepth=0")
}

// export is what an answer holds of the table that was asked for.
type export struct {
	// domain is the name that the Eden puts before uuids of its own.
	domain  string
	records []exported
}

// exported is a record, or what is known of one that cannot be understood.
type exported struct {
	s3.Resource
	err error
}

// decode reads the records of a table from an answer of at most so many bytes.
func decode(a *answer, table string, most int64, take func(exported) error) (domain string, err error) {
	limits := s3.DefaultLimits()
	limits.DocumentBytes = min(limits.DocumentBytes, most)
	decoder := s3.NewDecoder(a, s3.S3XML, s3.DecodeOptions{Limits: limits})
	count := 0
	for r, err := range decoder.Resources() {
		if err != nil && !isRejection(err) {
			return "", err
		}
		if r.Name != table && (err == nil || r.Name != "") {
			continue
		}
		count++
		if err := take(exported{r, err}); err != nil {
			return "", err
		}
	}
	root := decoder.Document()
	if results, err := strconv.Atoi(root.Get("results")); err == nil && results > 0 && count == 0 {
		return "", fmt.Errorf("it has none of the %d records of %s that it announces", results, table)
	}
	return root.Get("domain"), nil
}

func isRejection(err error) bool {
	f, ok := errors.AsType[*gapless.Failure](err)
	return ok && f.Kind == gapless.KindRejected
}

// page reads an answer whole, so that of one that breaks off nothing counts.
func (c *client) page(ctx context.Context, table string, q query) (e export, err error) {
	place, err := tablePath(table)
	if err != nil {
		return e, gapless.Misconfigured(err)
	}
	request := &call{what: "read " + table, method: http.MethodGet, path: place + ".xml?" + q.String()}
	err = c.send(ctx, request, func(a *answer) (err error) {
		e.records = nil
		e.domain, err = decode(a, table, maxAnswer, func(r exported) error {
			e.records = append(e.records, r)
			return nil
		})
		return err
	})
	return e, err
}

// stream hands over the records of an answer that may be large, while it is
// read. That there are none has to be said twice; see pages.
func (c *client) stream(ctx context.Context, table, path string, take func(exported) error) error {
	var failed error // of take, not of the Eden
	count := 0
	request := &call{what: "read " + table, method: http.MethodGet, path: path, once: true}
	read := func(a *answer) error {
		_, err := decode(a, table, math.MaxInt64, func(r exported) error {
			count++
			failed = take(r)
			return failed
		})
		return err
	}
	err := c.send(ctx, request, read)
	if err == nil && count == 0 {
		err = c.send(ctx, request, read)
	}
	return cmp.Or(failed, err)
}

// pages reads a table page after page, ordered by the Eden's numbers of its
// records, behind one of them, until a page is empty: a short one may be due to
// a limit of the Eden. Records keep their order there while others change,
// unlike in what msince gives. Tombstones have no numbers: those at the end of a
// page are counted.
//
// The empty page has to come twice, for what it leaves out counts as deleted or
// unchanged, and an Eden may answer so once whose database is not there.
func (c *client) pages(ctx context.Context, table string, after int64, limit int, filter query, take func(e *export, last int64) error) error {
	trailing, ended := 0, false
	for {
		q := query{}.add("~.id__gt", strconv.FormatInt(after, 10)).add("limit", strconv.Itoa(limit))
		if trailing > 0 {
			q = q.add("start", strconv.Itoa(trailing))
		}
		q = c.plainly(append(append(q, "show_ids=true"), filter...))
		e, err := c.page(ctx, table, q)
		switch {
		case err != nil || len(e.records) == 0 && ended:
			return err
		case len(e.records) == 0:
			ended = true
			continue
		}
		ended = false
		last, behind, err := e.numbered(table, after)
		if err != nil {
			return err
		}
		if err := take(&e, last); err != nil {
			return err
		}
		if last == after {
			behind += trailing
		}
		after, trailing = last, behind
	}
}

// numbered returns the last number of a page behind after, or after itself, and
// how many records stand behind that.
func (e *export) numbered(table string, after int64) (last int64, behind int, err error) {
	last = after
	for i := range e.records {
		r := &e.records[i]
		id, err := strconv.ParseInt(r.ID, 10, 64)
		if err != nil && (r.err != nil || r.Deleted) {
			behind++ // what cannot be read need not have a number
			continue
		}
		if err != nil || id <= last {
			return 0, 0, gapless.Because(gapless.CauseUnreadable, fmt.Errorf(
				"read %s: the Eden does not page by number: behind %d comes %q", table, last, clip(r.ID)))
		}
		last, behind = id, 0
	}
	return last, behind, nil
}

// maxList is about how long the list of uuids in one address may be.
const maxList = 5000

// lists cuts keys into lists of uuids that fit into an address, as the filter
// that asks for them. An Eden puts its name before uuids of its own when it
// exports them; they are asked for both ways.
func lists(keys []string, fn func(part []string, filter query) error) error {
	var b strings.Builder
	from := 0
	for i, key := range keys {
		if !askable(key) {
			return gapless.Because(gapless.CauseInvalidParameter, fmt.Errorf("an Eden cannot be asked for the uuid %s", clip(key)))
		}
		appendValue(&b, key)
		if _, bare, ok := strings.Cut(key, "/"); ok && !strings.HasPrefix(key, "urn:") {
			appendValue(&b, bare)
		}
		if b.Len() < maxList && i < len(keys)-1 {
			continue
		}
		if err := fn(keys[from:i+1], query{"~.uuid__belongs=" + b.String()}); err != nil {
			return err
		}
		b.Reset()
		from = i + 1
	}
	return nil
}

// quotable reports whether a value of a list has to stand in quotes.
func quotable(value string) bool {
	return strings.ContainsAny(value, `,"`) || value == "None" || value == "NONE"
}

// askable reports whether a value can stand in a list: a backslash that comes
// last would take the quote behind it along, and the rest of the list with it.
func askable(value string) bool { return !quotable(value) || !strings.HasSuffix(value, `\`) }

// appendValue appends an element of an escaped list of values, in quotes if it
// needs them.
func appendValue(b *strings.Builder, value string) {
	if b.Len() > 0 {
		b.WriteString(escape(","))
	}
	if quotable(value) {
		value = `"` + strings.ReplaceAll(value, `"`, `\"`) + `"`
	}
	b.WriteString(escape(value))
}

// clock carries out a call that asks for little, checks the answer, and returns
// the time at the Eden.
func (c *client) clock(ctx context.Context, call *call) (now time.Time, err error) {
	err = c.send(ctx, call, func(a *answer) error {
		if now, err = http.ParseTime(a.header.Get("Date")); err != nil {
			return fmt.Errorf("it has no date by which changes could be followed: %w", err)
		}
		for _, err := range s3.NewDecoder(a, s3.S3XML, s3.DecodeOptions{}).Resources() {
			if err != nil && !isRejection(err) {
				return err
			}
		}
		return nil
	})
	return now.UTC(), err
}

// file opens an uploaded file by its stored name. It is always fetched from
// this Eden, whatever address a record gives.
func (c *client) file(ctx context.Context, stored string) (io.ReadCloser, error) {
	request := &call{what: "fetch file " + clip(stored), method: http.MethodGet, path: downloads + url.PathEscape(stored)}
	var a *answer
	err := httpx.Again(ctx, request.what, c.opts.Retries, c.opts.sleep, func() (wait time.Duration, _ bool, err error) {
		a, wait, err = c.begin(ctx, request)
		return wait, again(err), err
	})
	if e, ok := errors.AsType[*refusal](err); ok && (e.status == http.StatusForbidden || e.status == http.StatusNotFound) {
		return nil, e // this record alone
	}
	if err != nil {
		return nil, err
	}
	if err := checkFile(a, stored); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", request.what, err), a.Close())
	}
	return &bounded{a, maxFile}, nil
}

// checkFile says why an answer is not the file that was asked for, or is too
// large, which rejects the record alone.
func checkFile(a *answer, stored string) error {
	length, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64)
	if err == nil && length > maxFile {
		return errTooLarge
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")) // of a type that cannot be read, the file may be
	if kind == "text/html" && !strings.Contains(strings.ToLower(stored), ".htm") {
		return errors.New("the Eden answers with a page, not with the file")
	}
	return nil
}

var errTooLarge = fmt.Errorf("the file has more than %s", gapless.ByteSize(maxFile))

const (
	// downloads is where an Eden serves uploaded files.
	downloads = "default/download/"
	// maxFile bounds one of them.
	maxFile = 4 << 30
)

// storedName returns the name under which an Eden has the file of an address,
// false if the address is not one of files that were uploaded.
func storedName(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	_, stored, ok := strings.Cut(u.Path, "/"+downloads)
	return stored, ok && stored != "" && stored != "." && stored != ".." && !strings.ContainsAny(stored, "/\\")
}

// bounded is a file that is not read beyond a limit, and whose end is not
// mistaken for a broken connection.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		return 0, errTooLarge
	case errors.Is(err, errBroken):
		err = gapless.Because(gapless.CauseUnreachable, fmt.Errorf("read a file: %w", err))
	}
	return n, err
}
