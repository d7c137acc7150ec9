package gaplesstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/httpx"
)

// stock is a source under test: a JSON array of articles behind a URL.
type stock struct{ url string }

func (s stock) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelFull, Collections: []string{"article"}}, nil
}

func (s stock) ReadAll(ctx context.Context, _ gapless.Partition, _ gapless.Mark, out *gapless.Output) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return gapless.Misconfigured(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return gapless.Because(gapless.CauseUnreachable, err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return gapless.Because(gapless.CauseAuthentication, fmt.Errorf("status %s", answer.Status))
	case http.StatusForbidden:
		return gapless.Because(gapless.CauseForbidden, fmt.Errorf("status %s", answer.Status))
	default:
		return gapless.Later(httpx.RetryAfter(answer.Header, time.Now()), gapless.Recoverable(fmt.Errorf("status %s", answer.Status)))
	}
	var articles []json.RawMessage
	if err := json.NewDecoder(answer.Body).Decode(&articles); err != nil {
		return gapless.Because(gapless.CauseUnreachable, fmt.Errorf("read articles: %w", err))
	}
	for _, data := range articles {
		var article struct {
			Number string `json:"number"`
		}
		if err := json.Unmarshal(data, &article); err != nil {
			return gapless.Because(gapless.CauseUnreadable, fmt.Errorf("read an article: %w", err))
		}
		if err := out.Upsert(gapless.Record{Key: article.Number, Data: data}); err != nil {
			return err
		}
	}
	return nil
}

func TestStockSurvives(t *testing.T) {
	gaplesstest.CheckSource(t, gaplesstest.SourceCase{
		New: func(t testing.TB, b *gaplesstest.Breaker) gaplesstest.SourceSystem {
			type article struct {
				Number string `json:"number"`
				Pieces int    `json:"pieces"`
			}
			articles := map[string]article{}
			shop := httptest.NewServer(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				all := []article{}
				for _, a := range articles {
					all = append(all, a)
				}
				if err := json.NewEncoder(w).Encode(all); err != nil {
					t.Error(err)
				}
			})))
			t.Cleanup(shop.Close)
			return gaplesstest.SourceSystem{
				Open:   func() gapless.Source { return stock{shop.URL} },
				Put:    func(name string, revision int) { articles[name] = article{name, revision} },
				Remove: func(name string) { delete(articles, name) },
				Read: func(_ gapless.Partition, c gapless.Change) (name string, revision int) {
					var a article
					if err := json.Unmarshal(c.Data, &a); err != nil {
						t.Error(err)
					}
					return c.Key, a.Pieces
				},
			}
		},
	})
}
