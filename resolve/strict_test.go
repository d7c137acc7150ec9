package resolve_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/resolve"
)

// TestFields decides on one field under each resolution. Local is of July
// 1st, remote of August 1st, unless swapped.
func TestFields(t *testing.T) {
	t.Parallel()
	hook := func(c resolve.Contest) ([]byte, error) {
		switch string(c.Local) {
		case `"fail"`:
			return nil, errors.New("no idea")
		case `"broken"`:
			return []byte(`{`), nil
		case `"gone"`:
			return nil, nil
		}
		return []byte(`"` + c.Field + string(c.Base) + `"`), nil
	}
	const taken, kept, both = resolve.ChoseRemote, resolve.ChoseLocal, resolve.ChoseBoth
	for _, test := range []struct {
		name                string
		resolution          resolve.Resolution
		base, local, remote string
		swap                bool
		want                string
		choice              resolve.Choice
		rule                string
		conflict            bool
		losers              int
	}{
		{"this", resolve.This, "1", "2", "3", false, "2", kept, "R18", true, 1},
		{"this, only remote changed", resolve.This, "1", "1", "3", false, "1", kept, "R18", false, 1},
		{"this, no local value", resolve.This, "", "", "3", false, "", kept, "R18", false, 1},
		{"nothing chosen, only remote changed", "", "1", "1", "3", false, "3", taken, "R16", false, 0},
		{"nothing chosen, both changed", "", "1", "2", "3", false, "2", kept, "R18", true, 1},
		{"nothing chosen, new there", "", "", "", "3", false, "3", taken, "R17", false, 0},
		{"other", resolve.Other, "1", "2", "3", true, "3", taken, "R19", true, 1},
		{"other, only local changed", resolve.Other, "1", "2", "1", true, "1", taken, "R19", false, 1},
		{"other, removed there", resolve.Other, "1", "2", "", true, "", taken, "R19", true, 1},
		{"other, nothing there", resolve.Other, "", "2", "", true, "2", kept, "R19", false, 0},
		{"newer", resolve.Newer, "1", "2", "3", false, "3", taken, "R20", true, 1},
		{"newer, local", resolve.Newer, "1", "2", "3", true, "2", kept, "R20", true, 1},
		{"newer, only remote changed", resolve.Newer, "1", "1", "3", true, "3", taken, "R16", false, 0},
		{"newer, only local changed", resolve.Newer, "1", "2", "1", false, "2", kept, "R16", false, 0},
		{"newer, removed here", resolve.Newer, "1", "", "1", false, "", kept, "R16", false, 0},
		{"older", resolve.Older, "1", "2", "3", false, "2", kept, "R21", true, 1},
		{"older, remote", resolve.Older, "1", "2", "3", true, "3", taken, "R21", true, 1},
		{"older, only remote changed", resolve.Older, "1", "1", "3", false, "3", taken, "R16", false, 0},
		{"min", resolve.Min, "1", "20", "3", true, "3", taken, "R25", true, 1},
		{"max", resolve.Max, "1", "20", "3", false, "20", kept, "R26", true, 1},
		{"max of decimals", resolve.Max, "1", "0.30", "3e-1", false, "", "", "R7", false, 0},
		{"max of large numbers", resolve.Max, "1", "123456789012345678901", "123456789012345678902", true, "123456789012345678902", taken, "R26", true, 1},
		{"max of negatives", resolve.Max, "1", "-2", "-10", false, "-2", kept, "R26", true, 1},
		{"max of dates", resolve.Max, "1", `"2026-06-01T00:00:00+02:00"`, `"2026-05-31T23:00:00Z"`, true, `"2026-05-31T23:00:00Z"`, taken, "R26", true, 1},
		{"max of strings", resolve.Max, "1", `"b"`, `"a"`, false, `"b"`, kept, "R26", true, 1},
		{"max of two types", resolve.Max, "1", `"b"`, `7`, false, `"b"`, kept, "R32", true, 1},
		{"max of null", resolve.Max, "1", `null`, `-7`, false, `-7`, taken, "R26", true, 1},
		{"min of null", resolve.Min, "1", `-7`, `null`, false, `-7`, kept, "R25", true, 1},
		{"longest", resolve.Longest, "1", `"ab"`, `"ü"`, false, `"ab"`, kept, "R29", true, 1},
		{"longest of no strings", resolve.Longest, "1", `"ab"`, `[1,2,3]`, false, `"ab"`, kept, "R32", true, 1},
		{"union", resolve.Union, "", `[1,2]`, `[2.0,3]`, false, `[1,2,3]`, both, "R27", false, 0},
		{"union with removals", resolve.Union, `[1,2,4]`, `[1,5,2]`, `[4,2,3]`, false, `[5,2,3]`, both, "R27", false, 0},
		{"union that is local", resolve.Union, "", `[1, 2]`, `[2]`, false, `[1, 2]`, kept, "R27", false, 0},
		{"union that is remote", resolve.Union, "", `[2]`, `[2, 1]`, false, `[2, 1]`, taken, "R27", false, 0},
		{"union in another order", resolve.Union, "", `[1,2]`, `[2,1]`, false, `[2,1]`, taken, "R27", false, 0},
		{"union with what is no array", resolve.Union, `[]`, `[1]`, `2`, false, `[1]`, kept, "R32", true, 1},
		{"union of no arrays", resolve.Union, `[]`, `1`, `2`, false, `2`, taken, "R32", true, 1},
		{"counter", resolve.Counter, "10", "12", "7", false, "9", both, "R28", false, 0},
		{"counter of decimals", resolve.Counter, "0.1", "0.3", "0.2", false, "0.4", both, "R28", false, 0},
		{"counter, both counted one", resolve.Counter, "1", "2", "2", false, "3", both, "R28", false, 0},
		{"counter, only remote", resolve.Counter, "1", "1", "4", true, "4", taken, "R28", false, 0},
		{"counter below zero", resolve.Counter, "1", "-1.5", "1.25", false, "-1.25", both, "R28", false, 0},
		{"counter without bounds", resolve.Counter, "1", "1e400000", "2", false, "2", taken, "R32", true, 1},
		{"counter of no numbers", resolve.Counter, "1", `"x"`, "2", false, "2", taken, "R32", true, 1},
		{"expression", "expr: remote + local - base", "1", "2", "3", false, "4", both, "R30", true, 2},
		{"expression that chooses", "expr: remote_time > local_time ? remote : local", "1", "12345678901234567890", "3", true, "12345678901234567890", kept, "R30", true, 1},
		{"expression of nothing", "expr: nil", "1", "2", "3", false, "", both, "R30", true, 2},
		{"expression that fails", "expr: local / remote.x", "1", "2", "3", false, "2", kept, "R32", true, 1},
		{"expression that eats memory", "expr: 1..1000000000", "1", "2", "3", false, "2", kept, "R32", true, 1},
		{"expression without finite result", "expr: local / 0", "1", "2", "3", false, "2", kept, "R32", true, 1},
		{"hook", resolve.ByHook, "1", "2", "3", false, `"f1"`, both, "R31", true, 2},
		{"hook that fails", resolve.ByHook, "1", `"fail"`, "3", false, `"fail"`, kept, "R32", true, 1},
		{"hook that returns no JSON", resolve.ByHook, "1", `"broken"`, "3", false, `"broken"`, kept, "R32", true, 1},
		{"hook that removes", resolve.ByHook, "1", `"gone"`, "3", false, "", both, "R31", true, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			policy := resolve.Policy{Hook: hook}
			if test.resolution != "" {
				policy.Fields = map[string]resolve.Resolution{"f": test.resolution}
			}
			r := compile(t, policy)
			in := resolve.Input{
				Base:   record(test.base),
				Local:  resolve.Side{Data: record(test.local), Modified: resolve.At(on(t, "07-01"))},
				Remote: resolve.Side{Data: record(test.remote), Modified: resolve.At(on(t, "08-01"))},
				Now:    on(t, "10-01"),
			}
			if test.swap {
				in.Local.Modified, in.Remote.Modified = in.Remote.Modified, in.Local.Modified
			}
			got := resolved(t, r, in)
			if test.choice == "" {
				if got.Action != resolve.ActionNothing || got.Rule != test.rule {
					t.Errorf("%s by %s, want nothing", got.Action, got.Rule)
				}
				return
			}
			want := []resolve.Decision{{Field: "f", Choice: test.choice, Rule: test.rule, Conflict: test.conflict}}
			if diff := cmp.Diff(want, got.Fields); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if string(got.Data) != string(record(test.want)) || got.Conflict != test.conflict || len(got.Losers) != test.losers {
				t.Errorf("%s, conflict %v, losers %+v; want %s, %v, %d", got.Data, got.Conflict, got.Losers, record(test.want), test.conflict, test.losers)
			}
			if got.Modified.Compare(in.Local.Modified) < 0 {
				t.Errorf("the stored time %v was lowered to %v", in.Local.Modified, got.Modified)
			}
		})
	}
}

// record is an object with a field that stays and the field f.
func record(f string) []byte {
	if f == "" {
		return []byte(`{"k":1}`)
	}
	return []byte(`{"k":1,"f":` + f + `}`)
}

// TestMasters covers whose record it is.
func TestMasters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		resolution    resolve.Resolution
		local, remote int
		want          string
	}{
		{"master, sent by its owner", resolve.Master, 2, 1, "3"},
		{"master, ours", resolve.Master, 0, 1, "2"},
		{"master, handed on", resolve.Master, 2, 2, "2"},
		{"mastercopy, nearer there", resolve.MasterCopy, 3, 2, "3"},
		{"mastercopy, nearer here", resolve.MasterCopy, 2, 3, "2"},
		{"mastercopy, ours", resolve.MasterCopy, 0, 1, "2"},
		{"mastercopy, equally near", resolve.MasterCopy, 2, 2, "3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := resolved(t, compile(t, resolve.Policy{Resolution: test.resolution}), resolve.Input{
				Local:  resolve.Side{Data: record("2"), Modified: resolve.At(on(t, "07-01")), MCI: test.local},
				Remote: resolve.Side{Data: record("3"), Modified: resolve.At(on(t, "08-01")), MCI: test.remote},
				Now:    on(t, "10-01"),
			})
			if string(got.Data) != string(record(test.want)) {
				t.Errorf("%s by %+v", got.Data, got.Fields)
			}
		})
	}
}

// TestRecords decides on records as a whole.
func TestRecords(t *testing.T) {
	t.Parallel()
	side := func(day, data string, deleted bool) resolve.Side {
		s := resolve.Side{Modified: resolve.At(on(t, day)), Deleted: deleted}
		if data != "" {
			s.Data = []byte(data)
		}
		return s
	}
	const old, edit, other = `{"a":1,"b":1}`, `{"a":2,"b":1}`, `{"a":3,"b":1}`
	merge := side("08-01", "", true)
	merge.ReplacedBy = "s"
	for _, test := range []struct {
		name     string
		policy   resolve.Policy
		in       resolve.Input
		want     resolve.Action
		rule     string
		data     string
		deleted  bool
		conflict bool
		losers   int
		back     bool
	}{
		{"nothing there", resolve.Policy{}, resolve.Input{Local: side("07-01", old, false)}, resolve.ActionNothing, "R1", old, false, false, 0, true},
		{"parent skipped", resolve.Policy{}, resolve.Input{Local: side("07-01", old, false), Remote: side("08-01", edit, false), ParentSkipped: true}, resolve.ActionSkip, "R2", old, false, false, 0, false},
		{"empty strategy", resolve.Policy{Strategy: []resolve.Method{}}, resolve.Input{Remote: side("08-01", edit, false)}, resolve.ActionSkip, "R3", "", false, false, 0, false},
		{"create only", resolve.Policy{Strategy: []resolve.Method{resolve.Create}}, resolve.Input{Local: side("07-01", old, false), Remote: side("08-01", edit, false)}, resolve.ActionSkip, "R3", old, false, false, 0, false},
		{"update only", resolve.Policy{Strategy: []resolve.Method{resolve.Update}}, resolve.Input{Remote: side("08-01", edit, false)}, resolve.ActionSkip, "R3", "", false, false, 0, false},
		{"no deletions", resolve.Policy{Strategy: []resolve.Method{resolve.Update}}, resolve.Input{Local: side("07-01", old, false), Remote: side("08-01", "", true)}, resolve.ActionSkip, "R3", old, false, false, 0, false},
		{"create", resolve.Policy{}, resolve.Input{Remote: side("08-01", edit, false)}, resolve.ActionCreate, "R6", edit, false, false, 0, false},
		{"equal", resolve.Policy{}, resolve.Input{Local: side("07-01", old, false), Remote: side("08-01", old, false)}, resolve.ActionNothing, "R7", old, false, false, 0, false},
		{"equal, written otherwise", resolve.Policy{}, resolve.Input{Local: side("07-01", `{"a":1,"b":{"x":"\u00e9","y":0}}`, false), Remote: side("08-01", `{ "b":{"y":-0e9,"x":"é"}, "a":1.0 }`, false)}, resolve.ActionNothing, "R7", `{"a":1,"b":{"x":"\u00e9","y":0}}`, false, false, 0, false},
		{"nothing taken", resolve.Policy{Resolution: resolve.This}, resolve.Input{Local: side("07-01", old, false), Remote: side("08-01", edit, false)}, resolve.ActionNothing, "R14", old, false, false, 1, true},
		{"the inbox", resolve.Policy{Resolution: resolve.Newer, Conflict: resolve.AcceptNone}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("08-01", other, false)}, resolve.ActionConflict, "R5", edit, false, true, 1, false},
		{"no conflict, no inbox", resolve.Policy{Resolution: resolve.Newer, Conflict: resolve.AcceptNone}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("08-01", `{"a":1,"b":2}`, false)}, resolve.ActionUpdate, "R8", `{"a":2,"b":2}`, false, false, 0, true},
		{"conflict by times alone", resolve.Policy{Resolution: resolve.Newer, Conflict: resolve.AcceptNone}, resolve.Input{LastSync: on(t, "06-01"), Local: side("07-01", edit, false), Remote: side("08-01", other, false)}, resolve.ActionConflict, "R5", edit, false, true, 1, false},
		{"conflict, master strictly", resolve.Policy{Resolution: resolve.Newer, Conflict: resolve.AcceptMaster}, resolve.Input{LastSync: on(t, "06-01"), Local: side("07-01", edit, false), Remote: side("08-01", other, false)}, resolve.ActionConflict, "R5", edit, false, true, 1, false},
		{"not edited since", resolve.Policy{Resolution: resolve.Newer}, resolve.Input{LastSync: on(t, "07-15"), Local: side("07-01", edit, false), Remote: side("08-01", other, false)}, resolve.ActionUpdate, "R8", other, false, false, 0, false},
		{"delete", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", old, false), Remote: side("06-01", "", true)}, resolve.ActionDelete, "R9", old, true, false, 0, false},
		{"delete what was edited, later", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("08-01", "", true)}, resolve.ActionDelete, "R10", edit, true, true, 1, false},
		{"delete what was edited, before", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("06-01", "", true)}, resolve.ActionNothing, "R10", edit, false, true, 1, true},
		{"delete what was edited, to the inbox", resolve.Policy{Conflict: resolve.AcceptNone}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("08-01", "", true)}, resolve.ActionConflict, "R5", edit, false, true, 1, false},
		{"delete what was edited at the same time", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("07-01", "", true)}, resolve.ActionDelete, "R10", edit, true, true, 1, false},
		{"deletions win", resolve.Policy{Deletes: resolve.DeleteWins}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("06-01", "", true)}, resolve.ActionDelete, "R11", edit, true, true, 1, false},
		{"edits win", resolve.Policy{Deletes: resolve.EditWins}, resolve.Input{Base: []byte(old), Local: side("07-01", edit, false), Remote: side("08-01", "", true)}, resolve.ActionNothing, "R12", edit, false, true, 1, true},
		{"deleted here, edited there", resolve.Policy{Resolution: resolve.Newer}, resolve.Input{Base: []byte(old), Local: side("07-01", old, true), Remote: side("08-01", edit, false)}, resolve.ActionUpdate, "R10", edit, false, true, 1, false},
		{"deleted before, edited there since", resolve.Policy{Resolution: resolve.Newer}, resolve.Input{Base: []byte(old), BaseDeleted: true, Local: side("07-01", old, true), Remote: side("06-01", edit, false)}, resolve.ActionUpdate, "R13", edit, false, false, 0, false},
		{"deleted on both sides", resolve.Policy{}, resolve.Input{Local: side("07-01", "", true), Remote: side("08-01", "", true)}, resolve.ActionNothing, "R7", "", true, false, 0, false},
		{"deleted what is not here", resolve.Policy{}, resolve.Input{Remote: side("08-01", "", true)}, resolve.ActionNothing, "R1", "", true, false, 0, false},
		{"merge", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", old, false), Remote: merge, SurvivorKnown: true}, resolve.ActionMerge, "R9", old, true, false, 0, false},
		{"merge, survivor not here", resolve.Policy{}, resolve.Input{Base: []byte(old), Local: side("07-01", old, false), Remote: merge}, resolve.ActionConflict, "R4", old, false, false, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.in.Now = on(t, "10-01")
			got := resolved(t, compile(t, test.policy), test.in)
			if got.Action != test.want || got.Rule != test.rule || string(got.Data) != test.data || got.Deleted != test.deleted {
				t.Errorf("%s by %s: %s deleted %v; want %s by %s: %s %v", got.Action, got.Rule, got.Data, got.Deleted, test.want, test.rule, test.data, test.deleted)
			}
			if got.Conflict != test.conflict || len(got.Losers) != test.losers || got.SendBack != test.back {
				t.Errorf("conflict %v, send back %v, losers %+v; want %v, %v, %d", got.Conflict, got.SendBack, got.Losers, test.conflict, test.back, test.losers)
			}
			if got.Reason == "" || got.Modified.Compare(test.in.Local.Modified) < 0 {
				t.Errorf("reason %q, as of %v", got.Reason, got.Modified)
			}
		})
	}
}

// TestFutureTimes: a record dated 2040 counts as of now, is reported, and does
// not win for ever.
func TestFutureTimes(t *testing.T) {
	t.Parallel()
	r := compile(t, resolve.Policy{Resolution: resolve.Newer})
	future := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	local := resolve.Side{Data: []byte(`{"a":1}`), Modified: resolve.At(on(t, "07-01"))}
	remote := resolve.Side{Data: []byte(`{"a":2}`), Modified: resolve.At(future)}
	got := resolved(t, r, resolve.Input{Local: local, Remote: remote, Now: on(t, "08-01")})
	if string(got.Data) != `{"a":2}` || !got.Modified.Time.Equal(on(t, "08-01")) {
		t.Errorf("%s as of %v", got.Data, got.Modified)
	}
	if want := []resolve.FutureTime{{Side: resolve.ChoseRemote, Stamp: resolve.At(future)}}; !cmp.Equal(got.Future, want) {
		t.Errorf("reported %+v", got.Future)
	}
	// Edited here since; the source still sends its old version of 2040.
	local = resolve.Side{Data: []byte(`{"a":3}`), Modified: resolve.At(on(t, "08-02"))}
	got = resolved(t, r, resolve.Input{Local: local, Remote: remote, Base: []byte(`{"a":2}`), Now: on(t, "08-03")})
	if string(got.Data) != `{"a":3}` || !got.SendBack {
		t.Errorf("%s, send back %v", got.Data, got.SendBack)
	}
}

// TestFutureDeletionOfAnUnknownRecord: a deletion dated far ahead is later than
// every edit. Under [resolve.EditWins] that does not make it one that knew them.
func TestFutureDeletionOfAnUnknownRecord(t *testing.T) {
	t.Parallel()
	now := on(t, "07-01")
	edited, future := resolve.At(now), resolve.At(now.AddDate(14, 0, 0))
	live := resolve.Side{Data: []byte(`{"a":1}`), Modified: edited, Times: resolve.Times{"a": edited}}
	dead := resolve.Side{Data: []byte(`{}`), Modified: future, Times: resolve.Times{}, Deleted: true}
	r := compile(t, resolve.Policy{Deletes: resolve.EditWins})
	got := resolved(t, r, resolve.Input{Local: live, Remote: dead, Now: now})
	if got.Deleted || string(got.Data) != `{"a":1}` {
		t.Errorf("a deletion that knew nothing of the edit was followed: %+v", got)
	}
}

// TestUntouchedFieldsStayAsWritten looks at the bytes.
func TestUntouchedFieldsStayAsWritten(t *testing.T) {
	t.Parallel()
	got := resolved(t, compile(t, resolve.Policy{Resolution: resolve.Newer}), resolve.Input{
		Base:   []byte(`{"a":1,"b":2,"c":3}`),
		Local:  resolve.Side{Data: []byte(`{"a": 1.00, "\u0062":2,"c":[ 1 ]}`), Modified: resolve.At(on(t, "07-01"))},
		Remote: resolve.Side{Data: []byte(`{"a":1,"b":{ "x" : 1e5 },"c":3,"d":"\/"}`), Modified: resolve.At(on(t, "08-01"))},
		Now:    on(t, "10-01"),
	})
	if want := `{"a":1.00,"\u0062":{ "x" : 1e5 },"c":[ 1 ],"d":"\/"}`; string(got.Data) != want {
		t.Errorf("%s, want %s", got.Data, want)
	}
}

func TestBadData(t *testing.T) {
	t.Parallel()
	r := compile(t, resolve.Policy{Resolution: resolve.Newer})
	good := []byte(`{"a":1}`)
	for _, bad := range []string{"x", "[]", `{"a":}`, " ", `{"a":1}{`, `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}"} {
		for i, in := range []resolve.Input{
			{Local: resolve.Side{Data: []byte(bad)}, Remote: resolve.Side{Data: good}},
			{Local: resolve.Side{Data: good}, Remote: resolve.Side{Data: []byte(bad)}},
			{Local: resolve.Side{Data: good}, Remote: resolve.Side{Data: []byte(`{"a":2}`)}, Base: []byte(bad)},
			{Local: resolve.Side{Data: []byte(bad)}, Remote: resolve.Side{Data: []byte(bad)}},
			{Remote: resolve.Side{Data: []byte(bad)}},
		} {
			if got, err := r.Resolve(&in); err == nil {
				t.Errorf("%d: %.20q gave %+v", i, bad, got)
			}
		}
	}
}

func TestStampText(t *testing.T) {
	t.Parallel()
	for _, s := range []resolve.Stamp{{}, resolve.At(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)), {Time: time.Unix(1, 0).UTC(), Counter: 7, Node: "a b"}} {
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back resolve.Stamp
		if err := back.UnmarshalText(text); err != nil || back.Compare(s) != 0 {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	for _, bad := range []string{"", "x", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z -1 a", "yesterday 1 a"} {
		if (&resolve.Stamp{}).UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is no stamp", bad)
		}
	}
}

// TestStampsOfResults: what is kept against another version is stored as no
// older than that one, so that others keep it as well.
func TestStampsOfResults(t *testing.T) {
	t.Parallel()
	june, july := resolve.At(on(t, "06-01")), resolve.At(on(t, "07-01"))
	taken := july
	taken.Counter = 1
	for _, test := range []struct {
		name          string
		resolution    resolve.Resolution
		base          string
		local, remote resolve.Side
		want          resolve.Stamp
		field         resolve.Stamp
	}{
		{"taken though older", resolve.Newer, "1", resolve.Side{Data: record("1"), Modified: july}, resolve.Side{Data: record("2"), Modified: june}, taken, resolve.Stamp{}},
		{"kept though older", resolve.Newer, "1", resolve.Side{Data: record("2"), Modified: june}, resolve.Side{Data: record("1"), Modified: july}, taken, resolve.Stamp{}},
		{"kept by size", resolve.Max, "1", resolve.Side{Data: record("3"), Modified: june, Times: resolve.Times{"f": june, "k": june}}, resolve.Side{Data: record("2"), Modified: july, Times: resolve.Times{"f": july, "k": june}}, july, july},
		{"kept by right", resolve.This, "1", resolve.Side{Data: record("3"), Modified: june, Times: resolve.Times{"f": june, "k": june}}, resolve.Side{Data: record("2"), Modified: july, Times: resolve.Times{"f": july, "k": june}}, june, june},
		{"deleted though older", resolve.Newer, "1", resolve.Side{Data: record("1"), Modified: july}, resolve.Side{Deleted: true, Modified: june}, taken, resolve.Stamp{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := resolved(t, compile(t, resolve.Policy{Resolution: test.resolution}), resolve.Input{Base: record(test.base), Local: test.local, Remote: test.remote, Now: on(t, "10-01")})
			if got.Modified.Compare(test.want) != 0 || got.Times["f"].Compare(test.field) != 0 {
				t.Errorf("record %v, field %v; want %v, %v", got.Modified, got.Times["f"], test.want, test.field)
			}
		})
	}
}

// TestNext: an edit is later than what its maker has seen, whatever the clock
// says.
func TestNext(t *testing.T) {
	t.Parallel()
	seen := resolve.Stamp{Time: on(t, "07-01"), Counter: 3, Node: "z"}
	for _, now := range []string{"06-01", "07-01", "08-01"} {
		if next := seen.Next(on(t, now), "a"); next.Compare(seen) <= 0 || next.Node != "a" {
			t.Errorf("%v after %v", next, seen)
		}
	}
}
