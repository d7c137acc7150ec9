package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/gapless-sync/gapless/engine"
)

// tick is one thing to show while a command works: an event of a run, or how
// far readers see what was pushed.
type tick struct {
	Event   *engine.Event `json:"event,omitempty"`
	Catchup *catchup      `json:"catchup,omitempty"`
}

// catchup says how many of the changes that were synced can be found.
type catchup struct {
	Connector string    `json:"connector"`
	Done      uint64    `json:"done"`
	Total     uint64    `json:"total"`
	Started   time.Time `json:"started"`
	Time      time.Time `json:"time"`
	// End is the last one, however far it came.
	End bool `json:"end,omitempty"`
}

// progress shows ticks. show may be called from several goroutines; after the
// tick that ends something, nothing of it is drawn any more.
type progress interface{ show(t tick) }

// newProgress returns a bar for a terminal and lines for everything else.
func newProgress(w io.Writer) progress {
	if f, ok := w.(*os.File); ok && cwriter.IsTerminal(int(f.Fd())) {
		return &bars{out: w}
	}
	return &lines{out: w, last: map[string]time.Time{}}
}

// forwarded shows ticks at the other end of the daemon's socket.
type forwarded func(json.RawMessage)

func (f forwarded) show(t tick) {
	if t.Event != nil {
		short := *t.Event
		short.Summary, short.Verified = nil, nil // the bar needs none, and they may be long
		t.Event = &short
	}
	if doc, err := json.Marshal(t); err == nil {
		f(doc)
	}
}

// shown hands ticks that came as documents to p.
func shown(p progress) func(json.RawMessage) {
	return func(doc json.RawMessage) {
		var t tick
		if json.Unmarshal(doc, &t) == nil {
			p.show(t)
		}
	}
}

// lines writes one line every few seconds, and one for every retry.
type lines struct {
	out  io.Writer
	mu   sync.Mutex
	last map[string]time.Time // by connector and kind of line
}

const lineInterval = 5 * time.Second

func (l *lines) show(t tick) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case t.Catchup != nil && l.due(t.Catchup.Connector+"\x00c", t.Catchup.Time) && !t.Catchup.End:
		fmt.Fprintf(l.out, "%s: searchable: %s\n", t.Catchup.Connector, catchupText(t.Catchup))
	case t.Event == nil:
	case t.Event.Type == engine.EventRetry:
		fmt.Fprintln(l.out, retryText(t.Event))
	case t.Event.Type == engine.EventProgress && t.Event.Progress != nil && l.due(t.Event.Connector, t.Event.Time):
		fmt.Fprintf(l.out, "%s: %s\n", t.Event.Connector, progressText(t.Event.Progress))
	}
}

// due reports whether a line may be written; the first interval is silent, so
// that short runs are.
func (l *lines) due(what string, now time.Time) bool {
	last, seen := l.last[what]
	if seen && now.Sub(last) < lineInterval {
		return false
	}
	l.last[what] = now
	return seen
}

func retryText(e *engine.Event) string {
	return fmt.Sprintf("%s: trying again in %s: %s", e.Connector, seconds(e.Wait), clean(e.Message))
}

func progressText(p *engine.Progress) string {
	parts := []string{countText(p), size(p.Bytes), rate(float64(p.Read), p.Seconds)}
	done, all := float64(p.Read), float64(p.ExpectedRecords)
	if p.ExpectedBytes > 0 && p.Bytes > 0 {
		done, all = float64(p.Bytes), float64(p.ExpectedBytes)
	}
	return joinLeft(parts, done, all, p.Seconds)
}

func catchupText(c *catchup) string {
	elapsed := c.Time.Sub(c.Started).Seconds()
	parts := []string{count(c.Done) + " of " + plural(c.Total, "change"), rate(float64(c.Done), elapsed)}
	return joinLeft(parts, float64(c.Done), float64(c.Total), elapsed)
}

func countText(p *engine.Progress) string {
	if p.ExpectedRecords > 0 {
		return count(p.Read) + " of " + count(max(p.ExpectedRecords, int64(p.Read))) + " records"
	}
	return plural(p.Read, "record")
}

// joinLeft joins parts and how long the rest takes if it goes on like this, as
// soon as that can be told.
func joinLeft(parts []string, done, all, elapsed float64) string {
	if done > 0 && all > done && elapsed >= 0.5 {
		left := time.Duration(elapsed / done * (all - done) * float64(time.Second))
		parts = append(parts, max(left.Round(time.Second), time.Second).String()+" left")
	}
	return strings.Join(parts, ", ")
}

// bars draws one bar at a time.
type bars struct {
	out       io.Writer
	mu        sync.Mutex
	container *mpb.Progress
	bar       *mpb.Bar
	// connector and text stand beside the bar; drawing reads them while the
	// lock is not held.
	label barLabel
}

type barLabel struct {
	mu         sync.Mutex
	name, text string
}

func (l *barLabel) set(name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.text = name, text
}

func (l *barLabel) get() (name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name, l.text
}

func (b *bars) show(t tick) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t.Catchup != nil && t.Catchup.End:
		b.end()
	case t.Catchup != nil:
		c := t.Catchup
		b.draw(c.Connector+" searchable", catchupText(c), int64(c.Done), int64(c.Total))
	case t.Event == nil:
	case t.Event.Type == engine.EventDone, t.Event.Type == engine.EventVerified:
		b.end()
	case t.Event.Type == engine.EventRetry:
		if b.container != nil {
			fmt.Fprintln(b.container, retryText(t.Event))
		}
	case t.Event.Progress != nil:
		p := t.Event.Progress
		b.draw(t.Event.Connector, progressText(p), int64(p.Read), p.ExpectedRecords)
	}
}

// draw updates the bar, or begins one. Without a total it is full and only its
// text moves.
func (b *bars) draw(name, text string, done, total int64) {
	b.label.set(name, text)
	if b.container == nil {
		b.container = mpb.New(mpb.WithOutput(b.out), mpb.WithRefreshRate(100*time.Millisecond))
		style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
		b.bar = b.container.New(0, style, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { name, _ := b.label.get(); return name + " " })),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { _, text := b.label.get(); return " " + text })))
	}
	b.bar.SetTotal(max(total, done+1), false)
	b.bar.SetCurrent(done)
}

func (b *bars) end() {
	if b.container == nil {
		return
	}
	b.bar.Abort(true)
	b.container.Wait()
	b.container, b.bar = nil, nil
}
