package delta_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/delta"
)

func compareWith(t *testing.T, base *memory, allowed int) *delta.Comparison {
	t.Helper()
	table, err := base.table()
	if err != nil {
		t.Fatal(err)
	}
	return delta.New(table, &memory{}, allowed)
}

func absentOf(t *testing.T, c *delta.Comparison) (keys []string) {
	t.Helper()
	if err := errors.Join(c.Finish(scratch), c.Absent(func(key []byte) error { keys = append(keys, string(key)); return nil })); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestEmptyEnumerationLeavesAllAbsent(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 63, 64, 65, 200} {
		c := compareWith(t, smallTable(t, n), 0)
		keys := absentOf(t, c)
		if len(keys) != n || len(slices.Compact(slices.Sorted(slices.Values(keys)))) != n || c.Totals() != (delta.Totals{Absent: uint64(n)}) {
			t.Errorf("%d of %d are absent, totals %+v", len(keys), n, c.Totals())
		}
		next := &memory{}
		if err := c.WriteTable(next, nil); err != nil {
			t.Fatal(err)
		}
		if again := absentOf(t, compareWith(t, next, 0)); len(again) != 0 {
			t.Errorf("still absent: %v", again)
		}
	}
}

func TestOneAbsentRecordIsFound(t *testing.T) {
	t.Parallel()
	const records = 130
	base := smallTable(t, records)
	for i := range records {
		c := compareWith(t, base, 1<<20)
		addAll(t, c, 0, i)
		addAll(t, c, i+1, records)
		if keys := absentOf(t, c); !slices.Equal(keys, []string{keyOf(i)}) {
			t.Errorf("absent are %v instead of %s", keys, keyOf(i))
		}
	}
}

// A delete that was refused must be found again.
func TestRefusedDeleteIsAbsentAgain(t *testing.T) {
	t.Parallel()
	base := smallTable(t, 3)
	for range 2 {
		c := compareWith(t, base, 1<<20)
		addAll(t, c, 0, 2)
		if keys := absentOf(t, c); !slices.Equal(keys, []string{keyOf(2)}) {
			t.Fatalf("absent: %v", keys)
		}
		c.Distrust(hashOf(keyOf(2)))
		base = &memory{}
		if err := c.WriteTable(base, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A comparison that was given up leaves no trace: the same table gives the
// same answers, and an unreadable record is present but never equal.
func TestNeverEqual(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		mark func(c *delta.Comparison) error
		want delta.Verdict
	}{
		{"as it was", func(c *delta.Comparison) error {
			_, err := c.Add([]byte("x"), hashOf("x"), 1, 0)
			return err
		}, delta.Unchanged},
		{"content hash is zero", func(c *delta.Comparison) error {
			_, err := c.Add([]byte("x"), hashOf("x"), 0, 0)
			return err
		}, delta.Unchanged},
		{"unreadable", func(c *delta.Comparison) error { return c.Keep([]byte("x"), hashOf("x"), 0) }, delta.Updated},
		{"refused", func(c *delta.Comparison) error {
			_, err := c.Add([]byte("x"), hashOf("x"), 1, 0)
			c.Distrust(hashOf("x"))
			return err
		}, delta.Updated},
		{"stood twice with different contents", func(c *delta.Comparison) error {
			_, err := c.Add([]byte("x"), hashOf("x"), 1, 0)
			_, again := c.Add([]byte("x"), hashOf("x"), 2, 0)
			return errors.Join(err, again)
		}, delta.Updated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, table := delta.New(nil, &memory{}, 1<<20), &memory{}
			if err := errors.Join(tt.mark(c), c.Finish(scratch), c.WriteTable(table, nil)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first is given up
				got, err := compareWith(t, table, 0).Add([]byte("x"), hashOf("x"), 1, 0)
				if err != nil || got != tt.want {
					t.Errorf("%v, want %v, error %v", got, tt.want, err)
				}
			}
		})
	}
}

func TestMisuseIsAnError(t *testing.T) {
	t.Parallel()
	c := delta.New(nil, &memory{}, 0)
	add := func(key string) error {
		_, err := c.Add([]byte(key), hashOf(key), 1, 0)
		return err
	}
	if c.WriteTable(&memory{}, nil) == nil || c.Absent(nil) == nil || c.Repeated(nil) == nil {
		t.Errorf("used before the end of the enumeration")
	}
	if add("") == nil || add(strings.Repeat("x", gapless.MaxKeyBytes+1)) == nil {
		t.Errorf("keys of no or too many bytes accepted")
	}
	if err := errors.Join(add(strings.Repeat("x", gapless.MaxKeyBytes)), c.Finish(scratch)); err != nil {
		t.Error(err)
	}
	if add("late") == nil || c.Keep([]byte("late"), hashOf("late"), 0) == nil || c.Finish(scratch) == nil {
		t.Errorf("went on after the end of the enumeration")
	}
	if err := c.WriteTable(&memory{}, nil); err != nil {
		t.Error(err)
	}
}

func TestFailingFiles(t *testing.T) {
	t.Parallel()
	full := &memory{limit: 1000}
	c := delta.New(nil, full, 0)
	addAll(t, c, 0, 100)
	if _, err := c.Flush(); !errors.Is(err, errFull) {
		t.Errorf("flush: %v", err)
	}
	if _, err := c.Add([]byte("k"), hashOf("k"), 1, 0); !errors.Is(err, errFull) {
		t.Errorf("add after that: %v", err)
	}
	if err := c.Finish(scratch); !errors.Is(err, errFull) {
		t.Errorf("finish after that: %v", err)
	}

	for _, open := range []func() (delta.File, error){
		func() (delta.File, error) { return nil, errFull },
		func() (delta.File, error) { return full, nil },
	} {
		c = delta.New(nil, &memory{}, 0)
		addAll(t, c, 0, 100)
		if err := c.Finish(open); !errors.Is(err, errFull) {
			t.Errorf("finish: %v", err)
		}
		if err := c.WriteTable(&memory{}, nil); !errors.Is(err, errFull) {
			t.Errorf("table after that: %v", err)
		}
	}

	c = delta.New(nil, &memory{}, 0)
	addAll(t, c, 0, 100)
	if err := c.Finish(scratch); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteTable(&memory{limit: 100}, nil); !errors.Is(err, errFull) {
		t.Errorf("table: %v", err)
	}
	if err := c.WriteTable(&memory{}, nil); err != nil {
		t.Errorf("table, once more: %v", err)
	}
}

func TestAbsentStopsAtAnError(t *testing.T) {
	t.Parallel()
	c := compareWith(t, smallTable(t, 70), 0)
	if err := c.Finish(scratch); err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := c.Absent(func([]byte) error { calls++; return errFull }); !errors.Is(err, errFull) || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

// The same records in another order make the same table, byte for byte,
// however little memory there is.
func TestTablesDoNotDependOnOrderOrMemory(t *testing.T) {
	t.Parallel()
	want := smallTable(t, 1000)
	for _, allowed := range []int{0, 100, 5000, 50_000} {
		c, got := delta.New(nil, &memory{}, allowed), &memory{}
		addAll(t, c, 500, 1000)
		addAll(t, c, 0, 500)
		if err := errors.Join(c.Finish(scratch), c.WriteTable(got, []byte("label"))); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.data, got.data); diff != "" {
			t.Errorf("with %d bytes of memory (-want +got):\n%.300s", allowed, diff)
		}
	}
}

// TestRunsOfTheLogAreMerged compares a log of several runs, whole or resumed
// in the middle, with one that was sorted in memory at once.
func TestRunsOfTheLogAreMerged(t *testing.T) {
	t.Parallel()
	const n = 40_000
	noScratch := func() (delta.File, error) { return nil, errFull }
	finish := func(c *delta.Comparison) (table []byte, repeated []uint64) {
		out := &memory{}
		err := errors.Join(c.Finish(noScratch), c.Repeated(func(_ []byte, line uint64) error { repeated = append(repeated, line); return nil }), c.WriteTable(out, nil))
		if err != nil {
			t.Fatal(err)
		}
		return out.data, repeated
	}
	add := func(c *delta.Comparison, from, to int) {
		addAll(t, c, from, to)
		for i := from; i < to; i += 1000 { // again, in another run
			if _, err := c.Add([]byte(keyOf(i/2)), hashOf(keyOf(i/2)), 1, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := delta.New(nil, &memory{}, 1<<30)
	add(whole, 0, n/2)
	add(whole, n/2, n)
	want, wantRepeated := finish(whole)

	const small = 4 << 20
	c := delta.New(nil, &memory{}, small)
	add(c, 0, n/2)
	add(c, n/2, n)
	if got, repeated := finish(c); !bytes.Equal(got, want) || !slices.Equal(repeated, wantRepeated) {
		t.Errorf("merged: repeated on lines %d, want %d; tables are equal: %t", repeated, wantRepeated, bytes.Equal(got, want))
	}

	log := &memory{}
	c = delta.New(nil, log, small)
	add(c, 0, n/2)
	size, err := c.Flush()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = delta.Resume(log, size, small); err != nil {
		t.Fatal(err)
	}
	add(c, n/2, n)
	if got, repeated := finish(c); !bytes.Equal(got, want) || !slices.Equal(repeated, wantRepeated) {
		t.Errorf("resumed: repeated on lines %d, want %d; tables are equal: %t", repeated, wantRepeated, bytes.Equal(got, want))
	}
}
