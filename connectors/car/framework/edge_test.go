package framework

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car"
)

// queries answers queries from a list.
type queries struct {
	asked  []string
	answer func(query string) (string, error)
}

func (q *queries) Query(_ context.Context, graphql string) (json.RawMessage, error) {
	q.asked = append(q.asked, graphql)
	text, err := q.answer(graphql)
	return json.RawMessage(text), err
}

func TestVanishedEdges(t *testing.T) {
	t.Parallel()
	edges := func(ids ...string) string {
		var list []string
		for i := 0; i < len(ids); i += 2 {
			list = append(list, fmt.Sprintf(`{"asset_id":%q,"ipaddress_id":%q}`, ids[i], ids[i+1]))
		}
		return `{"asset_ipaddress":[` + strings.Join(list, ",") + `]}`
	}
	refused := gapless.Recoverable(&car.QueryError{Messages: []string{"no such operator"}}) // as the client has it
	many := make([]string, 450)
	for i := range many {
		many[i] = fmt.Sprint("a", i)
	}
	for _, tt := range []struct {
		name   string
		q      EdgeQuery
		answer func(query string) (string, error)
		want   []Edge
		asked  int
		kind   gapless.Kind
		fails  bool
	}{
		{
			name: "one is gone", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: []string{"a1"}},
			answer: func(string) (string, error) {
				return edges("s/a1", "s/0/10.0.0.1", "s/a1", "s/0/10.0.0.2"), nil
			},
			want: []Edge{{"a1", "10.0.0.2"}}, asked: 1,
		},
		{
			name: "owner at the other end", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "ipaddress", Owners: []string{"10.0.0.2"}},
			answer: func(query string) (string, error) {
				if !strings.Contains(query, `ipaddress_id: {_in: ["s/0/10.0.0.2"]}`) {
					return "", refused
				}
				return edges("s/a1", "s/0/10.0.0.2"), nil
			},
			want: []Edge{{"a1", "10.0.0.2"}}, asked: 1,
		},
		{
			name: "the question is not understood", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: []string{"a1"}},
			answer: func(query string) (string, error) {
				if strings.Contains(query, "_in") {
					return "", refused
				}
				return edges("s/a1", "s/0/10.0.0.1", "s/a1", "s/0/10.0.0.2", "s/a2", "s/0/10.0.0.3"), nil
			},
			want: []Edge{{"a1", "10.0.0.2"}}, asked: 2,
		},
		{
			name: "many owners", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: many},
			answer: func(query string) (string, error) {
				if strings.Contains(query, `"s/a449"`) {
					return edges("s/a449", "s/0/10.0.0.9"), nil
				}
				return edges(), nil
			},
			want: []Edge{{"a449", "10.0.0.9"}}, asked: 3,
		},
		{
			name: "not understood in the middle", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: many},
			answer: func(query string) (string, error) {
				if strings.Contains(query, `"s/a449"`) {
					return "", refused
				}
				return edges("s/a0", "s/0/10.0.0.9"), nil
			},
			want: []Edge{{"a0", "10.0.0.9"}}, asked: 4,
		},
		{
			name: "unreachable", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: many},
			answer: func(string) (string, error) { return "", gapless.Recoverable(errors.New("gone")) }, asked: 1, kind: gapless.KindRecoverable, fails: true,
		},
		{
			name: "no list", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: []string{"a1"}},
			answer: func(string) (string, error) { return `{}`, nil }, asked: 1, kind: gapless.KindRecoverable, fails: true,
		},
		{
			name: "ids of another source", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "asset", Owners: []string{"a1"}},
			answer: func(string) (string, error) { return edges("t/a1", "t/0/10.0.0.2"), nil }, asked: 1, kind: gapless.KindRecoverable, fails: true,
		},
		{name: "no end", q: EdgeQuery{Source: "s", Collection: "asset_ipaddress", Owner: "account"}, kind: gapless.KindUnrecoverable, fails: true},
		{name: "no edges", q: EdgeQuery{Source: "s", Collection: "asset", Owner: "asset"}, kind: gapless.KindUnrecoverable, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := &queries{answer: tt.answer}
			got, err := VanishedEdges(t.Context(), service, tt.q, func(e Edge) bool { return e == Edge{"a1", "10.0.0.1"} })
			if (err != nil) != tt.fails || err != nil && gapless.KindOf(err) != tt.kind {
				t.Fatalf("got %v", err)
			}
			if err == nil && !cmp.Equal(got, tt.want) {
				t.Errorf("got %v", got)
			}
			if len(service.asked) != tt.asked {
				t.Errorf("%d questions: %q", len(service.asked), service.asked)
			}
		})
	}
}
