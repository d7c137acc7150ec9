package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/resolve"
)

// meeting is what is known when a record of somebody else comes in.
type meeting struct {
	resolver *resolve.Resolver
	// lastSync is when both sides last met; zero if it is not known.
	lastSync time.Time
	now      time.Time
}

// outcome is what became of a record that came in.
type outcome struct {
	resolve.Result
	// resource to store, if changed.
	resource s3.Resource
	changed  bool
	// kept says that something that was sent has not been taken.
	kept bool
	// lost are the edits that were not taken, those of components included.
	lost []loss
}

// loss are edits of one record that were not taken.
type loss struct {
	table, uuid  string
	rule, reason string
	losers       []resolve.Loser
}

// meet resolves what came with what is here, which is nil if there is nothing.
// known says that the other side knows what is here. The resources are not
// changed.
func (m *meeting) meet(local, remote *s3.Resource, known, survivor bool) (outcome, error) {
	in := resolve.Input{Remote: side(remote), Now: m.now, LastSync: m.lastSync, SurvivorKnown: survivor}
	if local != nil {
		in.Local = side(local)
		if known {
			in.Base, in.BaseDeleted = in.Local.Data, in.Local.Deleted
		}
	}
	result, err := m.resolver.Resolve(&in)
	if err != nil {
		return outcome{}, fmt.Errorf("resolve %s %s: %w", remote.Name, clip(remote.UUID), err)
	}
	o := outcome{Result: result}
	for _, d := range result.Fields {
		o.kept = o.kept || d.Choice != resolve.ChoseRemote
	}
	switch result.Action {
	case resolve.ActionCreate:
		o.resource, o.changed = created(remote, &result), true
	case resolve.ActionUpdate:
		o.resource, o.changed = updated(local, remote, &result), true
	case resolve.ActionDelete, resolve.ActionMerge:
		o.resource, o.changed = *local, true
	case resolve.ActionNothing:
		if local != nil {
			o.resource = *local
		}
	default:
		o.kept = local == nil || !local.Deleted || !remote.Deleted // or else it is deleted already
		if result.Rule == ruleSurvivor {
			o.Losers = []resolve.Loser{{Deletion: true, Side: resolve.ChoseRemote, Stamp: in.Remote.Modified, Local: in.Local.Data, Rule: result.Rule}}
		}
		o.note(remote)
		return o, nil
	}
	o.note(remote)
	if o.changed {
		stamp(&o.resource, &result)
	}
	if remote.Deleted || local == nil {
		return o, nil
	}
	return o, m.components(&o, local, remote, known)
}

// note lists what was not taken.
func (o *outcome) note(remote *s3.Resource) {
	if len(o.Losers) > 0 {
		o.lost = append(o.lost, loss{remote.Name, remote.UUID, o.Rule, o.Reason, o.Losers})
	}
}

// stamp gives a record what goes with its data.
func stamp(r *s3.Resource, result *resolve.Result) {
	r.ModifiedOn, r.Deleted, r.ReplacedBy = result.Modified.Time.UTC().Truncate(time.Second), result.Deleted, result.ReplacedBy
	r.MCI = new(result.MCI)
}

// side returns a version of a record as it is resolved.
func side(r *s3.Resource) resolve.Side {
	s := resolve.Side{MCI: defaultMCI, Deleted: r.Deleted, ReplacedBy: r.ReplacedBy, Partial: true}
	if !r.ModifiedOn.IsZero() {
		s.Modified = resolve.At(r.ModifiedOn)
	}
	if r.MCI != nil {
		s.MCI = *r.MCI
	}
	if !r.Deleted || len(r.Fields)+len(r.References) > 0 {
		s.Data = plainData(r)
	}
	return s
}

// plainData returns fields and references as one object.
func plainData(r *s3.Resource) []byte {
	b := append(make([]byte, 0, 64*(1+len(r.Fields)+len(r.References))), '{')
	member := func(name string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		member(f.Name)
		switch {
		case f.Value != nil:
			b = append(b, f.Value...)
		case f.URL != "" || f.Filename != "":
			b = appendString(b, f.URL+" "+f.Filename)
		default:
			b = appendString(b, f.Text)
		}
	}
	for i := range r.References {
		f := &r.References[i]
		member(f.Field)
		switch {
		case f.UUIDs != nil:
			b = append(b, '[')
			for i, uuid := range f.UUIDs {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendString(b, uuid)
			}
			b = append(b, ']')
		default:
			b = appendString(b, f.UUID)
		}
	}
	return append(b, '}')
}

// created returns a new record, without the fields that are withheld.
func created(remote *s3.Resource, result *resolve.Result) s3.Resource {
	r := *remote
	if len(result.Fields) == 0 {
		return r
	}
	withheld := map[string]bool{}
	for _, d := range result.Fields {
		withheld[d.Field] = d.Choice == resolve.ChoseLocal
	}
	r.Fields = slices.DeleteFunc(slices.Clone(r.Fields), func(f s3.Field) bool { return withheld[f.Name] })
	r.References = slices.DeleteFunc(slices.Clone(r.References), func(f s3.Reference) bool { return withheld[f.Field] })
	return r
}

// updated returns the local record with the fields that were taken.
func updated(local, remote *s3.Resource, result *resolve.Result) s3.Resource {
	r := *local
	r.Fields, r.References = slices.Clone(local.Fields), slices.Clone(local.References)
	for _, d := range result.Fields {
		if d.Choice != resolve.ChoseRemote {
			continue
		}
		isField := func(f s3.Field) bool { return f.Name == d.Field }
		isReference := func(f s3.Reference) bool { return f.Field == d.Field }
		if f := remote.Field(d.Field); f != nil {
			r.References = slices.DeleteFunc(r.References, isReference)
			if i := slices.IndexFunc(r.Fields, isField); i >= 0 {
				r.Fields[i] = *f
			} else {
				r.Fields = append(r.Fields, *f)
			}
		} else if f := remote.Reference(d.Field); f != nil {
			r.Fields = slices.DeleteFunc(r.Fields, isField)
			if i := slices.IndexFunc(r.References, isReference); i >= 0 {
				r.References[i] = *f
			} else {
				r.References = append(r.References, *f)
			}
		}
	}
	take := func(to *string, from string) {
		if from != "" {
			*to = from
		}
	}
	take(&r.ModifiedBy, remote.ModifiedBy)
	take(&r.OwnedByUser, remote.OwnedByUser)
	take(&r.OwnedByGroup, remote.OwnedByGroup)
	r.Unapproved = remote.Unapproved
	if len(remote.Other) > 0 {
		r.Other = remote.Other
	}
	return r
}

// components resolves the components of a record one by one: those that belong
// together have the same table and uuid. What was not sent stays.
func (m *meeting) components(o *outcome, local, remote *s3.Resource, known bool) error {
	if len(remote.Components) == 0 {
		return nil
	}
	list, changed := slices.Clone(local.Components), false
	for i := range remote.Components {
		c := &remote.Components[i]
		at := slices.IndexFunc(list, func(l s3.Resource) bool { return l.Name == c.Name && l.Alias == c.Alias && l.UUID == c.UUID })
		var here *s3.Resource
		if at >= 0 {
			here = &list[at]
		}
		inner, err := m.meet(here, c, known, true)
		if err != nil {
			return err
		}
		o.kept = o.kept || inner.kept
		o.lost = append(o.lost, inner.lost...)
		switch {
		case !inner.changed:
			continue
		case at < 0:
			list = append(list, inner.resource)
		default:
			list[at] = inner.resource
		}
		changed = true
	}
	if changed {
		o.resource.Components, o.changed = list, true
	}
	return nil
}

// identify gives a record and its components what they need to be kept: a uuid
// that is made of what they are, unless they have one, and a time. It notes the
// uuids of temporary identities.
func (s *Server) identify(r *s3.Resource, master string, now time.Time, tuids map[string]string) {
	r.UUID = s.localUUID(r.UUID)
	r.ReplacedBy = s.localUUID(r.ReplacedBy)
	if r.UUID == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", master, r.Name, r.Alias, plainData(r)))
		sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8, of one's own making
		r.UUID = urn(hex.EncodeToString(sum[:16]))
	}
	if r.TUID != "" {
		tuids[r.TUID] = r.UUID
		r.TUID = ""
	}
	if r.ModifiedOn.IsZero() {
		r.ModifiedOn = now.UTC().Truncate(time.Second)
	}
	if r.MCI == nil {
		r.MCI = new(defaultMCI)
	}
	r.URL, r.ID, r.Error = "", "", ""
	for i := range r.References {
		f := &r.References[i]
		f.UUID = s.localUUID(f.UUID)
		for j, uuid := range f.UUIDs {
			f.UUIDs[j] = s.localUUID(uuid)
		}
	}
	for i := range r.Components {
		s.identify(&r.Components[i], r.UUID, now, tuids)
	}
}

// urn returns the URN of a UUID of 32 hexadecimal digits.
func urn(d string) string {
	return "urn:uuid:" + strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:32]}, "-")
}

// appendString appends a JSON string.
func appendString(b []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(text[i:])
			b = utf8.AppendRune(b, r)
			i += n - 1
		}
	}
	return append(b, '"')
}
