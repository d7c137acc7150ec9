package car

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless"
)

// TestResumeFull: a full import that was broken off goes on only if nobody
// else had to do with it.
func TestResumeFull(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		plain   bool // the service tells nothing of full imports
		between func(t *testing.T, c *Client)
		state   bool
		resumes bool
	}{
		{"as it was", false, nil, true, true},
		{"as it was, at a service of another make", true, nil, true, true},
		{"begun by another", false, func(t *testing.T, c *Client) {
			t.Helper()
			if err := c.BeginFullImport(t.Context(), "my-src"); err != nil {
				t.Fatal(err)
			}
		}, true, false},
		{"ended by another", false, func(t *testing.T, c *Client) {
			t.Helper()
			if err := c.EndFullImport(t.Context(), "my-src"); err != nil {
				t.Fatal(err)
			}
		}, true, false},
		{"without a memory", false, nil, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			service.plain = tt.plain
			c := service.client(t)
			state := t.TempDir()
			with := func(o *DestinationOptions) {
				if tt.state {
					o.State = state
				}
			}
			s := openModel(t, c, 1, with)
			if err := s.(gapless.FullRunner).BeginFull(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			push(t, s, "+ asset/1 {}", "+ asset/2 {}")
			if _, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: Model, Mark: "m", Target: "9", Epoch: 1}}); err != nil {
				t.Fatal(err)
			}
			if tt.between != nil {
				tt.between(t, c)
			}
			first := reportOf(t, service)
			s = openModel(t, c, 2, with)
			err := s.(gapless.FullRunner).BeginFull(t.Context(), true)
			if !tt.resumes {
				if gapless.KindOf(err) != gapless.KindExpired || err == nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			push(t, s, "+ asset/3 {}")
			if _, err := s.Sync(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if err := s.(gapless.FullRunner).EndFull(t.Context()); err != nil {
				t.Fatal(err)
			}
			syncAt(t, s, "9")
			if got := fmt.Sprint(service.ids("asset")); got != "[1 2 3]" {
				t.Errorf("after the end: %s", got)
			}
			if again := reportOf(t, service); again != first {
				t.Errorf("the report was %s and is %s", first, again)
			}
		})
	}
}

// reportOf returns the key of the newest report.
func reportOf(t *testing.T, service *scripted) string {
	t.Helper()
	key := ""
	for _, line := range service.requestsSince(0) {
		if _, after, ok := strings.Cut(line, `"report":{"_key":"`); ok {
			key, _, _ = strings.Cut(after, `"`)
		}
	}
	return key
}

// TestShrinkGuard: a full import that lost much is not ended.
func TestShrinkGuard(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		before, after int
		approve       bool
		deletes       int // in between
		code          gapless.Code
	}{
		{"the same", 300, 300, false, 0, 0},
		{"more", 300, 400, false, 0, 0},
		{"10 %", 300, 270, false, 0, 0},
		{"a little more than 10 %", 300, 269, false, 0, gapless.CodeGuard},
		{"20 rows", 21, 1, false, 0, 0},
		{"21 rows", 22, 1, false, 0, gapless.CodeGuard},
		{"approved", 300, 10, true, 0, 0},
		{"deleted before", 300, 260, false, 20, 0},
		{"empty", 3, 0, false, 0, gapless.CodeEmptySource},
		{"empty before", 0, 0, false, 0, 0},
	}
	rows := func(n int) (lines []string) {
		for i := range n {
			lines = append(lines, fmt.Sprintf("+ asset/%d {}", i))
		}
		return lines
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			c := service.client(t)
			state := t.TempDir()
			with := func(o *DestinationOptions) { o.State, o.ApproveShrink = state, tt.approve }
			s := openModel(t, c, 1, with)
			if err := fullImportOf(t.Context(), s, "1", rows(tt.before)...); err != nil {
				t.Fatal(err)
			}
			for i := range tt.deletes {
				push(t, s, fmt.Sprintf("- asset/%d", i))
			}
			syncAt(t, s, "2")
			err := fullImportOf(t.Context(), openModel(t, c, 2, with), "3", rows(tt.after)...)
			if tt.code == 0 {
				if err != nil || len(service.ids("asset")) != tt.after {
					t.Errorf("%d rows, %v", len(service.ids("asset")), err)
				}
				return
			}
			if e, ok := err.(*gapless.Error); !ok || e.Code != tt.code || gapless.ExitCode(err) != gapless.ExitGuard { //nolint:errorlint // it is the error itself
				t.Errorf("got %v", err)
			}
			if len(service.ids("asset")) != max(tt.before, tt.after) || service.state("my-src") != "2" {
				t.Errorf("%d rows are left at %q", len(service.ids("asset")), service.state("my-src"))
			}
		})
	}
}

// TestFullImportWithRefusedRows is not ended: they exist at the source.
func TestFullImportWithRefusedRows(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	if err := fullImportOf(t.Context(), openModel(t, c, 1), "1", "+ asset/1 {}", "+ asset/2 {}"); err != nil {
		t.Fatal(err)
	}
	err := fullImportOf(t.Context(), openModel(t, c, 2), "2", "+ asset/1 {}", "+ asset/2 {broken")
	if err == nil || gapless.KindOf(err) != gapless.KindRecoverable {
		t.Errorf("got %v", err)
	}
	if got := fmt.Sprint(service.ids("asset")); got != "[1 2]" {
		t.Errorf("the service holds %s", got)
	}
}

// TestMarkOfAnEarlierFullImport: one that was begun later is not continued
// behind it, for what lies before the mark would be retired.
func TestMarkOfAnEarlierFullImport(t *testing.T) {
	t.Parallel()
	for _, partition := range []string{Model, "asset"} {
		t.Run(partition, func(t *testing.T) {
			t.Parallel()
			service := newScripted(t)
			c := service.client(t)
			state := t.TempDir()
			with := func(o *DestinationOptions) { o.State, o.Model = state, partition == Model }
			s := openModel(t, c, 1, with)
			if err := s.(gapless.FullRunner).BeginFull(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			b := batchOf("+ asset/1 {}")
			b.Partition = gapless.Partition{ID: partition, Collection: partition}
			if _, err := s.Push(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: partition, Mark: "m", Target: "9", Run: "r", Seq: 1, Epoch: 1}}); err != nil {
				t.Fatal(err)
			}
			s = openModel(t, c, 2, with) // of a process that dies right behind the beginning
			if err := s.(gapless.FullRunner).BeginFull(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			s = openModel(t, c, 3, with)
			if status, err := s.Status(t.Context()); err != nil || status.Checkpoints[partition].Mark != "m" {
				t.Fatalf("%+v %v", status, err)
			}
			if err := s.(gapless.FullRunner).BeginFull(t.Context(), true); err == nil || gapless.KindOf(err) != gapless.KindExpired {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRowsBehindTheMarkCountOnce: they are pushed again after a crash.
func TestRowsBehindTheMarkCountOnce(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	c := service.client(t)
	state := t.TempDir()
	with := func(o *DestinationOptions) { o.State = state }
	rows := func(from, to int) (lines []string) {
		for i := from; i < to; i++ {
			lines = append(lines, fmt.Sprintf("+ asset/%d {}", i))
		}
		return lines
	}
	s := openModel(t, c, 1, with)
	if err := s.(gapless.FullRunner).BeginFull(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b := batchOf(rows(0, 100)...)
	b.Mark = "m"
	if _, err := s.Push(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	push(t, s, rows(100, 200)...)
	if _, err := s.Sync(t.Context(), []gapless.Checkpoint{{Partition: Model, Mark: "m", Target: "9", Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	s = openModel(t, c, 2, with)
	if err := s.(gapless.FullRunner).BeginFull(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	push(t, s, rows(100, 200)...)
	if _, err := s.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.(gapless.FullRunner).EndFull(t.Context()); err != nil {
		t.Fatal(err)
	}
	syncAt(t, s, "9")
	if err := fullImportOf(t.Context(), openModel(t, c, 3, with), "10", rows(0, 200)...); err != nil {
		t.Error(err)
	}
	if err := fullImportOf(t.Context(), openModel(t, c, 4, with), "11", rows(0, 150)...); gapless.ExitCode(err) != gapless.ExitGuard {
		t.Errorf("got %v", err)
	}
}

// TestNewDatabaseMeansFull: no checkpoint proves that it holds anything.
func TestNewDatabaseMeansFull(t *testing.T) {
	t.Parallel()
	service := newScripted(t)
	state := t.TempDir()
	with := func(o *DestinationOptions) { o.State = state }
	c := service.client(t)
	s := openModel(t, c, 1, with)
	push(t, s, "+ asset/1 {}")
	syncAt(t, s, "1")
	ready := false // guarded by the service
	service.misbehave(func(_ int, r *http.Request, _ []byte, w http.ResponseWriter) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/databases") && r.Method == http.MethodGet && !ready:
			respond(w, 200, `{"databases":[{"graph_name":"","is_ready":false}]}`)
			return true
		case strings.HasSuffix(r.URL.Path, "/databases") && r.Method == http.MethodPatch:
			ready = true
			service.jobs["J"] = `{"status":"COMPLETE"}`
			respond(w, 200, `{"job_id":"J"}`)
			return true
		}
		return false
	})
	s = openModel(t, c, 2, with)
	status, err := s.Status(t.Context())
	if err != nil || len(status.Checkpoints) > 0 {
		t.Errorf("%+v %v", status, err)
	}
}
