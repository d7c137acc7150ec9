package pushapi

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/gapless-sync/gapless"
)

// refusalsBeforeGivingUp is how many documents one after the other a server may
// refuse, and none accept, before it is the server that is refused.
const refusalsBeforeGivingUp = 20

// Push implements [gapless.Session]: rows of one kind that follow each other
// are one list. A document that the server refuses is found by sending ever
// shorter lists, unless the server names it.
func (s *session) Push(ctx context.Context, b *gapless.Batch) (gapless.Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return gapless.Receipt{}, err
	}
	p := &push{session: s, batch: b}
	for i := 0; i < b.Len(); {
		end := i + 1
		for end < b.Len() && b.Rows[end].Op == b.Rows[i].Op {
			end++
		}
		if err := p.run(ctx, i, end); err != nil {
			return gapless.Receipt{}, s.fail(err)
		}
		i = end
	}
	return p.receipt, nil
}

// push is one batch on its way.
type push struct {
	session  *session
	batch    *gapless.Batch
	receipt  gapless.Receipt
	accepted bool
}

// item is one row as it is sent; a delete has just the URI.
type item struct {
	row int
	doc Document
}

// run sends the rows from i to end, which are of one kind.
func (p *push) run(ctx context.Context, i, end int) error {
	op := p.batch.Rows[i].Op
	items := make([]item, 0, end-i)
	for ; i < end; i++ {
		it := item{row: i}
		var err error
		if op == gapless.OpDelete {
			it.doc.URI = uriOf(p.batch, i)
			err = checkURI(it.doc.URI)
		} else {
			it.doc, err = documentOf(p.batch, i)
		}
		if err != nil {
			p.reject(i, err)
			continue
		}
		items = append(items, it)
	}
	command, ok := map[gapless.Op]Command{gapless.OpUpsert: CommandAdd, gapless.OpPatch: CommandUpdate, gapless.OpDelete: CommandDelete}[op]
	if !ok {
		return gapless.Unrecoverable(errors.New("unknown operation " + op.String()))
	}
	defaults := HTTPOptions{}
	defaults.setDefaults()
	return eachChunk(items, defaults.BatchDocuments, defaults.BatchBytes, func(it item) int64 { return documentSize(it.doc) }, func(chunk []item) error {
		return p.send(ctx, command, chunk)
	})
}

// send sends items, and finds those that are refused. It returns what is
// wrong with anything but a document.
func (p *push) send(ctx context.Context, command Command, items []item) error {
	if len(items) == 0 {
		return nil
	}
	refused, err := p.request(ctx, command, items)
	if err == nil {
		p.accepted = true
		for _, r := range refused {
			p.rejectURI(items, r.URI, &Error{Type: r.Type, Message: r.Message, Command: command})
		}
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok || !refuses(e):
		return err
	case e.Status == 0 && e.URI != "": // found on this side
		return p.send(ctx, command, p.rejectURI(items, e.URI, e))
	case len(items) > 1:
		half := len(items) / 2
		if err := p.send(ctx, command, items[:half]); err != nil {
			return err
		}
		return p.send(ctx, command, items[half:])
	}
	p.reject(items[0].row, e)
	if !p.accepted && len(p.receipt.Rejected) >= refusalsBeforeGivingUp {
		return err
	}
	return nil
}

// rejectURI rejects the items of a URI and returns the others.
func (p *push) rejectURI(items []item, uri string, err error) (others []item) {
	for _, it := range items {
		if it.doc.URI == uri {
			p.reject(it.row, err)
		} else {
			others = append(others, it)
		}
	}
	return others
}

// refuses reports whether an error is about a document, rather than about the
// server, the session or the way to them.
func refuses(e *Error) bool {
	if f, ok := errors.AsType[*gapless.Failure](e.Err); ok && f.Kind != gapless.KindRejected {
		return false // of a part's content
	}
	if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) {
		return false
	}
	return errors.Is(e, ErrInvalidParameter) || errors.Is(e, ErrUnknownDocument) || errors.Is(e, ErrTooLarge) ||
		errors.Is(e, ErrUnknownError) && e.Status == 400
}

func (p *push) request(ctx context.Context, command Command, items []item) ([]Item, error) {
	s := p.session
	docs := make([]Document, len(items))
	uris := make([]string, len(items))
	for i := range items {
		docs[i], uris[i] = items[i].doc, items[i].doc.URI
	}
	switch {
	case s.committer != nil && command == CommandDelete:
		_, err := s.committer.Commit(ctx, Commit{Command: command, URIs: uris, If: s.condition()})
		return nil, err
	case s.committer != nil:
		result, err := s.committer.Commit(ctx, Commit{Command: command, Documents: docs, If: s.condition(), Each: true})
		return result.Refused, err
	case command == CommandDelete:
		return nil, s.api.DeleteDocumentList(ctx, uris)
	case command == CommandUpdate:
		return nil, s.api.UpdateDocumentList(ctx, docs, UpdateOptions{})
	}
	return nil, s.api.AddDocumentList(ctx, docs)
}

// reject adds a row to the receipt, once.
func (p *push) reject(row int, err error) {
	b := p.batch
	r := &b.Rows[row]
	key := string(b.Key(row))
	if slices.ContainsFunc(p.receipt.Rejected, func(old gapless.Rejection) bool { return old.Key == key && old.Line == int(r.Line) }) {
		return
	}
	p.receipt.Rejected = append(p.receipt.Rejected, gapless.Rejection{
		Key: key, Origin: b.Origin, Line: int(r.Line), Raw: bytes.Clone(b.Data(row)[:min(int(r.Data.Len), gapless.MaxRejectBytes)]), Err: err,
	})
}
