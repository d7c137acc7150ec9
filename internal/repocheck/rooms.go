package repocheck

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Floor is the level of a package. Imports go down only.
type Floor int

// TestFloor packages are imported by tests alone, and may import anything
// their row names.
const TestFloor Floor = -1

// String returns the number, or "test".
func (f Floor) String() string {
	if f == TestFloor {
		return "test"
	}
	return fmt.Sprint(int(f))
}

// What a room may import, beside the paths of rooms.
const (
	root   = "root"             // the SDK
	floor1 = "floor 1"          // every room of floor 1
	below  = "everything below" // every room of a lower floor
)

// Room is one row of the floors: a package, or every package of a folder.
type Room struct {
	// Path below the module, "" for its root; a last element of * stands for
	// every folder directly below.
	Path  string
	Floor Floor
	// Line says what lives there.
	Line string
	// May lists the packages of this module that it may import.
	May []string
}

// Rooms returns the floors, highest first. The table in ARCHITECTURE.md is
// generated from them and the import test enforces them.
func Rooms() []Room {
	return []Room{
		{"cmd/gapless", 6, "`main`: hands the built-in catalogue to `cli`", []string{"cli", "catalog"}},
		{"examples/*", 6, "complete programs built on the SDK", []string{"cli", "catalog", "connectors/car/framework", root}},
		{"internal/bench", 6, "`make bench`: rates and ratios against a bare loop in the same run", []string{below}},
		{"internal/mutation", 6, "`make mutants`: each safety line taken out, one at a time, and the test that notices", nil},
		{"internal/reliability", 6, "`make reliability`: the tables of docs/reliability.md, from the commands that measure them", []string{below}},
		{"internal/repocheck", 6, "the repository's own rules, as tests", []string{"catalog", "plan", "resolve", root}},
		{"cli", 5, "the command line as an importable package: commands, text and JSON output, exit codes", []string{below}},
		{"service", 4, "the daemon: listeners, runs set off by events, metrics, orderly stop", []string{"service/web", "config", "engine", "connectors/pushapi", "connectors/car/server", "connectors/sahana/server", "connectors/pacifica", "connectors/pacifica/server", "transfer", "state", "state/sqlite", "hub", floor1, root}},
		{"service/web", 4, "status pages; knows HTML, decides nothing", []string{"state", "proof", "plan", root}},
		{"catalog", 4, "the one list of built-in connectors, a plain value extended with `With(...)`", []string{"connectors/*", "hub", root}},
		{"connectors/car/framework", 4, "the CAR connector framework for authors: hooks, options, exit codes and logs of the original, over the engine", []string{"connectors/car", "connectors/car/wire", "engine", "state", "state/sqlite", "durable", floor1, root}},
		{"config", 3, "YAML to typed values, strict; every mistake with file, line, column, excerpt and fix", []string{"mapping", "resolve", "plan", "event", root}},
		{"engine", 3, "one run: plan, read, compare, resolve, push, sync, certify, checkpoint; meets connectors only as SDK interfaces", []string{"state", "durable", floor1, root}},
		{"connectors/*", 3, "one folder per outside system", []string{"transfer", "event", "httpx", "stamp", "durable", "connectors/car/wire", "connectors/sahana/s3", floor1, root}},
		{"connectors/car/server", 3, "the CAR service: jobs, imports, retirement, over a store that it declares", []string{"connectors/car/wire", "connectors/car/server/query", root}},
		{"connectors/car/server/query", 3, "GraphQL over vertices and edges: parse, bound, execute", []string{"connectors/car/wire", root}},
		{"connectors/sahana/server", 3, "the services of a Sahana Eden: registration, synchronisation and REST, over a store that it declares", []string{"connectors/sahana/s3", "resolve", root}},
		{"connectors/pacifica/server", 3, "the cart service: orders, staging, tar streams, over a store of files that it declares", []string{"transfer", "stamp", root}},
		{"connectors/car/wire", 2, "the facts of the CAR protocol that client and server share", nil},
		{"connectors/sahana/s3", 2, "the documents of Sahana Eden, S3XML and S3JSON, and what they mean as records", []string{root}},
		{"hub", 2, "the embedded destination and source: durable records, statuses, enumeration, search, change feed", []string{"hub/text", "delta", "proof", root}},
		{"hub/text", 2, "contents to text to search in: formats, charsets, limits, and the reason where there is none", []string{"hub/text/pdf"}},
		{"hub/text/pdf", 2, "text of PDF files, made for files of strangers", nil},
		{"durable", 2, "files that are there in full or not at all, also after a crash of the machine", nil},
		{"stamp", 2, "whether a file is still the same, from what the file system says without reading it", nil},
		{"state", 2, "what the engine remembers, as one small interface", []string{"plan", "proof", root}},
		{"state/sqlite", 2, "that memory on one node", []string{"state", "plan", "proof", root}},
		{"state/postgres", 2, "that memory on several nodes", []string{"state", "plan", "proof", root}},
		{"transfer", 2, "wanted files into a folder: verified, resumable, parallel; safe archives", []string{"httpx", root}},
		{"plan", 1, "pure: facts in, decision out, with the rule that fired", []string{root}},
		{"resolve", 1, "pure: strategy and resolution, per record and per field", []string{root}},
		{"delta", 1, "pure: changes from two ordered enumerations", []string{root}},
		{"proof", 1, "pure: digests, certificates, their chain, and the check of both", []string{root}},
		{"mapping", 1, "pure: compiled filters and field mappings over raw bytes, with a fingerprint", []string{root}},
		{"event", 1, "CloudEvents envelopes, 1.0 and the 0.1 still in the field, and subscriptions that match them", []string{root}},
		{"httpx", 1, "what clients share about asking again: which statuses promise something, and how long to wait", []string{root}},
		{"", 0, "the SDK and the words; standard library only", nil},
		{"gaplesstest", TestFloor, "for authors: the survival kit of connectors, outside systems in memory, faults", []string{"engine", "hub", "state", "state/sqlite", floor1, root}},
		{"internal/sim", TestFloor, "the seeded simulator: whole runs in virtual time, and the auditor of the ten claims", []string{"gaplesstest", "engine", "hub", "state", "state/sqlite", "state/statetest", floor1, root}},
		{"state/statetest", TestFloor, "the conformance suite of state stores", []string{"state", "plan", "proof", root}},
	}
}

// RoomOf returns the room of a package path below the module.
func RoomOf(pkg string) (Room, bool) {
	rooms := Rooms()
	i := slices.IndexFunc(rooms, func(r Room) bool { return r.Path == pkg })
	if i < 0 {
		i = slices.IndexFunc(rooms, func(r Room) bool { return r.holds(pkg) })
	}
	if i < 0 {
		return Room{}, false
	}
	return rooms[i], true
}

func (r Room) holds(pkg string) bool {
	matched, err := path.Match(r.Path, pkg)
	return err == nil && matched
}

// allows reports whether the room may import another package of the module.
func (r Room) allows(pkg string, target Room) bool {
	return slices.ContainsFunc(r.May, func(may string) bool {
		switch may {
		case root:
			return pkg == ""
		case floor1:
			return target.Floor == 1
		case below:
			return target.Floor >= 0 && target.Floor < r.Floor
		}
		return may == target.Path || may == pkg
	})
}

// FloorsTable renders the rooms that hold any of the packages as Markdown.
func FloorsTable(packages []string) string {
	var b strings.Builder
	b.WriteString("| floor | package | what lives there | may import |\n|---|---|---|---|\n")
	for _, r := range Rooms() {
		inRoom := func(pkg string) bool {
			room, ok := RoomOf(pkg)
			return ok && room.Path == r.Path
		}
		if !slices.ContainsFunc(packages, inRoom) {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Floor, r.name(), r.Line, r.mayText())
	}
	return b.String()
}

func (r Room) name() string {
	if r.Path == "" {
		return "root `gapless`"
	}
	return "`" + r.Path + "`"
}

func (r Room) mayText() string {
	if len(r.May) == 0 {
		return "-"
	}
	texts := make([]string, len(r.May))
	for i, may := range r.May {
		texts[i] = may
		if may != root && may != floor1 && may != below {
			texts[i] = "`" + may + "`"
		}
	}
	return strings.Join(texts, ", ")
}
