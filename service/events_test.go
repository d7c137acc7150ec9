package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/event"
	"github.com/google/go-cmp/cmp"
)

// ingest is an event as it comes from the field, in version 0.1.
const ingest = `{"cloudEventsVersion":"0.1","eventType":"org.pacifica.metadata.ingest","source":"/transactions?_id=67","eventID":"metadata.ingest.67",` +
	`"eventTime":"2020-05-15T13:05:10","extensions":{},"contentType":"application/json","data":[{"destinationTable":"Files","_id":1}]}`

func openDoorOf(t *testing.T, o eventOptions) *eventDoor {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "events")
	}
	if o.Work == nil {
		o.Work = func(context.Context, event.Event) error { return nil }
	}
	d, err := newEventDoor(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// runDoor runs a door until the returned function is called.
func runDoor(t *testing.T, d *eventDoor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestEventDoorAnswers(t *testing.T) {
	t.Parallel()
	d := openDoorOf(t, eventOptions{
		MaxBody: 2000,
		Admit: func(r *http.Request) bool {
			user, password, _ := r.BasicAuth()
			return user == "notify" && password == "secret"
		},
	})
	const structured, batch = event.MediaType, event.MediaTypeBatch
	one := func(id string) string { return `{"specversion":"1.0","type":"t","source":"s","id":"` + id + `"}` }
	binary := map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "b", "Ce-Source": "s", "Ce-Type": "t"}
	for _, tt := range []struct {
		name, method, password, media, body string
		header                              map[string]string
		want                                int
	}{
		{"no credentials", "POST", "", structured, one("0"), nil, 401},
		{"wrong credentials", "POST", "wrong", structured, one("0"), nil, 401},
		{"wrong credentials, too large", "POST", "wrong", structured, strings.Repeat(" ", 3000), nil, 401},
		{"a look", "GET", "secret", "", "", nil, 405},
		{"version 0.1", "POST", "secret", "application/json", ingest, nil, 202},
		{"version 0.1 again", "POST", "secret", "application/json", ingest, nil, 200},
		{"version 1.0", "POST", "secret", structured, one("1"), nil, 202},
		{"version 1.0 again", "POST", "secret", structured, one("1"), nil, 200},
		{"binary", "POST", "secret", "text/plain", "hello", binary, 202},
		{"binary again, with other data", "POST", "secret", "text/plain", "good bye", binary, 200},
		{"a batch, one of it new", "POST", "secret", batch, "[" + one("1") + "," + one("2") + "," + one("2") + "]", nil, 202},
		{"a batch of nothing new", "POST", "secret", batch, "[" + one("1") + "," + one("2") + "]", nil, 200},
		{"an empty batch", "POST", "secret", batch, "[]", nil, 200},
		{"a batch with a mistake", "POST", "secret", batch, "[" + one("3") + ",{}]", nil, 400},
		{"none of it was taken", "POST", "secret", structured, one("3"), nil, 202},
		{"broken JSON", "POST", "secret", structured, `{"specversion":"1.0"`, nil, 400},
		{"nothing", "POST", "secret", structured, "", nil, 400},
		{"an unknown version", "POST", "secret", structured, `{"specversion":"3.0","type":"t","source":"s","id":"4"}`, nil, 400},
		{"no event", "POST", "secret", "application/json", `{"data":[]}`, nil, 400},
		{"a form", "POST", "secret", "application/x-www-form-urlencoded", "a=b", nil, 415},
		{"compressed", "POST", "secret", structured, one("4"), map[string]string{"Content-Encoding": "gzip"}, 415},
		{"a large body", "POST", "secret", structured, strings.Repeat(" ", 2001), nil, 413},
		{"a full body", "POST", "secret", structured, one("5") + strings.Repeat(" ", 2000-len(one("5"))), nil, 202},
		{"many events", "POST", "secret", batch, "[" + strings.Repeat("0,", 1000-2) + "0]", nil, 400},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, "/events", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.media)
		if tt.password != "" {
			r.SetBasicAuth("notify", tt.password)
		}
		for name, value := range tt.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != tt.want || (w.Code >= 300) != (w.Body.Len() > 0) {
			t.Errorf("%s: %d %s, want %d", tt.name, w.Code, w.Body, tt.want)
		}
		if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: nothing says how to authenticate", tt.name)
		}
	}
	list, err := d.pending()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]string{"1", "2", "3", "5", "b", "metadata.ingest.67"}, ids); diff != "" {
		t.Error(diff)
	}
}

// TestWorkGetsWhatWasSent looks at an object as data, and at a list.
func TestWorkGetsWhatWasSent(t *testing.T) {
	t.Parallel()
	got := make(chan event.Event)
	d := openDoorOf(t, eventOptions{Work: func(_ context.Context, e event.Event) error {
		got <- e
		return nil
	}})
	runDoor(t, d)
	for _, tt := range []struct{ name, doc, data string }{
		{"a list", ingest, `[{"destinationTable":"Files","_id":1}]`},
		{"an object", `{"specversion":"1.0","type":"t","source":"s","id":"1","data":{"a":"<&>"}}`, `{"a":"<&>"}`},
		{"nothing", `{"specversion":"1.0","type":"t","source":"s","id":"2"}`, ""},
	} {
		want, err := event.Decode([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(tt.doc))
		d.ServeHTTP(httptest.NewRecorder(), r)
		e := <-got
		want.Version = event.Version1
		if diff := cmp.Diff(want, e); diff != "" || string(e.Data) != tt.data {
			t.Errorf("%s: %s %s", tt.name, e.Data, diff)
		}
	}
}

// TestBurst posts from many clients while the worker hangs: nobody's answer
// waits for it, and no event is handled twice.
func TestBurst(t *testing.T) {
	t.Parallel()
	const clients, posts, distinct = 8, 250, 1800
	release := make(chan struct{})
	var handled atomic.Int64
	var seen sync.Map
	all := make(chan struct{})
	d := openDoorOf(t, eventOptions{Workers: 2, Work: func(_ context.Context, e event.Event) error {
		<-release
		if _, again := seen.LoadOrStore(e.ID, nil); again {
			t.Errorf("%s is handled twice", e.ID)
		}
		if handled.Add(1) == distinct {
			close(all)
		}
		return nil
	}})
	runDoor(t, d)
	server := httptest.NewServer(d)
	defer server.Close()
	times := make([][]time.Duration, clients)
	var accepted, known atomic.Int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range posts {
				body := strings.Replace(ingest, "metadata.ingest.67", fmt.Sprint((c*posts+i)%distinct), 1)
				begun := time.Now()
				status, err := post(t.Context(), server.URL, body)
				times[c] = append(times[c], time.Since(begun))
				switch {
				case err != nil:
					t.Error(err)
				case status == http.StatusAccepted:
					accepted.Add(1)
				case status == http.StatusOK:
					known.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if accepted.Load() != distinct || known.Load() != clients*posts-distinct || handled.Load() != 0 {
		t.Errorf("%d accepted, %d known, %d handled", accepted.Load(), known.Load(), handled.Load())
	}
	sorted := slices.Sorted(slices.Values(slices.Concat(times...)))
	t.Logf("answered after %s (median), %s (99 %%), %s (longest)", sorted[len(sorted)/2], sorted[len(sorted)*99/100], sorted[len(sorted)-1])
	close(release)
	<-all
}

func post(ctx context.Context, url, body string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// attempts is work that is told what to do by an event's id and remembers when
// it was done.
type attempts struct {
	begun time.Time
	mu    sync.Mutex
	at    map[string][]time.Duration
	fail  func(id string, attempt int) error
}

func (a *attempts) work(_ context.Context, e event.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[e.ID] = append(a.at[e.ID], time.Since(a.begun))
	return a.fail(e.ID, len(a.at[e.ID]))
}

// TestRetries follows events through failures, restarts and the time.
func TestRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &attempts{begun: time.Now(), at: map[string][]time.Duration{}}
		a.fail = func(id string, attempt int) error {
			switch {
			case id == "twice" && attempt <= 2, id == "never":
				return gapless.Recoverable(errors.New("server is down"))
			case id == "denied" && attempt == 1:
				return gapless.Because(gapless.CauseAuthentication, errors.New("401"))
			case id == "broken":
				panic("a bug")
			case id == "unknown":
				return errors.New("who knows")
			}
			return nil
		}
		dir := filepath.Join(t.TempDir(), "events")
		o := eventOptions{Dir: dir, Work: a.work, GiveUp: 24 * time.Hour}
		d := openDoorOf(t, o)
		ids := []string{"right", "twice", "never", "denied", "broken", "unknown"}
		for _, id := range ids {
			if _, err := d.queue.accept([]event.Event{testEvent(id)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 { // a restart now and then loses nothing, and starts nothing again
			stop := runDoor(t, d)
			time.Sleep(10 * time.Hour) //nolint:forbidigo // it passes at once
			stop()
			d = openDoorOf(t, o)
		}
		for id, want := range map[string]int{"right": 1, "twice": 3, "denied": 2, "broken": 1, "unknown": 1} {
			if len(a.at[id]) != want {
				t.Errorf("%s: %d attempts, want %d", id, len(a.at[id]), want)
			}
		}
		if n := len(a.at["never"]); n < 30 || n > 60 {
			t.Errorf("never: %d attempts in a day", n)
		}
		list, err := d.pending()
		if err != nil {
			t.Fatal(err)
		}
		dead := map[string]string{}
		for _, p := range list {
			if !p.Dead || p.Attempts != len(a.at[p.ID]) {
				t.Errorf("%+v after %d attempts", p, len(a.at[p.ID]))
			}
			dead[p.ID], _, _ = strings.Cut(p.Reason, "\n")
		}
		want := map[string]string{"never": "server is down", "broken": "handling it broke down: a bug", "unknown": "who knows"}
		if diff := cmp.Diff(want, dead); diff != "" {
			t.Error(diff)
		}
		a.fail = func(string, int) error { return nil }
		runDoor(t, d)
		for id := range dead {
			if err := d.requeue(nameOf(id)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if list, err := d.pending(); err != nil || len(list) != 0 {
			t.Errorf("%+v (%v)", list, err)
		}
	})
}

// TestWaitsGrow looks at the waits between attempts.
func TestWaitsGrow(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < 200; attempt++ {
		full := longestEventWait
		if attempt < 12 {
			full = min(full, firstEventWait<<(attempt-1))
		}
		if wait := eventWait(attempt); wait < full/2 || wait > full {
			t.Errorf("%s after %d attempts", wait, attempt)
		}
	}
}

// TestInterruptedWork is not counted, and begins again in the next run, after a
// restart or not.
func TestInterruptedWork(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %t", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				o := eventOptions{Dir: filepath.Join(t.TempDir(), "events"), Work: func(ctx context.Context, _ event.Event) error {
					if calls.Add(1) > 1 {
						return nil
					}
					<-ctx.Done()
					return errors.New("cut off")
				}}
				d := openDoorOf(t, o)
				stop := runDoor(t, d)
				if _, err := d.queue.accept([]event.Event{testEvent("1"), testEvent("2")}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				stop()
				list, err := d.pending()
				if err != nil || calls.Load() != 1 || len(list) != 2 || list[0].Dead || list[0].Attempts+list[1].Attempts != 0 {
					t.Fatalf("%d calls, %+v (%v)", calls.Load(), list, err)
				}
				if restart {
					d = openDoorOf(t, o)
				}
				runDoor(t, d)
				synctest.Wait()
				if list, err := d.pending(); calls.Load() != 3 || err != nil || len(list) != 0 {
					t.Errorf("%d calls, %+v (%v)", calls.Load(), list, err)
				}
			})
		})
	}
}

// TestOldMarksGo lets time pass over events that were handled.
func TestOldMarksGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := openDoorOf(t, eventOptions{})
		runDoor(t, d)
		accept := func() int {
			n, err := d.queue.accept([]event.Event{testEvent("1")})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return n
		}
		accept()
		time.Sleep(29 * 24 * time.Hour) //nolint:forbidigo // it passes at once
		if accept() != 0 {
			t.Error("forgotten after 29 days")
		}
		time.Sleep(2 * 24 * time.Hour) //nolint:forbidigo // it passes at once
		if accept() != 1 {
			t.Error("known after 31 days")
		}
	})
}

// TestFullDisk lets nothing be written for a while.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		var calls atomic.Int64
		d := openDoorOf(t, eventOptions{Work: func(context.Context, event.Event) error {
			full.Store(calls.Add(1) == 1)
			return nil
		}})
		d.queue.disk.watch = func(step diskStep, _ string) error {
			if full.Load() && step == stepWrite {
				return errors.New("no space left on device")
			}
			return nil
		}
		runDoor(t, d)
		send := func(id string) int {
			w := httptest.NewRecorder()
			d.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader([]byte(strings.Replace(ingest, "67\",\"eventT", id+"\",\"eventT", 1)))))
			synctest.Wait()
			return w.Code
		}
		if status := send("1"); status != 202 || calls.Load() != 1 {
			t.Errorf("%d, %d calls", status, calls.Load())
		}
		if status := send("2"); status != 503 {
			t.Errorf("%d with a full disk", status)
		}
		full.Store(false)
		time.Sleep(time.Hour) //nolint:forbidigo // it passes at once
		// That it was handled could not be noted, so it was handled again.
		if list, err := d.pending(); calls.Load() != 2 || err != nil || len(list) != 0 {
			t.Errorf("%d calls, %+v (%v)", calls.Load(), list, err)
		}
		if status := send("2"); status != 202 {
			t.Errorf("%d with room on the disk", status)
		}
	})
}

// TestManyHands accepts, handles and queues the same events again from many
// goroutines at a time.
func TestManyHands(t *testing.T) {
	t.Parallel()
	const events = 40
	var done sync.WaitGroup
	var mu sync.Mutex
	calls := map[string]int{}
	done.Add(events)
	d := openDoorOf(t, eventOptions{Workers: 4, Work: func(_ context.Context, e event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if calls[e.ID]++; calls[e.ID] == 2 {
			done.Done()
		}
		if calls[e.ID] == 1 {
			return errors.New("only once more")
		}
		return nil
	}})
	runDoor(t, d)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, i := range rand.Perm(events) {
				if _, err := d.queue.accept([]event.Event{testEvent(fmt.Sprint(i)), testEvent(fmt.Sprint((i + 1) % events))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	finished := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-finished:
					return
				default:
				}
				if err := d.requeue(nameOf(fmt.Sprint(i % events))); err != nil && gapless.KindOf(err) != gapless.KindMisconfigured {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	close(finished)
	wg.Wait()
	for id, n := range calls {
		if n != 2 {
			t.Errorf("%s is handled %d times", id, n)
		}
	}
}

func TestEventDoorNeedsWork(t *testing.T) {
	t.Parallel()
	if _, err := newEventDoor(eventOptions{Dir: t.TempDir()}); err == nil {
		t.Error("a door without work")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newEventDoor(eventOptions{Dir: file, Work: func(context.Context, event.Event) error { return nil }})
	if e, ok := errors.AsType[*gapless.Error](err); !ok || e.Code != gapless.CodeStoreDamaged {
		t.Errorf("%v", err)
	}
}
