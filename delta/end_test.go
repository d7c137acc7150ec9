package delta_test

import (
	"testing"
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
