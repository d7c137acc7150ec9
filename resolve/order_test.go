package resolve

import (
	"testing"
	"time"
)

// TestStampsOfTwoNodes: whoever compares, the same edit is the later one.
func TestStampsOfTwoNodes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ascending := []Stamp{
		{}, {Time: at, Node: "a"}, {Time: at, Node: "b"}, {Time: at, Counter: 1, Node: "a"}, {Time: at, Counter: 1, Node: "b"}, {Time: at.Add(1), Node: "a"},
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := a.Compare(b), min(max(i-j, -1), 1); got != want {
				t.Errorf("%+v compared with %+v is %d, want %d", a, b, got, want)
			}
			if l := later(a, b); l != ascending[max(i, j)] || l != later(b, a) {
				t.Errorf("the later one of %+v and %+v is %+v", a, b, l)
			}
		}
	}
}

// TestWhatEditsLeave: a field that was removed has the time of that, and a
// deletion remembers all that it knew.
func TestWhatEditsLeave(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	edit := func(prev Side, data string, now time.Time) Side {
		t.Helper()
		s, err := Edit(prev, []byte(data), now, "n")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := edit(Side{}, `{"a":1,"b":1}`, at)
	second := edit(first, `{"a":1}`, at.Add(time.Hour))
	if second.Times["b"] != second.Modified || second.Times["a"] != first.Modified || second.Modified == first.Modified {
		t.Errorf("times %+v, want that b was removed at %+v and a made at %+v", second.Times, second.Modified, first.Modified)
	}
	deleted := Delete(second, at.Add(2*time.Hour), "n")
	if !deleted.Seen.same(second.Times) || len(deleted.Seen) != 2 {
		t.Errorf("the deletion knew %+v, want %+v", deleted.Seen, second.Times)
	}
}
