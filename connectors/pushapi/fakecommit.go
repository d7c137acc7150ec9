package pushapi

import (
	"context"
	"slices"
)

var _ Committer = (*FakePushAPI)(nil)

// Capabilities implements [Committer].
func (f *FakePushAPI) Capabilities(ctx context.Context) (list []Capability, err error) {
	err = f.call(ctx, CommandCapabilities, nil, func(*fakeCorpus) error {
		list = slices.Clone(f.server.extensions)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Commit implements [Committer].
func (f *FakePushAPI) Commit(ctx context.Context, commit Commit) (result CommitResult, err error) {
	if _, err := commit.call(); err != nil {
		return result, err
	}
	kept, err := keepContents(ctx, commit.Command, commit.Documents)
	if err != nil {
		return result, err
	}
	args := slices.Clone(commit.URIs)
	for i := range kept {
		args = append(args, kept[i].URI)
	}
	err = f.call(ctx, commit.Command, args, func(c *fakeCorpus) error {
		if value, set := fakeExpected(c, commit.If); commit.If != nil && (set != commit.If.Set || value != commit.If.Value) {
			return Errorf(TypeCheckpointMismatch, ErrCheckpointMismatch.Error(), "checkpoint %q is %q", clip(commit.If.Name), clip(value))
		}
		kept, result.Refused, err = c.accept(commit, kept)
		result.Serial = f.server.serials.last
		if err != nil || commit.DryRun {
			return err
		}
		for _, doc := range kept {
			f.server.apply(c, func(s *fakeState) { s.docs[doc.URI] = doc })
		}
		f.remove(c, commit.URIs)
		result.Serial = f.server.serials.last
		if mark := commit.Checkpoint; mark != nil {
			f.server.apply(c, func(s *fakeState) { s.checkpoints[mark.Name] = mark.Value })
		}
		if commit.Sync {
			f.server.sync()
		}
		return nil
	})
	if err != nil {
		return CommitResult{}, err
	}
	return result, nil
}

func fakeExpected(c *fakeCorpus, want *Expectation) (string, bool) {
	if want == nil {
		return "", false
	}
	value, set := c.pushed.checkpoints[want.Name]
	return value, set
}

// accept returns the documents as they will be, and those that cannot be.
func (c *fakeCorpus) accept(commit Commit, docs []Document) (good []Document, refused []Item, err error) {
	if commit.Command != CommandUpdate {
		return docs, nil, nil
	}
	latest := map[string]Document{}
	if !commit.Each {
		return docs, nil, c.merge(latest, docs)
	}
	for i := range docs {
		if err := c.merge(latest, docs[i:i+1]); err != nil {
			refused = append(refused, Item{URI: docs[i].URI, Type: TypeUnknownDocument, Message: err.Error()})
			continue
		}
		good = append(good, docs[i])
	}
	return good, refused, nil
}
