package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gapless-sync/gapless/connectors/car/framework"
)

// source is the data source, seen from the connector.
type source struct {
	url, token string
	http       *http.Client
}

func newSource(server, token string) *source {
	return &source{strings.TrimRight(server, "/"), token, &http.Client{Timeout: time.Minute}}
}

// rowsPerRequest is how many rows one request asks for.
const rowsPerRequest = 500

// tableDelta is what changed in one table.
type tableDelta struct {
	Updates   []int `json:"updates"`
	Deletions []struct {
		PK  int    `json:"pk"`
		Key string `json:"key"`
	} `json:"deletions"`
}

// TestConnection implements [framework.AssetServer].
func (s *source) TestConnection(ctx context.Context) error {
	_, err := s.modelStateID(ctx)
	return err
}

func (s *source) modelStateID(ctx context.Context) (string, error) {
	var reply struct {
		ID string `json:"model_state_id"`
	}
	err := s.get(ctx, "/model_state_id", &reply)
	return reply.ID, err
}

func (s *source) changes(ctx context.Context, last, next string) (map[string]tableDelta, error) {
	var reply struct {
		Delta map[string]tableDelta `json:"delta"`
	}
	err := s.get(ctx, "/delta?from="+url.QueryEscape(last)+"&to="+url.QueryEscape(next), &reply)
	return reply.Delta, err
}

// all calls fn for every row of a table.
func (s *source) all(ctx context.Context, table string, fn func(*row) error) error {
	next, err := s.page(ctx, fmt.Sprintf("/%s/?limit=%d", table, rowsPerRequest), fn)
	for err == nil && next != 0 {
		next, err = s.page(ctx, fmt.Sprintf("/%s/?limit=%d&after=%d", table, rowsPerRequest, next), fn)
	}
	return err
}

// some calls fn for the rows with these numbers that are still there. Those
// that are not are deletions of a later delta.
func (s *source) some(ctx context.Context, table string, pks []int, fn func(*row) error) error {
	for chunk := range slices.Chunk(pks, rowsPerRequest) {
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint(chunk), " ", ","), "[]")
		if _, err := s.page(ctx, "/"+table+"/?pk="+list, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) page(ctx context.Context, path string, fn func(*row) error) (next int, err error) {
	var page struct {
		Results []row `json:"results"`
		Next    int   `json:"next"`
	}
	if err := s.get(ctx, path, &page); err != nil {
		return 0, err
	}
	for i := range page.Results {
		if err := fn(&page.Results[i]); err != nil {
			return 0, err
		}
	}
	return page.Next, nil
}

// get reads an object. Its errors are those of the framework.
func (s *source) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		return framework.DatasourceFailure(errors.New("the URL of the data source is none"), framework.CodeParameter)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return framework.DatasourceFailure(err, framework.CodeConnect)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusal(response, path)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return framework.DatasourceFailure(fmt.Errorf("%s: %w", path, err), framework.CodeProcessing)
	}
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
	return nil
}

func refusal(response *http.Response, path string) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // of a refusal, any part will do
	err := fmt.Errorf("%.100s: the data source answers %s: %s", path, response.Status, strings.TrimSpace(string(text)))
	switch {
	case response.StatusCode == http.StatusGone:
		return fmt.Errorf("%w: %w", framework.ErrIncrementalNotPossible, err)
	case response.StatusCode == http.StatusUnauthorized:
		return framework.DatasourceFailure(err, framework.CodeAuth)
	case response.StatusCode == http.StatusForbidden:
		return framework.DatasourceFailure(err, framework.CodeForbidden)
	case response.StatusCode >= 500:
		return framework.DatasourceFailure(err, framework.CodeConnect)
	}
	return framework.DatasourceFailure(err, framework.CodeParameter)
}
