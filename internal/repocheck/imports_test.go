package repocheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImportsGoDown holds every package to its row of the floors.
func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		room, ok := RoomOf(p.path())
		if !ok {
			t.Errorf("package %s is in no room: give it a row in internal/repocheck/rooms.go", p.path())
			continue
		}
		for _, imported := range p.Imports {
			if problem := badImport(p.path(), room, imported); problem != "" {
				t.Errorf("package %q imports %s: %s", p.path(), imported, problem)
			}
		}
	}
}

// badImport says why a package may not import another, or "".
func badImport(from string, room Room, imported string) string {
	path, ours := inModule(imported)
	if !ours {
		if first, _, _ := strings.Cut(imported, "/"); from == "" && strings.Contains(first, ".") {
			return "the root imports the standard library only"
		}
		return ""
	}
	target, ok := RoomOf(path)
	switch {
	case !ok:
		return "that package is in no room"
	case target.Floor == TestFloor && room.Floor != TestFloor:
		return "that package is for tests alone"
	case !room.allows(path, target):
		return "its row in internal/repocheck/rooms.go allows " + room.mayText()
	}
	return ""
}

// TestRoomsAllowOnlyLowerFloors keeps the list itself honest.
func TestRoomsAllowOnlyLowerFloors(t *testing.T) {
	t.Parallel()
	var seen []string
	for _, r := range Rooms() {
		if slices.Contains(seen, r.Path) {
			t.Errorf("room %q is listed twice", r.Path)
		}
		seen = append(seen, r.Path)
		for _, may := range r.May {
			if may == root || may == floor1 || may == below {
				continue
			}
			target, ok := RoomOf(may)
			child := strings.HasPrefix(may, r.Path+"/")
			parent := strings.HasPrefix(r.Path, may+"/")
			switch {
			case !ok:
				t.Errorf("room %q may import %q, which is no room", r.Path, may)
			case r.Floor != TestFloor && target.Floor >= r.Floor && !child && !parent:
				t.Errorf("room %q of floor %s may import %q of floor %s", r.Path, r.Floor, may, target.Floor)
			}
		}
	}
}

func TestBadImportsAreFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, from, imported string
		ok                   bool
	}{
		{"down", "engine", "state", true},
		{"floor 1", "engine", "plan", true},
		{"the SDK", "plan", "", true},
		{"child", "service", "service/web", true},
		{"connector in the catalogue", "catalog", "connectors/files", true},
		{"everything below", "cli", "state/sqlite", true},
		{"up", "plan", "state", false},
		{"neighbour", "plan", "delta", false},
		{"neighbour connector", "connectors/jsonl", "connectors/files", false},
		{"not in its row", "engine", "hub", false},
		{"suite outside of tests", "cli", "gaplesstest", false},
		{"nowhere", "cli", "misc", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			room, ok := RoomOf(test.from)
			if !ok {
				t.Fatal("no room")
			}
			problem := badImport(test.from, room, strings.TrimSuffix(module+"/"+test.imported, "/"))
			if (problem == "") != test.ok {
				t.Errorf("%q", problem)
			}
		})
	}
	if sdk, _ := RoomOf(""); badImport("", sdk, "golang.org/x/sync/errgroup") == "" || badImport("", sdk, "io/fs") != "" {
		t.Error("the root may import the standard library, and nothing else")
	}
}

// TestArchitectureShowsTheFloors compares the table in ARCHITECTURE.md.
func TestArchitectureShowsTheFloors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(top, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range packages(t) {
		paths = append(paths, p.path())
	}
	want, err := ReplaceSection(string(page), "floors", "", FloorsTable(paths))
	if err != nil {
		t.Fatalf("ARCHITECTURE.md: %v", err)
	}
	generated(t, "ARCHITECTURE.md", want)
}
