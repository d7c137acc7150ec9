package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Plan is what one run of a connector will do. It may carry the changes
// counted so far, and says which partitions need an approval.
type Plan struct {
	// ID is set by [Plan.Seal].
	ID        string    `json:"id"`
	Connector string    `json:"connector"`
	Created   time.Time `json:"created"`
	// Decisions in the order of the partitions.
	Decisions []Decision `json:"decisions"`
	// Changes counted per partition, as far as anything was counted.
	Changes []Count `json:"changes,omitempty"`
	// Approvals that the delete guard asks for.
	Approvals []Approval `json:"approvals,omitempty"`
}

// Count is the number of records of a partition by what would happen to them.
type Count struct {
	Partition string `json:"partition"`
	// Known reports whether the partition was counted at all.
	Known     bool   `json:"known"`
	Creates   uint64 `json:"creates"`
	Updates   uint64 `json:"updates"`
	Deletes   uint64 `json:"deletes"`
	Unchanged uint64 `json:"unchanged"`
	// Total is how many records the destination holds before the run.
	Total uint64 `json:"total"`
	// Absent is a digest of the keys that would be deleted, independent of
	// their order; empty if there are none.
	Absent string `json:"absent,omitempty"`
	// Canaries are keys that have to exist and would be deleted, or are missing
	// while others would be, in ascending order.
	Canaries []string `json:"canaries,omitempty"`
}

// Approval names a partition whose deletes an operator has to approve.
type Approval struct {
	Partition string `json:"partition"`
	// Reason is a sentence that names the numbers.
	Reason string `json:"reason"`
}

// Seal computes the plan's id: "p-" and 12 hexadecimal digits of the SHA-256
// over connector, decisions and deletes. Equal plans have equal ids, whenever
// they are made: the time, the wording of reasons and the opaque positions,
// which may move while nothing else changes, do not count.
func (p *Plan) Seal() {
	type decision struct {
		Partition, Rule     string
		Mode                Mode
		Keys, Sweep, Repair bool
	}
	type deletes struct {
		Partition string
		Deletes   uint64
		Absent    string
		Canaries  []string `json:",omitempty"`
	}
	content := struct {
		Connector string
		Decisions []decision
		Deletes   []deletes
	}{Connector: p.Connector}
	content.Decisions = slices.Grow(content.Decisions, len(p.Decisions))
	for _, d := range p.Decisions {
		content.Decisions = append(content.Decisions, decision{d.Partition, d.Rule, d.Mode, d.Keys, d.Sweep, d.Repair})
	}
	for _, c := range p.Changes {
		if c.Known && c.Deletes > 0 {
			content.Deletes = append(content.Deletes, deletes{c.Partition, c.Deletes, c.Absent, c.Canaries})
		}
	}
	canonical, _ := json.Marshal(content) // strings, booleans and integers always encode
	sum := sha256.Sum256(canonical)
	p.ID = "p-" + hex.EncodeToString(sum[:6])
}

// Forgoes reports whether approving p covers the delete of a canary.
func (p *Plan) Forgoes(partition, key string) bool {
	return slices.ContainsFunc(p.Changes, func(c Count) bool {
		return c.Partition == partition && slices.Contains(c.Canaries, key)
	})
}

// Approves reports whether approving p covers the deletes of one partition as
// they are counted now: exactly the same keys, neither more nor others, with
// the same canaries missing. The other partitions of the run do not matter.
func (p *Plan) Approves(now Count) bool {
	for _, c := range p.Changes {
		if c.Partition == now.Partition {
			same := c.Known && now.Known && c.Deletes == now.Deletes && c.Absent == now.Absent && slices.Equal(c.Canaries, now.Canaries)
			return same && (now.Deletes == 0 || now.Absent != "")
		}
	}
	return false
}
