package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gapless-sync/gapless"
)

// How a run treated a partition. A run that had nothing to do issues no
// certificate.
const (
	// ModeFull enumerates the partition and pushes every record of it.
	ModeFull = "full"
	// ModeCompare enumerates the partition and pushes what differs from the
	// fingerprints of the last completed run.
	ModeCompare = "compare"
	// ModeResume continues an enumeration that an earlier run left unfinished.
	ModeResume = "resume"
	// ModeIncremental reads changes after From and up to To.
	ModeIncremental = "incremental"
	// ModeRepair pushes single records again; the position stays.
	ModeRepair = "repair"
	// ModeUndo puts back what an earlier run replaced and deleted: afterwards
	// the destination is not in step with its source. Its certificate is sealed
	// before the first record is touched and is never complete.
	ModeUndo = "undo"
)

// Certificate is the account of one partition of one run. It is filled in by
// whoever ran, then sealed. All strings are UTF-8.
//
// What each row that the source emitted became is exactly one of Unchanged,
// Filtered, Rejected and Pushed; the package comment has the equation.
type Certificate struct {
	// ID is "c-" and the first 12 digits of Hash.
	ID        string `json:"id"`
	Connector string `json:"connector"`
	Partition string `json:"partition"`
	Run       string `json:"run"`
	// Seq counts the certificates of this connector and partition from 1.
	Seq uint64 `json:"seq"`
	// Previous is the Hash of number Seq-1; empty for the first.
	Previous string `json:"previous"`

	// Rule is the id of the plan rule that fired, Mode one of the constants.
	Rule string `json:"rule"`
	Mode string `json:"mode"`
	// From is the position that reading began at, for ModeIncremental; To the
	// one that the destination has reached when the run completes. An
	// enumeration resumed keeps the To of the one it resumes, and its account
	// may include that one's; a repair has the To that was reached before it.
	From gapless.Position `json:"from"`
	To   gapless.Position `json:"to"`
	// Repaired says that what had been found to differ was read once more as
	// well, for modes other than ModeRepair.
	Repaired bool `json:"repaired,omitempty"`
	// Undone is the run that was undone, for ModeUndo.
	Undone string `json:"undone,omitempty"`
	// Complete says that the end of the enumeration was seen, or that the
	// changes were read up to To, and that everything is synced.
	Complete bool `json:"complete"`
	// Failure is the class of the failure that ended an incomplete run, as
	// [gapless.Kind] names it; empty exactly if Complete.
	Failure string `json:"failure"`

	// Read is everything the source emitted: rows, including explicit deletes,
	// and records it could not deliver ([RejectionDelivery]). A batch pushed
	// again after a failure counts once.
	Read Digest `json:"read"`
	// Unchanged: a comparison found no difference.
	Unchanged Digest `json:"unchanged"`
	// Filtered: a filter does not want it.
	Filtered Digest `json:"filtered"`
	// Rejected: it is a dead letter, whoever refused it and however late.
	Rejected Digest `json:"rejected"`
	// Pushed: accepted by the destination, and not refused later.
	Pushed Digest `json:"pushed"`
	// Synced: those of Pushed that a sync covers.
	Synced Digest `json:"synced"`
	// Deleted: deletes by absence that are synced, hashed as rows of
	// [gapless.OpDelete]. They are in none of the other digests.
	Deleted Digest `json:"deleted"`
	// Mapped says that Pushed and Synced are over other bytes than Read, so
	// that only counts can be balanced against it: there is a mapping, or a row
	// was refused so late that nobody had its bytes any more.
	Mapped bool `json:"mapped"`

	// DestinationID and Incarnation are those of [gapless.Status].
	DestinationID string `json:"destination_id"`
	Incarnation   string `json:"incarnation"`
	Epoch         uint64 `json:"epoch"`
	// Fingerprint of filter, mapping, key and schema.
	Fingerprint string `json:"fingerprint"`
	// Checkpoint in force when the run ended, whether or not this run wrote
	// it; zero if there never was one.
	Checkpoint gapless.Checkpoint `json:"checkpoint"`
	Started    time.Time          `json:"started"`
	Finished   time.Time          `json:"finished"`
	// Hash is the SHA-256 of the canonical JSON with ID and Hash empty, in
	// lower-case hexadecimal.
	Hash string `json:"hash"`
}

// Errors that [Certificate.Verify] and [DecodeCertificate] wrap.
var (
	// ErrTampered: the certificate is not what was sealed.
	ErrTampered = errors.New("certificate was altered after it was sealed")
	// ErrUnbalanced: rows were lost, invented or altered on their way.
	ErrUnbalanced = errors.New("certificate does not balance")
	// ErrMalformed: the certificate contradicts itself.
	ErrMalformed = errors.New("certificate is malformed")
)

// Seal links c to its predecessor, nil for the first of its partition, and
// sets Seq, Previous, Hash and ID. Times become UTC. Nothing may be changed
// afterwards.
func (c *Certificate) Seal(previous *Certificate) {
	c.Seq, c.Previous = 1, ""
	if previous != nil {
		c.Seq, c.Previous = previous.Seq+1, previous.Hash
	}
	c.Started, c.Finished = c.Started.UTC().Round(0), c.Finished.UTC().Round(0)
	c.Hash = c.digest()
	c.ID = idOf(c.Hash)
}

// Encode returns the canonical JSON: the fields in the order of their
// declaration, without spaces. It is what [encoding/json] makes of c.
func (c *Certificate) Encode() ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode certificate %s: %w", c.ID, err)
	}
	return text, nil
}

// DecodeCertificate reads canonical JSON. Anything else that would mean the
// same, such as another order, another spelling, or a field twice, is
// [ErrMalformed]. It does not verify.
func DecodeCertificate(text []byte) (Certificate, error) {
	var c Certificate
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := c.Encode()
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(again, text) {
		return Certificate{}, fmt.Errorf("%w: not in canonical form", ErrMalformed)
	}
	return c, nil
}

// digest returns the hash c should have; empty if c has no JSON form.
func (c *Certificate) digest() string {
	bare := *c
	bare.ID, bare.Hash = "", ""
	text, err := bare.Encode()
	if err != nil {
		return ""
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:])
}

func idOf(hash string) string { return "c-" + hash[:min(12, len(hash))] }

// Verify checks what can be told from c alone: that it is as it was sealed
// ([ErrTampered]), that it does not contradict itself ([ErrMalformed]), and
// that every row is accounted for ([ErrUnbalanced]).
func (c *Certificate) Verify() error {
	if want := c.digest(); want == "" || c.Hash != want || c.ID != idOf(want) {
		return ErrTampered
	}
	if err := c.wellFormed(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := c.balanced(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnbalanced, err)
	}
	return nil
}

func (c *Certificate) wellFormed() error {
	switch {
	case !c.valid():
		return errors.New("not UTF-8")
	case c.Connector == "" || c.Partition == "" || c.Run == "":
		return errors.New("connector, partition or run is missing")
	case c.Seq == 0 || (c.Seq == 1) != (c.Previous == ""):
		return fmt.Errorf("number %d with predecessor %q", c.Seq, c.Previous)
	case c.Complete != (c.Failure == ""):
		return fmt.Errorf("complete is %t and the failure %q", c.Complete, c.Failure)
	case c.Checkpoint != (gapless.Checkpoint{}) && c.Checkpoint.Partition != c.Partition:
		return fmt.Errorf("checkpoint is of partition %q", c.Checkpoint.Partition)
	case c.Complete && c.Checkpoint.Position != c.To:
		return fmt.Errorf("complete to %q, but the checkpoint is at %q", c.To, c.Checkpoint.Position)
	}
	if (c.Mode == ModeUndo) != (c.Undone != "") || c.Mode == ModeUndo && c.Complete {
		return fmt.Errorf("mode %q, undone %q and complete %t", c.Mode, c.Undone, c.Complete)
	}
	switch c.Mode {
	case ModeFull, ModeCompare, ModeResume, ModeRepair, ModeUndo:
		return nil
	case ModeIncremental:
		if c.From == "" || c.To == "" {
			return errors.New("incremental without positions")
		}
		return nil
	}
	return fmt.Errorf("mode %q is not known", c.Mode)
}

// valid reports whether all strings survive JSON, which has no other bytes
// than UTF-8.
func (c *Certificate) valid() bool {
	k := &c.Checkpoint
	for _, s := range []string{
		c.Connector, c.Partition, c.Run, c.Rule, c.Mode, string(c.From), string(c.To), c.Undone, c.Failure, c.DestinationID, c.Incarnation,
		c.Fingerprint, k.Partition, string(k.Position), string(k.Mark), string(k.Target), k.Run,
	} {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// balanced checks the equations of the package comment.
func (c *Certificate) balanced() error {
	named := []struct {
		name string
		Digest
	}{
		{"read", c.Read}, {"unchanged", c.Unchanged}, {"filtered", c.Filtered}, {"rejected", c.Rejected},
		{"pushed", c.Pushed}, {"synced", c.Synced}, {"deleted", c.Deleted},
	}
	for _, d := range named {
		if d.Count == 0 && d.Digest != (Digest{}) && !c.Mapped {
			return fmt.Errorf("%s has no rows, but a sum", d.name)
		}
		if d.Count > maxRows {
			return fmt.Errorf("%s counts %d rows", d.name, d.Count)
		}
	}
	became := c.Unchanged
	became.Merge(c.Filtered)
	became.Merge(c.Rejected)
	became.Merge(c.Pushed)
	switch {
	case became.Count > c.Read.Count:
		return fmt.Errorf("%d rows read became %d", c.Read.Count, became.Count)
	case c.Synced.Count > c.Pushed.Count:
		return fmt.Errorf("%d rows pushed, but %d synced", c.Pushed.Count, c.Synced.Count)
	case !c.Complete && !c.ended():
		return nil
	case became.Count != c.Read.Count:
		return fmt.Errorf("%d of %d rows read are not accounted for", c.Read.Count-became.Count, c.Read.Count)
	case c.Synced.Count != c.Pushed.Count:
		return fmt.Errorf("%d of %d rows pushed are not synced", c.Pushed.Count-c.Synced.Count, c.Pushed.Count)
	case c.Synced != c.Pushed:
		return errors.New("the rows synced are not those pushed")
	case !c.Mapped && became != c.Read:
		return errors.New("the rows pushed, unchanged, filtered and rejected are not those read")
	}
	return nil
}

// ended reports whether c is of an enumeration that wrote its last checkpoint,
// the one without a mark, whatever failed after that: what it read is at the
// destination in full.
func (c *Certificate) ended() bool {
	k := &c.Checkpoint
	return k.Run == c.Run && k.Mark == "" && (c.Mode == ModeFull || c.Mode == ModeCompare || c.Mode == ModeResume)
}

// maxRows keeps sums of counts from wrapping around.
const maxRows = 1 << 60
