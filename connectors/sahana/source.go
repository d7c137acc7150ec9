package sahana

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// The ways to read an Eden.
const (
	// viaREST asks for pages.
	viaREST = "rest"
	// viaSync asks as a peer does, for everything at once.
	viaSync = "sync"
	// viaSync2010 does so as was usual in 2010.
	viaSync2010 = "sync-2010"
)

// source reads the tables of an Eden.
type source struct {
	client  *client
	tables  []string
	filters map[string]query
	via     string
	// repository is the uuid by which the Eden knows us.
	repository string
	pageRows   int
	overlap    time.Duration
	files      bool
	recent     recent
}

var (
	_ gapless.Source          = (*source)(nil)
	_ gapless.Positioner      = (*source)(nil)
	_ gapless.PositionChecker = (*source)(nil)
	_ gapless.ChangeReader    = (*source)(nil)
	_ gapless.KeyReader       = (*source)(nil)
	_ gapless.Fetcher         = (*source)(nil)
	_ gapless.Resumer         = (*source)(nil)
	_ gapless.Closer          = (*source)(nil)
)

// Content implements [gapless.Contenter].
func (s *source) Content(_ string, data []byte) ([]byte, error) { return s3.Content(data) }

// Describe implements [gapless.Source].
func (s *source) Describe(ctx context.Context) (gapless.Description, error) {
	if _, err := s.now(ctx, s.tables[0]); err != nil {
		return gapless.Description{}, err
	}
	schema := []string{"sahana", s.client.base, strconv.FormatBool(s.files)}
	if s.client.kin.Load() {
		schema = append(schema, "with components")
	}
	for _, table := range s.tables {
		if f := s.filters[table]; len(f) > 0 {
			schema = append(schema, table+"?"+f.String())
		}
	}
	return gapless.Description{Model: gapless.ModelModified, Collections: s.tables, Schema: strings.Join(schema, " ")}, nil
}

// now returns the time at the Eden.
func (s *source) now(ctx context.Context, table string) (time.Time, error) {
	path := s.document(table, "9000-01-01T00:00:00")
	if s.via != viaSync2010 {
		p, err := tablePath(table)
		if err != nil {
			return time.Time{}, gapless.Misconfigured(err)
		}
		path = p + ".xml?" + s.client.plainly(query{"limit=1"}).String()
	}
	return s.client.clock(ctx, &call{what: "read " + table, method: http.MethodGet, path: path})
}

// Position implements [gapless.Positioner]: the time at the Eden, in whole
// seconds and in UTC, less the overlap. It does not come from any record, so
// that one dated in the future changes nothing.
func (s *source) Position(ctx context.Context, p gapless.Partition) (gapless.Position, error) {
	now, err := s.now(ctx, p.Collection)
	if err != nil {
		return "", err
	}
	at := positionOf(now.Add(-s.overlap), time.Now())
	s.recent.issue(p.ID, at)
	return at, nil
}

// positionOf returns the position of a time at the Eden, with a mark of when it
// was asked for: two questions within a second are not the same place.
func positionOf(at, asked time.Time) gapless.Position {
	return gapless.Position(s3.FormatTime(at, s3.TimeNaive) + "." + strconv.FormatInt(asked.UnixNano(), 36))
}

// timeOf returns the time of a position, as an Eden wants it.
func timeOf(p gapless.Position) (string, error) {
	at, _, _ := strings.Cut(string(p), ".")
	if _, form, err := s3.ParseMSince(at); err != nil || form != s3.TimeNaive {
		return "", gapless.Expired(fmt.Errorf("position %q is no time of an Eden", clip(string(p))))
	}
	return at, nil
}

// CheckPosition implements [gapless.PositionChecker].
func (s *source) CheckPosition(_ context.Context, _ gapless.Partition, from gapless.Position) error {
	_, err := timeOf(from)
	return err
}

// CanResume implements [gapless.Resumer].
func (s *source) CanResume(_ context.Context, _ gapless.Partition, after gapless.Mark, _ gapless.Position) (bool, error) {
	_, err := s.number(after)
	return err == nil, nil
}

// number returns the Eden's number of the record of a mark.
func (s *source) number(mark gapless.Mark) (int64, error) {
	if mark == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(mark), 10, 64)
	if err != nil || n < 0 || s.via != viaREST {
		return 0, gapless.Expired(fmt.Errorf("mark %q is not one of pages", clip(string(mark))))
	}
	return n, nil
}

// ReadAll implements [gapless.Source]. Pages end with a mark.
func (s *source) ReadAll(ctx context.Context, p gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	last, err := s.number(after)
	if err != nil {
		return err
	}
	seen, err := s.recent.begin(p.ID)
	if err != nil {
		return err
	}
	take := func(r *exported) error {
		if r.Deleted {
			return nil
		}
		if !s.client.kin.Load() && !isBehind(r.ModifiedOn, seen.Position) {
			return s.emit(r, nil, nil, out)
		}
		return s.emit(r, nil, seen, out)
	}
	if s.via != viaREST {
		err = s.client.stream(ctx, p.Collection, s.document(p.Collection, ""), func(r exported) error { return take(&r) })
	} else {
		err = s.client.pages(ctx, p.Collection, last, s.pageRows, s.filters[p.Collection], func(e *export, last int64) error {
			for i := range e.records {
				if err := take(&e.records[i]); err != nil {
					return err
				}
			}
			return out.Mark(gapless.Mark(strconv.FormatInt(last, 10)))
		})
	}
	if err != nil {
		return err
	}
	return s.recent.save(p.ID, seen)
}

// ReadChanges implements [gapless.ChangeReader]: whatever is dated at or after
// from, tombstones among it, which records of the future are every time. Each
// record is emitted once, since pages are ordered by number, and not if the last
// run has emitted just the same.
func (s *source) ReadChanges(ctx context.Context, p gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	since, err := timeOf(from)
	if err != nil {
		return err
	}
	if until, err := timeOf(to); err != nil || since > until {
		return gapless.Expired(fmt.Errorf("the clock of the Eden has been set back: it was past %s and is at %s", from, to))
	}
	known, seen := s.recent.load(p.ID, from), &overlapped{Position: to, Versions: map[string]string{}}
	if s.via != viaREST {
		err = s.client.stream(ctx, p.Collection, s.document(p.Collection, since), func(r exported) error { return s.emit(&r, known, seen, out) })
	} else {
		err = s.pagesSince(ctx, p, since, func(r *exported) error { return s.emit(r, known, seen, out) })
	}
	if err != nil || from == to {
		return err // a checkpoint at to would not prove that what was seen has arrived
	}
	return s.recent.save(p.ID, seen)
}

// pagesSince reads what is dated, or has arrived at the service of Gapless, at
// or after a time.
func (s *source) pagesSince(ctx context.Context, p gapless.Partition, since string, take func(*exported) error) error {
	filter := append(query{}.add("~.modified_on__ge", since+"Z"), "include_deleted=True")
	if s.client.kin.Load() {
		filter = query{"msince=" + since} // whatever its own time
	}
	return s.client.pages(ctx, p.Collection, 0, s.pageRows, append(filter, s.filters[p.Collection]...), func(e *export, _ int64) error {
		for i := range e.records {
			if err := take(&e.records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadKeys implements [gapless.KeyReader]. It reads the records themselves,
// though nothing but their keys and versions is handed on: their times alone do
// not change with each change of the content, and a version has to.
func (s *source) ReadKeys(ctx context.Context, p gapless.Partition, out *gapless.Output) error {
	take := func(r *exported) error {
		if r.Deleted {
			return nil
		}
		c, err := s.change(r)
		if err != nil {
			return out.Reject(gapless.Rejection{Key: r.UUID, Origin: r.Name, Err: err})
		}
		return out.Key(c.Key, c.Version)
	}
	if s.via != viaREST {
		return s.client.stream(ctx, p.Collection, s.document(p.Collection, ""), func(r exported) error { return take(&r) })
	}
	return s.client.pages(ctx, p.Collection, 0, s.pageRows, s.filters[p.Collection], func(e *export, _ int64) error {
		for i := range e.records {
			if err := take(&e.records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Fetch implements [gapless.Fetcher], by lists of uuids. Those that are missing
// are asked for twice before they count as deleted.
func (s *source) Fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) error {
	missing, err := s.fetch(ctx, p, keys, out)
	if err == nil && len(missing) > 0 {
		missing, err = s.fetch(ctx, p, missing, out)
	}
	for _, key := range missing {
		if err == nil {
			err = out.Delete(key)
		}
	}
	return err
}

// fetch emits the records of keys and returns the keys that have none, each
// once.
func (s *source) fetch(ctx context.Context, p gapless.Partition, keys []string, out *gapless.Output) (missing []string, err error) {
	err = lists(keys, func(part []string, filter query) error {
		e, err := s.client.page(ctx, p.Collection, s.client.plainly(append(filter, s.filters[p.Collection]...)))
		if err != nil {
			return err
		}
		wanted := make(map[string]bool, len(part))
		for _, key := range part {
			wanted[key] = true
		}
		for i := range e.records {
			r := &e.records[i]
			if r.UUID == "" {
				return gapless.Because(gapless.CauseUnreadable, fmt.Errorf("read single records of %s: one has no uuid: %w", p.Collection, r.err))
			}
			if !wanted[r.UUID] || r.Deleted {
				continue
			}
			delete(wanted, r.UUID)
			if err := s.emit(r, nil, nil, out); err != nil {
				return err
			}
		}
		for _, key := range part {
			if wanted[key] {
				delete(wanted, key)
				missing = append(missing, key)
			}
		}
		return nil
	})
	return missing, err
}

// document returns the address of an answer that has everything of a table, or
// what is dated at or after a time.
func (s *source) document(table, since string) string {
	if s.via == viaSync2010 {
		path, err := tablePath(table)
		if err != nil {
			path = escape(table) // the Eden refuses it
		}
		q := query{}.add("sync_partner_uuid", s.repository)
		if since != "" {
			q = q.add("msince", since+"Z")
		}
		return "sync/sync/" + path + ".xml?" + q.String()
	}
	q := query{}.add("resource", table)
	if !s.client.kin.Load() { // which takes questions for those of an Eden then, and sends more
		q = q.add("repository", s.repository)
	}
	if since != "" {
		q = append(q, "msince="+since) // in exactly this form: any other is ignored
	}
	if s.client.kin.Load() {
		q = append(q, "nulls=true")
	} else {
		q = append(q, "mcomponents=None", "include_deleted=True")
	}
	for _, f := range s.filters[table] {
		q = append(q, "%5B~%5D"+f)
	}
	return "sync/sync.xml?" + q.String()
}

// change returns what a record says, without what stands for the transport and,
// of an Eden, without components, which are records of tables of their own.
func (s *source) change(r *exported) (gapless.Change, error) {
	if r.err != nil {
		return gapless.Change{}, r.err
	}
	bare := r.Resource
	bare.ID, bare.URL = "", ""
	if !s.client.kin.Load() {
		bare.Components = nil
	}
	return bare.Change()
}

// emit hands over one record, unless it is known, and adds it to those that are
// seen; both may be nil.
func (s *source) emit(r *exported, known, seen *overlapped, out *gapless.Output) error {
	c, err := s.change(r)
	if err != nil {
		return out.Reject(gapless.Rejection{Key: r.UUID, Origin: r.Name, Raw: c.Data, Err: err})
	}
	if seen != nil {
		seen.note(&c)
	}
	if known != nil && known.has(&c) {
		return nil
	}
	if s.files && c.Op == gapless.OpUpsert {
		for i := range r.Fields {
			if f := &r.Fields[i]; f.Upload() == s3.UploadURL {
				c.Parts = append(c.Parts, s.part(f))
			}
		}
	}
	return out.Change(c)
}

// part returns an uploaded file. Its stored name is new with each upload.
func (s *source) part(f *s3.Field) gapless.Part {
	stored, ok := storedName(f.URL)
	return gapless.Part{Name: f.Name, Size: -1, Version: stored, Open: func(ctx context.Context) (io.ReadCloser, error) {
		if !ok {
			return nil, fmt.Errorf("the file of field %s is not among those of this Eden", f.Name)
		}
		return s.client.file(ctx, stored)
	}}
}

// Close implements [gapless.Closer].
func (s *source) Close() error { return s.client.Close() }

// parseFilters reads the filters of tables, which are queries as an address of
// the Eden would have them.
func parseFilters(filters map[string]string, tables []string) (map[string]query, error) {
	parsed := map[string]query{}
	for table, text := range filters {
		if !slices.Contains(tables, table) {
			return nil, fmt.Errorf("has one for %s, which is not among the tables", clip(table))
		}
		for part := range strings.SplitSeq(strings.TrimPrefix(text, "?"), "&") {
			name, value, ok := strings.Cut(part, "=")
			name, err1 := url.QueryUnescape(name)
			value, err2 := url.QueryUnescape(value)
			if err := errors.Join(err1, err2); err != nil || !ok || !strings.Contains(name, ".") {
				return nil, fmt.Errorf("has %q, which is not of the form ~.field__op=value", clip(part))
			}
			parsed[table] = parsed[table].add(name, value)
		}
	}
	return parsed, nil
}
