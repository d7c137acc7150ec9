package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// idDigits is how much of the store's id is in the id of an import.
const idDigits = 8

// importID is made of the serial of the import's last change, so that nothing
// else has to be remembered of it.
func (s *Server) importID(serial uint64) string {
	return strconv.FormatUint(serial, 10) + "-" + s.hub[:idDigits]
}

func (s *Server) importSerial(id string) (serial uint64, ok bool) {
	number, hub, found := strings.Cut(id, "-")
	serial, err := strconv.ParseUint(number, 10, 64)
	return serial, found && err == nil && serial > 0 && hub == s.hub[:idDigits] && id == s.importID(serial)
}

// imports takes an import. It is durable when this answers with its id: the
// original framework takes an import for complete when it cannot ask for it.
func (s *Server) imports(c *exchange) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	e, problems, err := decodeEnvelope(body, s.schemas.current())
	if err != nil {
		return err
	}
	if problems.count > 0 {
		return s.failImport(c, e, problems)
	}
	src, err := s.source(c.r.Context(), e.source, true)
	if err != nil {
		return err
	}
	serial, err := s.change(c.r.Context(), src, func(doc *document, _ bool, w *writing) (*document, error) {
		if err := doc.describe(e.about); err != nil {
			return nil, err
		}
		for _, r := range e.rows {
			if err := src.take(c.r.Context(), w, doc, r); err != nil {
				return nil, err
			}
		}
		return doc, nil
	})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, importReply(s.importID(serial)))
}

func importReply(id string) map[string]string {
	return map[string]string{"id": id, "job_id": id, "status": statusRunning}
}

// failImport records an import of which nothing is taken. The full import that
// it belongs to cannot end: what it lacks would be retired.
func (s *Server) failImport(c *exchange, e *envelope, problems *rowProblems) error {
	ctx := c.r.Context()
	j := s.newJob(job{
		Kind: jobImport, Source: e.source, Status: statusError, StatusCode: http.StatusUnprocessableEntity,
		Error: problems.message(), Rows: problems.first,
	})
	src, err := s.source(ctx, e.source, false)
	if err != nil {
		return err
	}
	if src != nil {
		_, err := src.alter(ctx, s.opts.Now(), func(doc *document, exists bool, _ *writing) (*document, error) {
			if !exists || !doc.state.Full {
				return nil, nil //nolint:nilnil // nothing to note
			}
			doc.state.Failed = j.ID
			return doc, nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.save(ctx, j, true); err != nil {
		return err
	}
	return c.reply(http.StatusOK, importReply(j.ID))
}

// take puts the rows of an import into a commit.
func (src *source) take(ctx context.Context, w *writing, doc *document, r *rows) error {
	switch {
	case r.edge && r.special:
		return src.takeEdges(ctx, w, r)
	case !r.edge && (r.special || slices.Contains(doc.state.Tagged, r.collection)):
		return src.takeTagged(ctx, w, doc, r)
	}
	b := r.batch
	version, modified := appendText(b, w.version), w.at.UnixNano()
	for i := range b.Rows {
		b.Rows[i].Version, b.Rows[i].Modified = version, modified
	}
	w.batches = append(w.batches, b)
	return nil
}

// takeEdges takes edges some of which are inactive: those are retired.
func (src *source) takeEdges(ctx context.Context, w *writing, r *rows) error {
	sent := map[string][]byte{} // what this import has of each; nil if retired
	for i := range r.batch.Rows {
		key, data := string(r.batch.Key(i)), r.batch.Data(i)
		if lastField(data, "active").Type != gjson.False {
			sent[key] = data
			w.upsert(r.collection, key, data)
			continue
		}
		old, known := sent[key]
		if !known {
			record, err := src.corpus.Get(ctx, r.collection, key)
			if err != nil && !errors.Is(err, gapless.ErrNotFound) {
				return err
			}
			old = record.Data
		}
		if old != nil {
			w.retire(r.collection, key, old, reasonInactive)
		}
		sent[key] = nil
	}
	return nil
}

// lastField returns a top-level field as most readers see it.
func lastField(object []byte, name string) (value gjson.Result) {
	gjson.ParseBytes(object).ForEach(func(key, v gjson.Result) bool {
		if key.Str == name {
			value = v
		}
		return true
	})
	return value
}

// takeTagged takes vertices of a collection that has tags: those of a row stay
// when it is sent again.
func (src *source) takeTagged(ctx context.Context, w *writing, doc *document, r *rows) error {
	sent := map[string][]string{}
	for i := range r.batch.Rows {
		key, data := string(r.batch.Key(i)), r.batch.Data(i)
		row := gjson.ParseBytes(data)
		tags, known := sent[key]
		own := row.Get("tags")
		if list, ok := texts(own); ok {
			tags, known = list, true
		} else if own.Exists() && own.Type != gjson.Null { // a property of the client's own
			sent[key] = nil
			w.upsert(r.collection, key, data)
			continue
		}
		if !known {
			record, err := src.corpus.Get(ctx, r.collection, key)
			if err != nil && !errors.Is(err, gapless.ErrNotFound) {
				return err
			}
			tags, _ = texts(gjson.GetBytes(record.Data, "tags"))
		}
		add, _ := texts(row.Get("tag"))
		remove, _ := texts(row.Get("untag"))
		tags = retag(tags, add, remove)
		sent[key] = tags
		if data = withTags(row, tags); len(data) > maxRowBytes {
			return malformed("%s %s would have %d bytes with its tags, more than %d", r.collection, clip(key), len(data), maxRowBytes)
		}
		w.upsert(r.collection, key, data)
	}
	if !slices.Contains(doc.state.Tagged, r.collection) {
		doc.state.Tagged = append(slices.Clone(doc.state.Tagged), r.collection)
	}
	return nil
}

func retag(tags, add, remove []string) []string {
	kept := []string{}
	for _, tag := range slices.Concat(tags, add) {
		if !slices.Contains(kept, tag) && !slices.Contains(remove, tag) {
			kept = append(kept, tag)
		}
	}
	return kept
}

// withTags returns a row whose tags are these.
func withTags(row gjson.Result, tags []string) []byte {
	dst := []byte{'{'}
	row.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "tag", "untag", "tags":
		default:
			dst = append(append(append(append(dst, key.Raw...), ':'), value.Raw...), ',')
		}
		return true
	})
	if len(tags) > 0 {
		return append(append(append(dst, `"tags":`...), encode(tags)...), '}')
	}
	if last := len(dst) - 1; dst[last] == ',' {
		dst = dst[:last]
	}
	return append(dst, '}')
}

// importEntry is one import in a reply.
type importEntry struct {
	ID         string       `json:"id"`
	Status     string       `json:"status,omitempty"`
	Error      string       `json:"error,omitempty"`
	StatusCode int          `json:"statusCode,omitempty"`
	Rows       []rowProblem `json:"rows,omitempty"`
}

// importIDs returns the ids of a question. Clients encode the commas between
// them; no id has one.
func importIDs(query string) (ids []string) {
	for _, raw := range rawValues(query, "ids") {
		text, err := url.QueryUnescape(raw)
		if err != nil {
			text = raw
		}
		for id := range strings.SplitSeq(text, ",") {
			if id != "" {
				ids = append(ids, strings.ToValidUTF8(id, "\ufffd"))
			}
		}
	}
	return ids
}

// importsStatus says of every import that it was asked for what became of it.
// Nothing but the word of this reply may let a client go on, so it always is
// one: what cannot be told is incomplete.
func (s *Server) importsStatus(c *exchange) error {
	ids := importIDs(c.r.URL.RawQuery)
	if len(ids) == 0 {
		return malformed("parameter ids is missing")
	}
	lists := map[string][]importEntry{"complete_imports": {}, "incomplete_imports": {}, "notfound_imports": {}, "error_imports": {}}
	for _, id := range ids {
		entry := s.standing(c.r.Context(), id)
		name := map[string]string{statusComplete: "complete_imports", statusRunning: "incomplete_imports", statusError: "error_imports"}[entry.Status]
		lists[name] = append(lists[name], entry)
	}
	return c.reply(http.StatusOK, lists)
}

// standing returns what became of an import.
func (s *Server) standing(ctx context.Context, id string) importEntry {
	err := gapless.ErrNotFound
	if serial, ok := s.importSerial(id); ok {
		err = s.durable(ctx, serial)
	} else if isJobID(id) {
		var j *job
		if j, err = s.job(ctx, id); err == nil {
			return importEntry{ID: id, Status: j.Status, Error: j.Error, StatusCode: j.StatusCode, Rows: j.Rows}
		}
	}
	switch {
	case err == nil:
		return importEntry{ID: id, Status: statusComplete}
	case errors.Is(err, gapless.ErrNotFound):
		return importEntry{ID: id, Status: statusError, Error: "this import is not known here, or a crash took it back: send it again", StatusCode: http.StatusInternalServerError}
	}
	s.opts.Logger.WarnContext(ctx, "a car import cannot be made durable", "import", id, "error", err)
	return importEntry{ID: id, Status: statusRunning}
}

// durable returns once the change of a serial is; a lost one is
// [gapless.ErrNotFound].
func (s *Server) durable(ctx context.Context, serial uint64) error {
	for range 2 {
		if synced, err := s.opts.Store.Synced(ctx, serial); err != nil || synced {
			return err
		}
		if err := s.syncFacts(ctx); err != nil {
			return err
		}
	}
	return gapless.Recoverable(fmt.Errorf("serial %d is not durable after a sync", serial))
}

func (s *Server) importStatus(c *exchange) error {
	entry := s.standing(c.r.Context(), c.path[1])
	if entry.StatusCode == http.StatusInternalServerError {
		return notFound("there is no import %q", clip(c.path[1]))
	}
	return c.reply(http.StatusOK, entry)
}

// wait waits for something that may take long, but not for ever.
func (s *Server) wait(ctx context.Context, done <-chan struct{}) {
	timeout := time.NewTimer(s.opts.Poll)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	case <-s.closing:
	case <-ctx.Done():
	}
}
