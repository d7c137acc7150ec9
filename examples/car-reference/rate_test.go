package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/car/server"
)

// usage is what a connector's process took.
type usage struct {
	cpu, wall time.Duration
	resident  int // MiB, at most
}

// build builds the connector.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "car-reference")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// runProcess runs the connector as a process of its own.
func runProcess(t testing.TB, connector, dir, service, source string) usage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), connector, "-export-data-dir", dir, "-source", "demo")
	cmd.Env = append(os.Environ(), "CAR_SERVICE_URL="+service+server.PathV2, "CAR_SERVICE_KEY=key", "CAR_SERVICE_PASSWORD=password", "CONNECTION_HOST="+source, "CONFIGURATION_AUTH_TOKEN=let me in")
	var out bytes.Buffer
	cmd.Stderr = &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, peak := make(chan struct{}), make(chan int, 1)
	go func() { peak <- watch(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	close(ended)
	u := usage{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(start), resident: <-peak}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return u
}

// watch looks at the peak of a process's memory until it ends, in MiB. What the
// kernel says after its end counts the memory of its parent.
func watch(pid int, ended <-chan struct{}) (peak int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, after, found := strings.Cut(string(text), "VmHWM:"); err == nil && found {
			if kib, err := strconv.Atoi(strings.Fields(after)[0]); err == nil {
				peak = kib >> 10
			}
		}
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

func (u usage) String() string {
	return fmt.Sprintf("%v of CPU, %v in all, %d MiB resident", u.cpu.Round(time.Millisecond), u.wall.Round(time.Millisecond), u.resident)
}

// sink is a CAR service that takes everything and keeps nothing.
func sink() http.Handler {
	var imports atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer := `{"job_id":"j","status":"COMPLETE"}`
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/databases"):
			answer = `{"databases":[{"is_ready":true}]}`
		case strings.HasSuffix(path, "/imports"):
			answer = fmt.Sprintf(`{"id":"i%d"}`, imports.Add(1))
		case strings.HasSuffix(path, "/importstatus"):
			answer = `{"complete_imports":["` + strings.ReplaceAll(r.URL.Query().Get("ids"), ",", `","`) + `"]}`
		case strings.HasSuffix(path, "/importSchema"):
			answer = `{"schema":{"type":"object"}}`
		case strings.Contains(path, "/carSchema/") || strings.HasSuffix(path, "/source/demo") && r.Method == http.MethodGet && imports.Load() == 0:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, answer)
	})
}

// BenchmarkImport is a full import of 10,000 assets into a sink: what connector
// and framework take.
func BenchmarkImport(b *testing.B) {
	const assets = 10_000
	connector := build(b)
	var total usage
	for b.Loop() {
		source, service := httptest.NewServer(newData(assets, 10, "")), httptest.NewServer(sink())
		u := runProcess(b, connector, b.TempDir(), service.URL, source.URL)
		source.Close()
		service.Close()
		total.cpu += u.cpu
		total.resident = max(total.resident, u.resident)
	}
	b.ReportMetric(float64(b.N*(assets*25+3))/total.cpu.Seconds(), "rows/CPU-s")
	b.ReportMetric(float64(total.resident), "MiB")
}

// TestSoak is a full import of 100,000 assets, 2.5 million rows, into the CAR
// service of this project, and an empty one after it.
func TestSoak(t *testing.T) {
	if os.Getenv("GAPLESS_SOAK") == "" {
		t.Skip("takes minutes; set GAPLESS_SOAK=1")
	}
	const assets = 100_000
	w := newWorld(t, assets, 10)
	connector, dir := build(t), t.TempDir()
	full := runProcess(t, connector, dir, w.service.URL, w.source.URL)
	t.Logf("full: %v, %.0f rows/CPU-s", full, float64(assets*25+3)/full.cpu.Seconds())
	if rate := float64(assets*25+3) / full.cpu.Seconds(); rate < 50_000 {
		t.Errorf("%.0f rows per second of CPU", rate)
	}
	if full.resident >= 100 {
		t.Errorf("%d MiB resident", full.resident)
	}
	empty := runProcess(t, connector, dir, w.service.URL, w.source.URL)
	t.Logf("empty: %v", empty)
	if len(w.held()) != assets*25+3 {
		t.Errorf("the service has %d rows", len(w.held()))
	}
}

// TestStopped sends the connector SIGTERM in the middle of its import, and runs
// it again.
func TestStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the connector")
	}
	t.Parallel()
	w := newWorld(t, 2000, 10)
	connector, pages, reached := build(t), 0, make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if pages++; pages == 10 {
			close(reached)
			<-r.Context().Done() // the connector goes away
			return
		}
		w.data.ServeHTTP(rw, r)
	}))
	t.Cleanup(slow.Close)
	cmd := exec.CommandContext(t.Context(), connector, "-export-data-dir", w.dir)
	cmd.Env = os.Environ()
	for name, value := range w.variables() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "CONNECTION_HOST="+slow.URL)
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != gapless.ExitInterrupted || !strings.Contains(out.String(), "told to stop") {
		t.Errorf("%v\n%s", err, out.String())
	}
	w.inStep("full")
}
