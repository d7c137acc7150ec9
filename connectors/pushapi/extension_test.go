package pushapi_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// TestExtensionsMeet uses each extension from client to server.
func TestExtensionsMeet(t *testing.T) {
	t.Parallel()
	_, host, port := newIsland(t)
	api, err := pushapi.NewHTTP(pushapi.PAPIV4, host, port, "wiki", "", "", "", pushapi.HTTPOptions{Retries: -1})
	must(t, err)
	t.Cleanup(func() { _ = api.Close(t.Context()) })
	ctx := t.Context()
	if list, err := api.Capabilities(ctx); err != nil || len(list) < 10 {
		t.Errorf("%v, %v", list, err)
	}
	commit := pushapi.Commit{
		Command: pushapi.CommandAdd, Documents: documents("a", "b"), Checkpoint: &pushapi.CheckpointInfo{Name: "n", Value: "1"}, Sync: true,
		If: &pushapi.Expectation{Name: "n"},
	}
	first, err := api.Commit(ctx, commit)
	if err != nil || first.Serial == 0 {
		t.Errorf("%+v, %v", first, err)
	}
	commit.Documents = documents("c")
	if _, err := api.Commit(ctx, commit); !errors.Is(err, pushapi.ErrCheckpointMismatch) {
		t.Error(err)
	}
	commit.If, commit.DryRun, commit.Checkpoint = &pushapi.Expectation{Name: "n", Set: true, Value: "1"}, true, nil
	if _, err := api.Commit(ctx, commit); err != nil {
		t.Error(err)
	}
	if got := uris(t, api, "", pushapi.RecursiveDocuments); got != "a b" {
		t.Error(got)
	}
	each, err := api.Commit(ctx, pushapi.Commit{Command: pushapi.CommandUpdate, Documents: documents("none", "a"), Each: true})
	if err != nil || len(each.Refused) != 1 || each.Refused[0].URI != "none" || each.Refused[0].Type != pushapi.TypeUnknownDocument {
		t.Errorf("%+v, %v", each, err)
	}
	if _, err := api.Commit(ctx, pushapi.Commit{Command: pushapi.CommandDelete, URIs: []string{"b"}, If: commit.If}); err != nil {
		t.Error(err)
	}
	must(t, api.Sync(ctx))
	var changes []pushapi.ChangeEntry
	through, err := api.Changes(ctx, first.Serial, func(c pushapi.ChangeEntry) error {
		if c.Serial <= first.Serial {
			t.Errorf("%+v", c)
		}
		c.Serial = 0
		changes = append(changes, c)
		return nil
	})
	if diff := cmp.Diff([]pushapi.ChangeEntry{{URI: "a"}, {URI: "b", Delete: true}}, changes); diff != "" || err != nil || through <= first.Serial {
		t.Error(through, err, diff)
	}
	stop := errors.New("stop")
	if _, err := api.Changes(ctx, 0, func(pushapi.ChangeEntry) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if standing, err := api.Standing(ctx, "a"); err != nil || standing.Stage < pushapi.StageSynced {
		t.Errorf("%+v, %v", standing, err)
	}
	if standing, err := api.Standing(ctx, "b"); err != nil || standing.Stage != pushapi.StageAbsent {
		t.Errorf("%+v, %v", standing, err)
	}
	if _, err := api.Standing(ctx, ""); !errors.Is(err, pushapi.ErrInvalidParameter) {
		t.Error(err)
	}
}
