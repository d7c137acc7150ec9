package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless/connectors/car/server"
	"github.com/gapless-sync/gapless/connectors/car/server/query"
	"github.com/gapless-sync/gapless/service"
)

type queryOptions struct {
	projectFlags
	file      string
	variables []string
}

func newQuery(w *world) *cobra.Command {
	var o queryOptions
	cmd := &cobra.Command{
		Use:   "query QUERY",
		Short: "Ask for vertices and edges of the CAR service",
		Long: `Executes a GraphQL query on what was imported through the CAR service. Fields
are collections, and what their rows have stored; docs/wire/car-query.md has the
language. A list of plain fields is shown as a table, anything else as JSON;
--json prints the reply as the service sends it, as it comes.

A value of --var is JSON if it can be read as such, and text otherwise.`,
		Example: `  gapless query '{ asset(limit: 3) { name } }'
  gapless query '{ asset(where: {name: {_ilike: "web-%"}}) { id ipaddress { name } } }'
  gapless query '{ asset_aggregate { aggregate { count } } }'
  gapless query 'query($n: String) { ipaddress(where: {name: {_eq: $n}}) { asset { name } } }' --var n=10.0.0.1
  gapless query --file report.graphql --json | jq .data
  echo '{ hostname { name } }' | gapless query -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.file != "" {
				return between(0, 0)(cmd, args)
			}
			return between(1, 1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.file == "" && args[0] == "-" && w.daemon == nil {
				o.file = "-"
			}
			request, err := w.queryRequest(cmd.InOrStdin(), o, args)
			if err != nil {
				return err
			}
			l, err := w.locate(&o.projectFlags, nil)
			if err != nil {
				return err
			}
			// A daemon has neither this standard input nor has to read files.
			w.args = w.queryArgs(request.Query, o.variables)
			return w.withProject(cmd.Context(), l, func(ctx context.Context, p *service.Project) error {
				return w.query(ctx, p, request)
			})
		},
	}
	o.projectFlags.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "read the query from this `FILE`; - is standard input")
	f.StringArrayVar(&o.variables, "var", nil, "give a variable of the query a value: `NAME=VALUE`")
	return cmd
}

// queryArgs is the command line of this very query where nothing has to be
// read.
func (w *world) queryArgs(text string, variables []string) []string {
	args := []string{"query"}
	if w.json {
		args = append(args, "--json")
	}
	for _, v := range variables {
		args = append(args, "--var="+v)
	}
	return append(args, "--", text)
}

// queryBytes bounds a query that is read; the limit on requests is lower.
const queryBytes = 16 << 20

func (w *world) queryRequest(stdin io.Reader, o queryOptions, args []string) (query.Request, error) {
	var r query.Request
	switch {
	case o.file == "-":
		text, err := io.ReadAll(io.LimitReader(stdin, queryBytes))
		if err != nil {
			return r, usage("read the query: %w", err)
		}
		r.Query = string(text)
	case o.file != "":
		text, err := os.ReadFile(w.abs(o.file))
		if err != nil {
			return r, usage("read the query: %w", err)
		}
		r.Query = string(text)
	default:
		r.Query = args[0]
	}
	variables := map[string]json.RawMessage{}
	for _, v := range o.variables {
		name, value, found := strings.Cut(v, "=")
		if !found || name == "" {
			return r, usage("--var wants NAME=VALUE, not %q", v)
		}
		if _, twice := variables[name]; twice {
			return r, usage("--var %s is given twice", name)
		}
		variables[name] = json.RawMessage(value)
		if !json.Valid(variables[name]) {
			variables[name] = gjson.AppendJSONString(nil, value)
		}
	}
	var err error
	r.Variables, err = json.Marshal(variables)
	return r, err
}

func (w *world) query(ctx context.Context, p *service.Project, r query.Request) error {
	h, err := p.Hub(ctx)
	if err != nil {
		return err
	}
	g, err := server.OpenGraph(ctx, service.CARStore(h))
	if err != nil {
		return err
	}
	if w.json {
		return w.queryTo(ctx, g, r, w.out)
	}
	reply := &queryReply{out: w.out}
	if err := w.queryTo(ctx, g, r, reply); err != nil {
		return err
	}
	return w.printReply(reply)
}

// queryTo writes the reply and a line's end.
func (w *world) queryTo(ctx context.Context, g query.Graph, r query.Request, out io.Writer) error {
	err := query.Run(ctx, g, query.Limits{}, r, out)
	if refused, ok := errors.AsType[*query.Error](err); ok {
		hint := refused.Hint
		refused.Hint = ""
		e := usage("%w", refused)
		if hint != "" {
			return e.WithHint("%s", hint)
		}
		return e.WithHint("gapless query --help shows examples")
	}
	if err == nil {
		_, err = fmt.Fprintln(out)
	}
	return err
}

// replyBytes is how much of a reply is gathered to be shown neatly.
const replyBytes = 16 << 20

// queryReply gathers a reply; one that is larger is printed as it comes.
type queryReply struct {
	out   io.Writer
	held  bytes.Buffer
	plain bool
}

func (q *queryReply) Write(p []byte) (int, error) {
	if q.plain {
		return q.out.Write(p)
	}
	q.held.Write(p)
	if q.held.Len() < replyBytes {
		return len(p), nil
	}
	q.plain = true
	if _, err := q.held.WriteTo(q.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// printReply shows what was gathered: tables where every field of the reply is
// a list of plain rows or a count, or else indented JSON.
func (w *world) printReply(q *queryReply) error {
	if q.plain {
		w.note("%s", w.dim("too much for a table: printed as it came"))
		return nil
	}
	data := gjson.GetBytes(q.held.Bytes(), "data")
	flat := true
	data.ForEach(func(_, v gjson.Result) bool {
		flat = v.IsArray() && isFlat(v) || v.IsObject() && v.Get("aggregate.count").Exists()
		return flat
	})
	if !flat {
		return w.printJSON(json.RawMessage(data.Raw))
	}
	several := len(data.Map()) > 1
	data.ForEach(func(name, v gjson.Result) bool {
		if several {
			w.printf("%s\n", w.bold(name.String()))
		}
		if v.IsObject() {
			w.printf("%s\n", count(v.Get("aggregate.count").Int()))
		} else {
			w.printRows(v.Array())
		}
		return true
	})
	return nil
}

// isFlat reports whether rows have plain fields only.
func isFlat(rows gjson.Result) bool {
	flat := true
	rows.ForEach(func(_, row gjson.Result) bool {
		row.ForEach(func(_, value gjson.Result) bool {
			flat = value.Type != gjson.JSON
			return flat
		})
		return flat
	})
	return flat
}

func (w *world) printRows(rows []gjson.Result) {
	if len(rows) == 0 {
		w.printf("nothing found\n")
		return
	}
	var columns []string
	rows[0].ForEach(func(name, _ gjson.Result) bool {
		columns = append(columns, name.String())
		return true
	})
	t := newTable(slices.Clone(columns)...)
	for _, row := range rows {
		cells := make([]string, 0, len(columns))
		row.ForEach(func(_, value gjson.Result) bool {
			cells = append(cells, cell(value))
			return true
		})
		t.row(cells...)
	}
	t.print(w.out, w.bold)
	w.printf("%s\n", w.dim(plural(len(rows), "row")))
}

func cell(value gjson.Result) string {
	switch value.Type {
	case gjson.Null:
		return "-"
	case gjson.String:
		return clean(value.Str)
	}
	return value.Raw
}
