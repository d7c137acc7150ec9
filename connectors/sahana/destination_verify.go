package sahana

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/zeebo/xxh3"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// Which records are read again after an import.
const (
	verifyAll    = "all"
	verifySample = "sample"
	verifyNone   = "none"
	// sampleOf is how many records there are for each of a sample.
	sampleOf = 16
)

// verifyItems reads records again that the Eden claims to have taken, and
// rejects those that it does not hold as they were sent: it also counts those
// as updated whose values it kept, and drops in silence what it does not know.
func (p *shipment) verifyItems(ctx context.Context, items []item) error {
	byKey, keys := indexed(items)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		return len(byKey[key].cleared) == 0 && (p.verify == verifyNone || p.verify == verifySample && xxh3.HashString(key)%sampleOf != 0)
	})
	var again []item
	err := p.held(ctx, keys, func(key string, held *exported, domain string) {
		it := byKey[key]
		d := differs(it, held, domain)
		switch {
		case d.none():
		case len(d.kept) > 0 && len(d.kept) == len(d.list) && !it.emptied && !p.client.kin.Load():
			again = append(again, it.emptying(d.kept, held.ModifiedOn))
		default:
			p.reject(it.row, d.reason)
		}
	})
	if err != nil {
		return err
	}
	return p.documents(ctx, again)
}

// emptying returns an item that does nothing but clear fields which are no
// texts. An Eden passes over an empty element and refuses null there, but to
// what checks a field that may have no value, an empty list is none.
func (it *item) emptying(fields []string, at time.Time) item {
	e := item{row: it.row, cleared: fields, emptied: true}
	e.Name, e.UUID, e.MCI, e.ModifiedOn = it.Name, it.UUID, it.MCI, at
	for _, name := range fields {
		e.Fields = append(e.Fields, s3.Field{Name: name, Value: []byte("[]")})
	}
	return e
}

// held calls look with what the Eden has of each key, nil for nothing, and with
// its domain.
func (p *shipment) held(ctx context.Context, keys []string, look func(key string, held *exported, domain string)) error {
	return lists(keys, func(part []string, filter query) error {
		e, err := p.client.page(ctx, p.table, p.client.plainly(append(filter, "include_deleted=True")))
		if err != nil {
			return err
		}
		held := make(map[string]*exported, len(e.records))
		for i := range e.records {
			held[s3.LocalUUID(e.records[i].UUID, e.domain)] = &e.records[i]
		}
		for _, key := range part {
			look(key, held[s3.LocalUUID(key, e.domain)], e.domain)
		}
		return nil
	})
}

// difference is how what the Eden holds is not what was sent.
type difference struct {
	reason error // nil for no difference
	list   []string
	// kept are the fields of the list that were to be cleared.
	kept []string
}

func (d *difference) none() bool { return d.reason == nil }

// differs compares what the Eden holds with what was sent.
func differs(sent *item, held *exported, domain string) difference {
	switch {
	case sent.Deleted && (held == nil || held.Deleted):
		return difference{}
	case sent.Deleted && sent.ReplacedBy != "":
		return difference{reason: fmt.Errorf("the Eden keeps the record although it was replaced by %q", clip(sent.ReplacedBy))}
	case sent.Deleted:
		return difference{reason: errors.New("the Eden keeps the record although it was deleted; another one may refer to it")}
	case held == nil:
		return difference{reason: errors.New("the Eden says that it has taken the record, and does not have it")}
	case held.err != nil:
		return difference{reason: fmt.Errorf("what the Eden has cannot be read: %w", held.err)}
	case held.Deleted:
		return difference{reason: errors.New("the Eden keeps the record deleted")}
	}
	d := difference{list: differing(sent, held, domain)}
	for _, name := range sent.cleared {
		if f, r := held.Field(name), held.Reference(name); f != nil && textOf(f) != "" || r != nil && leads(r) {
			d.list, d.kept = append(d.list, fmt.Sprintf("field %s cannot be cleared", name)), append(d.kept, name)
		}
	}
	if len(d.list) > 0 {
		d.reason = fmt.Errorf("the Eden has the record as of %s, not as sent: %s", s3.FormatTime(held.ModifiedOn, s3.TimeZulu), strings.Join(d.list, "; "))
	}
	return d
}

// leads reports whether a reference leads anywhere.
func leads(r *s3.Reference) bool {
	return r.UUID != "" || len(r.UUIDs) > 0 || r.TUID != "" || len(r.Inline) > 0
}

// differing lists the fields and references that are not as sent, those that
// were to be cleared aside.
func differing(sent *item, held *exported, domain string) (list []string) {
	for i := range sent.Fields {
		f := &sent.Fields[i]
		if f.Upload() == s3.UploadNone && !slices.Contains(sent.cleared, f.Name) && !sameField(f, held.Field(f.Name)) {
			list = append(list, fmt.Sprintf("field %s is %s", f.Name, shown(held.Field(f.Name))))
		}
	}
	for i := range sent.References {
		f := &sent.References[i]
		if !slices.Contains(sent.cleared, f.Field) && !sameReference(f, held.Reference(f.Field), domain) {
			list = append(list, fmt.Sprintf("reference %s does not lead to %q, which it may not have", f.Field, clip(f.UUID+strings.Join(f.UUIDs, ", "))))
		}
	}
	return list
}

// textOf returns the value of a field: a text itself, anything else as JSON.
func textOf(f *s3.Field) string {
	switch v := gjson.ParseBytes(f.Value); {
	case f.Value == nil:
		return strings.TrimSpace(f.Text)
	case v.Type == gjson.String:
		return strings.TrimSpace(v.Str)
	case v.Type == gjson.Null:
		return ""
	}
	return string(f.Value)
}

// shown describes a value in a message.
func shown(f *s3.Field) string {
	if f == nil {
		return "absent"
	}
	return strconv.Quote(clip(textOf(f)))
}

// sameField reports whether two values mean the same to some type of field, so
// that 1.50 is 1.5 and a time is itself in any spelling.
func sameField(sent, held *s3.Field) bool {
	a := textOf(sent)
	if held == nil {
		return a == ""
	}
	b := textOf(held)
	if a == b || strings.EqualFold(a, b) && (strings.EqualFold(a, "true") || strings.EqualFold(a, "false")) {
		return true
	}
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if err1 == nil && err2 == nil {
		return x == y
	}
	return sameTime(a, b) || sameJSON(a, b)
}

func sameTime(a, b string) bool {
	at, err := s3.ParseTime(b, s3.RulesPlain)
	if err != nil {
		return false
	}
	for _, rules := range []s3.Rules{s3.RulesPlain, s3.RulesEden} {
		if sent, err := s3.ParseTime(a, rules); err == nil && sent.Equal(at) {
			return true
		}
	}
	return false
}

func sameJSON(a, b string) bool {
	if !strings.HasPrefix(a, "[") && !strings.HasPrefix(a, "{") {
		return false
	}
	decode := func(text string) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader([]byte(text)))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, err1 := decode(a)
	y, err2 := decode(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(x, y)
}

// sameReference reports whether two references lead to the same records.
func sameReference(sent, held *s3.Reference, domain string) bool {
	if held == nil {
		return sent.UUIDs != nil && len(sent.UUIDs) == 0
	}
	if sent.TUID != "" || len(sent.Inline) > 0 {
		return true // to a record that had no uuid when it was sent
	}
	return slices.Equal(local(sent, domain), local(held, domain))
}

// local returns the uuids of a reference without the Eden's own domain, sorted.
func local(f *s3.Reference, domain string) []string {
	list := slices.Clone(f.UUIDs)
	if f.UUIDs == nil {
		list = []string{f.UUID}
	}
	for i := range list {
		list[i] = s3.LocalUUID(list[i], domain)
	}
	slices.Sort(list)
	return list
}
