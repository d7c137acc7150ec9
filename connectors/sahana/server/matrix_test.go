package server_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestConflictMatrix holds pushes to what running Edens did with them: update
// policy NEWER, last synchronised on 2026-06-01, for each conflict policy.
func TestConflictMatrix(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		local     string
		localMCI  int
		remote    string
		remoteMCI int
		want      string // r for each conflict policy that takes the remote version
	}{
		{"07-01", 2, "08-01", 2, "rr.."},
		{"09-01", 2, "08-01", 2, "...."},
		{"07-01", 2, "08-01", 1, "rrr."},
		{"07-01", 0, "08-01", 2, "rrr."},
		{"05-01", 2, "08-01", 2, "rrrr"},
		{"07-01", 2, "05-15", 2, "...."},
	} {
		// The names are the client's, whose THIS is the server's OTHER.
		for i, policy := range []string{"THIS", "NEWER", "MASTER", "OTHER"} {
			t.Run(fmt.Sprintf("%+v/%s", test, policy), func(t *testing.T) {
				t.Parallel()
				f := fresh(t)
				f.register(t, peer)
				f.send(t, "org/organisation.xml", document(fmt.Sprintf(
					`<resource name="org_organisation" uuid="u" mci="%d" modified_on="2026-%sT00:00:00"><data field="name">local</data></resource>`, test.localMCI, test.local)))
				answer := f.send(t, pushPath("org_organisation", peer, "&msince=2026-06-01T00:00:00&update_policy=NEWER&conflict_policy=", policy), document(fmt.Sprintf(
					`<resource name="org_organisation" uuid="u" mci="%d" modified_on="2026-%sT00:00:00"><data field="name">remote</data></resource>`, test.remoteMCI, test.remote)))
				want := "local"
				if test.want[i] == 'r' {
					want = "remote"
				}
				got := f.read(t, "org/organisation.xml")[0]
				if got.Field("name").Text != want {
					t.Errorf("%s, want %s", got.Field("name").Text, want)
				}
				if *answer.Records != 1 || len(answer.Updated) == 1 != (want == "remote") || len(answer.Skipped) == 1 != (want == "local") {
					t.Errorf("the answer is %+v", answer)
				}
				if *got.MCI != test.localMCI+1 {
					t.Errorf("mci %d", *got.MCI)
				}
				// Both had been modified since, so one of them has lost; it must not
				// be lost without a word.
				both := test.local > "06-01" && test.remote > "06-01"
				if inbox := f.read(t, "sync/conflict.xml"); both && len(inbox) != 1 {
					t.Errorf("the inbox has %d conflicts", len(inbox))
				}
			})
		}
	}
}

// TestPoliciesOfPushes holds policies in the address to their meaning.
func TestPoliciesOfPushes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, parameters, remote string // attributes of the remote version
		want, modified           string
	}{
		{"other keeps", "&update_policy=OTHER", `modified_on="2026-12-01T00:00:00"`, "local", "2026-07-01"},
		{"this takes, whatever the time", "&update_policy=THIS", `modified_on="2020-01-01T00:00:00"`, "remote", "2020-01-01"},
		{"master, not the owner", "&update_policy=MASTER", `mci="2" modified_on="2026-08-01T00:00:00"`, "local", "2026-07-01"},
		{"master, the owner", "&update_policy=MASTER", `mci="1" modified_on="2026-08-01T00:00:00"`, "remote", "2026-08-01"},
		{"create only", "&strategy=create", `modified_on="2026-08-01T00:00:00"`, "local", "2026-07-01"},
		{"nothing said, older", "", `modified_on="2026-06-01T00:00:00"`, "local", "2026-07-01"},
		{"nothing said, equal", "", `modified_on="2026-07-01T00:00:00"`, "remote", "2026-07-01"},
		{"nothing said, newer", "", `modified_on="2026-08-01T00:00:00"`, "remote", "2026-08-01"},
		{"nothing said, no time", "", ``, "remote", "2026-11-01"},
		{"an unknown policy", "&update_policy=NOBODY", `modified_on="2026-06-01T00:00:00"`, "local", "2026-07-01"},
	} {
		for _, path := range []string{"sync/sync.xml?resource=org_organisation&", "org/organisation/sync.xml?"} {
			t.Run(test.name+" "+path[:3], func(t *testing.T) {
				t.Parallel()
				f := fresh(t)
				f.register(t, peer)
				f.send(t, "org/organisation.xml", document(organisation("u", "local", "2026-07-01T00:00:00")))
				answer := f.send(t, path+"repository="+peer+test.parameters, document(`<resource name="org_organisation" uuid="u" `+test.remote+`><data field="name">remote</data></resource>`))
				got := f.read(t, "org/organisation.xml")[0]
				if got.Field("name").Text != test.want || !strings.HasPrefix(got.ModifiedOn.Format("2006-01-02"), test.modified) {
					t.Errorf("%s as of %v, want %s", got.Field("name").Text, got.ModifiedOn, test.want)
				}
				if test.name == "create only" && (*answer.Records != 0 || answer.Message != "Operation not permitted - invalid items ignored") {
					t.Errorf("the answer is %+v", answer)
				}
			})
		}
	}
}
