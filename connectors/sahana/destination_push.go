package sahana

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// maxDocument is about how large a document to be imported gets; a larger
// record is sent alone.
const maxDocument = 16 << 20

// shipment is a batch on its way into one table.
type shipment struct {
	*session
	table   string
	batch   *gapless.Batch
	queue   []item          // not sent yet
	keys    map[string]bool // among them
	receipt gapless.Receipt
	// bare says that records are not all there: they are not looked at again.
	bare bool
}

func (s *session) shipment(b *gapless.Batch) *shipment {
	return &shipment{session: s, table: b.Partition.Collection, batch: b, keys: map[string]bool{}}
}

// item is one row as it is sent.
type item struct {
	s3.Resource
	row int
	// cleared are the fields that are to have no value; emptied says that they
	// are sent in the way that is left for those that are no texts.
	cleared []string
	emptied bool
	// rewritten says that we have written the record a moment ago, in part.
	rewritten bool
}

// items returns the rows of the batch as they are sent. Those that cannot be are
// rejected.
func (p *shipment) items() []item {
	list := make([]item, 0, len(p.batch.Rows))
	for row := range p.batch.Rows {
		it, err := outgoing(p.table, p.batch, row)
		if err != nil {
			p.reject(row, err)
			continue
		}
		list = append(list, it)
	}
	return list
}

// arrived notes what the Eden has now of the items that were sent.
func (p *shipment) arrived(items []item) {
	rejected := make(map[string]bool, len(p.receipt.Rejected))
	for i := range p.receipt.Rejected {
		rejected[p.receipt.Rejected[i].Key] = true
	}
	for i := range items {
		if it := &items[i]; !rejected[it.UUID] {
			p.waiting.note(ident{p.table, it.UUID}, !it.Deleted)
		}
	}
}

// take adds an item. What a document says of a record has no order, so that a
// key that comes again begins a new one.
func (p *shipment) take(ctx context.Context, it item) error {
	if err := p.spell(ctx, &it); err != nil {
		return err
	}
	if p.keys[it.UUID] {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.keys[it.UUID] = true
	p.queue = append(p.queue, it)
	return nil
}

// reject names a row in the receipt.
func (p *shipment) reject(row int, err error) {
	r, data := &p.batch.Rows[row], p.batch.Data(row)
	p.receipt.Rejected = append(p.receipt.Rejected, gapless.Rejection{
		Key: string(p.batch.Key(row)), Origin: p.batch.Origin, Line: int(r.Line),
		Raw: slices.Clone(data[:min(len(data), gapless.MaxRejectBytes)]), Err: err,
	})
}

// outgoing returns a row as it is sent: always with a time, and as ours unless
// it says that it was passed on. Who created it is left out, for the Eden tells
// our records by its own login.
func outgoing(table string, b *gapless.Batch, row int) (item, error) {
	r := &b.Rows[row]
	record := gapless.Record{Key: string(b.Key(row)), Data: b.Data(row)}
	if r.Modified != 0 {
		record.Modified = time.Unix(0, r.Modified)
	}
	var it item
	if !askable(record.Key) {
		return it, errors.New("an Eden cannot be asked for a uuid like this, to see what has become of it")
	}
	switch r.Op {
	case gapless.OpUpsert, gapless.OpPatch:
		resource, err := s3.FromRecord(table, record)
		if err != nil {
			return it, err
		}
		it.Resource = resource
	case gapless.OpDelete:
		known, err := s3.FromRecord(table, record)
		it.Resource = s3.Resource{Name: table, UUID: record.Key, Deleted: true, ModifiedOn: record.Modified}
		if err == nil { // the data of a delete may be anything
			it.ModifiedOn, it.MCI, it.ReplacedBy = known.ModifiedOn, known.MCI, known.ReplacedBy
		}
	default:
		return it, errors.New("unknown operation " + r.Op.String())
	}
	it.row = row
	it.CreatedBy = ""
	if it.ModifiedOn.IsZero() {
		it.ModifiedOn = time.Now()
	}
	if it.MCI == nil {
		own := 1
		it.MCI = &own
	}
	return it, nil
}

// spell writes an item as whoever is to get it understands it. The service of
// Gapless understands what has no value.
func (p *shipment) spell(ctx context.Context, it *item) error {
	plain := it.Resource
	if it.cleared = spell(&it.Resource); len(it.cleared) == 0 {
		return nil
	}
	if !p.asked {
		path, err := tablePath(p.table)
		if err != nil {
			return gapless.Misconfigured(err)
		}
		q := p.client.plainly(query{"limit=1"})
		if _, err := p.client.clock(ctx, &call{what: "read " + p.table, method: http.MethodGet, path: path + ".xml?" + q.String()}); err != nil {
			return err
		}
		p.asked = true
	}
	if p.client.kin.Load() {
		plain.ID, plain.URL, plain.Error = "", "", ""
		it.Resource = plain
	}
	return nil
}

// spell writes everything in the form that every Eden understands, and returns
// the fields without a value: texts as texts, nothing as an empty element,
// which clears texts, and no reference to nothing.
func spell(r *s3.Resource) (cleared []string) {
	r.ID, r.URL, r.Error = "", "", ""
	r.Fields = slices.Clone(r.Fields)
	for i := range r.Fields {
		f := &r.Fields[i]
		f.Error = ""
		switch v := gjson.ParseBytes(f.Value); {
		case f.Value == nil:
		case v.Type == gjson.Null:
			f.Value, f.Text = nil, ""
			cleared = append(cleared, f.Name)
		case v.Type == gjson.String:
			f.Value, f.Text = nil, v.Str
		}
	}
	r.References = slices.DeleteFunc(slices.Clone(r.References), func(f s3.Reference) bool {
		none := f.UUID == "" && f.UUIDs == nil && f.TUID == "" && len(f.Inline) == 0
		if none {
			cleared = append(cleared, f.Field)
		}
		return none
	})
	for i := range r.Components {
		spell(&r.Components[i])
	}
	return cleared
}

// flush sends what was taken.
func (p *shipment) flush(ctx context.Context) error {
	items := parentsFirst(p.queue)
	p.queue = nil
	clear(p.keys)
	for some := range slices.Chunk(items, p.rows) {
		if p.repository != "" {
			var err error
			if some, err = p.withhold(ctx, some); err != nil {
				return err
			}
		}
		if err := p.documents(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// documents sends items, in more than one document if they are large.
func (p *shipment) documents(ctx context.Context, items []item) error {
	for len(items) > 0 {
		n, err := p.document(ctx, items)
		if err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// parentsFirst orders records behind those of the same table that they refer
// to, as far as those do not refer back, and deletes behind all.
func parentsFirst(items []item) []item {
	places := make(map[string]int, len(items))
	for i := range items {
		places[items[i].UUID] = i
	}
	ordered, seen := make([]item, 0, len(items)), make([]bool, len(items))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, f := range items[i].References {
			if f.Resource != "" && f.Resource != items[i].Name {
				continue
			}
			for _, uuid := range append([]string{f.UUID}, f.UUIDs...) {
				if at, ok := places[uuid]; ok && !items[at].Deleted {
					visit(at)
				}
			}
		}
		ordered = append(ordered, items[i])
	}
	for _, deleted := range []bool{false, true} {
		for i := range items {
			if items[i].Deleted == deleted {
				visit(i)
			}
		}
	}
	return ordered
}

// document sends as many items as fit into one document, and returns how many
// of them are settled: taken or rejected.
func (p *shipment) document(ctx context.Context, items []item) (settled int, err error) {
	body, sent, settled, err := p.encode(items)
	if err != nil {
		return settled, err
	}
	for len(sent) > 0 {
		envelope, err := p.post(ctx, body)
		if err != nil {
			return settled, err
		}
		left := p.refuse(envelope, sent)
		if envelope.OK() {
			return settled, p.check(ctx, envelope, left, len(left) < len(sent))
		}
		if len(left) == len(sent) {
			return settled, failed("write "+p.table, *envelope)
		}
		// Nothing was taken because of those that are gone now.
		if body, sent, _, err = p.encode(left); err != nil {
			return settled, err
		}
	}
	return settled, nil
}

// withhold keeps back the items that the Eden has in a newer version, and
// returns the others: it rejects them, unless the newer version is the same,
// which is sent for the sake of its components, if there are any. The
// Eden would keep its values by itself, but a reference or a component in what
// is sent sets its record back to the older time, after which any edit wins
// over it.
func (p *shipment) withhold(ctx context.Context, items []item) (newest []item, err error) {
	byKey, keys := indexed(items)
	err = p.held(ctx, keys, func(key string, held *exported, domain string) {
		it := byKey[key]
		if held == nil || !held.ModifiedOn.After(it.ModifiedOn) {
			newest = append(newest, *it)
			return
		}
		d := differs(it, held, domain)
		switch {
		case it.rewritten:
			it.ModifiedOn = held.ModifiedOn
			newest = append(newest, *it)
		case !d.none():
			p.reject(it.row, fmt.Errorf("the Eden has a newer version, of %s", s3.FormatTime(held.ModifiedOn, s3.TimeZulu)))
		case len(it.Components) > 0: // which have times of their own
			it.ModifiedOn = held.ModifiedOn
			newest = append(newest, *it)
		}
	})
	return newest, err
}

// indexed returns items by their keys, and the keys in order.
func indexed(items []item) (byKey map[string]*item, keys []string) {
	byKey = make(map[string]*item, len(items))
	for i := range items {
		byKey[items[i].UUID] = &items[i]
		keys = append(keys, items[i].UUID)
	}
	return byKey, keys
}

// encode writes a document. What cannot be written is rejected.
func (p *shipment) encode(items []item) (body []byte, sent []item, settled int, err error) {
	var b bytes.Buffer
	encoder := s3.NewEncoder(&b, s3.S3XML, s3.NewDocument(len(items)), s3.EncodeOptions{Times: s3.TimeZulu})
	for i := range items {
		if b.Len() > maxDocument {
			break
		}
		settled++
		if err := encoder.Encode(&items[i].Resource); err != nil {
			p.reject(items[i].row, err)
			continue
		}
		sent = append(sent, items[i])
	}
	err = encoder.Close()
	return b.Bytes(), sent, settled, err
}

// post sends a document as a peer, if we are one, or else by REST. There are
// versions of Eden in which every push by a peer fails.
func (p *shipment) post(ctx context.Context, document []byte) (*s3.Envelope, error) {
	if p.peer {
		q := query{}.add("resource", p.table).add("repository", p.repository)
		q = append(q, "strategy=create,update,delete,merge", "update_policy=NEWER", "conflict_policy=NEWER")
		envelope, err := p.client.post(ctx, p.table, "sync/sync.xml?"+q.String(), document, http.StatusForbidden, http.StatusInternalServerError)
		if err != nil || envelope != nil {
			return envelope, err
		}
		p.peer = false
	}
	path, err := tablePath(p.table)
	if err != nil {
		return nil, gapless.Misconfigured(err)
	}
	return p.client.post(ctx, p.table, path+".xml?ignore_errors=1", document)
}

// refuse rejects the items that the Eden names as faulty, and returns the
// others.
func (p *shipment) refuse(e *s3.Envelope, sent []item) (left []item) {
	named := map[string]error{}
	for i := range e.Tree {
		if r := &e.Tree[i]; r.Name == p.table {
			named[r.UUID] = reason(r)
		}
	}
	for i := range sent {
		if err, ok := named[sent[i].UUID]; ok {
			if sent[i].emptied {
				err = fmt.Errorf("the record is taken, but for %s, which cannot be cleared: %w", strings.Join(sent[i].cleared, ", "), err)
			}
			p.reject(sent[i].row, err)
		} else {
			left = append(left, sent[i])
		}
	}
	return left
}

// check looks whether the Eden has what it claims to have taken.
func (p *shipment) check(ctx context.Context, e *s3.Envelope, items []item, some bool) error {
	if e.Records != nil && *e.Records == 0 && !some {
		for i := range items {
			p.reject(items[i].row, fmt.Errorf("the Eden takes none of %d records: %s", len(items), clip(e.Message)))
		}
		return nil
	}
	if p.bare {
		return nil
	}
	return p.verifyItems(ctx, items)
}
