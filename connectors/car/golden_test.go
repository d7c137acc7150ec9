package car

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

var update = flag.Bool("update", false, "rewrite testdata")

// golden compares requests with those of a file. Times are written as T.
func golden(t *testing.T, name string, requests []string) {
	t.Helper()
	text := regexp.MustCompile(`\d{13}\.\d{3}`).ReplaceAllString(strings.Join(requests, "\n")+"\n", "T")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("requests differ from %s (-want +got):\n%s", path, diff)
	}
}

// openModel opens a session over one partition that holds the whole graph.
func openModel(t *testing.T, c *Client, epoch uint64, change ...func(*DestinationOptions)) gapless.Session {
	t.Helper()
	s, err := tryModel(t, c, epoch, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func tryModel(t *testing.T, c *Client, epoch uint64, change ...func(*DestinationOptions)) (gapless.Session, error) {
	t.Helper()
	o := DestinationOptions{Source: "my-src", Description: "demo", Model: true, SourceFields: map[string]any{"name": "cmdb"}, ReportFields: map[string]any{"type": "cmdb"}}
	for _, f := range change {
		f(&o)
	}
	d, err := NewDestination(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return d.Open(t.Context(), "test", epoch)
}

// batchOf makes a batch of [Model] from lines of "OP KEY DATA"; OP is + - or ~.
func batchOf(lines ...string) *gapless.Batch {
	b := &gapless.Batch{Partition: gapless.Partition{ID: Model, Collection: Model}}
	for _, line := range lines {
		op, rest, _ := strings.Cut(line, " ")
		key, data, _ := strings.Cut(rest, " ")
		b.Append(gapless.Change{
			Op:     map[string]gapless.Op{"+": gapless.OpUpsert, "-": gapless.OpDelete, "~": gapless.OpPatch}[op],
			Record: gapless.Record{Key: key, Data: []byte(data)},
		})
	}
	return b
}

func push(t *testing.T, s gapless.Session, lines ...string) {
	t.Helper()
	r, err := s.Push(t.Context(), batchOf(lines...))
	if err != nil || len(r.Rejected) > 0 {
		t.Fatalf("push: %v, rejected %v", err, r.Rejected)
	}
}

func syncAt(t *testing.T, s gapless.Session, position string) gapless.Receipt {
	t.Helper()
	r, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: Model, Position: gapless.Position(position), Run: "r", Seq: 1, Epoch: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fullImport runs a full import of rows up to a position.
func fullImportOf(ctx context.Context, s gapless.Session, position string, lines ...string) error {
	runner := s.(gapless.FullRunner)
	if err := runner.BeginFull(ctx, false); err != nil {
		return err
	}
	if _, err := s.Push(ctx, batchOf(lines...)); err != nil {
		return err
	}
	if _, err := s.Sync(ctx, nil); err != nil {
		return err
	}
	if err := runner.EndFull(ctx); err != nil {
		return err
	}
	_, err := s.Sync(ctx, []gapless.Checkpoint{{Partition: Model, Position: gapless.Position(position), Run: "r", Seq: 2, Epoch: 1}})
	return err
}

func demoExtension() *Extension {
	return &Extension{
		Key: "0f9e6b4e-5b1f-4b6a-9f61-d4a6d2b0a001", Owner: "demo", Version: "1",
		Schema: json.RawMessage(`{"vertices":[{"name":"site","properties":{}}],"edges":[{"end1":"site","end2":"asset"}]}`),
	}
}

// TestRequests holds every kind of request of a full import, of runs with and
// without changes, and of deletes to the recorded traffic.
func TestRequests(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	state := t.TempDir()
	with := func(o *DestinationOptions) {
		o.Extension, o.State, o.InFlight, o.PageRows = demoExtension(), state, 1, 4
	}

	s := openModel(t, c, 1, with)
	if err := fullImportOf(t.Context(), s, "1", demoRows()...); err != nil {
		t.Fatal(err)
	}
	golden(t, "full.txt", service.requestsSince(0))
	n := len(service.requestsSince(0))

	s = openModel(t, c, 2, with)
	status, err := s.Status(t.Context())
	if err != nil || status.Checkpoints[Model].Position != "1" || !status.Holds {
		t.Fatalf("got %+v, %v", status, err)
	}
	syncAt(t, s, "1")
	golden(t, "nothing.txt", service.requestsSince(n))
	n = len(service.requestsSince(0))

	s = openModel(t, c, 3, with)
	push(t, s, `+ asset/1 {"name":"new"}`, `+ asset_vulnerability/1|9 {}`, `- asset/3`, `- ipaddress/10.10.10.12`, `- asset/4 `, `- asset_hostname/1|h#1`, `~ asset/1 {"name":"newer"}`, `~ asset_ipaddress/1|10.10.10.11 {"last_modified":7}`)
	syncAt(t, s, "2")
	golden(t, "changes.txt", service.requestsSince(n))
	if got := service.state("my-src"); got != "2" {
		t.Errorf("the position is %q", got)
	}
}

func demoRows() []string {
	return []string{
		`+ vulnerability/9 {"name":"CVE-1"}`, `+ site/1 {"name":"s"}`,
		`+ asset/1 {"name":"asset0.domain.com","initial_value":2000.0,"external_id":"1","asset_type":"Other"}`, `+ asset/2 { }`,
		`+ ipaddress/10.10.10.11 {"_key": "10.10.10.11"}`, `+ ipaddress/10.10.10.12 {}`,
		`+ hostname/h#1 {}`, `+ asset/3 {}`, `+ asset/4 {}`, `+ asset/5 {}`,
		`+ asset_ipaddress/1|10.10.10.11 {}`, `+ site_asset/1|1 {"_from":"1","_to_external_id":"1","active":false,"timestamp":5}`,
		`+ asset_hostname/1|h#1 {"source":"other","report":"1","port":{"n":1}}`,
	}
}
