package server

import (
	"slices"
	"strings"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// exposes reports whether a component of a record is exported, to which so many
// references led.
func (e *export) exposes(master, c *s3.Resource, depth int) bool {
	name := componentName(c)
	if depth > 0 {
		return e.referenced.has(master.Name + ":" + name)
	}
	return e.components.has(name) && e.exposed.has(name) && (e.componentID == "" || e.componentID == c.UUID)
}

// outgoing returns a record as it is exported, with its components.
func (e *export) outgoing(r *s3.Resource, depth int) s3.Resource {
	out := e.c.s.outgoing(r, e.question)
	if r.Deleted {
		return out
	}
	for i := range r.Components {
		c := &r.Components[i]
		if e.exposes(r, c, depth) && (!c.Deleted || e.deleted) && passes(e.filters[c.Name], 0, c, e.finder()) {
			out.Components = append(out.Components, e.component(c))
		}
	}
	return out
}

// component returns a component as it is exported, with all that it has.
func (e *export) component(c *s3.Resource) s3.Resource {
	out := e.c.s.outgoing(c, &question{nulls: e.nulls})
	out.Alias = c.Alias
	for i := range c.Components {
		if inner := &c.Components[i]; !c.Deleted && (!inner.Deleted || e.deleted) {
			out.Components = append(out.Components, e.component(inner))
		}
	}
	return out
}

// outgoing returns a record as it is exported, without components.
func (s *Server) outgoing(r *s3.Resource, q *question) s3.Resource {
	out := *r
	out.UUID = s3.QualifyUUID(r.UUID, s.opts.Domain)
	if r.Deleted {
		by := r.ReplacedBy
		if by != "" {
			by = s3.QualifyUUID(by, s.opts.Domain)
		}
		return s3.Resource{Name: r.Name, UUID: out.UUID, ModifiedOn: r.ModifiedOn, Deleted: true, ReplacedBy: by}
	}
	mci := defaultMCI
	if r.MCI != nil {
		mci = *r.MCI
	}
	out.MCI = new(mci + 1)
	out.Fields = outgoingFields(r.Fields, q)
	out.References = make([]s3.Reference, 0, len(r.References))
	for _, f := range r.References {
		if q.references.has(f.Field) && (q.nulls || f.UUID != "" || f.UUIDs != nil || len(f.Inline) > 0) {
			out.References = append(out.References, s.outgoingReference(f))
		}
	}
	out.Components = nil
	return out
}

// outgoingFields returns the fields that are exported: list itself if it is all
// of them as they are. To an Eden, a field without a value is an empty element,
// which clears texts and changes nothing else.
func outgoingFields(list []s3.Field, q *question) []s3.Field {
	isNull := func(f s3.Field) bool { return !q.nulls && string(f.Value) == "null" }
	if !q.fields.some && !slices.ContainsFunc(list, isNull) {
		return list
	}
	out := make([]s3.Field, 0, len(list))
	for _, f := range list {
		if !q.fields.has(f.Name) {
			continue
		}
		if isNull(f) {
			f = s3.Field{Name: f.Name}
		}
		out = append(out, f)
	}
	return out
}

func (s *Server) outgoingReference(f s3.Reference) s3.Reference {
	if f.UUID != "" {
		f.UUID = s3.QualifyUUID(f.UUID, s.opts.Domain)
	}
	if f.UUIDs != nil {
		f.UUIDs = slices.Clone(f.UUIDs)
		for i, uuid := range f.UUIDs {
			f.UUIDs[i] = s3.QualifyUUID(uuid, s.opts.Domain)
		}
	}
	return f
}

func (s *Server) localUUID(uuid string) string { return s3.LocalUUID(uuid, s.opts.Domain) }

// componentName is what a parameter calls a component.
func componentName(c *s3.Resource) string {
	if c.Alias != "" {
		return c.Alias
	}
	_, short, _ := strings.Cut(c.Name, "_")
	return short
}
