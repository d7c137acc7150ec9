package pushapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Committer is a [PushAPI] whose server may do more than the protocol.
type Committer interface {
	// Capabilities returns the extensions that the server has.
	Capabilities(ctx context.Context) ([]Capability, error)

	// Commit carries out one request, all of it or nothing but for documents
	// refused with Each. It needs [CapabilityCommit], and for what it uses
	// [CapabilityCondition], [CapabilityItems] and [CapabilityDryRun].
	Commit(ctx context.Context, commit Commit) (CommitResult, error)
}

// Commit is one request that writes.
type Commit struct {
	// Command is one of [CommandAdd], [CommandUpdate] and [CommandDelete], and
	// says what Documents or URIs are for; or [CommandSetCheckpoint] without
	// either.
	Command   Command
	Documents []Document
	URIs      []string
	// Checkpoint to set with or behind that; it may be nil.
	Checkpoint *CheckpointInfo
	// Sync makes all of it, and everything before it, durable.
	Sync bool
	// If has to hold, or nothing is done: [ErrCheckpointMismatch]. It may be
	// nil.
	If *Expectation
	// Each accepts and refuses documents one by one; there is no Checkpoint
	// then.
	Each bool
	// DryRun does nothing and answers as if it had.
	DryRun bool
}

// CommitResult is what came of a commit.
type CommitResult struct {
	// Serial of the last change before the checkpoint.
	Serial uint64
	// Refused documents, with Each.
	Refused []Item
}

var _ Committer = (*HTTPPushAPI)(nil)

// Commit implements [Committer]. A long list is not split: what is too large
// is [ErrTooLarge].
func (c *HTTPPushAPI) Commit(ctx context.Context, commit Commit) (CommitResult, error) {
	request, err := commit.call()
	if err != nil {
		return CommitResult{}, err
	}
	r, err := c.send(ctx, request)
	if err != nil {
		return CommitResult{}, err
	}
	defer r.close()
	if commit.Each && r.Header.Get(HeaderItems) == ItemsEach {
		items, err := ReadItems(r.body)
		if err != nil {
			return CommitResult{}, c.torn(commit.Command, err)
		}
		return CommitResult{Refused: items}, nil
	}
	text, err := r.text()
	if err != nil {
		return CommitResult{}, c.torn(commit.Command, err)
	}
	if text == "" {
		return CommitResult{}, nil
	}
	serial, err := ParseSerial(text)
	return CommitResult{Serial: serial}, c.unreadable(commit.Command, err)
}

func (commit *Commit) call() (*call, error) {
	if !slices.Contains([]Command{CommandAdd, CommandUpdate, CommandDelete, CommandSetCheckpoint}, commit.Command) {
		return nil, located(commit.Command, Errorf(TypeInvalidParameter, "no commit", "%q cannot be committed", clip(string(commit.Command))))
	}
	if err := validate(commit.Command, commit.Documents); err != nil {
		return nil, err
	}
	query := url.Values{}
	if commit.Checkpoint != nil {
		query.Set(ParamCheckpoint, commit.Checkpoint.Value)
		query.Set(ParamName, commit.Checkpoint.Name)
	}
	if commit.Sync {
		query.Set(ParamSync, "true")
	}
	if commit.DryRun {
		query.Set(ParamDryRun, "true")
	}
	commit.condition(query)
	request := &call{command: commit.Command, query: query, docs: commit.Documents}
	if commit.Command == CommandSetCheckpoint {
		request.query, request.form = nil, query
	}
	// A condition on the checkpoint that the commit itself sets no longer
	// holds once it was carried out: the answer to a second try says nothing.
	request.once = readOnce(commit.Documents) || commit.undoesCondition()
	if commit.Each {
		request.header = http.Header{HeaderItems: {ItemsEach}}
	}
	if commit.URIs != nil {
		for _, uri := range commit.URIs {
			if err := checkURI(uri); err != nil {
				return nil, located(commit.Command, err)
			}
		}
		request.form = url.Values{ParamURI: commit.URIs}
	}
	return request, nil
}

func (commit *Commit) undoesCondition() bool {
	return commit.If != nil && commit.Checkpoint != nil && commit.If.Name == commit.Checkpoint.Name &&
		(!commit.If.Set || commit.If.Value != commit.Checkpoint.Value)
}

func (commit *Commit) condition(query url.Values) {
	if commit.If == nil {
		return
	}
	query.Set(ParamIfName, commit.If.Name)
	if commit.If.Set {
		query.Set(ParamIfCheckpoint, commit.If.Value)
	} else {
		query.Set(ParamIfAbsent, strconv.FormatBool(true))
	}
}

// Standing tells how far a document has come and what is in its way. It needs
// [CapabilityStanding].
func (c *HTTPPushAPI) Standing(ctx context.Context, uri string) (Standing, error) {
	if err := checkURI(uri); err != nil {
		return Standing{}, located(CommandStanding, err)
	}
	r, err := c.send(ctx, &call{command: CommandStanding, query: url.Values{ParamURI: {uri}}})
	if err != nil {
		return Standing{}, err
	}
	defer r.close()
	standing, err := ReadStanding(r.body)
	if err != nil {
		return Standing{}, c.torn(CommandStanding, err)
	}
	return standing, nil
}

// Changes calls fn for every synced change after a serial, in order, and
// returns the serial at which to go on. It needs [CapabilityChanges];
// [ErrUnknownSerial] if the server cannot go on from there. An error from fn
// ends it and is returned.
func (c *HTTPPushAPI) Changes(ctx context.Context, after uint64, fn func(ChangeEntry) error) (through uint64, err error) {
	r, err := c.send(ctx, &call{command: CommandChanges, query: url.Values{ParamSerial: {FormatSerial(after)}}})
	if err != nil {
		return 0, err
	}
	defer r.close()
	var own error
	through, err = ReadChanges(r.body, func(change ChangeEntry) error {
		own = fn(change)
		return own
	})
	if own != nil {
		return 0, own
	}
	if err != nil {
		return 0, c.torn(CommandChanges, err)
	}
	return through, nil
}
