package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// spreadOf describes measurements of one thing.
type spreadOf struct{ low, median, high float64 }

// over returns the spread of one figure of several rounds.
func over(rounds []round, figure func(round) float64) spreadOf {
	var values []float64
	for _, r := range rounds {
		values = append(values, figure(r))
	}
	return spreadOver(values)
}

func spreadOver(values []float64) spreadOf {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return spreadOf{}
	}
	return spreadOf{low: values[0], median: (values[(n-1)/2] + values[n/2]) / 2, high: values[n-1]}
}

func (s spreadOf) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.median, s.low, s.high) }

func perRecord(r round) float64 { return r.measured.perRecord() }

// lowest is perRecord of the cheaper of two bare loops.
func lowest(r round) float64 { return min(r.before.perRecord(), r.measured.perRecord()) }

func seconds(r round) float64 { return r.measured.wall.Seconds() }

func rate(r round) float64 { return float64(r.measured.Records) / r.measured.wall.Seconds() }

func megabytes(r round) float64 { return float64(r.measured.Bytes) / 1e6 / r.measured.wall.Seconds() }

func peakMiB(r round) float64 { return float64(r.measured.Peak) / (1 << 20) }

// ownMiB is the peak without the program's file, which recent kernels map as a
// whole, whatever of it is used.
func ownMiB(r round) float64 { return float64(r.measured.Peak-r.measured.Program) / (1 << 20) }

// bareRounds returns the runs of a bare loop, in pairs, as rounds of their own.
func (b *bench) bareRounds(chosen []benchCase, bare string) (rounds []round) {
	for _, c := range chosen {
		if c.bare != bare {
			continue
		}
		for _, r := range b.results[c.name] {
			rounds = append(rounds, round{before: r.before, measured: r.after, after: r.after})
		}
	}
	return rounds
}

// table reports what was measured, as Markdown.
func (b *bench) table(chosen []benchCase) string {
	lines := [][]string{
		{"case", "records", "seconds", "records/s", "MB/s", "CPU us per record", "peak MiB", "without program", "CPU to the bare loop", "A/A"},
		{"---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:"},
	}
	for _, bare := range []struct{ job, title string }{
		{"bare", "bare loop: read, validate, write"}, {"bare-files", "bare loop over files: read, validate, write"},
	} {
		if rounds := b.bareRounds(chosen, bare.job); len(rounds) > 0 {
			lines = append(lines, line(bare.title, rounds))
		}
	}
	for _, c := range chosen {
		lines = append(lines, line(c.title, b.results[c.name]))
	}
	var text strings.Builder
	fmt.Fprintf(&text, `# Speed

%s, %d processors, %s %s/%s, folder on %s, %d runs of each case, %d records.
Medians, with the lowest and the highest in brackets. Every measurement is a
process of its own, from start to end; processor time is its own, user and
system. Peaks are the highest of all runs, with and without the program's own
file. A/A is the bare loop to itself, before and after each measurement.

`, processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, fileSystem(b.dir), b.options.runs, b.options.records)
	writeTable(&text, lines)
	return text.String()
}

func line(title string, rounds []round) []string {
	cells := []string{title, fmt.Sprint(rounds[0].measured.Records), fmt.Sprintf("%.3f", over(rounds, seconds).median)}
	cells = append(cells, fmt.Sprintf("%.0f", over(rounds, rate).median), orDash(over(rounds, megabytes).median))
	cells = append(cells, over(rounds, perRecord).String(), orDash(over(rounds, peakMiB).high), orDash(over(rounds, ownMiB).high))
	if !rounds[0].hasBare() {
		return append(cells, "-", "-")
	}
	return append(cells, over(rounds, round.ratio).String(), over(rounds, round.control).String())
}

func orDash(value float64) string {
	if value == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", value)
}

// writeTable writes cells, the second line of which says how columns are
// aligned, padded so that the text reads well as it is.
func writeTable(text *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, cells := range lines {
		for i, cell := range cells {
			pad := widths[i] - utf8.RuneCountInString(cell)
			switch {
			case n == 1:
				cell = cell[:1] + strings.Repeat("-", widths[i]-2) + cell[len(cell)-1:]
			case strings.HasSuffix(lines[1][i], "-"):
				cell += strings.Repeat(" ", pad)
			default:
				cell = strings.Repeat(" ", pad) + cell
			}
			text.WriteString("| " + cell + " ")
		}
		text.WriteString("|\n")
	}
}

// referenceBare is the processor time of the bare loop, in microseconds per
// record, on the machine that the targets were set on.
const referenceBare = 0.34

// kind says how the runs of a figure count.
type kind uint8

const (
	// processorTime is as low as the lowest: other work on the machine only
	// ever adds. Its limit grows with the bare loop's time, the lowest as well.
	processorTime kind = iota
	// relation is that of two cases measured one after the other: the median.
	relation
	// memory is as high as the highest.
	memory
)

func (s spreadOf) as(k kind) float64 {
	switch k {
	case processorTime:
		return s.low
	case memory:
		return s.high
	case relation:
	}
	return s.median
}

// target is a figure to stay below.
type target struct {
	title string
	unit  string
	kind  kind
	limit float64
	// figure of a run; rounds of several cases are of the same moment.
	cases  []string
	figure func(rounds []round) float64
}

func targets() []target {
	first := func(of func(round) float64, factor float64) func([]round) float64 {
		return func(rounds []round) float64 { return of(rounds[0]) * factor }
	}
	return []target{
		{"jsonl -> jsonl", "us CPU per record", processorTime, 0.9, []string{"copy"}, first(perRecord, 1)},
		{"jsonl -> jsonl", "MiB resident, without program", memory, 40, []string{"copy"}, first(ownMiB, 1)},
		{"filter and mapping of three fields", "us CPU per record", processorTime, 3, []string{"map"}, first(perRecord, 1)},
		{"jsonl -> hub, CPU to Pebble alone", "times (60 % of its rate)", relation, 1 / 0.6, []string{"hub", "pebble"}, func(rounds []round) float64 {
			return perRecord(rounds[0]) / perRecord(rounds[1])
		}},
		{"delta of unchanged records, beyond reading", "us CPU per record", processorTime, 1.5, []string{"unchanged", "read"}, func(rounds []round) float64 {
			return perRecord(rounds[0]) - perRecord(rounds[1])
		}},
		{"delta of unchanged records", "MiB resident, without program", memory, 128, []string{"unchanged"}, first(ownMiB, 1)},
		{"decisions about 10,000 partitions", "ms CPU", processorTime, 10, []string{"plan"}, first(perRecord, partitions/1e3)},
		{"start of gapless version", "ms CPU", processorTime, 30, []string{"version"}, first(perRecord, 1e-3)},
		{"second run over the files without a change", "ms CPU", processorTime, 300, []string{"again"}, func(rounds []round) float64 {
			return float64(rounds[0].measured.cpu.Microseconds()) / 1e3
		}},
	}
}

// check compares with the targets and returns how many were missed. A miss of
// processor time that is smaller than what the bare loop usually differs from
// itself decides nothing.
func (b *bench) check() (text string, missed int) {
	bare := b.bareRounds(cases(), "bare")
	slower, noise := 1.0, 0.0
	if len(bare) > 0 {
		slower = max(over(bare, lowest).low/referenceBare, 1)
		control := over(bare, func(r round) float64 { return max(r.control(), 1/r.control()) })
		noise = control.median - 1
	}
	lines := [][]string{{"target", "measured", "limit", "limit here", "unit", "verdict"}, {"---", "--:", "--:", "--:", "---", "---"}}
	for _, t := range targets() {
		limit, doubtful := t.limit, t.limit
		if t.kind == processorTime {
			limit *= slower
			doubtful = limit * (1 + noise)
		}
		measured, ok := b.figure(t)
		verdict := "pass"
		switch {
		case !ok:
			verdict = "not measured"
		case measured.as(t.kind) > doubtful:
			verdict = "FAIL"
			missed++
		case measured.as(t.kind) > limit:
			verdict = "within the noise"
		}
		lines = append(lines, []string{t.title, measured.String(), fmt.Sprintf("%.2f", t.limit), fmt.Sprintf("%.2f", limit), t.unit, verdict})
	}
	var out strings.Builder
	fmt.Fprintf(&out, `The bare loop takes %.2f us of processor time per record here and %.2f on the
machine of the targets: limits of time are those times %.2f. It differs from
itself by %.1f %%. What counts of all runs is the lowest time, the median of
relations, and the highest memory.

`, cmp.Or(over(bare, lowest).low, referenceBare), referenceBare, slower, noise*100)
	writeTable(&out, lines)
	return out.String(), missed
}

// figure computes the figure of a target for every run; false if a case of it
// was not measured.
func (b *bench) figure(t target) (spreadOf, bool) {
	var values []float64
	for run := range b.options.runs {
		var rounds []round
		for _, name := range t.cases {
			if run >= len(b.results[name]) {
				return spreadOf{}, false
			}
			rounds = append(rounds, b.results[name][run])
		}
		values = append(values, t.figure(rounds))
	}
	return spreadOver(values), true
}
