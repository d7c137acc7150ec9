package pushapi

import (
	"slices"
	"strconv"
	"sync"
	"time"
)

// FakeServer is a Push API server in memory, for tests: it goes through the
// same states as a real one. Its clock stands still unless it is advanced, it
// crashes and fails when told to, and it remembers every call. Its methods are
// safe for concurrent use.
type FakeServer struct {
	mu         sync.Mutex // guards everything
	now        time.Time
	boots      uint64
	connectors map[string]*fakeCorpus
	known      []string // connectors that exist; all of them if empty
	extensions []Capability
	serials    fakeSerials
	jobs       []fakeJob
	indexDelay time.Duration
	syncEvery  time.Duration
	lastSync   time.Time
	faults     []*Fault
	calls      []FakeCall
}

// fakeSerials are the watermarks of a log.
type fakeSerials struct {
	last       uint64
	synced     uint64
	searchable uint64
	lost       [][2]uint64 // first and last of what crashes took
}

// fakeJob is an indexing job that ends at a time.
type fakeJob struct {
	at     time.Time
	serial uint64
}

// Fault is something that goes wrong with calls of a [FakeServer].
type Fault struct {
	// Command that it befalls; empty befalls any.
	Command Command
	// Skip is how many such calls go well before.
	Skip int
	// Times is how many go wrong; 0 means once, negative all.
	Times int
	// Err is what the caller gets; [ErrServerUnavailable] if nil, unless there
	// is a Wait.
	Err error
	// Lost carries the call out and then fails it: the reply got lost.
	Lost bool
	// Torn lets an enumeration begin, and fails it after so many entries. Other
	// commands take it for Lost.
	Torn int
	// Wait holds the call up until it is closed, or the context ends.
	Wait <-chan struct{}
}

// FakeCall is one call that a [FakeServer] received.
type FakeCall struct {
	At        time.Time
	Connector string
	Command   Command
	Session   SessionID
	// Args are the URIs, or the other arguments in order.
	Args []string
	// Err is what the caller got.
	Err error
}

// fakeEpoch is when the clock of a fake stands.
func fakeEpoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// NewFakeServer returns an empty server. It knows the connectors given, or any
// if there are none.
func NewFakeServer(connectors ...string) *FakeServer {
	now := fakeEpoch()
	return &FakeServer{now: now, lastSync: now, boots: 1, connectors: map[string]*fakeCorpus{}, known: connectors}
}

// Connect returns a client for one connector.
func (s *FakeServer) Connect(connectorName string) *FakePushAPI {
	return &FakePushAPI{server: s, connector: connectorName}
}

// SetIndexDelay sets how long an indexing job takes by the server's clock;
// 0, the default, ends it at once.
func (s *FakeServer) SetIndexDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexDelay = d
}

// SetSyncEvery sets after how much time the server syncs by itself; 0, the
// default, means never.
func (s *FakeServer) SetSyncEvery(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncEvery = d
}

// Advance moves the clock on.
func (s *FakeServer) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
	if s.syncEvery > 0 && s.now.Sub(s.lastSync) >= s.syncEvery {
		s.sync()
	}
	s.finishJobs()
}

func (s *FakeServer) finishJobs() {
	s.jobs = slices.DeleteFunc(s.jobs, func(j fakeJob) bool {
		if j.at.After(s.now) {
			return false
		}
		s.serials.searchable = max(s.serials.searchable, j.serial)
		return true
	})
}

// SetCapabilities sets the extensions that the server has; none by default.
func (s *FakeServer) SetCapabilities(list ...Capability) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extensions = list
}

// Crash stops the server and starts it again: what was not synced is lost, and
// the session id is another.
func (s *FakeServer) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boots++
	s.jobs = nil
	if s.serials.synced < s.serials.last {
		s.serials.lost = append(s.serials.lost, [2]uint64{s.serials.synced + 1, s.serials.last})
	}
	for _, c := range s.connectors {
		c.pushed, c.unsynced = c.synced.clone(), nil
	}
}

// Fail adds a fault. Faults are tried in the order in which they were added.
func (s *FakeServer) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// Heal removes all faults.
func (s *FakeServer) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Calls returns what the server received, in order.
func (s *FakeServer) Calls() []FakeCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Document returns a document as it was received.
func (s *FakeServer) Document(connector, uri string) (Document, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, ok := s.corpus(connector).pushed.docs[uri]
	return doc, ok
}

func (s *FakeServer) session() SessionID {
	return SessionID(strconv.FormatUint(1<<62+s.boots, 10))
}

func (s *FakeServer) corpus(connector string) *fakeCorpus {
	c := s.connectors[connector]
	if c == nil {
		c = &fakeCorpus{pushed: newFakeState(), synced: newFakeState()}
		s.connectors[connector] = c
	}
	return c
}

// apply carries an operation out: pushed at once, synced with the next sync.
func (s *FakeServer) apply(c *fakeCorpus, operation func(*fakeState)) {
	s.serials.last++
	operation(&c.pushed)
	c.unsynced = append(c.unsynced, operation)
}

func (s *FakeServer) sync() {
	for _, c := range s.connectors {
		for _, operation := range c.unsynced {
			operation(&c.synced)
		}
		c.unsynced = nil
	}
	s.serials.synced, s.lastSync = s.serials.last, s.now
}

func (s *FakeServer) trigger() {
	s.jobs = append(s.jobs, fakeJob{at: s.now.Add(s.indexDelay), serial: s.serials.synced})
	s.finishJobs()
}

// fault returns the fault that befalls the next call of a command.
func (s *FakeServer) fault(command Command) *Fault {
	for i, f := range s.faults {
		switch {
		case f.Command != "" && f.Command != command:
		case f.Skip > 0:
			f.Skip--
		default:
			befalls := *f
			if f.Times > 0 {
				if f.Times--; f.Times == 0 {
					s.faults = slices.Delete(s.faults, i, i+1)
				}
			}
			if befalls.Err == nil && befalls.Wait == nil {
				befalls.Err = &Error{Type: TypeUnavailable, Short: ErrServerUnavailable.Error(), Message: "the fake server was told to fail"}
			}
			return &befalls
		}
	}
	return nil
}
