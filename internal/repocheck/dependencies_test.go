package repocheck

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var directLine = regexp.MustCompile(`(?m)^\s*(?:require )?([\w.-]+\.[\w.-]+/\S+) v\S+$`)

// TestDirectDependenciesAreReviewed compares go.mod with the list.
func TestDirectDependenciesAreReviewed(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range directLine.FindAllStringSubmatch(string(data), -1) {
		got = append(got, m[1])
	}
	for _, d := range Dependencies() {
		want = append(want, d.Module)
		if d.Why == "" {
			t.Errorf("%s: say why it is taken", d.Module)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("go.mod and internal/repocheck/dependencies.go disagree (-reviewed +go.mod):\n%s", diff)
	}
}

// TestDependenciesStayInTheirRooms holds each module to the packages that the
// list names; tests may import any module of the list.
func TestDependenciesStayInTheirRooms(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		room, _ := RoomOf(p.path())
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || strings.HasPrefix(imported, module) {
				continue
			}
			d, ok := dependencyOf(imported)
			switch {
			case !ok:
				t.Errorf("package %q imports %s, which is not in internal/repocheck/dependencies.go", p.path(), imported)
			case room.Floor == TestFloor && d.Rooms == nil:
			case !slices.Contains(d.Rooms, p.path()) && !slices.Contains(d.Rooms, room.Path):
				t.Errorf("package %q imports %s, which belongs to %v", p.path(), imported, d.Rooms)
			}
		}
	}
}

func dependencyOf(imported string) (Dependency, bool) {
	list := Dependencies()
	i := slices.IndexFunc(list, func(d Dependency) bool {
		return imported == d.Module || strings.HasPrefix(imported, d.Module+"/")
	})
	if i < 0 {
		return Dependency{}, false
	}
	return list[i], true
}

func TestDependencyRoomsExistInTheFloors(t *testing.T) {
	t.Parallel()
	for _, d := range Dependencies() {
		for _, room := range d.Rooms {
			if _, ok := RoomOf(room); !ok {
				t.Errorf("%s belongs to %q, which is no room", d.Module, room)
			}
		}
	}
}
