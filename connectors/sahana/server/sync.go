package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
	"github.com/gapless-sync/gapless/resolve"
)

// maxRegistration bounds the body of a registration.
const maxRegistration = 1 << 20

// register makes a repository known, or better known.
func (c *exchange) register(extension string) error {
	if extension != "json" {
		return refuse(http.StatusUnsupportedMediaType, "Unsupported data format!")
	}
	if err := c.methods(http.MethodPost, http.MethodPut); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxRegistration))
	if err != nil {
		return fmt.Errorf("read the registration: %w", err)
	}
	if !gjson.ValidBytes(body) || !gjson.ParseBytes(body).IsObject() {
		return refuse(http.StatusBadRequest, "Invalid parameters: the body is no JSON object")
	}
	text := func(name string) string { return gjson.GetBytes(body, name).String() }
	uuid := text("uuid")
	answer := s3.Envelope{Status: s3.StatusFailed, StatusCode: http.StatusBadRequest, Message: "No repository identifier specified", Sender: c.s.uuid}
	if uuid == "" {
		return c.reply(http.StatusOK, answer)
	}
	at := c.s.opts.Now().UTC().Truncate(time.Second)
	r := s3.Resource{
		Name: tableRepository, UUID: uuid, ModifiedOn: at, CreatedOn: at, MCI: new(0),
		Fields: []s3.Field{{Name: "name", Text: line(text("name"))}, {Name: "apitype", Text: line(text("apitype"))}},
	}
	if _, err := r.Record(); err != nil || len(uuid) > 128 || !printable(uuid) {
		return refuse(http.StatusBadRequest, "Invalid parameters: the uuid has more than 128 characters, or some that it must not have")
	}
	known, err := c.s.enrol(c.r.Context(), r)
	if err != nil {
		return err
	}
	answer.Status, answer.StatusCode, answer.Message = s3.StatusSuccess, http.StatusOK, "Registration successful"
	if known {
		answer.Message = "Registration update successful"
	}
	err = c.s.log(c.r.Context(), logEntry{repository: uuid, mode: modeRegister, action: actionRequest, result: resultSuccess, message: answer.Message})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, answer)
}

// enrol stores a repository, and reports whether it was known.
func (s *Server) enrol(ctx context.Context, r s3.Resource) (known bool, err error) {
	w, err := s.write(ctx)
	if err != nil {
		return false, err
	}
	defer w.close()
	old, err := w.find(ctx, ident{r.Name, r.UUID})
	if err != nil {
		return false, err
	}
	if old != nil {
		r.CreatedOn = old.resource.CreatedOn
	}
	if _, err := w.put(r, old, ""); err != nil {
		return false, refuse(http.StatusBadRequest, "Invalid parameters: %v", err)
	}
	if err := w.commit(ctx); err != nil {
		return false, err
	}
	return old != nil, s.opts.Store.Sync(ctx)
}

// registered reports whether a repository is known.
func (c *exchange) registered(uuid string) (bool, error) {
	if _, configured := c.s.opts.Repositories[uuid]; configured {
		return true, nil
	}
	if uuid == "" {
		return false, nil
	}
	v, err := c.s.view(c.r.Context(), false)
	if err != nil {
		return false, err
	}
	_, err = v.Get(c.r.Context(), tableRepository, uuid)
	if closeErr := v.Close(); closeErr != nil {
		return false, closeErr
	}
	if errors.Is(err, gapless.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// proxy answers sync.xml, which names the table as a parameter.
func (c *exchange) proxy() error {
	if err := c.methods(http.MethodGet, http.MethodPut, http.MethodPost); err != nil {
		return err
	}
	c.format, c.table = s3.S3XML, c.query.Get("resource")
	switch {
	case c.table == "" || c.table == "mixed":
		return c.reply(http.StatusOK, s3.Envelope{
			Status: s3.StatusFailed, StatusCode: http.StatusBadRequest, Message: "Mixed resource synchronization not supported",
		})
	case !strings.Contains(c.table, "_"):
		return &problem{status: http.StatusBadRequest, message: "Invalid request", plain: true}
	case !isTableName(c.table) || !readable(c.table):
		return refuse(http.StatusBadRequest, "there is no table %q", clip(c.table))
	}
	return c.sync(false)
}

// direct answers sync.xml below a table's own address, which knows pages.
func (c *exchange) direct() error {
	if err := c.methods(http.MethodGet, http.MethodPut, http.MethodPost); err != nil {
		return err
	}
	c.format = s3.S3XML
	return c.sync(true)
}

func (c *exchange) sync(paged bool) error {
	known, err := c.registered(c.query.Get("repository"))
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodGet {
		return c.pull(known, paged)
	}
	if !known {
		return refuse(http.StatusForbidden, "Registration required")
	}
	if strings.HasPrefix(c.table, ownPrefix) {
		return refuse(http.StatusForbidden, "%s is kept by the server and cannot be written", c.table)
	}
	return c.push()
}

// pull sends what has changed.
func (c *exchange) pull(known, paged bool) error {
	q := question{table: c.table, domain: c.s.opts.Domain, deleted: true}
	if err := q.filtersOf(c.query, true); err != nil {
		return err
	}
	page := c.query
	if !paged {
		page = nil
	}
	if err := q.readPage(page); err != nil {
		return err
	}
	q.readShape(c.query)
	paged = q.start > 0 || c.query.Has("limit") && paged
	v, err := c.s.view(c.r.Context(), false)
	if err != nil {
		return err
	}
	defer v.Close()
	var progress *progress
	q.since = c.sinceTime()
	if known && !paged {
		if progress, err = c.follow(v, &q); err != nil {
			return err
		}
	}
	e := c.newExport(v, &q)
	if err := e.choose(); err != nil {
		return err
	}
	if err := e.send(); err != nil {
		return err
	}
	if progress != nil {
		progress.answered(e)
		if err := c.s.saveCursor(c.r.Context(), progress); err != nil {
			return err
		}
	}
	return c.s.log(c.r.Context(), logEntry{
		repository: c.query.Get("repository"), table: c.table, mode: modePull, action: actionSend, result: resultSuccess,
		message: fmt.Sprintf("Data sent to peer (%d records)", len(e.chosen)),
	})
}

// push imports what a repository sends.
func (c *exchange) push() error {
	repository := c.query.Get("repository")
	resolver, lastSync, got, err := c.pushMeeting(repository)
	if err != nil {
		return err
	}
	in := &imports{exchange: c, meeting: meeting{resolver: resolver, lastSync: lastSync}, repository: repository, got: got}
	answer, err := in.run()
	entry := logEntry{repository: repository, table: c.table, mode: modePush, action: actionReceive, result: resultSuccess}
	switch {
	case err != nil:
		p, _ := asProblem(err)
		entry.result, entry.message = resultError, p.message
	case answer.Message != "":
		entry.result, entry.message = resultWarning, answer.Message
	default:
		entry.message = fmt.Sprintf("Data received from peer (%d records)", in.records)
	}
	if logErr := c.s.log(context.WithoutCancel(c.r.Context()), entry); logErr != nil {
		c.s.opts.Logger.Warn("write the log of the Sahana service", "error", logErr)
	}
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, answer)
}

// pushMeeting returns whose policies hold for a push: those of the
// configuration, or else those that the repository asks for; and what is known
// of when both sides last met.
func (c *exchange) pushMeeting(repository string) (*resolve.Resolver, time.Time, *cursor, error) {
	got, err := c.s.cursor(c.r.Context(), repository, c.table)
	if err != nil {
		return nil, time.Time{}, nil, err
	}
	var lastSync time.Time
	if at, _, err := s3.ParseMSince(c.query.Get("msince")); err == nil {
		lastSync = at
	}
	resolver, configured := c.s.tasks[ident{c.table, repository}]
	if !configured {
		resolver, err = pushPolicy(c.query)
		return resolver, lastSync, got, err
	}
	if lastSync.IsZero() && got != nil && got.Met > 0 {
		lastSync = time.Unix(got.Met, 0).UTC()
	}
	return resolver, lastSync, got, nil
}
