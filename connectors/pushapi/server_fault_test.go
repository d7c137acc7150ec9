package pushapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/service"
)

// faultyStore is a store that fails at will.
type faultyStore struct {
	pushapi.Store
	// corpus is what asking for a corpus fails with.
	corpus error
	// entry fails the enumeration of that number, from 1, at the given entry.
	entry func(enumeration, entry int) error
	// write is called before every commit, written after one that took effect.
	write   func() error
	written func(c pushapi.StoreCommit)
	count   atomic.Int32
	open    atomic.Int32 // snapshots
	begun   atomic.Int32 // writes that were neither committed nor discarded
}

func (s *faultyStore) Corpus(ctx context.Context, connector string) (pushapi.Corpus, error) {
	if s.corpus != nil {
		return nil, s.corpus
	}
	c, err := s.Store.Corpus(ctx, connector)
	return faultyCorpus{c, s}, err
}

type faultyCorpus struct {
	pushapi.Corpus
	store *faultyStore
}

func (c faultyCorpus) Begin(ctx context.Context) (pushapi.StoreWrite, error) {
	w, err := c.Corpus.Begin(ctx)
	if err == nil {
		c.store.begun.Add(1)
	}
	return faultyWrite{w, c.store}, err
}

func (c faultyCorpus) Snapshot(ctx context.Context, pushed bool) (pushapi.StoreSnapshot, error) {
	n, err := c.Corpus.Snapshot(ctx, pushed)
	c.store.open.Add(1)
	return faultySnapshot{n, c.store}, err
}

type faultyWrite struct {
	pushapi.StoreWrite
	store *faultyStore
}

func (w faultyWrite) Commit(ctx context.Context, c pushapi.StoreCommit) (gapless.Receipt, error) {
	if w.store.write != nil {
		if err := w.store.write(); err != nil {
			return gapless.Receipt{}, err
		}
	}
	receipt, err := w.StoreWrite.Commit(ctx, c)
	if err == nil && w.store.written != nil {
		w.store.written(c)
	}
	return receipt, err
}

func (w faultyWrite) Discard() error {
	w.store.begun.Add(-1)
	return w.StoreWrite.Discard()
}

type faultySnapshot struct {
	pushapi.StoreSnapshot
	store *faultyStore
}

// Entries goes on for ever behind the true ones.
func (n faultySnapshot) Entries(ctx context.Context, prefix, after string, fn func(uri, stamp []byte) ([]byte, error)) error {
	if n.store.entry == nil {
		return n.StoreSnapshot.Entries(ctx, prefix, after, fn)
	}
	enumeration := int(n.store.count.Add(1))
	for entry := 1; ; entry++ {
		err := n.store.entry(enumeration, entry)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			_, err = fn(fmt.Appendf(nil, "document/%09d", entry), []byte("stamp"))
		}
		if err != nil {
			return err
		}
	}
}

func (n faultySnapshot) Close() error {
	n.store.open.Add(-1)
	return n.StoreSnapshot.Close()
}

var errDisk = errors.New("input/output error on /var/secret/place")

const enumerateAll = "enumerate_synced_entries?PAPI_rootPath=&PAPI_mode=RECURSIVE_DOCUMENTS"

// TestATornEnumerationNeverLooksComplete fails the store at many places.
func TestATornEnumerationNeverLooksComplete(t *testing.T) {
	t.Parallel()
	for _, at := range []int{1, 2, 1000, 50_000, 50_001} {
		for _, version := range []string{"1.1", "1.0", "1.0 in the second pass"} {
			t.Run(fmt.Sprintf("entry %d over HTTP %s", at, version), func(t *testing.T) {
				t.Parallel()
				fail := 1
				if version == "1.0 in the second pass" {
					fail = 2
				}
				store := &faultyStore{Store: service.PushAPIStore(openHub(t, t.TempDir(), false))}
				store.entry = func(enumeration, entry int) error {
					if enumeration == fail && entry == at {
						return errDisk
					}
					if entry > 50_000 {
						return io.EOF
					}
					return nil
				}
				f := serve(t, nil, pushapi.ServerOptions{Store: store})
				raw, err := f.raw(t, "GET /papi/4/connectors/wiki/"+enumerateAll+" HTTP/"+version[:3]+"\r\nHost: h\r\n\r\n", false)
				switch refused := strings.HasPrefix(raw, "HTTP/1.1 500"); {
				case refused && err == nil && !strings.Contains(raw, "document/") && !strings.Contains(raw, "secret"):
				case refused, err == nil:
					t.Errorf("it looks complete, or gives away what it must not: %v\n%.600s", err, raw)
				}
				if store.open.Load() != 0 {
					t.Error("a snapshot is left open")
				}
			})
		}
	}
}

// TestFailuresOfTheStore have their status, and do not tell strangers where
// the store is.
func TestFailuresOfTheStore(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		status int
		kind   pushapi.ErrorType
	}{
		{"unexpected", errDisk, 500, pushapi.TypeUnknown},
		{"recoverable", gapless.Recoverable(errDisk), 503, pushapi.TypeUnavailable},
		{"disk full", gapless.Recoverable(gapless.Errorf(gapless.CodeStoreFull, "/var/secret", "write: %w", errDisk)), 503, pushapi.TypeUnavailable},
		{"fenced", fmt.Errorf("open: %w", gapless.ErrFenced), 400, pushapi.TypeInvalidConnectorName},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := openHub(t, t.TempDir(), false)
			for _, store := range []*faultyStore{{Store: service.PushAPIStore(h), corpus: test.err}, {Store: service.PushAPIStore(h), write: func() error { return test.err }}} {
				f := serve(t, h, pushapi.ServerOptions{Store: store})
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("wiki/add_documents"), strings.NewReader(multi("PAPI_0:uri", "a", "PAPI_0:part_bytes:p", "x")))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", multipartType)
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				e := pushapi.ReadError(response.Body)
				if err := response.Body.Close(); err != nil {
					t.Error(err)
				}
				if response.StatusCode != test.status || e.Type != test.kind || strings.Contains(e.Message, "secret") {
					t.Errorf("%d %s: %s", response.StatusCode, e.Type, e.Message)
				}
				if (test.status == 503) != (response.Header.Get("Retry-After") != "") {
					t.Errorf("Retry-After %q", response.Header.Get("Retry-After"))
				}
				if len(pushedState(t, f, "wiki")) != 1 || store.begun.Load() != 0 {
					t.Error("something was applied, or is left over")
				}
			}
		})
	}
}

// TestTooManyRequestsAreToldToComeBack holds as many as are allowed.
func TestTooManyRequestsAreToldToComeBack(t *testing.T) {
	t.Parallel()
	store := &faultyStore{Store: service.PushAPIStore(openHub(t, t.TempDir(), false))}
	release, entered := make(chan struct{}), make(chan struct{}, 2)
	store.write = func() error {
		entered <- struct{}{}
		<-release
		return nil
	}
	f := serve(t, nil, pushapi.ServerOptions{Store: store, Requests: 2})
	var held sync.WaitGroup
	for range 2 {
		held.Go(func() { f.must(t, "POST", "wiki/sync", "", "") })
		<-entered
	}
	if status, text := f.do(t, "GET", "wiki/ping", "", ""); status != 503 || !strings.Contains(text, "ServerUnavailableError") {
		t.Errorf("%d %s", status, text)
	}
	close(release)
	held.Wait()
	f.must(t, "GET", "wiki/ping", "", "")
}

// TestClientsThatStall are given up, and hold nothing any more.
func TestClientsThatStall(t *testing.T) {
	t.Parallel()
	store := &faultyStore{Store: service.PushAPIStore(openHub(t, t.TempDir(), false)), entry: func(int, int) error { return nil }}
	f := serve(t, nil, pushapi.ServerOptions{Store: store, Stall: 700 * time.Millisecond})
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// It asks for an enumeration without end and reads none of it.
	if _, err := io.WriteString(conn, "GET /papi/4/connectors/wiki/"+enumerateAll+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	deadline, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for seen := false; !seen || store.open.Load() > 0; seen = seen || store.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the snapshot is still held")
		}
	}
	// It announces a body and sends half of it.
	begin := "POST /papi/4/connectors/wiki/add_documents HTTP/1.1\r\nHost: h\r\nContent-Type: " + multipartType + "\r\nContent-Length: 1000\r\n\r\n--b1\r\n"
	if raw, err := f.raw(t, begin, false); err != nil || !strings.HasPrefix(raw, "HTTP/1.1 400 ") {
		t.Errorf("%v %s", err, raw)
	}
	// It needs longer than that, and keeps sending.
	slow, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	body := multi("PAPI_0:uri", "slow", "PAPI_0:meta:text", strings.Repeat("x", 150))
	fmt.Fprintf(slow, "POST /papi/4/connectors/wiki/add_documents HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", multipartType, len(body))
	for i := range len(body) {
		<-tick.C
		fmt.Fprint(slow, body[i:i+1])
	}
	response, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Errorf("a slow client: %s", response.Status)
	}
}

// heapWatch samples the live heap while something runs.
type heapWatch struct{ base, peak uint64 }

func (w *heapWatch) sample() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if w.base == 0 {
		w.base = m.HeapAlloc
	}
	w.peak = max(w.peak, m.HeapAlloc)
}

func (w *heapWatch) grown() uint64 { return w.peak - w.base }

// TestEnumerationIsFlatInMemory reads a million entries.
func TestEnumerationIsFlatInMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const total = 1_000_000
	var watch heapWatch
	watch.sample()
	store := &faultyStore{Store: service.PushAPIStore(openHub(t, t.TempDir(), false)), entry: func(_, entry int) error {
		if entry%50_000 == 0 {
			watch.sample()
		}
		if entry > total {
			return io.EOF
		}
		return nil
	}}
	f := serve(t, nil, pushapi.ServerOptions{Store: store})
	response, err := http.Get(f.url("wiki/" + enumerateAll))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	count := 0
	for _, err := range pushapi.ReadEntries(response.Body, pushapi.EscapePlain) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != total || watch.grown() > 32<<20 {
		t.Errorf("%d entries, the heap grew by %d MiB", count, watch.grown()>>20)
	}
}

// repeated is content of any size that nobody holds.
type repeated struct {
	rest  int64
	watch *heapWatch
	last  int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), r.rest))
	for i := range n {
		p[i] = byte('a' + (r.rest-int64(i))%23)
	}
	if r.rest -= int64(n); r.last-r.rest > 8<<20 || r.last == 0 {
		r.last = r.rest
		r.watch.sample()
	}
	return n, nil
}

// TestPartsDoNotStayInMemory sends far more than there may be on the heap.
func TestPartsDoNotStayInMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const size = 96 << 20
	f := serve(t, openHub(t, t.TempDir(), false), pushapi.ServerOptions{Limits: pushapi.Limits{PartBytes: size}})
	var watch heapWatch
	watch.sample()
	field := func(name string) string {
		return "--b1\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n"
	}
	body := io.MultiReader(
		strings.NewReader(field("PAPI_0:uri")+"a\r\n"+field("PAPI_0:part_bytes:one")), &repeated{rest: size, watch: &watch},
		strings.NewReader("\r\n"+field("PAPI_0:part_bytes:two")), &repeated{rest: size, watch: &watch},
		strings.NewReader("\r\n--b1--\r\n"),
	)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("wiki/add_documents"), body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", multipartType)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if response.StatusCode != http.StatusOK || watch.grown() > 128<<20 {
		t.Errorf("%s, the heap grew by %d MiB", response.Status, watch.grown()>>20)
	}
	f.must(t, "POST", "wiki/sync", "", "")
	a, err := f.hub.Get(t.Context(), "wiki", "document", "a")
	if err != nil || len(a.Parts) != 2 || a.Parts[0].Size != size || a.Parts[1].Size != size {
		t.Errorf("%v, %v", a.Parts, err)
	}
}
