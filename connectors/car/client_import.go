package car

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gapless-sync/gapless/httpx"
)

// maxStatusIDs is how many imports one question is about, and maxIDBytes how
// many bytes of ids one delete has in its address.
const (
	maxStatusIDs = 20
	maxIDBytes   = 1800
)

// Import hands one report to the service and returns the id of the import,
// whose end [Client.ImportStatus] tells. Reports of more than
// [wire.MaxReportBytes] may be refused.
func (c *Client) Import(ctx context.Context, body []byte) (id string, err error) {
	err = c.exchange(ctx, &call{what: "import rows", method: http.MethodPost, url: c.v2 + "/imports", body: body}, func(r reply) error {
		var answer struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(r.body, &answer); err != nil {
			return err
		}
		if id = answer.ID; id == "" {
			return errors.New("it has no id")
		}
		return nil
	})
	return id, err
}

// ImportStatus is how far imports are. Every id that was asked for is in
// exactly one of the lists.
type ImportStatus struct {
	Complete   []string
	Incomplete []string
	// Unknown to the service: what they brought may be lost.
	Unknown []string
	Failed  []ImportFailure
}

// ImportFailure is an import that ended in an error.
type ImportFailure struct {
	ID string
	// Status is a code like those of HTTP; 0 if the service gives none.
	Status int
	// Message of the service, shortened.
	Message string
	// Rows that are at fault, if the service names them.
	Rows []RowFailure
}

// Permanent reports whether the same rows will fail again.
func (f *ImportFailure) Permanent() bool {
	return f.Status < 300 || f.Status >= 400 && f.Status < 500 && !httpx.Transient(f.Status) &&
		f.Status != http.StatusUnauthorized && f.Status != http.StatusForbidden
}

// RowFailure is one row that a service refuses.
type RowFailure struct {
	Collection string
	// Index of the row among those of its collection in the report.
	Index   int
	Message string
}

// ImportStatus asks how far imports are. A reply that does not mention one of
// them is asked for again, and in the end a recoverable failure.
func (c *Client) ImportStatus(ctx context.Context, ids []string) (ImportStatus, error) {
	var all ImportStatus
	for len(ids) > 0 {
		some := ids[:min(len(ids), maxStatusIDs)]
		ids = ids[len(some):]
		escaped := make([]string, len(some))
		for i, id := range some {
			escaped[i] = escape(id)
		}
		request := &call{what: "ask for imports", method: http.MethodGet, url: c.v2 + "/importstatus?ids=" + strings.Join(escaped, "%2C")}
		err := c.exchange(ctx, request, func(r reply) error {
			s, err := decodeImportStatus(r.body, some)
			if err == nil {
				all.add(s)
			}
			return err
		})
		if err != nil {
			return ImportStatus{}, unsettled(err)
		}
	}
	return all, nil
}

func (s *ImportStatus) add(t ImportStatus) {
	s.Complete = append(s.Complete, t.Complete...)
	s.Incomplete = append(s.Incomplete, t.Incomplete...)
	s.Unknown = append(s.Unknown, t.Unknown...)
	s.Failed = append(s.Failed, t.Failed...)
}

// decodeImportStatus finds what a reply says of each of ids. If it says several
// things, the worst counts.
func decodeImportStatus(body []byte, ids []string) (ImportStatus, error) {
	var answer struct {
		Complete   []importEntry `json:"complete_imports"`
		Incomplete []importEntry `json:"incomplete_imports"`
		Unknown    []importEntry `json:"notfound_imports"`
		Failed     []importEntry `json:"error_imports"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return ImportStatus{}, err
	}
	find := func(list []importEntry, id string) *importEntry {
		for i := range list {
			if list[i].ID == id {
				return &list[i]
			}
		}
		return nil
	}
	var s ImportStatus
	for _, id := range ids {
		failed := find(answer.Failed, id)
		switch {
		case failed != nil:
			s.Failed = append(s.Failed, failed.failure())
		case find(answer.Unknown, id) != nil:
			s.Unknown = append(s.Unknown, id)
		case find(answer.Incomplete, id) != nil:
			s.Incomplete = append(s.Incomplete, id)
		case find(answer.Complete, id) != nil:
			s.Complete = append(s.Complete, id)
		default:
			return ImportStatus{}, fmt.Errorf("it does not mention import %s", clip(id))
		}
	}
	return s, nil
}

// importEntry is one import in a reply: an object, or just its id.
type importEntry struct {
	ID     string     `json:"id"`
	Error  text       `json:"error"`
	Status statusCode `json:"statusCode"`
	Rows   []struct {
		Collection string `json:"collection"`
		Index      int    `json:"index"`
		Error      text   `json:"error"`
	} `json:"rows"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (e *importEntry) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, &e.ID)
	}
	type plain importEntry
	return json.Unmarshal(data, (*plain)(e))
}

func (e *importEntry) failure() ImportFailure {
	f := ImportFailure{ID: e.ID, Status: int(e.Status), Message: clip(string(e.Error))}
	for i := range e.Rows {
		f.Rows = append(f.Rows, RowFailure{Collection: e.Rows[i].Collection, Index: e.Rows[i].Index, Message: clip(string(e.Rows[i].Error))})
	}
	return f
}

// statusCode is a number, or its text; anything else is 0.
type statusCode int

// UnmarshalJSON implements [json.Unmarshaler].
func (s *statusCode) UnmarshalJSON(data []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(data), `"`))
	if err == nil && n >= 100 && n < 600 {
		*s = statusCode(n)
	}
	return nil
}

// text is a string, or the JSON of anything else.
type text string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil {
		s = string(data)
	}
	*t = text(s)
	return nil
}
