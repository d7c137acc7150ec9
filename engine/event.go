package engine

import "time"

// EventType names what an event tells.
type EventType string

// The events of a run, in the order in which they can occur, and those of a
// verification.
const (
	// EventPlan: the decision for one partition was taken.
	EventPlan EventType = "plan"
	// EventProgress: counts of the run so far, a few times a second.
	EventProgress EventType = "progress"
	// EventRetry: a recoverable failure is tried again after Wait.
	EventRetry EventType = "retry"
	// EventCheckpoint: a checkpoint is durable at both ends.
	EventCheckpoint EventType = "checkpoint"
	// EventPartition: a partition has ended.
	EventPartition EventType = "partition"
	// EventDone: the run has ended; Summary is set.
	EventDone EventType = "done"
	// EventDifference: a verification has found Difference.
	EventDifference EventType = "difference"
	// EventVerified: a verification has ended; Verified is set.
	EventVerified EventType = "verified"
)

// Event is one thing that happened in a run. In JSON it is one line.
type Event struct {
	Type      EventType `json:"type"`
	Time      time.Time `json:"time"`
	Connector string    `json:"connector"`
	Run       string    `json:"run,omitempty"`
	Partition string    `json:"partition,omitempty"`
	Rule      string    `json:"rule,omitempty"`
	Mode      string    `json:"mode,omitempty"`
	// Message is a sentence for people.
	Message string `json:"message,omitempty"`
	// Progress is set for progress, checkpoint and partition events.
	Progress *Progress `json:"progress,omitempty"`
	// Wait before the next attempt, in seconds, for retry events.
	Wait float64 `json:"wait_seconds,omitempty"`
	// Summary is set for the done event.
	Summary *Summary `json:"summary,omitempty"`
	// Difference is set for the difference event, Verified for the verified
	// event.
	Difference *Difference   `json:"difference,omitempty"`
	Verified   *VerifyReport `json:"verified,omitempty"`
}

// Progress counts records of a run so far.
type Progress struct {
	Counts
	// Bytes read.
	Bytes int64 `json:"bytes"`
	// Expected records and bytes in all; 0 if not known.
	ExpectedRecords int64 `json:"expected_records,omitempty"`
	ExpectedBytes   int64 `json:"expected_bytes,omitempty"`
	// Seconds since the run began.
	Seconds float64 `json:"seconds"`
}

// Counts of records. Every record read is in exactly one of Unchanged,
// Filtered, Rejected and Pushed; deletes by absence are pushed without having
// been read.
type Counts struct {
	Read      uint64 `json:"read"`
	Unchanged uint64 `json:"unchanged"`
	Filtered  uint64 `json:"filtered"`
	Rejected  uint64 `json:"rejected"`
	// Created and Updated split the pushed records where a comparison can
	// tell; otherwise all are in Updated.
	Created uint64 `json:"created"`
	Updated uint64 `json:"updated"`
	// Deleted counts deletes that the source told and deletes by absence.
	Deleted uint64 `json:"deleted"`
	Pushed  uint64 `json:"pushed"`
	Synced  uint64 `json:"synced"`
}

func (c *Counts) add(d Counts) {
	c.Read += d.Read
	c.Unchanged += d.Unchanged
	c.Filtered += d.Filtered
	c.Rejected += d.Rejected
	c.Created += d.Created
	c.Updated += d.Updated
	c.Deleted += d.Deleted
	c.Pushed += d.Pushed
	c.Synced += d.Synced
}

// Changed is how many records the run created, updated or deleted.
func (c Counts) Changed() uint64 { return c.Created + c.Updated + c.Deleted }

// Summary is the account of a run.
type Summary struct {
	Run       string `json:"run"`
	Connector string `json:"connector"`
	// Status is the worst outcome of the partitions.
	Status string `json:"status"`
	// Exit is the exit code that the run stands for.
	Exit  int    `json:"exit"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Plan is the id of the plan that was carried out, or of the one to
	// approve if a guard stopped the run.
	Plan       string             `json:"plan"`
	Counts     Counts             `json:"counts"`
	Bytes      int64              `json:"bytes"`
	Partitions []PartitionSummary `json:"partitions"`
	Started    time.Time          `json:"started"`
	Seconds    float64            `json:"seconds"`
	// Serial is the destination's number of the last change pushed; 0 if it
	// numbers none.
	Serial uint64 `json:"serial,omitempty"`
	// Notes are sentences about what the counts do not show.
	Notes []string `json:"notes,omitempty"`
}

// PartitionSummary is the account of one partition of a run.
type PartitionSummary struct {
	Partition string `json:"partition"`
	Rule      string `json:"rule"`
	Mode      string `json:"mode"`
	Reason    string `json:"reason"`
	Outcome   string `json:"outcome"`
	Counts    Counts `json:"counts"`
	// Certificate is the id of the newest certificate of the partition: of
	// this run, or the standing one if there was nothing to do.
	Certificate string `json:"certificate,omitempty"`
	Error       string `json:"error,omitempty"`
}
