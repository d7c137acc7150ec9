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
		return p.verify == verifyNone || p.verify == verifySample && xxh3.HashString(key)%sampleOf != 0
	})
	return p.held(ctx, keys, func(key string, held *exported, domain string) {
		if err := differs(byKey[key], held, domain); err != nil {
			p.reject(byKey[key].row, err)
		}
	})
}

// held calls look with what the Eden has of each key, nil for nothing, and with
// its domain.
func (p *shipment) held(ctx context.Context, keys []string, look func(key string, held *exported, domain string)) error {
	return lists(keys, func(part []string, filter query) error {
		e, err := p.client.page(ctx, p.table, plainly(append(filter, "include_deleted=True")))
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

// differs reports how what the Eden holds is not what was sent.
func differs(sent *item, held *exported, domain string) error {
	switch {
	case sent.Deleted && (held == nil || held.Deleted):
		return nil
	case sent.Deleted && sent.ReplacedBy != "":
		return fmt.Errorf("the Eden keeps the record although it was replaced by %q", clip(sent.ReplacedBy))
	case sent.Deleted:
		return errors.New("the Eden keeps the record although it was deleted; another one may refer to it")
	case held == nil:
		return errors.New("the Eden says that it has taken the record, and does not have it")
	case held.err != nil:
		return fmt.Errorf("what the Eden has cannot be read: %w", held.err)
	case held.Deleted:
		return errors.New("the Eden keeps the record deleted")
	}
	var list []string
	for i := range sent.Fields {
		f := &sent.Fields[i]
		if f.Upload() == s3.UploadNone && !slices.Contains(sent.cleared, f.Name) && !sameField(f, held.Field(f.Name)) {
			list = append(list, fmt.Sprintf("field %s is %s", f.Name, shown(held.Field(f.Name))))
		}
	}
	for i := range sent.References {
		f := &sent.References[i]
		if !sameReference(f, held.Reference(f.Field), domain) {
			list = append(list, fmt.Sprintf("reference %s does not lead to %q, which it may not have", f.Field, clip(f.UUID+strings.Join(f.UUIDs, ", "))))
		}
	}
	for _, name := range sent.cleared {
		if f := held.Field(name); f != nil && textOf(f) != "" || held.Reference(name) != nil {
			list = append(list, fmt.Sprintf("field %s cannot be cleared", name))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("the Eden has the record as of %s, not as sent: %s", s3.FormatTime(held.ModifiedOn, s3.TimeZulu), strings.Join(list, "; "))
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
