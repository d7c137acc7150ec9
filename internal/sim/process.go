package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/engine"
	"github.com/gapless-sync/gapless/gaplesstest"
	"github.com/gapless-sync/gapless/proof"
	"github.com/gapless-sync/gapless/state"
)

// Endpoint is what a process calls.
type Endpoint uint8

// The endpoints. Faults are counted for each on its own.
const (
	Source Endpoint = iota
	Destination
	State
	endpoints
)

// String is its word.
func (e Endpoint) String() string { return [...]string{"source", "destination", "state"}[e] }

// Kind says what is wrong with a call.
type Kind uint8

// The kinds of faults.
const (
	// Recoverable and Unclassified calls fail without effect.
	Recoverable Kind = iota
	Unclassified
	// Ambiguous and Misclassified calls have their effect and then fail,
	// recoverable the one, unclassified the other.
	Ambiguous
	Misclassified
	// Scoped calls fail unrecoverably, for all partitions.
	Scoped
	// DieBefore and DieAfter end the process at the call, without or with its
	// effect: nothing that it does afterwards has any.
	DieBefore
	DieAfter
	// PauseBefore and PauseAfter let the whole process stand still, until its
	// lease has long expired, before the call has its effect or after it.
	PauseBefore
	PauseAfter
	// Stop asks for an orderly end during the call, Cancel for one at once.
	Stop
	Cancel
	kinds
)

// String is its word.
func (k Kind) String() string {
	return [...]string{
		"recoverable", "unclassified", "ambiguous", "misclassified", "scoped", "die before", "die after", "pause before", "pause after",
		"stop", "cancel",
	}[k]
}

// Fault befalls the Nth call to an endpoint, from 1.
type Fault struct {
	Endpoint Endpoint
	Nth      int
	Kind     Kind
}

// Run is a run in a process of its own.
type Run struct {
	// Options but for Stop, which is a kind of fault.
	Options engine.RunOptions
	Faults  []Fault
}

// Ended is how a process ended.
type Ended struct {
	Summary engine.Summary
	Err     error
	// Died says that it died; nothing else is known then.
	Died bool
}

var (
	errFault = errors.New("planned fault")
	errDead  = errors.New("the process is dead")
)

// longestCall is about how long a call takes each way.
const longestCall = 2 * time.Millisecond

// The world's own actor; others belong to processes.
const actorStory actor = 1

// Running is a process.
type Running struct{ process *process }

// process is a run of an engine of its own, with all that the auditor knows of
// it. It is guarded by the world's lock.
type process struct {
	world  *World
	number int
	run    Run
	ended  chan struct{} // closed once nothing of it runs any more
	gone   chan struct{} // closed when it has ended or died

	context context.Context //nolint:containedctx // of the run, which is this
	cancel  context.CancelFunc
	stop    chan struct{}
	stopped bool
	dead    bool
	paused  time.Time // until then
	calls   [endpoints]int
	result  Ended
	account
}

// Start begins a run.
func (w *World) Start(run Run) Running {
	p := w.begin(run)
	go func() {
		defer close(p.ended)
		summary, err := p.perform()
		w.mu.Lock()
		defer w.mu.Unlock()
		if p.dead {
			return
		}
		p.result = Ended{Summary: summary, Err: err}
		w.trace.add("%d ended with %d (%s)", p.number, summary.Exit, summary.Status)
		w.audit.ended(p)
		close(p.gone)
	}()
	return Running{p}
}

// Wait returns when the process has ended or died.
func (r Running) Wait() Ended {
	<-r.process.gone
	w := r.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return r.process.result
}

// Calls returns how many calls the process has made to an endpoint.
func (r Running) Calls(e Endpoint) int {
	w := r.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return r.process.calls[e]
}

// Run is Start and Wait.
func (w *World) Run(run Run) Ended { return w.Start(run).Wait() }

func (w *World) begin(run Run) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &process{
		world: w, number: len(w.processes) + 1, run: run, ended: make(chan struct{}), gone: make(chan struct{}), stop: make(chan struct{}),
	}
	p.context, p.cancel = context.WithCancel(context.Background())
	p.run.Options.Stop = p.stop
	p.account = newAccount(w)
	w.processes = append(w.processes, p)
	w.trace.add("%d begins, full %t, keys %q, approving %t, faults %v",
		p.number, run.Options.Full, run.Options.Keys, run.Options.Approve != "", run.Faults)
	return p
}

func (p *process) engine() (*engine.Engine, error) {
	p.world.mu.Lock()
	dir := p.world.dir
	p.world.mu.Unlock()
	return engine.New(engine.Config{
		Connector: connector, Source: p.source(), Destination: outlet{p}, Store: memory{p.world.store, p}, Dir: dir,
		Mapping: p.world.rules[p.rule], Holder: fmt.Sprintf("process %d", p.number), Settings: p.world.setup.Settings, Now: time.Now,
	})
}

func (p *process) perform() (engine.Summary, error) {
	defer p.cancel()
	e, err := p.engine()
	if err != nil {
		return engine.Summary{}, err
	}
	return e.Run(p.context, p.run.Options)
}

// call is one outside call.
type call struct {
	endpoint Endpoint
	place    int // of the partition that it is about
	// work is a call that reads, pushes or syncs records of the place.
	work bool
	// renewal is a call that is made besides those of its place.
	renewal bool
	// quick calls take no time: the engine holds a lock meanwhile that others
	// may wait for, which would let the time stand still.
	quick bool
}

func (p *process) actor(c call) actor {
	endpoint := int(c.endpoint)
	if c.renewal {
		endpoint = int(endpoints)
	}
	return actor(((1+p.number%63)*4+endpoint)*16 + c.place)
}

// call lets effect happen at an instant of its own, unless ctx has ended or a
// fault befalls it.
func (p *process) call(ctx context.Context, c call, effect func() error) error {
	p.travel(c)
	err := context.Cause(ctx) // what a fault ends now, ends after the effect
	p.world.mu.Lock()
	fault, failed := p.fault(c)
	if failed && (fault == PauseBefore) && !c.quick {
		p.world.mu.Unlock()
		p.travel(c)
		p.world.mu.Lock()
	}
	if p.dead {
		p.world.mu.Unlock()
		return p.hang(c)
	}
	if err == nil {
		err = p.befall(fault, failed, effect)
	}
	p.world.mu.Unlock()
	p.travel(c)
	p.world.mu.Lock()
	dead := p.dead
	if failed && err != nil && ctx.Err() == nil {
		p.failed(c, err)
	}
	p.world.mu.Unlock()
	if dead {
		return p.hang(c)
	}
	return err
}

// travel lets time pass, until the process is not paused.
func (p *process) travel(c call) {
	if c.quick {
		return
	}
	a := p.actor(c)
	p.world.clock.sleep(a, longestCall)
	p.world.mu.Lock()
	until := p.paused
	p.world.mu.Unlock()
	if time.Now().Before(until) {
		p.world.clock.sleepUntil(a, until)
	}
}

// fault counts the call and returns what befalls it. The lock is held.
func (p *process) fault(c call) (Kind, bool) {
	if p.dead || c.renewal {
		return 0, false // how often a lease is renewed says nothing about a run
	}
	p.calls[c.endpoint]++
	for _, f := range p.run.Faults {
		if f.Endpoint != c.endpoint || f.Nth != p.calls[c.endpoint] {
			continue
		}
		p.world.trace.add("%d %s call %d: %s", p.number, f.Endpoint, f.Nth, f.Kind)
		switch f.Kind {
		case DieBefore:
			p.die()
		case PauseBefore:
			p.paused = time.Now().Add(2 * p.world.setup.Settings.LeaseTTL)
		case Stop:
			if !p.stopped {
				close(p.stop)
			}
			p.stopped = true
		case Cancel:
			p.cancel()
			p.cancelled = true
		}
		return f.Kind, true
	}
	return 0, false
}

// befall lets the effect happen, and then what the fault is. The lock is held.
func (p *process) befall(fault Kind, failed bool, effect func() error) error {
	if failed {
		switch fault {
		case Recoverable:
			return gapless.Because(gapless.CauseUnreachable, errFault)
		case Unclassified:
			return errFault
		case Scoped:
			return gapless.Unrecoverable(errFault, "p0", "p1")
		}
	}
	err := effect()
	if !failed || err != nil {
		return err
	}
	switch fault {
	case Ambiguous:
		return gaplesstest.Ambiguous(gapless.Recoverable(errFault))
	case Misclassified:
		return gaplesstest.Ambiguous(errFault)
	case DieAfter:
		p.die()
	case PauseAfter:
		p.paused = time.Now().Add(2 * p.world.setup.Settings.LeaseTTL)
	}
	return nil
}

// die ends the process. The lock is held.
func (p *process) die() {
	p.dead = true
	p.result = Ended{Died: true}
	close(p.gone)
}

// hang is what a call of a dead process does: it never returns while the world
// exists. Where the engine holds a lock it returns at once, so that nobody
// waits for that; the next call hangs.
func (p *process) hang(c call) error {
	if c.endpoint != Destination && !c.quick {
		<-p.world.end
	}
	return errDead
}

// account is what the auditor knows of a process.
type account struct {
	rule       int // number of the one it was configured with
	config     int // index in the world's configurations
	runID      string
	epoch      uint64
	cancelled  bool
	fenced     bool // it was refused as of an old epoch
	generation int  // of the schema, as it was described
	began      int  // place in the log at the description
	listed     []gapless.Partition
	dest       *destination // that it opened a session of
	seen       bool         // how the destination is
	stateFails int
	tokens     []int // positions that it took and that were postponed
	rows       struct{ accepted, synced uint64 }
	known      map[string]state.Partition // as it acquired the lease
	parts      []partAccount
}

// What stands for a place in the log.
const (
	notYet    = -1
	fromStart = -2 // an enumeration
	singly    = -3 // single records
)

// partAccount is what the auditor knows of a process and a partition.
type partAccount struct {
	firstRead    int             // place in the log then; notYet
	readFrom     int             // where changes were read from; fromStart, singly
	readAll      bool            // an enumeration was begun
	enumerating  bool            // an enumeration was begun or resumed
	enumerated   bool            // to its end, as the source knows
	nameless     map[string]bool // keys of records that could not be named
	empty        bool            // the enumeration, so far
	kept         map[string]bool // keys of the enumeration that are to stay
	told         map[string]bool // keys that the source said are gone or filtered
	deleted      map[string]bool // by absence
	rejected     map[string]int  // keys that were refused, with their history then
	pushed       uint64          // rows accepted
	accepted     proof.Digest    // of them those since the last complete certificate
	tardy        uint64          // rows accepted and refused later, since then
	pushing      string          // batch that failed and was not pushed again
	keysRead     bool            // all keys were looked at
	unclassified bool            // a call failed so
	mustBeFull   bool            // by what is known of earlier runs
}

func newAccount(w *World) account {
	a := account{config: len(w.config) - 1, rule: w.config[len(w.config)-1], parts: make([]partAccount, len(w.source.parts))}
	for i := range a.parts {
		a.parts[i] = partAccount{
			firstRead: notYet, readFrom: notYet, kept: map[string]bool{}, nameless: map[string]bool{}, told: map[string]bool{}, deleted: map[string]bool{}, rejected: map[string]int{},
		}
	}
	return a
}

// failed notes the failure of a call that its caller learns of.
func (p *process) failed(c call, err error) {
	switch {
	case c.endpoint == State:
		p.stateFails++
	case c.place < len(p.parts) && c.work:
		x := &p.parts[c.place]
		x.unclassified = x.unclassified || gapless.KindOf(err) == gapless.KindUnrecoverable
	}
}
