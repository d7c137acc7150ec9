package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gapless-sync/gapless"
)

// list is a JSON array of objects behind a URL; each object is a record.
type list struct {
	URL string `option:"url,required" help:"Address of a JSON array of objects." example:"http://localhost:8000/items.json"`
	Key string `option:"key" default:"id" help:"Field that identifies an object."`
}

func (l list) Describe(ctx context.Context) (gapless.Description, error) {
	_, err := l.get(ctx, http.MethodHead) // the answer has no body to close
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"item"}, Schema: l.Key}, err
}

func (l list) ReadAll(ctx context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	body, err := l.get(ctx, http.MethodGet)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // read to its end by then
	items := json.NewDecoder(body)
	for _, err = items.Token(); err == nil && items.More(); { // the opening bracket, then the items
		var item, fields = json.RawMessage{}, map[string]json.RawMessage{}
		if err = items.Decode(&item); err == nil {
			_ = json.Unmarshal(item, &fields) // what is no object has no key, and is rejected
			err = out.Upsert(gapless.Record{Key: strings.Trim(string(fields[l.Key]), `"`), Data: item})
		}
	}
	if err == nil {
		_, err = items.Token() // the closing bracket proves that nothing is missing
	}
	return gapless.Recoverable(err)
}

func (l list) get(ctx context.Context, method string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, l.URL, http.NoBody)
	if err != nil {
		return nil, gapless.Misconfigured(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("%s answers %s", l.URL, response.Status), response.Body.Close())
	}
	if err != nil {
		return nil, gapless.Because(gapless.CauseUnreachable, err)
	}
	return response.Body, nil
}
