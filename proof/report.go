package proof

import (
	"fmt"
	"strings"
	"time"

	"github.com/gapless-sync/gapless"
)

// Report is what [Checker] found for one connector.
type Report struct {
	Connector  string            `json:"connector"`
	Partitions []PartitionReport `json:"partitions"`
	// Gaps that are open, by partition and in the order they came up.
	Gaps []Gap `json:"gaps"`
	// Closed are gaps that a later full run made up for.
	Closed []Gap `json:"closed"`
	// Certificates is how many were checked.
	Certificates int `json:"certificates"`
	// Notes are sentences about what is no gap and worth knowing.
	Notes []string `json:"notes,omitempty"`
	// OK says that there is no open gap.
	OK bool `json:"ok"`
}

// PartitionReport sums up the chain of one partition: how long it is and how
// it ends.
type PartitionReport struct {
	Partition    string `json:"partition"`
	Certificates uint64 `json:"certificates"`
	// Last is the id of the last certificate, Run, Rule, Mode and Finished
	// what it says, Position that of its checkpoint; all empty without one.
	Last     string           `json:"last"`
	Run      string           `json:"run"`
	Rule     string           `json:"rule"`
	Mode     string           `json:"mode"`
	Position gapless.Position `json:"position"`
	Finished time.Time        `json:"finished"`
	OK       bool             `json:"ok"`
}

// Text returns the report for a terminal: one line that sums up, then each gap
// with the command that closes it.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s in %s: ", r.Connector, amount(r.Certificates, "certificate"), amount(len(r.Partitions), "partition"))
	if r.OK {
		b.WriteString("chain, intervals and counts hold\n")
	} else {
		fmt.Fprintf(&b, "completeness is not proved, %s\n", amount(len(r.Gaps), "gap"))
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "  gap  %s  %s: %s%s\n       close it with: %s\n", g.Partition, g.Kind, g.What, g.where(), g.Run)
	}
	for _, g := range r.Closed {
		fmt.Fprintf(&b, "  closed by %s  %s  %s: %s%s\n", g.ClosedBy, g.Partition, g.Kind, g.What, g.where())
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "  note %s\n", note)
	}
	return b.String()
}

// where names the certificate, the time and the interval of a gap.
func (g Gap) where() string {
	var list []string
	if g.Certificate != "" {
		list = append(list, g.Certificate)
	}
	if !g.Since.IsZero() {
		list = append(list, "since "+g.Since.UTC().Format(time.RFC3339))
	}
	if g.From != "" || g.To != "" {
		list = append(list, fmt.Sprintf("from %q to %q", g.From, g.To))
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

func amount(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
