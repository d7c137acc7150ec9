package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// TestOddSuppliers: whatever a supplier delivers, only what was wanted gets a
// name, and what is missing is named.
func TestOddSuppliers(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 1000), "b": content("b", 200_000)}
	give := func(deliver Deliver, path string, data []byte) error {
		return deliver(Content{Path: path, Size: -1, Body: bytes.NewReader(data)})
	}
	broken := errors.New("broken")
	for _, test := range []struct {
		name   string
		supply func(n int, files []Wanted, deliver Deliver) error
		want   set
		fails  string
		exit   int
		calls  int
		check  func(t *testing.T, r Report)
	}{
		{name: "one at a time", calls: 2, want: s, supply: func(_ int, files []Wanted, deliver Deliver) error {
			return give(deliver, files[0].Path, s[files[0].Path])
		}},
		{name: "nothing", calls: 5, supply: func(int, []Wanted, Deliver) error { return nil }, fails: `2 of 2 files are missing or wrong; "a": it was not delivered`, exit: 10},
		{name: "others", calls: 1, want: s, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return errors.Join(give(deliver, "x", nil), give(deliver, "../x", nil), give(deliver, "b", s["b"]), give(deliver, "a", s["a"]))
		}, check: func(t *testing.T, r Report) {
			if r.Unexpected != 2 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "twice", calls: 1, want: s, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return errors.Join(give(deliver, "a", s["a"]), give(deliver, "a", s["b"]), give(deliver, "b", s["a"]), give(deliver, "b", s["b"]))
		}},
		{name: "in the middle", calls: 6, want: set{"a": s["a"]}, supply: func(_ int, files []Wanted, deliver Deliver) error {
			if len(files) == 2 {
				if err := give(deliver, "a", s["a"]); err != nil {
					return err
				}
			}
			return deliver(Content{Path: "b", Offset: 7, Size: -1, Body: bytes.NewReader(s["b"][7:])})
		}, fails: `1 of 2 files are missing or wrong; "b": delivered from byte 7, while 0 were here`, exit: 55},
		{name: "one is rejected", calls: 1, want: set{"b": s["b"]}, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return errors.Join(give(deliver, "b", s["b"]), gapless.Reject("a", broken))
		}, fails: `"a": broken`, exit: 55},
		{name: "another is rejected", calls: 5, supply: func(int, []Wanted, Deliver) error { return gapless.Reject("x", broken) }, fails: `"a": broken`, exit: 55},
		{name: "not classified", calls: 1, supply: func(int, []Wanted, Deliver) error { return broken }, fails: `stopped with 0 of 2 files: broken`, exit: 1},
		{name: "forbidden", calls: 1, supply: func(int, []Wanted, Deliver) error { return gapless.Because(gapless.CauseForbidden, broken) }, fails: `stopped with 0 of 2 files: broken`, exit: 53},
		{name: "misconfigured", calls: 1, want: set{"a": s["a"]}, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return errors.Join(give(deliver, "a", s["a"]), gapless.Misconfigured(broken))
		}, fails: `of 2 files: broken`, exit: 2},
		{name: "broken streams", calls: 6, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return deliver(Content{Path: "b", Size: -1, Body: io.MultiReader(bytes.NewReader(s["b"][:40_000]), failing{broken})})
		}, fails: `"a": it was not delivered`, exit: 10},
		{name: "no progress", calls: 5, supply: func(_ int, _ []Wanted, deliver Deliver) error {
			return deliver(Content{Path: "a", Size: -1, Body: silent{}})
		}, fails: `"a": cut after 0 bytes`, exit: 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, calls := t.TempDir(), 0
			job := Job{Dir: dir, Files: listOf(fileOf("a", s["a"]), fileOf("b", s["b"])), Group: 10, sleep: noWait}
			job.Supplier = supplierFunc(func(_ context.Context, files []Wanted, deliver Deliver) error {
				calls++
				return test.supply(calls-1, files, deliver)
			})
			report, err := Run(t.Context(), job)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if exit := gapless.ExitCode(err); exit != test.exit {
				t.Errorf("exit %d, want %d", exit, test.exit)
			}
			if calls != test.calls {
				t.Errorf("%d calls, want %d", calls, test.calls)
			}
			got := readFolder(t, dir)
			if test.want == nil {
				test.want = set{}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("the folder holds other files")
			}
			if test.check != nil {
				test.check(t, report)
			}
		})
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// TestProgressIsPatience: a call that brings something does not count as in
// vain, however many there are.
func TestProgressIsPatience(t *testing.T) {
	t.Parallel()
	data := content("x", 2<<20)
	calls := 0
	job := Job{Dir: t.TempDir(), Files: listOf(fileOf("x", data)), sleep: noWait, Supplier: supplierFunc(func(_ context.Context, files []Wanted, deliver Deliver) error {
		calls++
		from := files[0].Offset
		to := min(from+50_000, int64(len(data)))
		return deliver(Content{Path: "x", Offset: from, Size: int64(len(data)), Body: bytes.NewReader(data[from:to])})
	})}
	report, err := Run(t.Context(), job)
	if err != nil || calls != 42 || report.Received != int64(len(data)) {
		t.Error(calls, report, err)
	}
}

// TestInterrupted stops in the middle and continues: nothing but the last piece
// is asked for again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := set{"large": content("l", 5<<20)}
	for i := range 300 {
		s[fmt.Sprint("small/", i)] = content(fmt.Sprint(i), 3000)
	}
	for _, after := range []int64{0, 1, 100_000, 900_000, 5_000_000} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancelCause(t.Context())
		total := int64(0)
		job := Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(s.supply), Group: 20, Streams: 3, Events: func(e Event) {
			if e.Kind == EventReceived {
				total += e.Bytes
			}
			if total >= after {
				cancel(gapless.ErrInterrupted)
			}
		}}
		report, err := Run(ctx, job)
		if !errors.Is(err, gapless.ErrInterrupted) || gapless.ExitCode(err) != gapless.ExitInterrupted {
			t.Error(err)
		}
		for path, data := range readFolder(t, dir) {
			if !bytes.Equal(data, s[path]) {
				t.Errorf("%s has its name and is wrong", path)
			}
		}
		received := report.Received
		job.Events = nil
		report, err = Run(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		wantFolder(t, dir, s)
		if twice := received + report.Received - 5<<20 - 900_000; twice > 3*pieceSize {
			t.Errorf("after %d: %d bytes twice", after, twice)
		}
	}
}

func TestTimeIsOver(t *testing.T) {
	t.Parallel()
	job := Job{Dir: t.TempDir(), Files: listOf(fileOf("a", nil)), Total: 50 * time.Millisecond, Supplier: supplierFunc(func(ctx context.Context, _ []Wanted, _ Deliver) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})}
	if _, err := Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "stopped with 0 of 1 files: the time of 50ms is over") || gapless.ExitCode(err) != 10 {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := set{"a": content("a", 10), "b": content("b", 10)}
	unhashed := File{Path: "b", Size: 10}
	var (
		mu   sync.Mutex // finds out whether events overlap
		told []string
	)
	calls := 0
	job := Job{Dir: t.TempDir(), Files: listOf(fileOf("a", s["a"]), unhashed), AllowUnverified: true, Group: 2, Streams: 1, sleep: noWait}
	job.Supplier = supplierFunc(func(ctx context.Context, files []Wanted, deliver Deliver) error {
		if calls++; calls == 1 {
			return gapless.Later(time.Hour, gapless.Recoverable(errors.New("busy")))
		}
		return s.supply(ctx, files, deliver)
	})
	job.Events = func(e Event) {
		if !mu.TryLock() {
			t.Error("two events at a time")
			return
		}
		defer mu.Unlock()
		told = append(told, fmt.Sprint(e.Kind, " ", e.Path, " ", e.Files, " ", e.Bytes, " ", e.Verified, " ", e.Wait, " ", e.Err))
	}
	report, err := Run(t.Context(), job)
	if err != nil || report.Unverified != 1 || report.Fetched != 2 {
		t.Error(report, err)
	}
	want := []string{
		"planned  2 20 false 0s <nil>", "retry a 0 0 false 1h0m0s busy", "received a 0 10 false 0s <nil>", "received b 0 10 false 0s <nil>",
		"fetched a 0 10 true 0s <nil>", "fetched b 0 10 false 0s <nil>",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestFailuresAreBounded names the first files and counts all.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	var files []File
	for i := range 500 {
		files = append(files, fileOf(fmt.Sprint(i), nil))
	}
	told := 0
	report, err := Run(t.Context(), Job{
		Dir: t.TempDir(), Files: listOf(files...), Group: 100, Attempts: 1, Supplier: supplierFunc(set{}.supply),
		Events: func(e Event) {
			if e.Kind == EventFailed {
				told++
			}
		},
	})
	if err == nil || report.Failed != 500 || told != 500 || len(report.Failures) != maxFailures {
		t.Error(report.Failed, told, len(report.Failures), err)
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		limit := newThrottle(1 << 20)
		var streams sync.WaitGroup
		for range 4 {
			streams.Go(func() {
				for range 40 {
					if err := limit.pass(t.Context(), 64<<10); err != nil {
						t.Error(err)
					}
				}
			})
		}
		streams.Wait()
		if took := time.Since(begin); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %s", took)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gapless.ErrInterrupted)
		if err := limit.pass(ctx, pieceSize); !errors.Is(err, gapless.ErrInterrupted) {
			t.Error(err)
		}
		if err := newThrottle(0).pass(ctx, pieceSize); err != nil {
			t.Error(err)
		}
	})
}

// TestGuard is silent for as long as it may be, and then for longer.
func TestGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := withGuard(t.Context(), time.Minute)
		defer stop()
		r := guarded{slow{59 * time.Second}, guardOf(ctx)}
		for range 5 {
			if _, err := r.Read(nil); err != nil || ctx.Err() != nil {
				t.Fatal(err, ctx.Err())
			}
			time.Sleep(time.Hour) //nolint:forbidigo // in a bubble it is the time of another's work
		}
		over := guardOf(ctx).wait()
		time.Sleep(2 * time.Minute) //nolint:forbidigo // as above
		over()
		if err := context.Cause(ctx); err == nil || gapless.ExitCode(err) != 51 {
			t.Error(err)
		}
	})
}

type slow struct{ d time.Duration }

func (s slow) Read([]byte) (int, error) {
	time.Sleep(s.d) //nolint:forbidigo // in a bubble
	return 0, nil
}

func TestMentions(t *testing.T) {
	t.Parallel()
	var m mentions
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	const n = 3*runMentions + 17
	for i := range n {
		if err := m.add(mention{key: keyOf(fmt.Sprint(i % (n / 2))), number: uint32(i), at: int64(i), length: 7}); err != nil {
			t.Fatal(err)
		}
	}
	groups, total, last := 0, 0, nameKey{}
	for same, err := range m.sorted() {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Compare(same[0].key[:], last[:]) <= 0 {
			t.Fatal("out of order")
		}
		for i, one := range same {
			if one.key != same[0].key || one.length != 7 || int64(one.number) != one.at || (i > 0 && one.at <= same[i-1].at) {
				t.Fatalf("%+v", same)
			}
		}
		last = same[0].key
		groups++
		total += len(same)
	}
	if groups != n/2 || total != n {
		t.Error(groups, total)
	}
}

// TestLostTarget: a target that vanishes is an error, not a loss.
func TestLostTarget(t *testing.T) {
	t.Parallel()
	s, dir := set{"a/b": content("a", 10)}, filepath.Join(t.TempDir(), "target")
	job := Job{Dir: dir, Files: listOf(s.files("")...), Supplier: supplierFunc(func(ctx context.Context, files []Wanted, deliver Deliver) error {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		return s.supply(ctx, files, deliver)
	})}
	if _, err := Run(t.Context(), job); err == nil {
		t.Error("it came into a folder that is not there")
	}
}
