package pacifica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
)

// The collections of the source.
const (
	collectionTransaction = "transaction"
	collectionFile        = "file"
)

// source reads transactions, as the policy server describes them or as events
// tell of them, and their files.
type source struct {
	policy *Policy // nil if there are events
	spans  []span
	events string // folder
	spool  *spool
}

var (
	_ gapless.Source = (*source)(nil)
	_ gapless.Closer = (*source)(nil)
)

// transaction is one of those that are read.
type transaction struct {
	id string // empty in an event about something else
	// origin is where it stood, and doc what stood there.
	origin string
	doc    []byte
	files  iter.Seq2[entry, error]
}

// Describe implements [gapless.Source].
func (s *source) Describe(ctx context.Context) (gapless.Description, error) {
	d := gapless.Description{Model: gapless.ModelFull, Collections: []string{collectionTransaction, collectionFile}, Schema: "pacifica/1"}
	if s.policy == nil {
		_, err := s.eventFiles()
		return d, err
	}
	_, err := s.policy.Transaction(ctx, s.spans[0].first)
	if errors.Is(err, gapless.ErrNotFound) {
		err = nil
	}
	return d, err
}

// ReadAll implements [gapless.Source].
func (s *source) ReadAll(ctx context.Context, p gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	take := s.emitFiles
	if p.Collection == collectionTransaction {
		take = func(t transaction, out *gapless.Output) error {
			if t.id == "" {
				return nil
			}
			return out.Upsert(gapless.Record{Key: t.id, Data: t.doc})
		}
	}
	if s.policy == nil {
		return s.readEvents(ctx, take, out)
	}
	for _, span := range s.spans {
		for id := span.first; id <= span.last; id++ {
			doc, err := s.policy.Transaction(ctx, id)
			if errors.Is(err, gapless.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			number := strconv.FormatInt(id, 10)
			if err := take(transaction{id: number, origin: "transaction " + number, doc: doc, files: entriesOfTransaction(doc)}, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close implements [gapless.Closer].
func (s *source) Close() error {
	var err error
	if s.policy != nil {
		err = s.policy.Close()
	}
	return errors.Join(err, s.spool.close())
}

// eventFiles returns the paths of the events.
func (s *source) eventFiles() ([]string, error) {
	list, err := os.ReadDir(s.events)
	if err != nil {
		return nil, gapless.Because(gapless.CauseUnreachable, fmt.Errorf("list events: %w", err))
	}
	var paths []string
	for _, e := range list {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".json") {
			paths = append(paths, filepath.Join(s.events, e.Name()))
		}
	}
	return paths, nil
}

// readEvents takes each event once, however often it is in the folder.
func (s *source) readEvents(ctx context.Context, take func(transaction, *gapless.Output) error, out *gapless.Output) error {
	paths, err := s.eventFiles()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, path := range paths {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		doc, err := readBounded(path, event.MaxSize)
		if err != nil {
			return gapless.Recoverable(fmt.Errorf("read event: %w", err))
		}
		e, err := event.Decode(doc)
		if err != nil {
			err = out.Reject(gapless.Rejection{Origin: path, Raw: doc, Err: err})
		} else if !seen[e.Key()] {
			seen[e.Key()] = true
			err = take(transaction{id: transactionOf(e), origin: path, doc: doc, files: entriesOfEvent(e)}, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readBounded reads a file that has at most most bytes, and one more of a larger
// one.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}

// transactionOf returns the id of the transaction that an event tells of, or "".
func transactionOf(e event.Event) string {
	for element, err := range elements(e.Data) {
		if err != nil {
			return ""
		}
		if table, value := memberText(element, "destinationTable"), memberText(element, "value"); table == "Transactions._id" && value != "" {
			return value
		}
	}
	return ""
}

func memberText(object []byte, name string) string {
	for m, err := range members(object) {
		if err == nil && m.name == name {
			s, _, _ := text(m.value) // anything else is not what is looked for
			return s
		}
	}
	return ""
}

// emitFiles emits the files of a transaction. Their contents come by carts for
// at most [DefaultCartFiles] of them.
func (s *source) emitFiles(t transaction, out *gapless.Output) error {
	var list []entry
	emit := func() error {
		g := &group{spool: s.spool}
		for _, e := range list {
			g.files = append(g.files, e.File)
		}
		for i, e := range list {
			if err := out.Upsert(fileRecord(e, g, i)); err != nil {
				return err
			}
		}
		list = list[:0]
		return nil
	}
	for e, err := range t.files {
		switch {
		case errors.Is(err, errNoFiles):
			return nil
		case err == nil && e.Hash == "" && !s.spool.allowUnverified:
			err = out.Reject(gapless.Rejection{Key: e.Origin, Origin: t.origin, Raw: e.raw, Err: errors.New("there is no hash that its content could be compared with")})
		case err == nil:
			list = append(list, e)
		default:
			err = errors.Join(emit(), out.Reject(gapless.Rejection{Origin: t.origin, Raw: t.doc, Err: err}))
		}
		if err == nil && len(list) == DefaultCartFiles {
			err = emit()
		}
		if err != nil {
			return err
		}
	}
	return emit()
}

// fileRecord returns the record of file i of a group.
func fileRecord(e entry, g *group, i int) gapless.Record {
	version := ""
	if e.Hash != "" {
		version = e.Algorithm + ":" + e.Hash
	}
	return gapless.Record{
		Key: e.Origin, Version: version, Modified: e.Modified, Data: e.raw,
		Parts: []gapless.Part{{
			Name: "content", Type: e.mime, Size: e.Size, Version: version,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return g.open(ctx, i) },
		}},
	}
}

// span is a range of transactions, both ends included.
type span struct{ first, last int64 }

// parseSpans reads numbers and ranges such as 67 and 100-199, and returns them in
// order, each number once.
func parseSpans(list []string) ([]span, error) {
	var spans []span
	for _, item := range list {
		from, to, ranged := strings.Cut(item, "-")
		if !ranged {
			to = from
		}
		first, err := strconv.ParseUint(strings.TrimSpace(from), 10, 62)
		last, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 62)
		if err != nil || err2 != nil || last < first {
			return nil, fmt.Errorf("%q is neither a number nor a range such as 100-199", clip(item))
		}
		spans = append(spans, span{int64(first), int64(last)})
	}
	slices.SortFunc(spans, func(a, b span) int { return int(min(max(a.first-b.first, -1), 1)) })
	merged := spans[:0]
	for _, s := range spans {
		if n := len(merged); n > 0 && s.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return merged, nil
}
