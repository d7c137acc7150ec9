package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// beginFull opens a full import, also if one is open: rows that come from now
// on belong to it. Nothing is retired before it ends.
func (s *Server) beginFull(c *exchange) error {
	if _, err := c.body(); err != nil {
		return err
	}
	src, err := s.source(c.r.Context(), c.path[1], true)
	if err != nil {
		return err
	}
	serial, err := s.change(c.r.Context(), src, func(doc *document, _ bool, w *writing) (*document, error) {
		doc.state = state{Generation: doc.state.Generation + 1, Full: true, Since: w.at.UnixMilli(), Tagged: doc.state.Tagged}
		return doc, nil
	})
	if err != nil {
		return err
	}
	id := s.importID(serial)
	return c.reply(http.StatusOK, map[string]string{"id": id, "job_id": id, "status": statusComplete})
}

// endFull begins the job that retires what the full import did not send. Asked
// again while it works, this answers with the same job.
func (s *Server) endFull(c *exchange) error {
	ctx := c.r.Context()
	src, err := s.source(ctx, c.path[1], false)
	if err != nil {
		return err
	}
	var j *job
	if src != nil {
		if j, err = s.beginEnd(ctx, src); err != nil {
			return err
		}
	}
	if j == nil { // no full import is open
		if j, err = s.finished(ctx, job{Kind: jobNothing, Source: c.path[1], Status: statusComplete}); err != nil {
			return err
		}
	}
	return c.reply(http.StatusOK, j.begun())
}

// beginEnd returns the job that ends the full import of a source, or nil if
// none is open.
func (s *Server) beginEnd(ctx context.Context, src *source) (*job, error) {
	doc, exists, err := src.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer src.end()
	switch working, err := s.endingJob(ctx, src, doc.state.Generation); {
	case err != nil:
		return nil, err
	case working != nil:
		return working, nil
	case !exists || !doc.state.Full:
		return nil, nil //nolint:nilnil // none is open
	case doc.state.Failed != "":
		return s.finished(ctx, job{
			Kind: jobRetire, Source: src.name, Generation: doc.state.Generation, Status: statusError, StatusCode: http.StatusUnprocessableEntity,
			Error: failedMessage(doc.state.Failed),
		})
	}
	return s.beginRetirement(ctx, src, job{Generation: doc.state.Generation})
}

// endingJob returns the job of this generation that is at work, if one is.
func (s *Server) endingJob(ctx context.Context, src *source, generation uint64) (*job, error) {
	if src.ending == "" {
		return nil, nil //nolint:nilnil // none is
	}
	j, err := s.job(ctx, src.ending)
	if err != nil {
		return nil, err
	}
	if j.Status != statusRunning || j.Generation != generation {
		return nil, nil //nolint:nilnil // none is
	}
	return j, nil
}

// beginRetirement saves a job and lets it work. The caller has the turn.
func (s *Server) beginRetirement(ctx context.Context, src *source, j job) (*job, error) {
	j.Kind, j.Source, j.Status = jobRetire, src.name, statusRunning
	made := s.newJob(j)
	if err := s.save(ctx, made, true); err != nil {
		return nil, err
	}
	src.ending = made.ID
	answer := *made
	s.launch(made, src)
	return &answer, nil
}

// approve lets a refused retirement happen: of what was refused, all that has
// not been sent since.
func (s *Server) approve(c *exchange) error {
	ctx := c.r.Context()
	object, err := c.object()
	if err != nil {
		return err
	}
	id := object.Get("approve")
	if id.Type != gjson.String {
		return malformed(`the body is not {"approve": "ID"}`)
	}
	src, err := s.source(ctx, c.path[1], false)
	if err != nil {
		return err
	}
	if src == nil {
		return notFound("there is no source %q", clip(c.path[1]))
	}
	doc, _, err := src.begin(ctx)
	if err != nil {
		return err
	}
	defer src.end()
	refused := doc.state.Refused
	switch {
	case refused == nil:
		return notFound("nothing of source %s waits for an approval", src.name)
	case doc.state.Failed != "":
		return refuse(http.StatusConflict, codeConflict, "%s", failedMessage(doc.state.Failed))
	case refused.Job != id.Str:
		return refuse(http.StatusConflict, codeConflict, "%q is not what waits for an approval; that is %s: %s", clip(id.Str), refused.Job, describeShares(refused.Retiring))
	}
	working, err := s.endingJob(ctx, src, refused.Generation)
	if err == nil && working == nil {
		working, err = s.beginRetirement(ctx, src, job{Generation: refused.Generation, Decided: true})
	}
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, working.begun())
}

// removeSource retires all rows of a source and forgets its document. Rows
// that are sent meanwhile are a new source of that name.
func (s *Server) removeSource(c *exchange) error {
	ctx := c.r.Context()
	src, err := s.source(ctx, c.path[1], false)
	if err != nil {
		return err
	}
	var generation uint64
	exists := false
	if src != nil {
		_, err := s.change(ctx, src, func(doc *document, known bool, _ *writing) (*document, error) {
			if exists = known; !known {
				return nil, nil //nolint:nilnil // nothing to change
			}
			generation = doc.state.Generation + 1
			delete(doc.fields, fieldModel)
			doc.state = state{Generation: generation, Tagged: doc.state.Tagged}
			return doc, nil
		})
		if err != nil {
			return err
		}
	}
	if !exists {
		return notFound("there is no source %q", clip(c.path[1]))
	}
	if _, _, err := src.begin(ctx); err != nil {
		return err
	}
	defer src.end()
	j, err := s.beginRetirement(ctx, src, job{Generation: generation, Decided: true, Remove: true})
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, j.begun())
}

// Of what a full import would retire, so much passes unasked.
const (
	guardPercent = 10
	guardRows    = 20
)

// refuses reports whether that much of a collection must not be retired
// unasked: many rows, or everything while nothing was sent.
func (h share) refuses() bool {
	return h.Rows > 0 && h.Rows == h.Of || h.Rows > guardRows && h.Rows*100 > h.Of*guardPercent
}

// describeShares lists collections with their numbers.
func describeShares(shares map[string]share) string {
	var list []string
	for _, name := range sortedKeys(shares) {
		list = append(list, fmt.Sprintf("%d of %d %s", shares[name].Rows, shares[name].Of, name))
	}
	return strings.Join(list, ", ")
}

func failedMessage(id string) string {
	return fmt.Sprintf("import %s of this full import ended in an error: nothing was retired; import everything again", id)
}

func refusedMessage(j *job) string {
	return fmt.Sprintf("the full import would retire %s; nothing was retired. If they are gone, POST {\"approve\":%q} to %ssource/%s/full-import-in-progress/approve; if not, import everything again",
		describeShares(j.Refused), j.ID, PathV2, j.Source)
}
