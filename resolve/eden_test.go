package resolve_test

import (
	"testing"
	"time"

	"github.com/gapless-sync/gapless/resolve"
)

// on returns midnight UTC of a day of 2026, written as month and day.
func on(t *testing.T, day string) time.Time {
	t.Helper()
	if day == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.DateOnly, "2026-"+day)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// tester is a test, or a property test.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func compile(t tester, p resolve.Policy) *resolve.Resolver {
	t.Helper()
	r, err := resolve.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resolved(t tester, r *resolve.Resolver, in resolve.Input) resolve.Result {
	t.Helper()
	result, err := r.Resolve(&in)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestConflictMatrix holds the line in use to what running Edens did with an
// update under policy NEWER, last synchronised on 2026-06-01, for each
// conflict policy of the task.
func TestConflictMatrix(t *testing.T) {
	t.Parallel()
	policies := [...]resolve.ConflictPolicy{resolve.AcceptOther, resolve.AcceptNewer, resolve.AcceptMaster, resolve.AcceptThis}
	for _, test := range []struct {
		name                string
		local, remote       string
		localMCI, remoteMCI int
		// taken says for OTHER, NEWER, MASTER and THIS whether the remote
		// version was taken.
		taken    [4]bool
		conflict bool
	}{
		{"both edited, remote newer", "07-01", "08-01", 2, 2, [4]bool{true, true, false, false}, true},
		{"both edited, local newer", "09-01", "08-01", 2, 2, [4]bool{}, true},
		{"both edited, sent by its owner", "07-01", "08-01", 2, 1, [4]bool{true, true, true, false}, true},
		{"both edited, we are the owner", "07-01", "08-01", 0, 2, [4]bool{true, true, true, false}, true},
		{"only remote edited", "05-01", "08-01", 2, 2, [4]bool{true, true, true, true}, false},
		{"only local edited", "07-01", "05-15", 2, 2, [4]bool{}, false},
	} {
		for i, policy := range policies {
			t.Run(test.name+"/"+string(policy), func(t *testing.T) {
				t.Parallel()
				r := compile(t, resolve.Policy{Compat: resolve.Eden, Resolution: resolve.Newer, Conflict: policy})
				got := resolved(t, r, resolve.Input{
					Local:    resolve.Side{Data: []byte(`{"name":"local"}`), Modified: resolve.At(on(t, test.local)), MCI: test.localMCI},
					Remote:   resolve.Side{Data: []byte(`{"name":"remote"}`), Modified: resolve.At(on(t, test.remote)), MCI: test.remoteMCI},
					LastSync: on(t, "06-01"), Now: on(t, "10-01"),
				})
				want, modified := `{"name":"local"}`, test.local
				if test.taken[i] {
					want, modified = `{"name":"remote"}`, test.remote
				}
				if string(got.Data) != want || !got.Modified.Time.Equal(on(t, modified)) {
					t.Errorf("%s at %v, want %s at %s (%s)", got.Data, got.Modified.Time, want, modified, got.Reason)
				}
				if got.Conflict != test.conflict || got.MCI != test.localMCI {
					t.Errorf("conflict %v and mci %d, want %v and %d", got.Conflict, got.MCI, test.conflict, test.localMCI)
				}
				if test.conflict && len(got.Losers) != 1 {
					t.Errorf("losers %v, want the one edit that was not taken", got.Losers)
				}
			})
		}
	}
}

// TestEdenUpdatePolicies holds the line in use to what running Edens did
// without a task.
func TestEdenUpdatePolicies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		policy        resolve.Policy
		local, remote string
		mci           int
		want          string
		modified      string
		action        resolve.Action
	}{
		{"newer: an older one", resolve.Policy{Resolution: resolve.Newer}, "07-01", "05-15", 2, "local", "07-01", resolve.ActionNothing},
		{"newer: one of the same time", resolve.Policy{Resolution: resolve.Newer}, "07-01", "07-01", 2, "remote", "07-01", resolve.ActionUpdate},
		{"newer: a newer one", resolve.Policy{Resolution: resolve.Newer}, "07-01", "08-01", 2, "remote", "08-01", resolve.ActionUpdate},
		{"newer: one without time", resolve.Policy{Resolution: resolve.Newer}, "07-01", "", 2, "remote", "10-01", resolve.ActionUpdate},
		{"this", resolve.Policy{Resolution: resolve.This}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionNothing},
		{"other moves time back", resolve.Policy{Resolution: resolve.Other}, "07-01", "01-01", 2, "remote", "01-01", resolve.ActionUpdate},
		{"nothing chosen takes what is imported", resolve.Policy{}, "07-01", "01-01", 2, "remote", "01-01", resolve.ActionUpdate},
		{"master, not sent by its owner", resolve.Policy{Resolution: resolve.Master}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionNothing},
		{"master, sent by its owner", resolve.Policy{Resolution: resolve.Master}, "07-01", "08-01", 1, "remote", "08-01", resolve.ActionUpdate},
		{"a policy that is not known", resolve.Policy{Resolution: "NOBODY"}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionNothing},
		{"ours are not known", resolve.Policy{Resolution: resolve.Longest}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionNothing},
		{"by field", resolve.Policy{Fields: map[string]resolve.Resolution{"name": resolve.Other}}, "07-01", "01-01", 2, "remote", "01-01", resolve.ActionUpdate},
		{"by field, another", resolve.Policy{Fields: map[string]resolve.Resolution{"x": resolve.Other}}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionNothing},
		{"by field, default", resolve.Policy{Fields: map[string]resolve.Resolution{"x": resolve.This}, Default: resolve.Newer}, "07-01", "08-01", 2, "remote", "08-01", resolve.ActionUpdate},
		{"strategy without update", resolve.Policy{Strategy: []resolve.Method{resolve.Create}}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionSkip},
		{"empty strategy", resolve.Policy{Strategy: []resolve.Method{}}, "07-01", "08-01", 2, "local", "07-01", resolve.ActionSkip},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.policy.Compat = resolve.Eden
			got := resolved(t, compile(t, test.policy), resolve.Input{
				Local:  resolve.Side{Data: []byte(`{"name":"local","only":1}`), Modified: resolve.At(on(t, test.local)), MCI: 2},
				Remote: resolve.Side{Data: []byte(`{"name":"remote"}`), Modified: resolve.At(on(t, test.remote)), MCI: test.mci},
				Now:    on(t, "10-01"),
			})
			if want := `{"name":"` + test.want + `","only":1}`; string(got.Data) != want || got.Action != test.action {
				t.Errorf("%s %s, want %s %s", got.Action, got.Data, test.action, want)
			}
			if !got.Modified.Time.Equal(on(t, test.modified)) || got.MCI != 2 {
				t.Errorf("stored as of %v with mci %d, want %s and 2", got.Modified.Time, got.MCI, test.modified)
			}
		})
	}
}

// TestEdenRecords holds creations, deletions and merges to the rules of the
// line in use.
func TestEdenRecords(t *testing.T) {
	t.Parallel()
	live := func(mci int) resolve.Side {
		return resolve.Side{Data: []byte(`{"name":"local"}`), Modified: resolve.At(on(t, "07-01")), MCI: mci}
	}
	dead := resolve.Side{Data: []byte(`{"name":"local"}`), Modified: resolve.At(on(t, "07-01")), MCI: 2, Deleted: true}
	upsert := func(day string, mci int) resolve.Side {
		return resolve.Side{Data: []byte(`{"name":"remote","code":7}`), Modified: resolve.At(on(t, day)), MCI: mci}
	}
	gone := func(day string, mci int, by string) resolve.Side {
		return resolve.Side{Modified: resolve.At(on(t, day)), MCI: mci, Deleted: true, ReplacedBy: by}
	}
	master := resolve.Policy{Resolution: resolve.Master}
	newer := resolve.Policy{Resolution: resolve.Newer}
	for _, test := range []struct {
		name          string
		policy        resolve.Policy
		local, remote resolve.Side
		survivor      bool
		want          resolve.Action
		rule          string
		data          string
		modified      string
	}{
		{"create", resolve.Policy{Resolution: resolve.This}, resolve.Side{}, upsert("08-01", 3), false, resolve.ActionCreate, "R6", `{"name":"remote","code":7}`, "08-01"},
		{"create, master, not by its owner", master, resolve.Side{}, upsert("08-01", 2), false, resolve.ActionSkip, "R15", "", ""},
		{"create, master of one field", resolve.Policy{Fields: map[string]resolve.Resolution{"code": resolve.Master}}, resolve.Side{}, upsert("08-01", 2), false, resolve.ActionCreate, "R6", `{"name":"remote"}`, "08-01"},
		{"create, master, by its owner", master, resolve.Side{}, upsert("08-01", 1), false, resolve.ActionCreate, "R6", `{"name":"remote","code":7}`, "08-01"},
		{"undelete by a newer one", newer, dead, upsert("08-01", 2), false, resolve.ActionUpdate, "R13", `{"name":"remote","code":7}`, "08-01"},
		{"no undelete by an older one", newer, dead, upsert("06-01", 2), false, resolve.ActionSkip, "R20", `{"name":"local"}`, "07-01"},
		{"no undelete under master", master, dead, upsert("08-01", 2), false, resolve.ActionSkip, "R23", `{"name":"local"}`, "07-01"},
		{"undelete under this keeps the fields", resolve.Policy{Resolution: resolve.This}, dead, upsert("08-01", 2), false, resolve.ActionUpdate, "R13", `{"name":"local"}`, "08-01"},
		{"delete", newer, live(2), gone("08-01", 2, ""), false, resolve.ActionDelete, "R9", `{"name":"local"}`, "10-01"},
		{"delete, local newer", newer, live(2), gone("06-01", 2, ""), false, resolve.ActionSkip, "R20", `{"name":"local"}`, "07-01"},
		{"delete under this", resolve.Policy{Resolution: resolve.This}, live(2), gone("08-01", 2, ""), false, resolve.ActionSkip, "R18", `{"name":"local"}`, "07-01"},
		{"delete under master, ours", master, live(0), gone("08-01", 1, ""), false, resolve.ActionSkip, "R23", `{"name":"local"}`, "07-01"},
		{"delete under master, by its owner", master, live(2), gone("08-01", 1, ""), false, resolve.ActionDelete, "R9", `{"name":"local"}`, "10-01"},
		{"delete what is deleted", newer, dead, gone("08-01", 2, ""), false, resolve.ActionSkip, "R7", `{"name":"local"}`, "07-01"},
		{"delete what is not here", newer, resolve.Side{}, gone("08-01", 2, ""), false, resolve.ActionNothing, "R1", "", ""},
		{"merge", newer, live(2), gone("08-01", 2, "s"), true, resolve.ActionMerge, "R9", `{"name":"local"}`, "10-01"},
		{"merge, survivor not here", newer, live(2), gone("08-01", 2, "s"), false, resolve.ActionSkip, "R4", `{"name":"local"}`, "07-01"},
		{"delete not allowed", resolve.Policy{Strategy: []resolve.Method{resolve.Create, resolve.Update}}, live(2), gone("08-01", 2, ""), false, resolve.ActionSkip, "R3", `{"name":"local"}`, "07-01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.policy.Compat = resolve.Eden
			got := resolved(t, compile(t, test.policy), resolve.Input{Local: test.local, Remote: test.remote, SurvivorKnown: test.survivor, Now: on(t, "10-01")})
			if got.Action != test.want || got.Rule != test.rule || string(got.Data) != test.data {
				t.Errorf("%s by %s: %s, want %s by %s: %s", got.Action, got.Rule, got.Data, test.want, test.rule, test.data)
			}
			if !got.Modified.Time.Equal(on(t, test.modified)) {
				t.Errorf("as of %v, want %s", got.Modified.Time, test.modified)
			}
			deleted := test.want == resolve.ActionDelete || test.want == resolve.ActionMerge || test.local.Deleted && test.want != resolve.ActionUpdate
			if got.Deleted != deleted {
				t.Errorf("deleted %v, want %v", got.Deleted, deleted)
			}
		})
	}
}

// TestEdenNeverRewinds covers what running Edens get wrong: an older version
// that changes nothing must not lower the stored time, so that what was
// edited in between cannot win against what is newest.
func TestEdenNeverRewinds(t *testing.T) {
	t.Parallel()
	r := compile(t, resolve.Policy{Compat: resolve.Eden, Resolution: resolve.Newer})
	local := resolve.Side{Data: []byte(`{"name":"NEW"}`), Modified: resolve.At(on(t, "08-01")), MCI: 2}
	for _, step := range []struct{ day, data string }{{"05-01", `{"name":"OLD"}`}, {"05-01", `{"name":"NEW"}`}, {"06-01", `{"name":"MIDDLE"}`}} {
		got := resolved(t, r, resolve.Input{Local: local, Remote: resolve.Side{Data: []byte(step.data), Modified: resolve.At(on(t, step.day)), MCI: 2}, Now: on(t, "10-01")})
		local.Data, local.Modified = got.Data, got.Modified
	}
	if string(local.Data) != `{"name":"NEW"}` || !local.Modified.Time.Equal(on(t, "08-01")) {
		t.Errorf("%s as of %v", local.Data, local.Modified.Time)
	}
}

// Test2010 holds the lines of 2010 to their rules.
func Test2010(t *testing.T) {
	t.Parallel()
	const local, remote = `{"name":"local"}`, `{"name":"remote"}`
	both := []resolve.Compat{resolve.Eden18, resolve.Eden21}
	late := []resolve.Compat{resolve.Eden21}
	first := []resolve.Compat{resolve.Eden18}
	one := func(r resolve.Resolution) resolve.Policy { return resolve.Policy{Resolution: r} }
	for _, test := range []struct {
		name                string
		lines               []resolve.Compat
		policy              resolve.Policy
		localDay, remoteDay string
		localMCI, remoteMCI int
		want                string
	}{
		{"nothing chosen", both, resolve.Policy{}, "07-01", "06-01", 2, 2, remote},
		{"this", both, one(resolve.This), "07-01", "08-01", 2, 2, local},
		{"other", both, one(resolve.Other), "07-01", "06-01", 2, 2, remote},
		{"newer, local newer", both, one(resolve.Newer), "07-01", "06-01", 2, 2, local},
		{"newer, equal", both, one(resolve.Newer), "07-01", "07-01", 2, 2, remote},
		{"newer, remote newer", both, one(resolve.Newer), "07-01", "08-01", 2, 2, remote},
		{"newer, no time", both, one(resolve.Newer), "07-01", "", 2, 2, remote},
		{"not known: the default", both, resolve.Policy{Resolution: "x", Default: resolve.Other}, "07-01", "06-01", 2, 2, remote},
		{"not known: no default", both, one("x"), "07-01", "08-01", 2, 2, local},
		{"by field", both, resolve.Policy{Fields: map[string]resolve.Resolution{"name": resolve.Other}}, "07-01", "06-01", 2, 2, remote},
		{"by field, missing: the default", both, resolve.Policy{Fields: map[string]resolve.Resolution{"x": resolve.This}, Default: resolve.Other}, "07-01", "06-01", 2, 2, remote},
		{"by field, missing: no default", both, resolve.Policy{Fields: map[string]resolve.Resolution{"x": resolve.Other}}, "07-01", "08-01", 2, 2, local},
		{"by field, not known: the default", both, resolve.Policy{Fields: map[string]resolve.Resolution{"name": "x"}, Default: resolve.Other}, "07-01", "06-01", 2, 2, remote},
		{"master, by its owner", late, one(resolve.Master), "07-01", "06-01", 2, 1, remote},
		{"master, ours", late, one(resolve.Master), "07-01", "08-01", 0, 1, local},
		{"master, not by its owner", late, one(resolve.Master), "07-01", "08-01", 2, 2, local},
		{"master is not known yet", first, one(resolve.Master), "07-01", "08-01", 2, 1, local},
		{"mastercopy, ours", late, one(resolve.MasterCopy), "07-01", "08-01", 0, 1, local},
		{"mastercopy, remote 0", late, one(resolve.MasterCopy), "07-01", "08-01", 2, 0, local},
		{"mastercopy, we are nearer", late, one(resolve.MasterCopy), "07-01", "08-01", 2, 3, local},
		{"mastercopy, remote is nearer", late, one(resolve.MasterCopy), "07-01", "06-01", 3, 2, remote},
		{"mastercopy, equally near, newer", late, one(resolve.MasterCopy), "07-01", "08-01", 2, 2, remote},
		{"mastercopy, equally near, older", late, one(resolve.MasterCopy), "07-01", "06-01", 2, 2, local},
		{"mastercopy is not known in the line in use", []resolve.Compat{resolve.Eden}, one(resolve.MasterCopy), "07-01", "06-01", 3, 2, local},
	} {
		for _, line := range test.lines {
			t.Run(test.name+"/"+string(line), func(t *testing.T) {
				t.Parallel()
				policy := test.policy
				policy.Compat, policy.Conflict = line, resolve.AcceptThis // which looks at no time yet
				if line == resolve.Eden {
					policy.Conflict = resolve.AcceptFields
				}
				got := resolved(t, compile(t, policy), resolve.Input{
					Local:    resolve.Side{Data: []byte(local), Modified: resolve.At(on(t, test.localDay)), MCI: test.localMCI},
					Remote:   resolve.Side{Data: []byte(remote), Modified: resolve.At(on(t, test.remoteDay)), MCI: test.remoteMCI},
					LastSync: on(t, "05-01"), Now: on(t, "10-01"),
				})
				mci := test.localMCI
				if line == resolve.Eden21 {
					mci = test.remoteMCI
				}
				if string(got.Data) != test.want || got.MCI != mci {
					t.Errorf("%s with mci %d, want %s with %d", got.Data, got.MCI, test.want, mci)
				}
			})
		}
	}
}

// Test2010Policies transcribes the numbered policies that peers had from
// October 2010 on: what happens to a new record, and to one that is older or
// newer than ours.
func Test2010Policies(t *testing.T) {
	t.Parallel()
	create, update := []resolve.Method{resolve.Create}, []resolve.Method{resolve.Update}
	const (
		creates, updates = resolve.ActionCreate, resolve.ActionUpdate
		nothing, skips   = resolve.ActionNothing, resolve.ActionSkip
	)
	for _, test := range []struct {
		name   string
		policy resolve.Policy
		// for a record that is new, older and newer than ours
		mci  int
		want [3]resolve.Action
	}{
		{"0 none", resolve.Policy{Strategy: []resolve.Method{}}, 2, [3]resolve.Action{skips, skips, skips}},
		{"2 create only", resolve.Policy{Strategy: create}, 2, [3]resolve.Action{creates, skips, skips}},
		{"3 create, other", resolve.Policy{Resolution: resolve.Other}, 2, [3]resolve.Action{creates, updates, updates}},
		{"4 other only", resolve.Policy{Strategy: update, Resolution: resolve.Other}, 2, [3]resolve.Action{skips, updates, updates}},
		{"5 create, newer", resolve.Policy{Resolution: resolve.Newer}, 2, [3]resolve.Action{creates, nothing, updates}},
		{"6 newer only", resolve.Policy{Strategy: update, Resolution: resolve.Newer}, 2, [3]resolve.Action{skips, nothing, updates}},
		{"7 create if master, not by its owner", resolve.Policy{Strategy: create, Resolution: resolve.Master}, 2, [3]resolve.Action{skips, skips, skips}},
		{"7 create if master, by its owner", resolve.Policy{Strategy: create, Resolution: resolve.Master}, 1, [3]resolve.Action{creates, skips, skips}},
		{"8 create, master, by its owner", resolve.Policy{Resolution: resolve.Master}, 1, [3]resolve.Action{creates, updates, updates}},
		{"8 create, master, not by its owner", resolve.Policy{Resolution: resolve.Master}, 2, [3]resolve.Action{skips, nothing, nothing}},
		{"9 master only, coded as this", resolve.Policy{Strategy: update, Resolution: resolve.This}, 1, [3]resolve.Action{skips, nothing, nothing}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.policy.Compat = resolve.Eden21
			r := compile(t, test.policy)
			ours := resolve.Side{Data: []byte(`{"a":1}`), Modified: resolve.At(on(t, "07-01")), MCI: 2}
			for i, in := range []resolve.Input{
				{Remote: resolve.Side{Modified: resolve.At(on(t, "07-01"))}}, {Local: ours, Remote: resolve.Side{Modified: resolve.At(on(t, "06-01"))}}, {Local: ours, Remote: resolve.Side{Modified: resolve.At(on(t, "08-01"))}},
			} {
				in.Now, in.Remote.Data, in.Remote.MCI = on(t, "10-01"), []byte(`{"a":2}`), test.mci
				if got := resolved(t, r, in); got.Action != test.want[i] {
					t.Errorf("record %d: %s by %s, want %s", i, got.Action, got.Rule, test.want[i])
				}
			}
		})
	}
}

// Test2010Records covers what the lines of 2010 do with whole records.
func Test2010Records(t *testing.T) {
	t.Parallel()
	dead := resolve.Side{Data: []byte(`{"a":1}`), Modified: resolve.At(on(t, "07-01")), MCI: 2, Deleted: true}
	older := resolve.Side{Data: []byte(`{"a":2}`), Modified: resolve.At(on(t, "06-01")), MCI: 3}
	for _, line := range []resolve.Compat{resolve.Eden18, resolve.Eden21} {
		r := compile(t, resolve.Policy{Compat: line, Resolution: resolve.Newer})
		got := resolved(t, r, resolve.Input{Local: dead, Remote: older, Now: on(t, "10-01")})
		if got.Action != resolve.ActionUpdate || got.Deleted || string(got.Data) != `{"a":1}` || !got.Modified.Time.Equal(on(t, "07-01")) {
			t.Errorf("%s: an update always undeletes; got %s %s deleted %v as of %v", line, got.Action, got.Data, got.Deleted, got.Modified.Time)
		}
		got = resolved(t, r, resolve.Input{Local: older, Remote: dead, Now: on(t, "10-01")})
		if got.Action != resolve.ActionSkip || got.Rule != "R3" {
			t.Errorf("%s knows no deletions; got %s by %s", line, got.Action, got.Rule)
		}
	}
	master := resolve.Policy{Compat: resolve.Eden18, Resolution: resolve.Master}
	if got := resolved(t, compile(t, master), resolve.Input{Remote: older, Now: on(t, "10-01")}); got.Action != resolve.ActionCreate {
		t.Errorf("1.8 creates whatever the resolution; got %s", got.Action)
	}
}
