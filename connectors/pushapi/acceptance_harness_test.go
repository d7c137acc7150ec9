package pushapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pushapi"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/state/sqlite"
)

// ledger is a source of numbered pages with a log of their changes. It keeps a
// revision for each page and nothing else, so that a million of them are small.
type ledger struct {
	revisions []uint32 // of each page; 0 is one that was deleted
	log       []int    // the pages that changed after the first
	// before is called before each record is emitted, with how many this run
	// has emitted.
	before  func(emitted int) error
	emitted int
}

// newLedger returns a ledger of n pages at their first revision.
func newLedger(n int) *ledger {
	l := &ledger{revisions: make([]uint32, n), log: make([]int, 0, n), before: func(int) error { return nil }}
	for i := range l.revisions {
		l.revisions[i] = 1
	}
	return l
}

// revise changes every page that step divides, beginning with first, and
// deletes the first of them.
func (l *ledger) revise(first, step int) (changed int) {
	for i := first; i < len(l.revisions); i += step {
		if l.revisions[i]++; i == first {
			l.revisions[i] = 0
		}
		l.log = append(l.log, i)
		changed++
	}
	return changed
}

// size is how many pages there are.
func (l *ledger) size() (n uint64) {
	for _, revision := range l.revisions {
		if revision > 0 {
			n++
		}
	}
	return n
}

func (l *ledger) Describe(context.Context) (gapless.Description, error) {
	return gapless.Description{Model: gapless.ModelLog, Collections: []string{"page"}}, nil
}

func (l *ledger) Position(context.Context, gapless.Partition) (gapless.Position, error) {
	return gapless.Position(strconv.Itoa(len(l.log))), nil
}

func (l *ledger) CanResume(context.Context, gapless.Partition, gapless.Mark, gapless.Position) (bool, error) {
	return true, nil
}

func (l *ledger) ReadAll(_ context.Context, _ gapless.Partition, after gapless.Mark, out *gapless.Output) error {
	first := 0
	if after != "" {
		var err error
		if first, err = strconv.Atoi(string(after)); err != nil {
			return err
		}
	}
	for i := first; i < len(l.revisions); i++ {
		if err := l.emit(i, out); err != nil {
			return err
		}
		if i%1000 == 999 {
			if err := out.Mark(gapless.Mark(strconv.Itoa(i + 1))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *ledger) ReadChanges(_ context.Context, _ gapless.Partition, from, to gapless.Position, out *gapless.Output) error {
	first, err := strconv.Atoi(string(from))
	if err != nil {
		return err
	}
	last, err := strconv.Atoi(string(to))
	if err != nil {
		return err
	}
	for _, i := range l.log[first:last] {
		if err := l.emit(i, out); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) emit(i int, out *gapless.Output) error {
	if err := l.before(l.emitted); err != nil {
		return err
	}
	l.emitted++
	key, revision := fmt.Sprintf("%07d", i), l.revisions[i]
	if revision == 0 {
		return out.Delete(key)
	}
	return out.Upsert(gapless.Record{
		Key: key, Version: fmt.Sprintf("r%d", revision),
		Data: fmt.Appendf(nil, `{"title":"page %d","revision":%d,"author":["ann","bob"],"text":"what is said on page %d"}`, i, revision, i),
	})
}

// runner is what runs a ledger into a server: a state, and the address that
// the client is told.
type runner struct {
	dir        string
	host, port string
}

func newRunner(t testing.TB, dir, address string) runner {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return runner{dir: dir, host: host, port: port}
}

// run is one run, on everything opened anew.
func (r runner) run(ctx context.Context, l *ledger) (s engine.Summary, err error) {
	l.emitted = 0
	values := map[string]any{"host": r.host, "port": r.port, "name": "wiki"}
	destination, err := pushapi.Connector().Destination.Open(ctx, values, gapless.Env{Connector: "c"})
	if err != nil {
		return s, err
	}
	store, err := sqlite.Open(ctx, filepath.Join(r.dir, "state"))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e, err := engine.New(engine.Config{
		Connector: "c", Source: l, Destination: destination, Store: store, Dir: filepath.Join(r.dir, "fingerprints"),
		Settings: engine.Settings{SyncRecords: max(1000, len(l.revisions)/10), SyncInterval: time.Hour, Attempts: 1},
	})
	if err != nil {
		return s, err
	}
	if s, err = e.Run(ctx, engine.RunOptions{}); err != nil {
		return s, err
	}
	report, err := e.Prove(ctx)
	if err == nil && !report.OK {
		err = errors.New(report.Text())
	}
	return s, err
}

// complete is a run that has to end well, after which the server holds exactly
// what the ledger does.
func (r runner) complete(t testing.TB, l *ledger) engine.Summary {
	t.Helper()
	s, err := r.run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	r.holds(t, l)
	return s
}

// client returns a client that the caller closes.
func (r runner) client(t testing.TB) pushapi.PushAPI {
	t.Helper()
	api, err := pushapi.Factory{}.NewHTTP(pushapi.PAPIV4, r.host, r.port, "wiki", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// holds enumerates the server: every page of the ledger once and with its
// stamp, and nothing else.
func (r runner) holds(t testing.TB, l *ledger) {
	t.Helper()
	seen := make([]bool, len(l.revisions))
	count := 0
	api := r.client(t)
	defer func() { _ = api.Close(t.Context()) }() // nothing was held back
	for entry, err := range api.EnumerateSyncedEntries(t.Context(), "", pushapi.RecursiveDocuments) {
		if err != nil {
			t.Fatal(err)
		}
		digits, ok := strings.CutPrefix(entry.URI, "page/")
		i, err := strconv.Atoi(digits)
		if !ok || err != nil || len(digits) != 7 || i >= len(seen) || seen[i] || entry.Stamp != fmt.Sprintf("r%d", l.revisions[i]) {
			t.Fatalf("the server holds %+v", entry)
		}
		seen[i] = true
		count++
	}
	for i, revision := range l.revisions {
		if seen[i] != (revision > 0) {
			t.Fatalf("the server holds %d documents, but not page %d at revision %d", count, i, revision)
		}
	}
}

// cable is a network on loopback that can be cut. What is behind it may move.
type cable struct {
	listener net.Listener
	carrying sync.WaitGroup

	mu    sync.Mutex // guards what follows
	to    string     // empty while it is cut
	lines map[net.Conn]struct{}
	// fuse is how many bytes go to the server until the cable is cut, if it is
	// not 0, and leads to then.
	fuse int
	then string
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, to: to, lines: map[net.Conn]struct{}{}}
	c.carrying.Go(func() {
		for {
			line, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			c.carrying.Go(func() { c.carry(line) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.connect("")
		c.carrying.Wait()
	})
	return c
}

func (c *cable) address() string { return c.listener.Addr().String() }

// connect cuts every connection and leads new ones to another address, or
// nowhere.
func (c *cable) connect(to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lead(to)
}

func (c *cable) lead(to string) {
	c.to, c.fuse = to, 0
	for line := range c.lines {
		_ = line.Close() // as a network does it
	}
	clear(c.lines)
}

// cutAfter cuts the cable in the middle of what the n-th byte belongs to; it
// then leads to another address, or nowhere.
func (c *cable) cutAfter(n int, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fuse, c.then = n, to
}

// burn reports whether the cable was cut by n more bytes.
func (c *cable) burn(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fuse == 0 || n == 0 {
		return false
	}
	if c.fuse -= n; c.fuse > 0 {
		return false
	}
	c.lead(c.then)
	return true
}

// isFused reports whether the fuse is still to burn.
func (c *cable) isFused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fuse > 0
}

// fused is a connection that burns its cable's fuse.
type fused struct {
	net.Conn
	cable *cable
}

func (f fused) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.cable.burn(n) {
		return 0, net.ErrClosed
	}
	return n, err
}

// carry copies both ways until one end is gone.
func (c *cable) carry(near net.Conn) {
	defer near.Close()
	c.mu.Lock()
	to := c.to
	c.mu.Unlock()
	if to == "" {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if c.to != to { // cut in between
		c.mu.Unlock()
		return
	}
	c.lines[near], c.lines[far] = struct{}{}, struct{}{}
	c.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far) // whatever ends it ends the connection
		_ = near.Close()
		_ = far.Close()
	})
	_, _ = io.Copy(far, fused{near, c})
	_ = near.Close()
	_ = far.Close()
	back.Wait()
	c.mu.Lock()
	delete(c.lines, near)
	delete(c.lines, far)
	c.mu.Unlock()
}

// heap returns the bytes in use after a collection, the least of a few.
func heap() int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int64(m.HeapAlloc))
	}
	return least
}
