package sahana

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// maxName is how long the name of a repository may be.
const maxName = 64

// register introduces us as a peer, again and again with the same result, and
// returns the uuid of the Eden.
func (c *client) register(ctx context.Context, repository, name string) (site string, err error) {
	for len(name) > maxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	body, err := json.Marshal(struct {
		UUID    string `json:"uuid"`
		Name    string `json:"name"`
		APIType string `json:"apitype"`
	}{repository, name, "eden"})
	if err != nil {
		return "", gapless.Misconfigured(err)
	}
	request := &call{what: "register", method: http.MethodPost, path: "sync/repository/register.json", body: body}
	err = c.send(ctx, request, func(a *answer) error {
		e, err := s3.ReadEnvelope(a, s3.DefaultLimits())
		if err == nil && !e.OK() {
			err = failed(request.what, e)
		}
		site = e.Sender
		return err
	})
	return site, err
}

// post sends a document to be imported and returns the answer, whatever it
// says. A status of takes makes it nil.
func (c *client) post(ctx context.Context, table, path string, document []byte, takes ...int) (envelope *s3.Envelope, err error) {
	request := &call{what: "write " + table, method: http.MethodPost, path: path, body: document, takes: takes}
	err = c.send(ctx, request, func(a *answer) error {
		envelope = nil
		if a.status/100 != 2 {
			return nil
		}
		e, err := s3.ReadEnvelope(a, s3.DefaultLimits())
		if err == nil {
			envelope = &e
		}
		return err
	})
	return envelope, err
}

// failed is the failure that an envelope tells of, whatever the status of its
// answer was.
func failed(what string, e s3.Envelope) error {
	refused := &refusal{what: what, status: e.StatusCode, message: clip(e.Message)}
	if refused.status/100 == 2 || refused.status == 0 {
		refused.status = http.StatusBadRequest
	}
	return refused.classify()
}

// reason returns what an Eden found wrong with a refused element and all that
// belongs to it.
func reason(r *s3.Resource) error {
	var list []string
	add := func(text string) {
		if text = clip(text); text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	var walk func(r *s3.Resource)
	walk = func(r *s3.Resource) {
		add(r.Error)
		for i := range r.Fields {
			add(r.Fields[i].Error)
		}
		for i := range r.References {
			add(r.References[i].Error)
		}
		for i := range r.Components {
			walk(&r.Components[i])
		}
	}
	walk(r)
	if len(list) == 0 {
		add("without a reason")
	}
	return fmt.Errorf("the Eden refuses it: %s", strings.Join(list, "; "))
}
