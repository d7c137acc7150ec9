package transfer

import (
	"sync"
	"time"
)

// tally keeps the report and tells of what happens.
type tally struct {
	mu     sync.Mutex // guards report, and that events come one at a time
	report Report
	events func(Event)
}

// tell counts an event and hands it on.
func (t *tally) tell(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.report
	switch e.Kind {
	case EventPlanned:
		r.Files, r.Bytes = e.Files, e.Bytes
	case EventReceived:
		r.Received += e.Bytes
	case EventUnexpected:
		r.Unexpected++
	case EventPresent:
		r.Present++
	case EventFetched:
		r.Fetched++
	case EventMissing:
		r.Missing++
	case EventFailed:
		r.Failed++
		if len(r.Failures) < maxFailures {
			r.Failures = append(r.Failures, Failure{Path: e.Path, Err: e.Err})
		}
	}
	if (e.Kind == EventPresent || e.Kind == EventFetched) && !e.Verified {
		r.Unverified++
	}
	if t.events != nil {
		t.events(e)
	}
}

// verdict tells what became of a file.
func (t *tally) verdict(kind EventKind, f File, err error) {
	t.tell(Event{Kind: kind, Path: f.Path, Bytes: f.Size, Verified: err == nil && f.Hash != "" && kind != EventMissing, Err: err})
}

// result returns the report so far.
func (t *tally) result(begin time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Duration = time.Since(begin)
	return t.report
}
