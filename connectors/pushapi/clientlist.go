package pushapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// AddDocument implements [DocumentWriter].
func (c *HTTPPushAPI) AddDocument(ctx context.Context, doc Document) error {
	return c.AddDocumentList(ctx, []Document{doc})
}

// AddDocumentList implements [DocumentWriter].
func (c *HTTPPushAPI) AddDocumentList(ctx context.Context, docs []Document) error {
	return c.sendDocuments(ctx, CommandAdd, docs)
}

// UpdateDocument implements [DocumentWriter].
func (c *HTTPPushAPI) UpdateDocument(ctx context.Context, doc Document, opts UpdateOptions) error {
	return c.UpdateDocumentList(ctx, []Document{doc}, opts)
}

// UpdateDocumentList implements [DocumentWriter].
func (c *HTTPPushAPI) UpdateDocumentList(ctx context.Context, docs []Document, opts UpdateOptions) error {
	return c.sendDocuments(ctx, CommandUpdate, withFields(docs, opts))
}

// withFields adds the directives that carry the fields of an update.
func withFields(docs []Document, opts UpdateOptions) []Document {
	if len(opts.Fields) == 0 {
		return docs
	}
	docs = slices.Clone(docs)
	for i := range docs {
		docs[i].Directives = slices.Clone(docs[i].Directives)
		for _, field := range opts.Fields {
			docs[i].Directives = append(docs[i].Directives, Directive{DirectiveField, field})
		}
	}
	return docs
}

func (c *HTTPPushAPI) sendDocuments(ctx context.Context, command Command, docs []Document) error {
	if err := validate(command, docs); err != nil {
		return err
	}
	return eachChunk(docs, c.opts.BatchDocuments, c.opts.BatchBytes, documentSize, func(chunk []Document) error {
		return c.run(ctx, &call{command: command, docs: chunk, once: readOnce(chunk)})
	})
}

// validate returns the first mistake in documents.
func validate(command Command, docs []Document) error {
	for i := range docs {
		if err := docs[i].Validate(); err != nil {
			return located(command, err)
		}
	}
	return nil
}

// located adds the command to an error of this package.
func located(command Command, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	located := *e
	located.Command = command
	return &located
}

// documentSize estimates the bytes of a document on the wire.
func documentSize(d Document) int64 {
	const perField, unknownPart = 90, 1 << 20
	n := int64(len(d.URI) + len(d.Stamp) + 2*perField)
	for _, m := range d.Metas {
		n += int64(len(m.Name) + len(m.Value) + perField)
	}
	for _, v := range d.Directives {
		n += int64(len(v.Name) + len(v.Value) + perField)
	}
	for _, p := range d.Parts {
		size := p.Size
		if size < 0 {
			size = unknownPart
		}
		n += size + 2*perField + int64(len(p.Directives))*perField
	}
	return n
}

// eachChunk calls send for runs of items within both bounds, in order. A run
// that the server finds too large is sent in halves.
func eachChunk[T any](items []T, count int, bytes int64, size func(T) int64, send func([]T) error) error {
	for len(items) > 0 {
		n, total := 0, int64(0)
		for n < len(items) && n < count {
			if total += size(items[n]); n > 0 && total > bytes {
				break
			}
			n++
		}
		if err := sendHalves(items[:n:n], send); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func sendHalves[T any](items []T, send func([]T) error) error {
	err := send(items)
	if !errors.Is(err, ErrTooLarge) || len(items) == 1 {
		return err
	}
	half := len(items) / 2
	for _, part := range [][]T{items[:half:half], items[half:]} {
		if again := sendHalves(part, send); errors.Is(again, errReadOnce) {
			return err
		} else if again != nil {
			return again
		}
	}
	return nil
}

// DeleteDocument implements [DocumentDeleter].
func (c *HTTPPushAPI) DeleteDocument(ctx context.Context, uri string) error {
	return c.DeleteDocumentList(ctx, []string{uri})
}

// DeleteDocumentList implements [DocumentDeleter].
func (c *HTTPPushAPI) DeleteDocumentList(ctx context.Context, uris []string) error {
	return c.eachList(ctx, CommandDelete, uris, func(request *call, _ []string) error { return c.run(ctx, request) })
}

// eachList calls fn for runs of URIs, each with the call that carries them.
func (c *HTTPPushAPI) eachList(ctx context.Context, command Command, uris []string, fn func(request *call, chunk []string) error) error {
	for _, uri := range uris {
		if err := checkURI(uri); err != nil {
			return located(command, err)
		}
	}
	count, bytes := c.opts.ListURIs, c.opts.ListBytes
	inForm := len(uris) > 20 && c.has(ctx, CapabilityForm)
	if inForm {
		count, bytes = 10_000, 4<<20
	}
	return eachChunk(uris, count, bytes, escapedSize, func(chunk []string) error {
		request := &call{command: command}
		if inForm {
			request.form = url.Values{ParamURI: chunk}
		} else {
			request.query = url.Values{ParamURI: chunk}
		}
		return fn(request, chunk)
	})
}

func escapedSize(uri string) int64 { return int64(len(ParamURI) + len(url.QueryEscape(uri)) + 2) }

// DeleteDocumentsRootPath implements [DocumentDeleter].
func (c *HTTPPushAPI) DeleteDocumentsRootPath(ctx context.Context, rootPath string, recursive bool) error {
	return c.run(ctx, &call{command: CommandDeleteRootPath, query: url.Values{
		ParamRootPath: {rootPath}, ParamRecursive: {strconv.FormatBool(recursive)},
	}})
}

// DeleteDocumentsWithPrefix implements [DocumentDeleter].
func (c *HTTPPushAPI) DeleteDocumentsWithPrefix(ctx context.Context, prefix string) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	return c.run(ctx, &call{command: CommandDeletePrefix, query: url.Values{ParamPrefix: {prefix}}})
}

func checkPrefix(prefix string) error {
	if prefix != "" {
		return nil
	}
	return located(CommandDeletePrefix, Errorf(TypeInvalidParameter, "no prefix", "the prefix is empty; the empty root path deletes everything"))
}

// DocumentStatus implements [StatusReader].
func (c *HTTPPushAPI) DocumentStatus(ctx context.Context, uri string) (Status, error) {
	list, err := c.DocumentStatusList(ctx, []string{uri})
	if err != nil {
		return Status{}, err
	}
	return list[0], nil
}

// DocumentStatusList implements [StatusReader].
func (c *HTTPPushAPI) DocumentStatusList(ctx context.Context, uris []string) ([]Status, error) {
	list := make([]Status, 0, len(uris))
	err := c.eachList(ctx, CommandStatus, uris, func(request *call, chunk []string) error {
		stamps := map[string]string{}
		for entry, err := range enumerate(c, ctx, request, ReadEntries) {
			if err != nil {
				return err
			}
			if !entry.Folder {
				stamps[entry.URI] = entry.Stamp
			}
		}
		for _, uri := range chunk {
			stamp, exists := stamps[uri]
			list = append(list, Status{URI: uri, Stamp: stamp, Exists: exists})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// enumerate sends a call and yields what its reply holds, all of it or an
// error at the end.
func enumerate[T any](c *HTTPPushAPI, ctx context.Context, request *call, read func(io.Reader, Escape) iter.Seq2[T, error]) iter.Seq2[T, error] { //nolint:revive // a method cannot have type parameters
	if c.opts.Dialect != DialectLegacy {
		request.header = http.Header{HeaderEscape: {EscapeFullName}}
	}
	return func(yield func(T, error) bool) {
		var none T
		r, err := c.send(ctx, request)
		if err != nil {
			yield(none, err)
			return
		}
		defer r.close()
		if !r.framed() {
			yield(none, c.torn(request.command, errors.New("it has neither a length nor an end, so that a torn one would look complete")))
			return
		}
		escape := EscapePlain
		if r.Header.Get(HeaderEscape) == EscapeFullName {
			escape = EscapeFull
		}
		var digest Digest
		for value, err := range read(io.TeeReader(r.body, &digest), escape) {
			if err != nil {
				yield(none, c.torn(request.command, err))
				return
			}
			if !yield(value, nil) {
				return
			}
		}
		if want := r.Trailer.Get(TrailerDigest); want != "" && want != digest.String() {
			yield(none, c.torn(request.command, fmt.Errorf("its digest is %s and should be %s: %w", digest.String(), clip(want), io.ErrUnexpectedEOF)))
		}
	}
}

// has reports whether the server names a capability. A server that cannot be
// asked has none for now.
func (c *HTTPPushAPI) has(ctx context.Context, capability Capability) bool {
	list, err := c.Capabilities(ctx)
	return err == nil && slices.Contains(list, capability)
}

// Capabilities returns the extensions that the server names; none if it does
// not know the question. It asks once.
func (c *HTTPPushAPI) Capabilities(ctx context.Context) ([]Capability, error) {
	c.mu.Lock()
	list, asked := c.capabilities, c.asked
	c.mu.Unlock()
	if asked || c.opts.Dialect == DialectLegacy {
		return list, nil
	}
	r, err := c.send(ctx, &call{command: CommandCapabilities})
	if err == nil {
		defer r.close()
		// A server that answers everything with a page has none.
		if strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			if list, err = ReadCapabilities(r.body); err != nil {
				return nil, c.torn(CommandCapabilities, err)
			}
		}
	} else if e, ok := errors.AsType[*Error](err); !ok || e.Status == 0 || e.Status >= http.StatusInternalServerError || errors.Is(err, ErrServerUnavailable) || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrInvalidConnector) {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.capabilities, c.asked = list, true
	return list, nil
}
