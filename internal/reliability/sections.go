package main

import (
	"fmt"
	"slices"
	"strings"
)

// section is one table of the page.
type section struct {
	// name of the markers and of the rows; other names of rows that belong here.
	name string
	more []string
	// command that emits the rows, and what it has in its environment.
	environment []string
	command     []string
	// stdout says that the rows are what the command prints, as one document.
	stdout bool
	// jobs says that the command can be told how much to do at the same time.
	jobs bool
	// render returns the table.
	render func(rows []row) (string, error)
}

func sections() []section {
	return []section{
		{name: "mutation", command: []string{"go", "run", "./internal/mutation", "--json"}, stdout: true, jobs: true, render: mutants},
		{
			name: "fault-campaign", more: []string{"clean-runs"}, render: campaign,
			environment: []string{"GAPLESS_FAULTS=1060", "GAPLESS_CLEAN_RUNS=10000"},
			command:     []string{"go", "test", "-count=1", "-timeout", "60m", "-run", "^(TestCampaign|TestNoFalseAlarms)$", "./internal/sim"},
		},
		{
			name: "partial-failures", render: partialFailures,
			command: []string{"go", "test", "-count=1", "-timeout", "30m", "-run", "^TestPartialFailures$", "./engine"},
		},
		{
			name: "certificate-overhead", render: overhead,
			command: []string{"go", "test", "-run", "^$", "-bench", "^BenchmarkCertificates$", "-benchtime", "40x", "./engine"},
		},
	}
}

// shown returns the command as somebody would type it.
func (s *section) shown() string {
	words := slices.Clone(s.environment)
	for _, w := range s.command {
		if strings.ContainsAny(w, "^$|() ") {
			w = "'" + w + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// mutants lists every safety line and who noticed that it was gone.
func mutants(rows []row) (string, error) {
	noticed := 0
	var b strings.Builder
	b.WriteString("| line | invariants | what it keeps | taken out, it is | by |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		outcome := r.text("outcome")
		if outcome == "noticed" {
			noticed++
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.text("id"), r.list("invariants"), cell(r.text("keeps")), outcome, r.list("by"))
	}
	return fmt.Sprintf("%d lines were taken out, %d were noticed.\n\n%s", len(rows), noticed, &b), nil
}

// who are those who notice a planted fault, in the order in which they are
// asked.
var who = [...]string{"run", "plan", "prove", "verify", "next run", "nobody"}

// campaign counts planted faults by kind and by who noticed them.
func campaign(rows []row) (string, error) {
	var b strings.Builder
	total, missed, runs, alarms := 0, 0, 0, 0
	b.WriteString("| where | fault | planted | " + strings.Join(who[:], " | ") + " | harmless |\n|---|---|" + strings.Repeat("---|", len(who)+2) + "\n")
	for _, r := range rows {
		if r.text("table") == "clean-runs" {
			runs, alarms = runs+r.number("runs"), alarms+r.number("alarms")
			continue
		}
		by, _ := r["by"].(map[string]any)
		planted := r.number("planted")
		fmt.Fprintf(&b, "| %s | %s | %d |", r.text("where"), r.text("fault"), planted)
		for _, name := range who {
			fmt.Fprintf(&b, " %d |", row(by).number(name))
		}
		fmt.Fprintf(&b, " %d |\n", r.number("harmless"))
		total, missed = total+planted, missed+row(by).number("nobody")
	}
	if total == 0 || runs == 0 {
		return "", fmt.Errorf("%d faults and %d clean runs", total, runs)
	}
	return fmt.Sprintf("%d faults were planted, %d of them noticed by nobody. %d clean runs gave %d false alarms.\n\n%s", total, missed, runs, alarms, &b), nil
}

// partialFailures lists failures and what was deleted because of them.
func partialFailures(rows []row) (string, error) {
	wrong, kept := 0, 0
	var b strings.Builder
	b.WriteString("| what fails, for two runs | deleted although it exists | afterwards, what is gone is deleted |\n|---|---|---|\n")
	for _, r := range rows {
		gone := "yes"
		if done, _ := r["true_deletes_gone"].(bool); !done {
			gone, kept = "no", kept+1
		}
		wrong += r.number("false_deletes")
		fmt.Fprintf(&b, "| %s | %d | %s |\n", cell(r.text("name")), r.number("false_deletes"), gone)
	}
	return fmt.Sprintf("%d failures, %d records deleted that exist, %d failures after which something stays that is gone.\n\n%s", len(rows), wrong, kept, &b), nil
}

// overhead says what certificates cost.
func overhead(rows []row) (string, error) {
	var b strings.Builder
	b.WriteString("| case | records | rounds | without digests | overhead, of the processor time | control | hashing alone |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d | %d | %.0f ns a record | %+.1f %% | %+.1f %% | %.1f %% |\n",
			r.text("case"), r.number("records"), r.number("rounds"), r.float("nanoseconds"), r.float("overhead"), r.float("control"), r.float("digests"))
	}
	return b.String(), nil
}
