package proof

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gapless-sync/gapless"
)

// Kinds of gaps.
const (
	// GapTampered: a certificate is not what was sealed.
	GapTampered = "tampered"
	// GapChain: certificates are missing, exchanged or of something else.
	GapChain = "chain"
	// GapBalance: a certificate contradicts itself, or rows were lost,
	// invented or altered between reading and pushing.
	GapBalance = "balance"
	// GapInterval: changes between two positions were never read.
	GapInterval = "interval"
	// GapFingerprint: filter, mapping or schema changed without a full run.
	GapFingerprint = "fingerprint"
	// GapDestination: the destination was replaced without a full run.
	GapDestination = "destination"
	// GapFencing: a runner wrote after a newer one had taken over.
	GapFencing = "fencing"
	// GapIncomplete: the last run did not come to its end.
	GapIncomplete = "incomplete"
	// GapCheckpoint: state or destination is not where the last certificate
	// says it is.
	GapCheckpoint = "checkpoint"
	// GapUnknownRun: the destination was opened for writing by a run that is not
	// remembered: state is of an older backup, or somebody else writes there in
	// the name of the connector.
	GapUnknownRun = "unknown-run"
	// GapRejected: records are dead letters.
	GapRejected = "rejected"
	// GapUndone: a run was undone, and no full run has come to its end since.
	GapUndone = "undone"
	// GapMissing, GapDiffers and GapExtra: the destination does not hold what
	// the source has, although no change since the checkpoint explains it.
	GapMissing = string(Missing)
	GapDiffers = string(Differs)
	GapExtra   = string(Extra)
)

// Gap is one reason why completeness cannot be proved.
type Gap struct {
	Connector string `json:"connector"`
	Partition string `json:"partition"`
	// Kind is one of the Gap constants, What a sentence without full stop.
	Kind string `json:"kind"`
	What string `json:"what"`
	// Since is when the run began that the gap was found in.
	Since time.Time `json:"since"`
	// Certificate is the id of the certificate it was found in; empty if
	// there is none.
	Certificate string `json:"certificate"`
	// From and To are the positions between which the destination may lack
	// something; empty where they are not known.
	From gapless.Position `json:"from,omitempty"`
	To   gapless.Position `json:"to,omitempty"`
	// Run is the command that closes the gap.
	Run string `json:"run"`
	// ClosedBy is the id of the certificate of the full run that closed the
	// gap; empty while it is open.
	ClosedBy string `json:"closed_by,omitempty"`
}

// Checker re-checks the certificates of one connector. It is fed those of each
// partition in the order of Seq; partitions may be interleaved. Its memory
// grows with the number of partitions and of positions since their last full
// run, not with that of certificates.
type Checker struct {
	connector string
	chains    map[string]*chain
	count     int
}

// NewChecker returns a checker for the certificates of connector.
func NewChecker(connector string) *Checker {
	return &Checker{connector: connector, chains: map[string]*chain{}}
}

// Add checks the next certificate of its partition.
func (k *Checker) Add(c Certificate) {
	k.count++
	k.chain(c.Partition).add(&c)
}

func (k *Checker) chain(partition string) *chain {
	h := k.chains[partition]
	if h == nil {
		h = &chain{connector: k.connector, partition: partition, covered: map[gapless.Position]bool{}}
		k.chains[partition] = h
	}
	return h
}

// Finish compares the last certificate of each partition with the checkpoints
// that state and destination hold, by partition id, and reports. A nil map was
// not asked and is not compared.
func (k *Checker) Finish(state, destination map[string]gapless.Checkpoint) Report {
	report := Report{Connector: k.connector, Partitions: []PartitionReport{}, Gaps: []Gap{}, Closed: []Gap{}, Certificates: k.count}
	for _, stored := range []map[string]gapless.Checkpoint{state, destination} {
		for partition := range stored {
			k.chain(partition)
		}
	}
	for _, partition := range slices.Sorted(maps.Keys(k.chains)) {
		h := k.chains[partition]
		h.finish()
		h.compare("state", state)
		h.compare("destination", destination)
		report.Partitions = append(report.Partitions, h.report())
		report.Gaps = append(report.Gaps, h.gaps...)
		report.Closed = append(report.Closed, h.closed...)
	}
	report.OK = len(report.Gaps) == 0
	return report
}

// Covers reports whether the certificates added so far allow to go on from a
// position: everything before it is accounted for since the last enumeration.
func (k *Checker) Covers(partition string, position gapless.Position) bool {
	h := k.chains[partition]
	return h != nil && len(h.gaps) == 0 && h.covered[position]
}

// Continues reports whether a comparison in a destination, under a fingerprint,
// may follow the certificates added so far: it then builds on records that are
// accounted for since the last enumeration, or is the first of all.
func (k *Checker) Continues(partition, destination, fingerprint string) bool {
	h := k.chains[partition]
	return h == nil || !h.begun || len(h.covered) > 0 && h.destination == destination && h.fingerprint == fingerprint
}

// chain is what the checker knows of one partition.
type chain struct {
	connector, partition string
	certificates         uint64
	last                 Certificate
	// covered holds the positions that it is gapless to go on from: those
	// reached since the last enumeration. It is empty while there is nothing
	// to build on, and only a full run helps.
	covered                  map[gapless.Position]bool
	begun                    bool // an enumeration came to its end
	anew                     bool // the enumeration under way pushes everything
	fingerprint, destination string
	// unfinished and unrepaired are runs that nothing has made up for yet.
	unfinished, unrepaired *Certificate
	undone                 *Certificate
	gaps, closed           []Gap
	closable               int // gaps[:closable] are older than the full run under way
}

// add checks c as the successor of what came before, and goes on from there
// whatever it found.
func (h *chain) add(c *Certificate) {
	if c.Mode == ModeFull {
		h.closable = len(h.gaps)
	}
	found := len(h.gaps)
	h.verify(c)
	h.link(c)
	if c.Complete && c.Repaired {
		h.unrepaired = nil
	}
	switch c.Mode {
	case ModeFull, ModeCompare, ModeResume:
		h.enumeration(c, found)
	case ModeIncremental:
		h.incremental(c)
	case ModeRepair:
		h.repair(c)
	case ModeUndo:
		h.undo(c)
	}
	h.last = *c
	h.certificates++
}

// verify checks c by itself.
func (h *chain) verify(c *Certificate) {
	err := c.Verify()
	switch {
	case err == nil:
	case errors.Is(err, ErrTampered):
		h.gap(c, GapTampered, "%v", err)
	default:
		h.gap(c, GapBalance, "%v", err)
	}
	if c.Connector != h.connector {
		h.gap(c, GapChain, "the certificate is of connector %q", c.Connector)
	}
}

// link checks that c follows the last certificate.
func (h *chain) link(c *Certificate) {
	switch {
	case c.Seq != h.last.Seq+1:
		h.gap(c, GapChain, "certificate number %d stands where number %d should", c.Seq, h.last.Seq+1)
	case c.Previous != h.last.Hash:
		h.gap(c, GapChain, "certificate number %d does not name the one before it", c.Seq)
	}
	if c.Epoch < h.last.Epoch {
		h.gap(c, GapFencing, "epoch %d wrote after epoch %d", c.Epoch, h.last.Epoch)
	}
}

// enumeration follows a run that read the whole partition. found is the number
// of gaps before c was looked at.
func (h *chain) enumeration(c *Certificate, found int) {
	switch c.Mode {
	case ModeResume:
		h.resumes(c)
	case ModeCompare:
		h.anew = false
		if h.begun {
			h.builds(c)
		}
	case ModeFull:
		h.anew = true
		if c.Fingerprint != h.fingerprint || c.DestinationID != h.destination {
			clear(h.covered) // a part of the records is of the new kind from here on
		}
	}
	h.fingerprint, h.destination = c.Fingerprint, c.DestinationID
	if c.Complete || c.ended() {
		clear(h.covered)
		h.covered[c.Checkpoint.Position] = true
		h.begun = true
	}
	if !c.Complete {
		h.interrupt(c)
		return
	}
	h.unfinished = nil
	if !h.anew {
		return
	}
	h.unrepaired, h.undone = nil, nil
	if len(h.gaps) == found {
		h.close(c)
	}
	h.closable = 0
}

// resumes checks that c continues the enumeration that was left unfinished.
func (h *chain) resumes(c *Certificate) {
	u := h.unfinished
	switch {
	case u == nil || u.Mode == ModeIncremental:
		h.gap(c, GapInterval, "there is no unfinished enumeration to resume")
	case u.Failure == gapless.KindUnrecoverable.String():
		h.gap(c, GapInterval, "resumed after a failure that may have left a gap")
	case u.To != c.To:
		h.gap(c, GapInterval, "an enumeration as of %q was resumed as of %q", u.To, c.To)
	default:
		h.same(c)
	}
}

// builds checks that there is something to build on, and that c is of the same
// kind and in the same place.
func (h *chain) builds(c *Certificate) {
	if len(h.covered) == 0 {
		h.gap(c, GapInterval, "no full run came to its end since one became necessary")
	}
	h.same(c)
}

func (h *chain) same(c *Certificate) {
	if c.Fingerprint != h.fingerprint {
		h.gap(c, GapFingerprint, "filter, mapping or schema changed, and there was no full run since")
	}
	if c.DestinationID != h.destination {
		h.gap(c, GapDestination, "the destination was replaced by %q, and there was no full run since", c.DestinationID)
	}
}

func (h *chain) incremental(c *Certificate) {
	if !h.begun {
		h.gap(c, GapInterval, "incremental although no full run came to its end before")
	} else if h.builds(c); len(h.covered) > 0 && !h.covered[c.From] {
		h.gap(c, GapInterval, "reads from %q, which no run before reached", c.From)
	}
	h.begun = true // a missing beginning is reported once
	h.fingerprint, h.destination = c.Fingerprint, c.DestinationID
	if reached := c.Checkpoint.Position; reached != "" {
		h.covered[reached] = true
	}
	if !c.Complete {
		h.interrupt(c)
		return
	}
	h.unfinished = nil
}

func (h *chain) repair(c *Certificate) {
	h.builds(c)
	if len(h.covered) > 0 && !h.covered[c.To] {
		h.gap(c, GapInterval, "repaired as of %q, which no run before reached", c.To)
	}
	h.unrepaired = nil
	if !c.Complete {
		h.unrepaired = c
	}
}

// undo leaves nothing to build on: what is put back is not what the source
// has, and an enumeration under way does not see that.
func (h *chain) undo(c *Certificate) {
	clear(h.covered)
	h.undone, h.anew = c, false
}

// interrupt remembers an incomplete run, and that there is nothing to build on
// any more if it may have left a gap.
func (h *chain) interrupt(c *Certificate) {
	h.unfinished = c
	if c.Failure == gapless.KindUnrecoverable.String() {
		clear(h.covered)
	}
}

// close moves the gaps that are older than the full run that c completes.
func (h *chain) close(c *Certificate) {
	for _, g := range h.gaps[:h.closable] {
		g.ClosedBy = c.ID
		h.closed = append(h.closed, g)
	}
	h.gaps = slices.Delete(h.gaps, 0, h.closable)
}

// finish reports the runs that nothing made up for.
func (h *chain) finish() {
	if u := h.unfinished; u != nil {
		h.gap(u, GapIncomplete, "run %s did not come to its end", u.Run)
		if u.Failure != gapless.KindUnrecoverable.String() {
			h.gaps[len(h.gaps)-1].Run = "gapless run " + h.connector
		}
	}
	if u := h.undone; u != nil {
		h.gap(u, GapUndone, "run %s was undone; the next run brings the destination into step again", u.Undone)
		h.gaps[len(h.gaps)-1].Run = "gapless run " + h.connector
	}
	if u := h.unrepaired; u != nil {
		h.gap(u, GapIncomplete, "the repair of run %s did not come to its end", u.Run)
	}
}

// compare checks the checkpoint that a place holds.
func (h *chain) compare(place string, stored map[string]gapless.Checkpoint) {
	if stored == nil {
		return
	}
	held, want := stored[h.partition], h.last.Checkpoint
	none := gapless.Checkpoint{}
	switch {
	case held == none && want == none:
		return
	case h.certificates == 0:
		h.gap(&h.last, GapCheckpoint, "%s has a checkpoint at %q, but no run is certified", place, held.Position)
	case held == none:
		h.gap(&h.last, GapCheckpoint, "%s has no checkpoint, but the last certificate is at %q", place, want.Position)
	case !held.Same(want):
		h.gap(&h.last, GapCheckpoint, "%s is at checkpoint %d of run %s (%q), but the last certificate at %d of run %s (%q)",
			place, held.Seq, held.Run, held.Position, want.Seq, want.Run, want.Position)
	default:
		return
	}
	last := &h.gaps[len(h.gaps)-1]
	last.From, last.To = held.Position, want.Position
	if h.certificates > 0 {
		last.Run = "gapless run " + h.connector
	}
}

func (h *chain) gap(c *Certificate, kind, what string, args ...any) {
	h.gaps = append(h.gaps, Gap{
		Connector: h.connector, Partition: h.partition, Kind: kind, What: fmt.Sprintf(what, args...),
		Since: c.Started, Certificate: c.ID, From: c.From, To: c.To, Run: "gapless run " + h.connector + " --full",
	})
}

func (h *chain) report() PartitionReport {
	return PartitionReport{
		Partition: h.partition, Certificates: h.certificates, Last: h.last.ID, Run: h.last.Run, Rule: h.last.Rule, Mode: h.last.Mode,
		Position: h.last.Checkpoint.Position, Finished: h.last.Finished, OK: len(h.gaps) == 0,
	}
}
