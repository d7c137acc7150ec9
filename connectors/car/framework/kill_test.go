package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gapless-sync/gapless"
)

// The kill tests run this test binary again as a child: a connector whose
// process dies.
const (
	childURL  = "GAPLESS_TEST_CAR_URL"
	childDir  = "GAPLESS_TEST_CAR_DIR"
	childEdit = "GAPLESS_TEST_CAR_EDITS"
	childStep = "GAPLESS_TEST_CAR_STEP"
)

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// editedCMDB is a data source after some edits; every process makes the same
// one.
func editedCMDB(edits int) *cmdb {
	c := newCMDB(40)
	for i := range edits {
		c.set(i*3, fmt.Sprintf("10.8.0.%d", i))
		c.set(100+i, "10.9.0.1")
		c.remove(i*3 + 1)
	}
	return c
}

func child() int {
	edits, _ := strconv.Atoi(os.Getenv(childEdit))
	step, _ := strconv.Atoi(os.Getenv(childStep))
	var a App
	a.Setup = func(context.Context, *Run) (Connector, error) { return editedCMDB(edits).connector(), nil }
	dir := os.Getenv(childDir)
	args := []string{"-car-service-url", os.Getenv(childURL), "-car-service-key", "k", "-car-service-password", "p", "-source", sourceName, "-export-data-dir", dir, "-export-data-page-size", "20"}
	env := Environment{Getenv: func(string) string { return "" }, SecretsDir: dir + "/none", Dir: dir}
	s, err := readOptions(&a, args, env)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	client, err := s.client(env)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	connector, err := a.setup(context.Background(), &Run{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	steps := 0
	r := importRun{settings: s, connector: connector, client: client, log: newLog(os.Stderr, s), syncRecords: 15, onStep: func(string) {
		if steps++; steps == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}}
	return r.run(context.Background())
}

// runner runs children against one service.
type runner struct {
	*testing.T
	service *carService
	server  *httptest.Server
	dir     string
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	r := &runner{T: t, service: newCARService(), dir: t.TempDir()}
	r.server = httptest.NewServer(r.service)
	t.Cleanup(r.server.Close)
	return r
}

func (r *runner) command(edits, step int) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(r.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+r.server.URL+"/api/car/v2", childDir+"="+r.dir, fmt.Sprintf("%s=%d", childEdit, edits), fmt.Sprintf("%s=%d", childStep, step))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// killed runs a child that dies with a request, or at a step of its own. It
// reports whether it came that far.
func (r *runner) killed(edits, request, step int, before bool) bool {
	r.Helper()
	cmd, out := r.command(edits, step)
	start := make(chan struct{})
	r.service.mu.Lock()
	r.service.requests = nil
	r.service.onRequest = func(n int, early bool) bool {
		<-start
		if n == request && early == before {
			_ = cmd.Process.Kill()
			return false
		}
		return true
	}
	r.service.mu.Unlock()
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	close(start)
	err := cmd.Wait()
	exit, died := errors.AsType[*exec.ExitError](err)
	if died && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil {
		r.Fatalf("a run that was not killed: %v\n%s", err, out.String())
	}
	return false
}

// completes runs a child to its end, and asserts that the service is in step.
func (r *runner) completes(edits int) []string {
	r.Helper()
	r.service.mu.Lock()
	r.service.onRequest, r.service.requests = nil, nil
	r.service.mu.Unlock()
	cmd, out := r.command(edits, 0)
	if err := cmd.Run(); err != nil {
		r.Fatalf("the run after a killed one: %v\n%s", err, out.String())
	}
	data := editedCMDB(edits)
	isAddress := func(k string) bool { return strings.HasPrefix(k, "ipaddress/") }
	held := slices.DeleteFunc(r.service.held(), isAddress)
	if diff := cmp.Diff(slices.DeleteFunc(data.want(), isAddress), held); diff != "" {
		r.Fatalf("the service is not in step (-source +service):\n%s\n%s", diff, out.String())
	}
	if got := r.service.modelState(); got != strconv.Itoa(len(data.log)) {
		r.Fatalf("model state %q\n%s", got, out.String())
	}
	return r.service.drain()
}

// TestKilledAtEveryRequest kills a full import, and then an incremental one,
// with each of their requests: before it is carried out, and after.
func TestKilledAtEveryRequest(t *testing.T) {
	t.Parallel()
	every := 1
	if testing.Short() {
		every = 7
	}
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before %v", before), func(t *testing.T) {
			t.Parallel()
			resumed := 0
			for request := 1; ; request += every {
				r := newRunner(t)
				fully := r.killed(0, request, 0, before)
				if got := r.completes(0); !slices.Contains(got, "POST in-progress") && slices.Contains(got, "DELETE in-progress") {
					resumed++
				}
				partly := r.killed(3, request, 0, before)
				r.completes(3)
				if !fully && !partly {
					if request < 15 || resumed == 0 {
						t.Errorf("there are just %d requests; %d runs were resumed", request, resumed)
					}
					return
				}
			}
		})
	}
}

// TestKilledAtEveryStep kills a full import, and then an incremental one,
// between the steps of the collection.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	every := 1
	if testing.Short() {
		every = 5
	}
	for step := 1; ; step += every {
		r := newRunner(t)
		fully := r.killed(0, 0, step, true)
		r.completes(0)
		partly := r.killed(3, 0, step, true)
		r.completes(3)
		if !fully && !partly {
			if step < 9 {
				t.Errorf("there are just %d steps", step)
			}
			return
		}
	}
}

// TestTwoProcesses starts a second connector of the same source while the
// first one is in the middle of its import.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	first, out := r.command(0, 0)
	reached, goOn := make(chan struct{}), make(chan struct{})
	r.service.mu.Lock()
	r.service.onRequest = func(n int, before bool) bool {
		if n == 8 && before {
			close(reached)
			<-goOn
		}
		return true
	}
	r.service.mu.Unlock()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	second, refusal := r.command(0, 0)
	err := second.Run()
	close(goOn)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != gapless.ExitRecoverable || !strings.Contains(refusal.String(), "being run by") {
		t.Errorf("the second process: %v\n%s", err, refusal.String())
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the first process: %v\n%s", err, out.String())
	}
	r.completes(0)
}

// TestStoppedAndResumed stops an import when all is read and not all is
// pushed: the next run asks the data source for nothing.
func TestStoppedAndResumed(t *testing.T) {
	t.Parallel()
	p := newPod(t, 6000)
	p.syncRecords = 500
	ctx, stop := context.WithCancel(t.Context())
	p.onStep = func(name string) {
		if name == "after seal" {
			stop()
		}
	}
	// The journal is read no faster than this, so that the end is not reached.
	sealed := make(chan struct{})
	context.AfterFunc(ctx, func() { close(sealed) })
	p.service.onRequest = func(n int, before bool) bool {
		if p.service.counts["POST imports"] == 20 {
			<-sealed
		}
		return true
	}
	if exit := p.run(ctx); exit != gapless.ExitInterrupted {
		t.Fatalf("exit code %d\n%s", exit, p.log.String())
	}
	part := len(p.service.held())
	p.service.onRequest, p.onStep = nil, nil
	p.data.fail = func(hook string) error {
		if hook != "NewModelStateID" {
			return UnrecoverableFailure(errors.New("the data source is asked: " + hook))
		}
		return nil
	}
	p.service.drain()
	p.inStep(0)
	got := p.service.drain()
	if slices.Contains(got, "POST in-progress") || count(got, "DELETE in-progress") != 1 {
		t.Errorf("it was not resumed: %v\n%s", got, p.log.String())
	}
	if part == 0 || part == 3*6000 {
		t.Errorf("%d rows were there when it was stopped", part)
	}
}

// quietFull hands over a part, and nothing more once it is told to stop.
type quietFull struct {
	*cmdbFull
	stop func()
}

func (f *quietFull) ImportVertices(ctx context.Context, data *DataHandler) error {
	c := (*cmdb)(f.cmdbFull)
	for _, id := range c.ids()[:2000] {
		if err := c.add(data, id); err != nil {
			return err
		}
	}
	f.stop()
	<-ctx.Done()
	return nil
}

func (*quietFull) ImportEdges(context.Context, *DataHandler) error { return nil }

// TestAHookThatIsStoppedHasNotSeenTheEnd has a hook give up quietly when the run
// is told to stop: what it has handed over by then is not all there is.
func TestAHookThatIsStoppedHasNotSeenTheEnd(t *testing.T) {
	t.Parallel()
	p := newPod(t, 3000)
	p.syncRecords = 100
	p.inStep(0)
	ctx, stop := context.WithCancel(t.Context())
	s := &settings{source: sourceName, exportDir: p.dir, stateDir: p.dir + "/state", pageRows: 50, full: true}
	c := Connector{Full: &quietFull{cmdbFull: (*cmdbFull)(p.data), stop: stop}}
	r := importRun{settings: s, connector: c, client: p.service.client(t, -1), log: newLog(&p.log, s), syncRecords: 100}
	r.run(ctx)
	sealed, err := filepath.Glob(filepath.Join(p.dir, "journal-*", "import-*", sealFile))
	if err != nil || len(sealed) > 0 {
		t.Errorf("a part of the rows is taken for all: %v %v", sealed, err)
	}
	p.inStep(0)
}

// TestResumedWhileTheSourceMoved: the changes since follow in the same run, and
// the full import is ended once.
func TestResumedWhileTheSourceMoved(t *testing.T) {
	t.Parallel()
	p := newPod(t, 6000)
	p.syncRecords = 500
	ctx, stop := context.WithCancel(t.Context())
	p.onStep = func(name string) {
		if name == "after seal" {
			stop()
		}
	}
	sealed := make(chan struct{})
	context.AfterFunc(ctx, func() { close(sealed) })
	p.service.onRequest = func(int, bool) bool {
		if p.service.counts["POST imports"] == 20 {
			<-sealed
		}
		return true
	}
	if exit := p.run(ctx); exit != gapless.ExitInterrupted {
		t.Fatalf("exit code %d\n%s", exit, p.log.String())
	}
	p.service.onRequest, p.onStep = nil, nil
	p.data.set(3, "10.7.7.7")
	p.data.remove(4)
	p.service.drain()
	p.inStep(0)
	if got := p.service.drain(); slices.Contains(got, "POST in-progress") || count(got, "DELETE in-progress") != 1 {
		t.Errorf("it was not resumed, or not ended once: %v\n%s", got, p.log.String())
	}
}
