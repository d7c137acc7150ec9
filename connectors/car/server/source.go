package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/wire"
)

// maxSourceName bounds the name of a source, in bytes.
const maxSourceName = 256

// source is one source of rows. Whoever changes it has its turn.
type source struct {
	name   string
	corpus Corpus
	turn   chan struct{}
	syncs  syncer
	doc    *document // as it was committed last; nil until it is read
	last   time.Time // of the latest commit that retired rows
	ending string    // the job that ends a full import, or is about to
}

// checkSourceName refuses names that clients cannot put into a path in one
// way. These are those that the original documents.
func checkSourceName(name string) error {
	if name == "" || len(name) > maxSourceName {
		return malformed("the name of a source has 1 to %d bytes, not %d", maxSourceName, len(name))
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_:@=;!'%-.()+,$*", r) {
			return malformed("the name of a source has letters, digits and _:@=;!'%%-.()+,$* but %q has %q", clip(name), r)
		}
	}
	return nil
}

// source returns a source; without create one that there is not is nil.
func (s *Server) source(ctx context.Context, name string, create bool) (*source, error) {
	if err := checkSourceName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.sources[name]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	corpus, err := s.opts.Store.Open(ctx, name, create)
	if errors.Is(err, gapless.ErrNotFound) && !create {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known = s.sources[name]; known == nil {
		known = &source{name: name, corpus: corpus, turn: make(chan struct{}, 1)}
		s.sources[name] = known
	}
	return known, nil
}

// begin waits for the source's turn and reads its document; end follows.
// exists is false for a source that nobody has sent anything of.
func (src *source) begin(ctx context.Context) (doc *document, exists bool, err error) {
	select {
	case src.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if src.doc != nil {
		return src.doc.clone(), true, nil
	}
	record, err := src.corpus.Get(ctx, wire.SourceField, src.name)
	switch {
	case errors.Is(err, gapless.ErrNotFound):
		if doc, err = src.fresh(ctx); err != nil {
			src.end()
		}
		return doc, false, err
	case err != nil:
		src.end()
		return nil, false, fmt.Errorf("read source %s: %w", src.name, err)
	}
	if src.doc, err = decodeDocument(record.Data); err != nil {
		src.end()
		return nil, false, err
	}
	return src.doc.clone(), true, nil
}

func (src *source) end() { <-src.turn }

// fresh returns the document of a source that there is not. If there was one,
// its generations go on: a job of it may not have ended.
func (src *source) fresh(ctx context.Context) (*document, error) {
	doc := &document{fields: map[string]json.RawMessage{fieldKey: encode(src.name)}}
	snapshot, err := src.corpus.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	last, err := lastRetired(ctx, snapshot, wire.SourceField, src.name)
	if err != nil || last == nil {
		return doc, err
	}
	old, err := decodeDocument(last)
	if err == nil {
		doc.state.Generation = old.state.Generation
	}
	return doc, err
}

// writing begins a commit. Those that retire rows are a millisecond apart, so
// that what is retired twice is in the history twice.
func (src *source) writing(now time.Time, doc *document) *writing {
	if now.Sub(src.last) < time.Millisecond {
		now = src.last.Add(time.Millisecond)
	}
	return newWriting(now, doc.state.Generation)
}

// commit commits what was written, and with it the document unless that is
// nil. The caller has the turn.
func (src *source) commit(ctx context.Context, w *writing, doc *document) (serial uint64, err error) {
	if doc != nil {
		doc.write(w, src.name)
	}
	if len(w.batches) == 0 {
		return 0, nil
	}
	if serial, err = src.corpus.Commit(ctx, w.batches); err != nil {
		src.doc = nil
		return 0, fmt.Errorf("commit to source %s: %w", src.name, err)
	}
	if doc != nil {
		src.doc = doc
	}
	if w.retired > 0 {
		src.last = w.at
	}
	return serial, nil
}

// sync makes durable what was committed before, together with all others who
// wait for that.
func (src *source) sync(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return src.syncs.do(func() error { return src.corpus.Sync(ctx) })
}

// change commits what fn makes of a source, and syncs it. fn has the turn.
func (s *Server) change(ctx context.Context, src *source, fn func(doc *document, exists bool, w *writing) (*document, error)) (serial uint64, err error) {
	serial, err = src.alter(ctx, s.opts.Now(), fn)
	if err != nil {
		return 0, err
	}
	return serial, src.sync(ctx)
}

func (src *source) alter(ctx context.Context, now time.Time, fn func(doc *document, exists bool, w *writing) (*document, error)) (serial uint64, err error) {
	doc, exists, err := src.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer src.end()
	w := src.writing(now, doc)
	changed, err := fn(doc, exists, w)
	if err != nil {
		return 0, err
	}
	return src.commit(ctx, w, changed)
}

// getSource answers with the document as it is durable.
func (s *Server) getSource(c *exchange) error {
	ctx := c.r.Context()
	src, err := s.source(ctx, c.path[1], false)
	if err != nil {
		return err
	}
	if src == nil {
		return notFound("there is no source %q", clip(c.path[1]))
	}
	snapshot, err := src.corpus.Snapshot(ctx, false)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	record, err := snapshot.Get(ctx, wire.SourceField, src.name)
	if errors.Is(err, gapless.ErrNotFound) {
		return notFound("there is no source %q", clip(c.path[1]))
	}
	if err != nil {
		return err
	}
	return c.raw(http.StatusOK, record.Data)
}

// patchSource merges fields into the document, which it makes if there is
// none. It is durable, and all before it, when this answers.
func (s *Server) patchSource(c *exchange) error {
	name := ""
	var err error
	if len(c.path) > 1 {
		name = c.path[1]
	} else if name, err = c.required("key"); err != nil {
		return err
	}
	object, err := c.object()
	if err != nil {
		return err
	}
	patch, err := fields(object)
	if err != nil {
		return err
	}
	delete(patch, fieldKey)
	src, err := s.source(c.r.Context(), name, true)
	if err != nil {
		return err
	}
	var text []byte
	_, err = s.change(c.r.Context(), src, func(doc *document, _ bool, _ *writing) (*document, error) {
		err := doc.merge(patch)
		text = doc.encode()
		return doc, err
	})
	if err != nil {
		return err
	}
	return c.raw(http.StatusOK, text)
}
