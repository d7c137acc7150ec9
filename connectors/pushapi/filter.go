package pushapi

import (
	"context"
	"iter"
)

// Commands of an [Operation] that are no commands of the protocol.
const (
	// CommandStop is StopPushSession.
	CommandStop Command = "stop_push_session"
	// CommandClose is Close.
	CommandClose Command = "close"
)

// Operation is one call of a [PushAPI] as a filter sees it.
type Operation struct {
	Command Command
	// Documents of add and update, Fields of update.
	Documents []Document
	Fields    []string
	// URIs of delete and status.
	URIs []string
	// Path is the root path or the prefix.
	Path      string
	Recursive bool
	Mode      EnumerationMode
	// Checkpoint that is set, or whose name is asked for.
	Checkpoint CheckpointInfo
	// Sync of SetCheckpoint, Pushed of the queries.
	Sync, Pushed bool
	Serial       uint64
}

// size returns how many documents the operation is about.
func (op *Operation) size() int { return len(op.Documents) + len(op.URIs) }

// Around stands between a caller and a [PushAPI]. It calls next once, or not at
// all if the call is not to be made, in which case the caller gets zero values;
// and returns the error that the caller is to get. An enumeration happens
// within next, and in it whatever the caller does with each entry.
type Around func(ctx context.Context, op Operation, next func(ctx context.Context) error) error

// Filter is a [PushAPI] that hands every call on to another one through an
// [Around]. It is the base of all filters, of yours too.
type Filter struct {
	parent PushAPI
	around Around
}

var _ PushAPI = (*Filter)(nil)

// NewFilter returns a filter before parent.
func NewFilter(parent PushAPI, around Around) *Filter { return &Filter{parent, around} }

// SourceName returns the name of the connector; no Around is asked.
func (f *Filter) SourceName() string { return f.parent.SourceName() }

// Ping implements [Connection].
func (f *Filter) Ping(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandPing}, f.parent.Ping)
}

// StartPushSession implements [Connection].
func (f *Filter) StartPushSession(ctx context.Context) (id SessionID, err error) {
	err = f.around(ctx, Operation{Command: CommandSession}, func(ctx context.Context) (err error) {
		id, err = f.parent.StartPushSession(ctx)
		return err
	})
	return id, err
}

// StopPushSession implements [Connection].
func (f *Filter) StopPushSession(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandStop}, f.parent.StopPushSession)
}

// Close implements [Connection].
func (f *Filter) Close(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandClose}, f.parent.Close)
}

// AddDocument implements [DocumentWriter].
func (f *Filter) AddDocument(ctx context.Context, doc Document) error {
	return f.AddDocumentList(ctx, []Document{doc})
}

// AddDocumentList implements [DocumentWriter].
func (f *Filter) AddDocumentList(ctx context.Context, docs []Document) error {
	return f.carryOut(ctx, Operation{Command: CommandAdd, Documents: docs})
}

// UpdateDocument implements [DocumentWriter].
func (f *Filter) UpdateDocument(ctx context.Context, doc Document, opts UpdateOptions) error {
	return f.UpdateDocumentList(ctx, []Document{doc}, opts)
}

// UpdateDocumentList implements [DocumentWriter].
func (f *Filter) UpdateDocumentList(ctx context.Context, docs []Document, opts UpdateOptions) error {
	return f.carryOut(ctx, Operation{Command: CommandUpdate, Documents: docs, Fields: opts.Fields})
}

// DeleteDocument implements [DocumentDeleter].
func (f *Filter) DeleteDocument(ctx context.Context, uri string) error {
	return f.DeleteDocumentList(ctx, []string{uri})
}

// DeleteDocumentList implements [DocumentDeleter].
func (f *Filter) DeleteDocumentList(ctx context.Context, uris []string) error {
	return f.carryOut(ctx, Operation{Command: CommandDelete, URIs: uris})
}

func (f *Filter) carryOut(ctx context.Context, op Operation) error {
	return f.around(ctx, op, func(ctx context.Context) error { return op.send(ctx, f.parent) })
}

// send carries out an operation on lists.
func (op *Operation) send(ctx context.Context, api PushAPI) error {
	switch op.Command {
	case CommandAdd:
		return api.AddDocumentList(ctx, op.Documents)
	case CommandUpdate:
		return api.UpdateDocumentList(ctx, op.Documents, UpdateOptions{Fields: op.Fields})
	}
	return api.DeleteDocumentList(ctx, op.URIs)
}

// DeleteDocumentsRootPath implements [DocumentDeleter].
func (f *Filter) DeleteDocumentsRootPath(ctx context.Context, rootPath string, recursive bool) error {
	return f.around(ctx, Operation{Command: CommandDeleteRootPath, Path: rootPath, Recursive: recursive}, func(ctx context.Context) error {
		return f.parent.DeleteDocumentsRootPath(ctx, rootPath, recursive)
	})
}

// DeleteDocumentsWithPrefix implements [DocumentDeleter].
func (f *Filter) DeleteDocumentsWithPrefix(ctx context.Context, prefix string) error {
	return f.around(ctx, Operation{Command: CommandDeletePrefix, Path: prefix}, func(ctx context.Context) error {
		return f.parent.DeleteDocumentsWithPrefix(ctx, prefix)
	})
}

// DocumentStatus implements [StatusReader].
func (f *Filter) DocumentStatus(ctx context.Context, uri string) (status Status, err error) {
	list, err := f.DocumentStatusList(ctx, []string{uri})
	if err != nil || len(list) == 0 {
		return Status{URI: uri}, err
	}
	return list[0], nil
}

// DocumentStatusList implements [StatusReader].
func (f *Filter) DocumentStatusList(ctx context.Context, uris []string) (list []Status, err error) {
	err = f.around(ctx, Operation{Command: CommandStatus, URIs: uris}, func(ctx context.Context) (err error) {
		list, err = f.parent.DocumentStatusList(ctx, uris)
		return err
	})
	return list, err
}

// SetCheckpoint implements [CheckpointStore].
func (f *Filter) SetCheckpoint(ctx context.Context, value string, opts CheckpointOptions) (serial uint64, err error) {
	op := Operation{Command: CommandSetCheckpoint, Checkpoint: CheckpointInfo{opts.Name, value}, Sync: opts.Sync}
	err = f.around(ctx, op, func(ctx context.Context) (err error) {
		serial, err = f.parent.SetCheckpoint(ctx, value, opts)
		return err
	})
	return serial, err
}

// GetCheckpoint implements [CheckpointStore].
func (f *Filter) GetCheckpoint(ctx context.Context, query CheckpointQuery) (value string, set bool, err error) {
	op := Operation{Command: CommandGetCheckpoint, Checkpoint: CheckpointInfo{Name: query.Name}, Pushed: query.Pushed}
	err = f.around(ctx, op, func(ctx context.Context) (err error) {
		value, set, err = f.parent.GetCheckpoint(ctx, query)
		return err
	})
	return value, set, err
}

// ClearAllCheckpoints implements [CheckpointStore].
func (f *Filter) ClearAllCheckpoints(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandClearCheckpoints}, f.parent.ClearAllCheckpoints)
}

// EnumerateCheckpointsInfo implements [CheckpointStore].
func (f *Filter) EnumerateCheckpointsInfo(ctx context.Context, query CheckpointQuery) iter.Seq2[CheckpointInfo, error] {
	return filterEnumeration(f, ctx, Operation{Command: CommandCheckpoints, Pushed: query.Pushed}, func(ctx context.Context) iter.Seq2[CheckpointInfo, error] {
		return f.parent.EnumerateCheckpointsInfo(ctx, query)
	})
}

// EnumerateSyncedEntries implements [EntryReader].
func (f *Filter) EnumerateSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) iter.Seq2[SyncedEntry, error] {
	return filterEnumeration(f, ctx, Operation{Command: CommandEnumerate, Path: rootPath, Mode: mode}, func(ctx context.Context) iter.Seq2[SyncedEntry, error] {
		return f.parent.EnumerateSyncedEntries(ctx, rootPath, mode)
	})
}

func filterEnumeration[T any](f *Filter, ctx context.Context, op Operation, enumerate func(ctx context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] { //nolint:revive // a method cannot have type parameters
	return func(yield func(T, error) bool) {
		stopped := false
		err := f.around(ctx, op, func(ctx context.Context) error {
			for value, err := range enumerate(ctx) {
				if err != nil {
					return err
				}
				if !yield(value, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			var none T
			yield(none, err)
		}
	}
}

// CountSyncedEntries implements [EntryReader].
func (f *Filter) CountSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) (n uint64, err error) {
	err = f.around(ctx, Operation{Command: CommandCount, Path: rootPath, Mode: mode}, func(ctx context.Context) (err error) {
		n, err = f.parent.CountSyncedEntries(ctx, rootPath, mode)
		return err
	})
	return n, err
}

// Sync implements [Indexer].
func (f *Filter) Sync(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandSync}, f.parent.Sync)
}

// TriggerIndexingJob implements [Indexer].
func (f *Filter) TriggerIndexingJob(ctx context.Context) error {
	return f.around(ctx, Operation{Command: CommandTriggerIndexing}, f.parent.TriggerIndexingJob)
}

// AreDocumentsSearchable implements [Indexer].
func (f *Filter) AreDocumentsSearchable(ctx context.Context, serial uint64) (answer Searchable, err error) {
	err = f.around(ctx, Operation{Command: CommandSearchable, Serial: serial}, func(ctx context.Context) (err error) {
		answer, err = f.parent.AreDocumentsSearchable(ctx, serial)
		return err
	})
	return answer, err
}
