package car

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gapless-sync/gapless"
)

// Prepare sees to it that the service has a database, its graph and its
// indexes, and waits for the jobs that make them. created reports that
// something had to be made, so that nothing can be there yet.
func (c *Client) Prepare(ctx context.Context) (created bool, err error) {
	db, exists, err := c.databases(ctx)
	if err != nil {
		return false, err
	}
	change := &call{what: "create the database", method: http.MethodPost, url: c.v2 + "/databases"}
	switch {
	case !exists:
	case db.Ready:
		return false, nil
	case db.GraphName != nil && *db.GraphName == "":
		change.what, change.method, change.body = "create the graph", http.MethodPatch, []byte(`{"graph_name":"assets"}`)
	case len(db.WithoutIndexes) > 0:
		body, err := json.Marshal(map[string][]string{"collections_without_indexes": db.WithoutIndexes})
		if err != nil {
			return false, fmt.Errorf("encode collections: %w", err)
		}
		change.what, change.method, change.body = "create indexes", http.MethodPatch, body
	default:
		return false, nil // it is as ready as it gets
	}
	return true, c.runJob(ctx, change)
}

type database struct {
	Ready          bool     `json:"is_ready"`
	GraphName      *string  `json:"graph_name"`
	WithoutIndexes []string `json:"collections_without_indexes"`
}

func (c *Client) databases(ctx context.Context) (db database, exists bool, err error) {
	request := &call{what: "read databases", method: http.MethodGet, url: c.v2 + "/databases", takes: []int{http.StatusBadRequest}}
	err = c.exchange(ctx, request, func(r reply) error {
		if r.status == http.StatusBadRequest {
			return nil
		}
		db, err = decodeDatabases(r.body)
		exists = true
		return err
	})
	return db, exists, err
}

func decodeDatabases(body []byte) (database, error) {
	var list struct {
		Databases []database `json:"databases"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return database{}, err
	}
	if len(list.Databases) == 0 {
		return database{}, errors.New("it lists no database")
	}
	return list.Databases[0], nil
}

// SourceDocument is what a service keeps of a source.
type SourceDocument struct {
	// ModelStateID is the position of the last import; empty if there is none.
	ModelStateID string
	// Full is the state of full imports; nil with services that do not tell.
	Full *FullState
	// Fields are all fields as received.
	Fields map[string]json.RawMessage
}

// FullState is how our own service tells where a source's full imports are.
type FullState struct {
	// Generation counts the full imports that were begun.
	Generation uint64 `json:"generation"`
	// Open reports that the last one was not ended yet.
	Open bool `json:"full_import"`
}

// Source reads the document of a source, or [gapless.ErrNotFound].
func (c *Client) Source(ctx context.Context, name string) (SourceDocument, error) {
	var d SourceDocument
	request := &call{
		what: "read source " + name, method: http.MethodGet, url: c.v2 + "/source/" + escape(name), takes: []int{http.StatusNotFound},
	}
	err := c.exchange(ctx, request, func(r reply) error {
		if r.status == http.StatusNotFound {
			return gapless.Unrecoverable(fmt.Errorf("source %s: %w", name, gapless.ErrNotFound))
		}
		var err error
		d, err = decodeSource(r.body)
		return err
	})
	return d, unsettled(err)
}

func decodeSource(body []byte) (SourceDocument, error) {
	var d SourceDocument
	if err := json.Unmarshal(body, &d.Fields); err != nil {
		return d, err
	}
	if d.Fields == nil {
		return d, errors.New("it is no object")
	}
	if text, ok := d.Fields["model_state_id"]; ok {
		if err := json.Unmarshal(text, &d.ModelStateID); err != nil {
			return d, fmt.Errorf("model_state_id: %w", err)
		}
	}
	if text, ok := d.Fields["gapless"]; ok {
		if err := json.Unmarshal(text, &d.Full); err != nil {
			return d, fmt.Errorf("gapless: %w", err)
		}
	}
	return d, nil
}

// PatchSource changes fields of the document of a source; its position is
// model_state_id.
func (c *Client) PatchSource(ctx context.Context, name string, fields map[string]any) error {
	return c.patch(ctx, "update source "+name, "/source?key="+escape(name), fields)
}

func (c *Client) patch(ctx context.Context, what, address string, fields map[string]any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return gapless.Unrecoverable(fmt.Errorf("%s: encode the fields: %w", what, err))
	}
	return c.exchange(ctx, &call{what: what, method: http.MethodPatch, url: c.v2 + address, body: body}, nil)
}

// BeginFullImport tells the service that everything of a source follows, and
// waits until it is ready. Beginning again is allowed.
func (c *Client) BeginFullImport(ctx context.Context, source string) error {
	return c.runJob(ctx, &call{what: "begin a full import", method: http.MethodPost, url: c.fullImport(source)})
}

// EndFullImport tells the service that everything was sent, and waits until
// what was not is retired. A refusal to retire that much is an error with the
// code [gapless.CodeGuard].
func (c *Client) EndFullImport(ctx context.Context, source string) error {
	return c.runJob(ctx, &call{what: "end the full import", method: http.MethodDelete, url: c.fullImport(source)})
}

func (c *Client) fullImport(source string) string {
	return c.v2 + "/source/" + escape(source) + "/full-import-in-progress"
}

// runJob carries out a call that starts a job, and waits for it.
func (c *Client) runJob(ctx context.Context, request *call) error {
	var id string
	err := c.exchange(ctx, request, func(r reply) error {
		var err error
		id, err = decodeJobID(r.body)
		return err
	})
	if err != nil {
		return err
	}
	return c.wait(ctx, request.what, id)
}

func decodeJobID(body []byte) (string, error) {
	var job struct {
		ID string `json:"job_id"`
	}
	if err := json.Unmarshal(body, &job); err != nil {
		return "", err
	}
	if job.ID == "" {
		return "", errors.New("it has no job_id")
	}
	return job.ID, nil
}

// Waits between two questions about the same job.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 5 * time.Second
)

// wait waits until a job has ended. Services may hold the question; others are
// asked ever more rarely.
func (c *Client) wait(ctx context.Context, what, id string) error {
	deadline := time.Now().Add(c.opts.JobTimeout)
	request := &call{what: what + ": ask for job " + clip(id), method: http.MethodGet, url: c.v2 + "/jobstatus/" + escape(id)}
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		var job jobStatus
		err := c.exchange(ctx, request, func(r reply) error {
			var err error
			job, err = decodeJob(r.body)
			return err
		})
		switch {
		case err != nil:
			return unsettled(err)
		case job.Status == "COMPLETE":
			return nil
		case job.Status == "ERROR":
			return job.failure(what)
		case !time.Now().Before(deadline):
			return gapless.Recoverable(fmt.Errorf("%s: job %s has not ended after %s", what, clip(id), c.opts.JobTimeout))
		}
		if err := c.opts.sleep(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

type jobStatus struct {
	Status  string     `json:"status"`
	Code    string     `json:"code"`
	Error   text       `json:"error"`
	Message text       `json:"message"`
	Number  statusCode `json:"statusCode"`
}

func decodeJob(body []byte) (jobStatus, error) {
	var job jobStatus
	if err := json.Unmarshal(body, &job); err != nil {
		return job, err
	}
	if job.Status == "" {
		return job, errors.New("it has no status")
	}
	return job, nil
}

// failure is what a job that ended in an error means.
func (j *jobStatus) failure(what string) error {
	message := clip(string(j.Error))
	if message == "" {
		message = clip(string(j.Message))
	}
	if j.Code == gapless.CodeGuard.String() {
		return gapless.Errorf(gapless.CodeGuard, "", "%s: the service refuses: %s", what, message).
			WithHint("look at what the source delivers; if that is right, approve it at the service")
	}
	if message == "" {
		message = "it gives no reason"
	}
	return gapless.Recoverable(fmt.Errorf("%s: the job of the service ended in an error: %s", what, message))
}
