package pushapi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/hub"
)

// The acceptance list of the Push API, from the engine through the client to a
// server on a hub: what a connector may go through without losing a document.

const (
	acceptancePages = 20_000
	pageBytes       = 1000 // of a page on the wire, about
	// sourceDir and sourceServer name the variables that make this test binary
	// a connector with its source.
	sourceDir    = "GAPLESS_TEST_PUSHAPI_SOURCE"
	sourceServer = "GAPLESS_TEST_PUSHAPI_SERVER"
)

// TestSourceProcess is no test but the process that
// TestAcceptanceSourceIsKilled starts: a connector that dies in the middle.
func TestSourceProcess(t *testing.T) { //nolint:paralleltest // it has the process for itself
	dir := os.Getenv(sourceDir)
	if dir == "" {
		return
	}
	l := newLedger(acceptancePages)
	l.before = func(emitted int) error {
		if emitted == acceptancePages/2 {
			self, err := os.FindProcess(os.Getpid())
			if err := errors.Join(err, self.Kill()); err != nil {
				return err
			}
			select {} // the signal is on its way
		}
		return nil
	}
	_, err := newRunner(t, dir, os.Getenv(sourceServer)).run(t.Context(), l)
	t.Fatalf("it outlived its source: %v", err)
}

func TestAcceptanceSourceIsKilled(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSourceProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), sourceDir+"="+dir, sourceServer+"="+f.address)
	out, err := cmd.CombinedOutput()
	if exit, died := errors.AsType[*exec.ExitError](err); !died || exit.ExitCode() != -1 {
		t.Fatalf("%v\n%s", err, out)
	}
	l := newLedger(acceptancePages)
	s := newRunner(t, dir, f.address).complete(t, l)
	continued(t, s)
}

// continued checks that a run went on where another one had come to.
func continued(t *testing.T, s engine.Summary) {
	t.Helper()
	p := s.Partitions[0]
	if p.Rule != "P4" || s.Counts.Read >= acceptancePages*8/10 || s.Counts.Pushed != s.Counts.Read {
		t.Errorf("rule %s, %+v", p.Rule, s.Counts)
	}
}

// TestAcceptanceNetworkIsCut cuts in the middle of a first run, and of one
// that tells changes.
func TestAcceptanceNetworkIsCut(t *testing.T) {
	t.Parallel()
	f := fresh(t)
	network := newCable(t, f.address)
	r := newRunner(t, t.TempDir(), network.address())
	l := newLedger(acceptancePages)
	cutAfter := func(bytes int) {
		t.Helper()
		network.cutAfter(bytes, "")
		if s, err := r.run(t.Context(), l); gapless.ExitCode(err) != gapless.ExitSource+int(gapless.CauseUnreachable) {
			t.Fatalf("without a network: %+v, %v", s, err)
		}
		network.connect(f.address)
	}
	cutAfter(acceptancePages * pageBytes / 2)
	continued(t, r.complete(t, l))
	changed := l.revise(0, 4)
	cutAfter(changed * pageBytes / 2)
	if s := r.complete(t, l); s.Counts.Read != uint64(changed) {
		t.Errorf("%d changed: %+v", changed, s.Counts)
	}
	// A request that breaks off while the network stays is no reason to stop.
	changed = l.revise(1, 4)
	network.cutAfter(changed*pageBytes/2, f.address)
	r.complete(t, l)
	if network.isFused() {
		t.Error("the last run did not break off")
	}
}

// TestAcceptanceServerIsRestarted kills the server while it is pushed to, and
// while it indexes what was synced.
func TestAcceptanceServerIsRestarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, kill := serverProcess(t, dir, processSearch+"=true")
	network := newCable(t, f.address)
	r := newRunner(t, t.TempDir(), network.address())
	api := r.client(t)
	defer func() { _ = api.Close(t.Context()) }() // its server is gone
	restart := func() {
		t.Helper()
		old, err := api.StartPushSession(t.Context())
		must(t, err)
		kill()
		f, kill = serverProcess(t, dir, processSearch+"=true")
		network.connect(f.address)
		if err := api.AddDocument(t.Context(), pushapi.Document{URI: "lost"}); !errors.Is(err, pushapi.ErrSessionMismatch) {
			t.Errorf("what was pushed to session %s may be lost, which nobody learns: %v", old, err)
		}
		must(t, api.StopPushSession(t.Context()))
	}
	l := newLedger(acceptancePages)
	l.before = func(emitted int) error {
		if emitted == acceptancePages/2 {
			restart()
		}
		return nil
	}
	if s, err := r.run(t.Context(), l); !errors.Is(err, gapless.ErrIncarnation) {
		t.Fatalf("%+v, %v", s, err)
	}
	l.before = func(int) error { return nil }
	serial := uint64(0)
	for answer := pushapi.SearchableYes; answer != pushapi.SearchableNo; { // until it is behind
		_, err := r.run(t.Context(), l)
		must(t, err)
		serial, err = api.SetCheckpoint(t.Context(), "all", pushapi.CheckpointOptions{Name: "acceptance", Sync: true})
		must(t, err)
		answer, err = api.AreDocumentsSearchable(t.Context(), serial)
		must(t, err)
		if answer == pushapi.SearchableYes {
			l.revise(len(l.log)%acceptancePages, 2)
		}
	}
	restart()
	r.holds(t, l)
	if again := r.complete(t, l); again.Counts.Pushed != 0 {
		t.Errorf("what was synced is pushed again: %+v", again.Counts)
	}
	searchableSoon(t, api, serial)
	kill()
	h := openHub(t, dir, true)
	must(t, h.WaitSearchable(t.Context(), h.Watermarks().Synced))
	found, err := h.Search(t.Context(), hub.Query{Text: `"said on page"`, Facets: []hub.FacetOf{{Field: "author"}}})
	if err != nil || found.Total != l.size() || found.Facets[0].Values[1].Count != l.size() {
		t.Errorf("%d found, %+v, %v", found.Total, found.Facets, err)
	}
}

// searchableSoon waits until the server says that queries see a serial.
func searchableSoon(t *testing.T, api pushapi.PushAPI, serial uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := api.AreDocumentsSearchable(ctx, serial)
		if err != nil {
			t.Fatal(err)
		}
		if answer == pushapi.SearchableYes {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the search does not catch up")
		case <-tick.C:
		}
	}
}

// TestAcceptanceManyDocuments pushes all documents in one go, then nothing,
// and then changes in ten runs, none of which may leave anything in memory.
func TestAcceptanceManyDocuments(t *testing.T) { //nolint:paralleltest // it measures the heap
	pages := 100_000
	switch {
	case os.Getenv("GAPLESS_SOAK") != "":
		pages = 1_000_000
	case testing.Short():
		pages = 5_000
	}
	f := fresh(t)
	r := newRunner(t, t.TempDir(), f.address)
	l := newLedger(pages)
	if s := r.complete(t, l); s.Counts.Pushed != uint64(pages) || s.Counts.Synced != uint64(pages) {
		t.Errorf("%+v", s.Counts)
	}
	serial := f.hub.Watermarks()
	if s := r.complete(t, l); s.Partitions[0].Rule != "P9" || s.Counts.Read != 0 {
		t.Errorf("rule %s without any change: %+v", s.Partitions[0].Rule, s.Counts)
	}
	if now := f.hub.Watermarks(); now != serial {
		t.Errorf("a run without any change left %+v, before it were %+v", now, serial)
	}
	var after []string
	var third, tenth int64
	for n := 1; n <= 10; n++ {
		changed := l.revise(n, 50)
		if s := r.complete(t, l); s.Counts.Pushed != uint64(changed) {
			t.Errorf("%d changed: %+v", changed, s.Counts)
		}
		tenth = heap()
		if n == 3 {
			third = tenth
		}
		after = append(after, fmt.Sprintf("%.1f", float64(tenth)/(1<<20)))
	}
	t.Logf("heap after each run: %s MiB", strings.Join(after, ", "))
	if grown := tenth - third; grown > 1<<20 {
		t.Errorf("from the third run to the tenth the heap grew by %d KiB", grown>>10)
	}
}
