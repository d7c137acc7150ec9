package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/resolve"
)

// What answers say of records that were not taken.
const (
	messageInvalid      = "Validation error"
	messageIgnored      = "Validation error - invalid items ignored"
	messageNotPermitted = "Operation not permitted - invalid items ignored"
	messageNoMatch      = "No matching element found in the data source"
)

// Rules of package resolve: one refuses a method, the other a merge whose
// survivor is not here.
const (
	ruleStrategy = "R3"
	ruleSurvivor = "R4"
)

// maxTree is how many refused elements an answer has, and maxShown how many
// bytes one of them may have; larger ones are just named.
const (
	maxTree  = 100
	maxShown = 64 << 10
)

// put imports a document by REST: what is sent counts.
func (c *exchange) put(record string) error {
	policy, err := plainPolicy()
	if err != nil {
		return err
	}
	in := &imports{exchange: c, meeting: meeting{resolver: policy}, only: c.s.localUUID(record), strict: !c.query.Has("ignore_errors")}
	if record != "" {
		v, err := c.s.view(c.r.Context(), true)
		if err != nil {
			return err
		}
		found, err := v.byName(c.r.Context(), ident{c.table, in.only})
		if err := errors.Join(err, v.Close()); err != nil {
			return err
		}
		if found != nil {
			in.only = found.resource.UUID
		}
	}
	answer, err := in.run()
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, answer)
}

// imports is a document that is being imported. It is read twice: to its end,
// so that nothing is taken of one that is broken, and then record by record.
type imports struct {
	*exchange
	meeting
	// repository that sends it, with what it has got; empty for REST.
	repository string
	got        *cursor
	// only, if not empty, is the uuid of the one record to import.
	only string
	// strict refuses all if one record is invalid.
	strict bool

	findings

	matched      bool // the one record has been found
	notPermitted bool
	answer       s3.Envelope
	records      int
}

// findings are what the first reading finds.
type findings struct {
	roots   bool              // whether there is anything to import
	tuids   map[string]string // uuids by temporary identity
	wanted  map[ident]bool    // records of other tables that are referred to
	others  map[ident][]ident // records of other tables, and what they refer to
	invalid []s3.Resource
	bad     map[int]bool // which are invalid, by their place in the document
}

// run imports the document and returns the answer.
func (in *imports) run() (s3.Envelope, error) {
	select {
	case in.s.bodies <- struct{}{}:
		defer func() { <-in.s.bodies }()
	case <-in.r.Context().Done():
		return s3.Envelope{}, context.Cause(in.r.Context())
	}
	body, err := in.body()
	if err != nil {
		return s3.Envelope{}, err
	}
	kept, body, err := in.s.newSpool(body)
	if err != nil {
		return s3.Envelope{}, err
	}
	answer, err := in.both(kept, body)
	if closeErr := kept.close(); closeErr != nil {
		in.s.opts.Logger.Warn("remove a body that was kept", "error", closeErr)
	}
	return answer, err
}

func (in *imports) both(kept *spool, body io.Reader) (s3.Envelope, error) {
	in.now = in.s.opts.Now()
	if err := in.survey(body); err != nil {
		return s3.Envelope{}, errors.Join(kept.err, parseProblem(err))
	}
	if in.only != "" && !in.matched {
		return s3.Envelope{}, refuse(http.StatusBadRequest, messageNoMatch)
	}
	if in.strict && len(in.bad) > 0 {
		return s3.Envelope{
			Status: s3.StatusFailed, StatusCode: http.StatusBadRequest, Records: new(0), Message: messageInvalid, Tree: in.invalid,
		}, nil
	}
	if in.roots {
		again, err := kept.again()
		if err != nil {
			return s3.Envelope{}, err
		}
		// What was begun is finished, whether or not the client waits.
		if err := in.store(context.WithoutCancel(in.r.Context()), again); err != nil {
			return s3.Envelope{}, err
		}
	}
	in.answer.Status, in.answer.StatusCode, in.answer.Records, in.answer.Tree = s3.StatusSuccess, http.StatusOK, &in.records, in.invalid
	switch {
	case len(in.bad) > 0:
		in.answer.Message = messageIgnored
	case in.notPermitted:
		in.answer.Message = messageNotPermitted
	}
	return in.answer, nil
}

// parseProblem returns what to answer to a document that cannot be read.
func parseProblem(err error) error {
	syntax, malformed := errors.AsType[*s3.SyntaxError](err)
	content, foreign := errors.AsType[*s3.ContentError](err)
	switch {
	case malformed && syntax.Format == s3.S3JSON:
		return refuse(http.StatusBadRequest, "JSON Parse error: %v", syntax)
	case malformed:
		return refuse(http.StatusBadRequest, "XML Parse error: %v", syntax)
	case foreign && content.Want == s3.S3JSON.String():
		return refuse(http.StatusBadRequest, "JSON Parse error: %v", content)
	case foreign:
		return refuse(http.StatusBadRequest, "XML Parse error: %v", content)
	}
	return err
}

func (in *imports) decoder(body io.Reader) *s3.Decoder {
	limits := s3.DefaultLimits()
	limits.DocumentBytes = in.s.opts.BodyBytes
	return s3.NewDecoder(body, in.format, s3.DecodeOptions{Limits: limits})
}

// survey reads the document to its end without taking anything.
func (in *imports) survey(body io.Reader) error {
	in.findings = findings{tuids: map[string]string{}, wanted: map[ident]bool{}, others: map[ident][]ident{}, bad: map[int]bool{}}
	place := 0
	for r, err := range in.decoder(body).Resources() {
		if err != nil && gapless.KindOf(err) != gapless.KindRejected {
			return err
		}
		place++
		r = in.prepare(r)
		root := r.Name == in.table
		if root && in.only != "" && !in.match(&r) {
			continue
		}
		if err == nil {
			err = cmp.Or(check(&r), in.resolvable(&r))
		}
		if err != nil {
			in.bad[place] = true
			in.refuse(r, err)
			continue
		}
		in.roots = in.roots || root
		refers := appendReferred(nil, &r, in.table)
		if !root {
			in.others[ident{r.Name, r.UUID}] = refers
			continue
		}
		for _, id := range refers {
			in.wanted[id] = true
		}
	}
	in.reach()
	return nil
}

// prepare gives a record that came in its identity.
func (in *imports) prepare(r s3.Resource) s3.Resource {
	if r.UUID == "" && in.only != "" && r.Name == in.table {
		r.UUID = in.only
	}
	if exposed := in.exposed(); exposed.some {
		r.Components = slices.DeleteFunc(r.Components, func(c s3.Resource) bool { return !exposed.has(componentName(&c)) })
	}
	for i := range r.Components {
		if c := &r.Components[i]; in.componentID != "" && c.UUID == "" {
			c.UUID = in.componentID
		}
	}
	in.s.identify(&r, "", in.now, in.tuids)
	if in.componentID != "" {
		r.Components = slices.DeleteFunc(r.Components, func(c s3.Resource) bool { return c.UUID != in.componentID })
	}
	return r
}

// match reports whether a record is the one that is asked for: the first that
// has its uuid, or none at all.
func (in *imports) match(r *s3.Resource) bool {
	if r.UUID != in.only || in.matched {
		return false
	}
	in.matched = true
	return true
}

// appendReferred appends what a record and its components refer to in other
// tables. Records of the table itself are imported anyway.
func appendReferred(list []ident, r *s3.Resource, table string) []ident {
	for i := range r.References {
		f := &r.References[i]
		if f.Resource == table || f.Resource == "" {
			continue
		}
		if f.UUID != "" {
			list = append(list, ident{f.Resource, f.UUID})
		}
		for _, uuid := range f.UUIDs {
			list = append(list, ident{f.Resource, uuid})
		}
		if f.TUID != "" {
			list = append(list, ident{f.Resource, tuidMark + f.TUID})
		}
	}
	for i := range r.Components {
		list = appendReferred(list, &r.Components[i], table)
	}
	return list
}

// tuidMark begins what stands for a temporary identity, which no uuid does.
const tuidMark = "\x00tuid "

// reach adds to what is referred to what that refers to, as far as the document
// has it.
func (in *imports) reach() {
	queue := make([]ident, 0, len(in.wanted))
	for id := range in.wanted {
		queue = append(queue, id)
	}
	for len(queue) > 0 {
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if tuid, ok := cutTUID(id.uuid); ok {
			id.uuid = in.tuids[tuid]
			in.wanted[id] = true
		}
		for _, next := range in.others[id] {
			if !in.wanted[next] {
				in.wanted[next] = true
				queue = append(queue, next)
			}
		}
	}
	in.others = nil
}

func cutTUID(uuid string) (string, bool) {
	if len(uuid) > len(tuidMark) && uuid[:len(tuidMark)] == tuidMark {
		return uuid[len(tuidMark):], true
	}
	return "", false
}

// check says what is wrong with a record: whatever could not be exported again.
func check(r *s3.Resource) error {
	switch {
	case !isTableName(r.Name) || strings.HasPrefix(r.Name, ownPrefix):
		return fmt.Errorf("%q is no table that can be written", clip(r.Name))
	case !printable(r.UUID):
		return fmt.Errorf("the uuid %q has characters that it must not have", clip(r.UUID))
	}
	if _, err := r.Record(); err != nil {
		return err
	}
	out := s3.NewEncoder(io.Discard, s3.S3XML, s3.Document{}, s3.EncodeOptions{})
	return out.Encode(r)
}

// resolvable says why a record, or a component of it, could not be resolved with
// another version: its values are nested too deeply.
func (m *meeting) resolvable(r *s3.Resource) error {
	if _, err := m.resolver.Resolve(&resolve.Input{Remote: side(r), Now: m.now}); err != nil {
		return err
	}
	for i := range r.Components {
		if err := m.resolvable(&r.Components[i]); err != nil {
			return err
		}
	}
	return nil
}

func printable(text string) bool {
	for _, c := range text {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return false
		}
	}
	return true
}

// refuse notes an invalid record.
func (in *imports) refuse(r s3.Resource, err error) {
	if len(in.invalid) >= maxTree {
		return
	}
	r.Error = line(messageInvalid + ": " + err.Error())
	if !legible(&r) {
		r = s3.Resource{Name: in.table, UUID: line(r.UUID), Error: r.Error}
	}
	in.invalid = append(in.invalid, r)
}

// legible reports whether a record can be shown in an answer.
func legible(r *s3.Resource) bool {
	var b bytes.Buffer
	out := s3.NewEncoder(&b, s3.S3JSON, s3.Document{}, s3.EncodeOptions{})
	if out.Encode(r) != nil || out.Close() != nil || b.Len() > maxShown {
		return false
	}
	for _, err := range s3.NewDecoder(&b, s3.S3JSON, s3.DecodeOptions{}).Resources() {
		if err != nil {
			return false
		}
	}
	return true
}

// store imports the records.
func (in *imports) store(ctx context.Context, body io.Reader) error {
	w, err := in.s.write(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	in.matched = false
	place := 0
	for r, err := range in.decoder(body).Resources() {
		if err != nil && gapless.KindOf(err) != gapless.KindRejected {
			return fmt.Errorf("read the body again: %w", err)
		}
		if place++; in.bad[place] {
			continue
		}
		r = in.prepare(r)
		root := r.Name == in.table
		if root && in.only != "" && !in.match(&r) || !root && !in.wanted[ident{r.Name, r.UUID}] {
			continue
		}
		in.resolveTUIDs(&r)
		if err := in.take(ctx, w, &r, root); err != nil {
			return err
		}
		if w.full() {
			if err := in.keep(ctx, w); err != nil {
				return err
			}
		}
	}
	return in.keep(ctx, w)
}

// keep commits and makes durable, and so visible, what was gathered: a reader
// who asks by time must not be told long after it that something has arrived.
func (in *imports) keep(ctx context.Context, w *writing) error {
	if err := w.commit(ctx); err != nil {
		return err
	}
	if err := in.s.opts.Store.Sync(ctx); err != nil {
		return fmt.Errorf("make what was sent durable: %w", err)
	}
	return nil
}

// resolveTUIDs puts the uuids of records in place of temporary identities.
func (in *imports) resolveTUIDs(r *s3.Resource) {
	if len(in.tuids) == 0 {
		return
	}
	for i := range r.References {
		if f := &r.References[i]; f.TUID != "" && f.UUID == "" {
			f.UUID, f.TUID = in.tuids[f.TUID], ""
		}
	}
	for i := range r.Components {
		in.resolveTUIDs(&r.Components[i])
	}
}

// take resolves a record with what is here, and writes what comes of it.
func (in *imports) take(ctx context.Context, w *writing, r *s3.Resource, root bool) error {
	id := ident{r.Name, r.UUID}
	old, err := w.find(ctx, id)
	if err != nil {
		return err
	}
	known, err := in.knows(ctx, w, id, old)
	if err != nil {
		return err
	}
	if user, _, ok := in.r.BasicAuth(); ok && old == nil && r.CreatedBy == "" && !r.Deleted {
		r.CreatedBy = line(user)
	}
	survivor := false
	if r.Deleted && r.ReplacedBy != "" {
		s, err := w.find(ctx, ident{r.Name, r.ReplacedBy})
		if err != nil {
			return err
		}
		survivor = s != nil && !s.resource.Deleted
	}
	var local *s3.Resource
	if old != nil {
		local = &old.resource
	}
	o, err := in.meet(local, r, known, survivor)
	if err != nil {
		return err
	}
	if err := in.inbox(ctx, w, o.lost); err != nil {
		return err
	}
	var number uint64
	if old != nil {
		number = old.id
	}
	if o.changed {
		from := in.repository
		if o.kept {
			from = ""
		}
		if number, err = w.put(o.resource, old, from); err != nil {
			return err
		}
	}
	if root {
		in.count(&o, int64(number), old != nil) //nolint:gosec // far below
	}
	return nil
}

// knows reports whether the other side knows the version that is here: whoever
// imports by REST does, a repository what it has got or sent.
func (in *imports) knows(ctx context.Context, w *writing, id ident, old *stored) (bool, error) {
	if in.repository == "" || old == nil {
		return true, nil
	}
	if w.pending[id] != nil {
		return true, nil // it is its own, of a moment ago
	}
	e, err := w.view.entry(ctx, id.table, old.id)
	return e.from == in.repository || in.got != nil && e.sequence <= in.got.Base, err
}

// count notes in the answer what became of a record of the table.
func (in *imports) count(o *outcome, number int64, existed bool) {
	a := &in.answer
	if o.Action == resolve.ActionSkip && o.Rule == ruleStrategy {
		in.notPermitted = true
		return
	}
	in.records++
	switch {
	case number == 0: // the deletion of what never was here
	case o.Action == resolve.ActionDelete || o.Action == resolve.ActionMerge:
		a.Deleted = append(a.Deleted, number)
	case !existed:
		a.Created = append(a.Created, number)
	case o.kept:
		a.Skipped = append(a.Skipped, number)
	default:
		a.Updated = append(a.Updated, number)
	}
}
