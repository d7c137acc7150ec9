package cli

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica"
	"github.com/gapless-sync/gapless/transfer"
)

// account tells what becomes of a download: while it goes on, and at its end.
type account struct {
	w       *world
	options *downloadOptions
	dir     string

	mu sync.Mutex // guards all below, and that lines come one at a time
	// began is when the files were planned; zero before.
	began time.Time
	// files and bytes are what is wanted.
	files, bytes int64
	// judged files are here, or would be fetched, or failed.
	judged int64
	// here are bytes that were here, missing those that a dry run would fetch,
	// received those that came.
	here, missing, received int64
	told                    time.Time
}

// downloadLine is an event in JSON.
type downloadLine struct {
	Type  string    `json:"type"`
	Time  time.Time `json:"time"`
	Path  string    `json:"path,omitempty"`
	Files *int64    `json:"files,omitempty"`
	Bytes *int64    `json:"bytes,omitempty"`
	// Verified is set for files that are here.
	Verified *bool   `json:"verified,omitempty"`
	Wait     float64 `json:"wait_seconds,omitempty"`
	// Cart is an address, Status what became of the cart.
	Cart     string            `json:"cart,omitempty"`
	Status   string            `json:"status,omitempty"`
	Message  string            `json:"message,omitempty"`
	Progress *downloadProgress `json:"progress,omitempty"`
}

// downloadProgress is how far a download is.
type downloadProgress struct {
	Files         int64   `json:"files"`
	ExpectedFiles int64   `json:"expected_files"`
	Bytes         int64   `json:"bytes"`
	ExpectedBytes int64   `json:"expected_bytes"`
	Received      int64   `json:"received_bytes"`
	Seconds       float64 `json:"seconds"`
}

// event takes what happens to files.
func (a *account) event(e transfer.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e.Kind {
	case transfer.EventPlanned:
		a.began, a.files, a.bytes = time.Now(), e.Files, e.Bytes
		if a.w.json {
			a.told = a.began
		}
	case transfer.EventReceived:
		a.received += e.Bytes
	case transfer.EventPresent:
		a.judged++
		a.here += max(e.Bytes, 0)
	case transfer.EventMissing:
		a.judged++
		a.missing += max(e.Bytes, 0)
	case transfer.EventFetched, transfer.EventFailed:
		a.judged++
	case transfer.EventRetry, transfer.EventUnexpected:
	}
	if a.w.json {
		a.printEvent(e)
	} else {
		a.sayEvent(e)
	}
	a.progress()
}

// notice takes what becomes of carts.
func (a *account) notice(n pacifica.Notice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	cart := clean(n.Cart)
	switch {
	case a.w.json:
		a.print(downloadLine{Type: "cart", Cart: n.Cart, Status: string(n.Kind), Message: n.Message})
	case n.Kind == pacifica.NoticePending:
		a.say("waiting for cart %s since %s", cart, n.Elapsed.Round(time.Second))
	case n.Kind == pacifica.NoticeGone:
		a.say("the server has dropped cart %s: ordering it anew", cart)
	case n.Kind == pacifica.NoticeSplit:
		a.say("ordering the halves of a cart that could not be staged: %s", clean(n.Message))
	case n.Kind == pacifica.NoticeLeft:
		a.say("cart %s is still at the server: %s", cart, clean(n.Message))
	}
}

// print prints a line for machines. A reader that has gone away must not end
// the download.
func (a *account) print(l downloadLine) {
	l.Time = time.Now()
	_ = a.w.printLine(l)
}

func (a *account) printEvent(e transfer.Event) {
	if e.Kind == transfer.EventReceived {
		return
	}
	l := downloadLine{Type: e.Kind.String(), Path: e.Path, Wait: e.Wait.Seconds()}
	switch e.Kind {
	case transfer.EventPlanned:
		l.Files, l.Bytes = &e.Files, &e.Bytes
	case transfer.EventPresent, transfer.EventFetched:
		l.Verified = &e.Verified
	}
	if e.Bytes >= 0 && e.Kind != transfer.EventRetry {
		l.Bytes = &e.Bytes
	}
	if e.Err != nil {
		l.Message = e.Err.Error()
	}
	a.print(l)
}

// sayEvent tells people of what they should know of; what would be fetched is
// the result of a dry run.
func (a *account) sayEvent(e transfer.Event) {
	path := clean(e.Path)
	switch e.Kind {
	case transfer.EventFailed:
		a.say("missing or wrong: %s: %s", path, clean(e.Err.Error()))
	case transfer.EventRetry:
		a.say("trying again in %s: %s: %s", seconds(e.Wait.Seconds()), path, clean(e.Err.Error()))
	case transfer.EventUnexpected:
		a.say("dropped, for nobody asked for it: %s", path)
	case transfer.EventMissing:
		a.w.printf("%s\n", path)
	}
}

// say tells something on the side, above a bar if there is one.
func (a *account) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if b, ok := a.w.progress.(*bars); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.container != nil {
			fmt.Fprintln(b.container, line)
			return
		}
	}
	fmt.Fprintln(a.w.err, line)
}

// How often progress is told of, to machines and people.
const (
	progressInterval = time.Second
	barInterval      = 100 * time.Millisecond
)

// progress tells how far it is, now and then.
func (a *account) progress() {
	now := time.Now()
	interval := barInterval
	if a.w.json {
		interval = progressInterval
	}
	if a.options.dryRun || now.Sub(a.told) < interval {
		return
	}
	a.told = now
	elapsed := now.Sub(a.began).Seconds()
	if a.w.json {
		a.print(downloadLine{Type: "progress", Progress: &downloadProgress{
			Files: a.judged, ExpectedFiles: a.files, Bytes: a.here + a.received, ExpectedBytes: a.bytes,
			Received: a.received, Seconds: elapsed,
		}})
		return
	}
	switch p := a.w.progress.(type) {
	case *bars:
		p.mu.Lock()
		defer p.mu.Unlock()
		done, all := a.here+a.received, a.bytes
		if all == 0 {
			done, all = a.judged, a.files
		}
		p.draw("download", a.progressText(elapsed), min(done, all), all)
	case *lines:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.due("download", now) {
			fmt.Fprintf(p.out, "download: %s\n", a.progressText(elapsed))
		}
	}
}

func (a *account) progressText(elapsed float64) string {
	parts := []string{count(a.judged) + " of " + plural(a.files, "file")}
	done, all := float64(a.received), float64(a.bytes-a.here)
	switch {
	case a.options.verifyOnly:
		parts = append(parts, size(a.here)+" of "+size(a.bytes))
		done, all = float64(a.here), float64(a.bytes)
	case a.bytes > 0:
		parts = append(parts, size(a.here+a.received)+" of "+size(a.bytes))
	default:
		parts = append(parts, size(a.received))
		done, all = float64(a.judged), float64(a.files)
	}
	if a.received == 0 && !a.options.verifyOnly {
		return strings.Join(append(parts, "waiting for the server"), ", ")
	}
	if elapsed > 0 {
		parts = append(parts, size(int64(done/elapsed))+"/s")
	}
	return joinLeft(parts, done, all, elapsed)
}

// downloadReport is the account of a download in JSON.
type downloadReport struct {
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Status string    `json:"status"`
	Exit   int       `json:"exit"`
	Folder string    `json:"folder"`
	DryRun bool      `json:"dry_run,omitempty"`
	// VerifyOnly tells that nothing was to be fetched.
	VerifyOnly bool    `json:"verify_only,omitempty"`
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"`
	Present    int64   `json:"present"`
	Fetched    int64   `json:"fetched"`
	Missing    int64   `json:"missing"`
	Failed     int64   `json:"failed"`
	Unverified int64   `json:"unverified"`
	Unexpected int64   `json:"unexpected"`
	Received   int64   `json:"received_bytes"`
	Seconds    float64 `json:"seconds"`
	// Failures are the first of the files that failed.
	Failures []downloadFailure `json:"failures,omitempty"`
}

type downloadFailure struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// end prints the report, unless nothing was begun.
func (a *account) end(r transfer.Report, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.w.progress.(*bars); ok {
		b.mu.Lock()
		b.end()
		b.mu.Unlock()
	}
	if a.began.IsZero() {
		return
	}
	status := "complete"
	switch {
	case errors.Is(err, gapless.ErrInterrupted):
		status = "interrupted"
	case err != nil:
		status = "failed"
	}
	if !a.w.json {
		a.printReport(r, status)
		return
	}
	doc := downloadReport{
		Type: "done", Time: time.Now(), Status: status, Exit: exitOf(err), Folder: a.dir,
		DryRun: a.options.dryRun, VerifyOnly: a.options.verifyOnly,
		Files: r.Files, Bytes: r.Bytes, Present: r.Present, Fetched: r.Fetched, Missing: r.Missing, Failed: r.Failed,
		Unverified: r.Unverified, Unexpected: r.Unexpected, Received: r.Received, Seconds: r.Duration.Seconds(),
	}
	for _, f := range r.Failures {
		doc.Failures = append(doc.Failures, downloadFailure{f.Path, f.Err.Error()})
	}
	_ = a.w.printLine(doc) // nowhere else to say it
}

func (a *account) printReport(r transfer.Report, status string) {
	name, head := "download", a.w.red(status)
	if status == "complete" {
		head = a.w.green(status)
	}
	switch {
	case a.options.dryRun:
		name = "dry run"
	case a.options.verifyOnly:
		name = "verification"
	}
	elapsed := r.Duration.Seconds()
	a.w.printf("%s  %s in %s\n", a.w.bold(name), head, seconds(elapsed))
	var f facts
	f.add("files", "%s", a.filesText(r))
	if r.Unverified > 0 {
		f.add("unverified", "%s without a hash to compare with", count(r.Unverified))
	}
	if r.Unexpected > 0 {
		f.add("unexpected", "%s dropped", count(r.Unexpected))
	}
	if !a.options.dryRun && !a.options.verifyOnly {
		speed := ""
		if r.Received > 0 && elapsed > 0 {
			speed = ", " + size(int64(float64(r.Received)/elapsed)) + "/s"
		}
		f.add("received", "%s%s", size(r.Received), speed)
	}
	f.add("folder", "%s", clean(a.w.relative(a.dir)))
	f.print(a.w.out, "  ")
}

// filesText says what became of the files; all of them are accounted for.
func (a *account) filesText(r transfer.Report) string {
	var parts []string
	add := func(n, bytes int64, what string) {
		if n == 0 {
			return
		}
		part := count(n) + " " + what
		if bytes > 0 {
			part += " (" + size(bytes) + ")"
		}
		parts = append(parts, part)
	}
	add(r.Present, a.here, "here already")
	add(r.Fetched, 0, "fetched")
	add(r.Missing, a.missing, "to fetch")
	add(r.Failed, 0, "missing or wrong")
	add(r.Files-r.Present-r.Fetched-r.Missing-r.Failed, 0, "left to do")
	return count(r.Files) + ": " + strings.Join(parts, ", ")
}
