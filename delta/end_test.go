package delta_test

import (
	"errors"
	"testing"

	"github.com/gapless-sync/gapless/delta"
)

// TestNothingIsAbsentBeforeTheEnd: what an enumeration has not contained yet may
// still come, and behind its end nothing comes.
func TestNothingIsAbsentBeforeTheEnd(t *testing.T) {
	t.Parallel()
	c := compareWith(t, smallTable(t, 5), 1<<20)
	addAll(t, c, 0, 3)
	if err := c.Absent(func(key []byte) error { t.Errorf("%s is absent already", key); return nil }); err == nil {
		t.Error("absent keys before the end of the enumeration")
	}
	if _, _, err := c.AbsentDigest(); err == nil {
		t.Error("a digest of absent keys before the end of the enumeration")
	}
	if keys := absentOf(t, c); len(keys) != 2 {
		t.Errorf("absent are %q, want two", keys)
	}
	if _, err := c.Add([]byte(keyOf(4)), hashOf(keyOf(4)), 1, 0); err == nil {
		t.Error("a record was added behind the end")
	}
	if err := c.Keep([]byte(keyOf(4)), hashOf(keyOf(4)), 0); err == nil {
		t.Error("a record was kept behind the end")
	}
}

// TestKeptIsNotEqual: what exists and could not be read is looked at again the
// next time, even if it is as it was.
func TestKeptIsNotEqual(t *testing.T) {
	t.Parallel()
	base := &memory{}
	c := delta.New(nil, &memory{}, 1<<20)
	add := func(c *delta.Comparison) delta.Verdict {
		t.Helper()
		v, err := c.Add([]byte("k"), hashOf("k"), 7, 0)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	next := func(c *delta.Comparison, to *memory) {
		t.Helper()
		if err := errors.Join(c.Finish(scratch), c.WriteTable(to, nil)); err != nil {
			t.Fatal(err)
		}
	}
	add(c)
	next(c, base)
	if c = compareWith(t, base, 1<<20); add(c) != delta.Unchanged {
		t.Error("the same record is not unchanged")
	}
	c, kept := compareWith(t, base, 1<<20), &memory{}
	if err := c.Keep([]byte("k"), hashOf("k"), 0); err != nil {
		t.Fatal(err)
	}
	next(c, kept)
	if c = compareWith(t, kept, 1<<20); add(c) != delta.Updated {
		t.Error("a record that could not be read before is unchanged")
	}
}
