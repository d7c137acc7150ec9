package pushapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// FakePushAPI is a client of a [FakeServer].
type FakePushAPI struct {
	server    *FakeServer
	connector string

	mu   sync.Mutex // guards open
	open SessionID
}

var _ PushAPI = (*FakePushAPI)(nil)

// Server returns the server that the client talks to.
func (f *FakePushAPI) Server() *FakeServer { return f.server }

// call carries out one command: it logs it, has it fail if it is to, checks
// the session and runs do with the server locked.
func (f *FakePushAPI) call(ctx context.Context, command Command, args []string, do func(c *fakeCorpus) error) (err error) {
	s := f.server
	session := f.session(command)
	s.mu.Lock()
	fault := s.fault(command)
	at := len(s.calls)
	s.calls = append(s.calls, FakeCall{At: s.now, Connector: f.connector, Command: command, Session: session, Args: slices.Clone(args)})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[at].Err = err
	}()
	if fault != nil && fault.Wait != nil {
		select {
		case <-fault.Wait:
		case <-ctx.Done():
		}
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if fault == nil || fault.Err == nil {
		return f.run(command, session, do)
	}
	failure := located(command, fault.Err)
	if fault.Lost || fault.Torn > 0 {
		if err := f.run(command, session, do); err != nil {
			return err
		}
	}
	if fault.Torn > 0 {
		return &tornError{after: fault.Torn, err: failure}
	}
	return failure
}

// tornError fails an enumeration that has begun.
type tornError struct {
	after int
	err   error
}

func (e *tornError) Error() string { return e.err.Error() }
func (e *tornError) Unwrap() error { return e.err }

func (f *FakePushAPI) session(command Command) SessionID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if command == CommandSession || command == CommandCapabilities {
		return ""
	}
	return f.open
}

func (f *FakePushAPI) run(command Command, session SessionID, do func(c *fakeCorpus) error) error {
	s := f.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) > 0 && !slices.Contains(s.known, f.connector) {
		return located(command, Errorf(TypeInvalidConnectorName, "unknown connector", "this server knows no connector %q", clip(f.connector)))
	}
	if session != "" && session != s.session() {
		return located(command, Errorf(TypeSessionMismatch, "session mismatch", "the session is %s, not %s", s.session(), session))
	}
	return located(command, do(s.corpus(f.connector)))
}

// SourceName returns the name of the connector.
func (f *FakePushAPI) SourceName() string { return f.connector }

// Ping implements [Connection].
func (f *FakePushAPI) Ping(ctx context.Context) error {
	return f.call(ctx, CommandPing, nil, func(*fakeCorpus) error { return nil })
}

// StartPushSession implements [Connection].
func (f *FakePushAPI) StartPushSession(ctx context.Context) (id SessionID, err error) {
	f.mu.Lock()
	exists := f.open != ""
	f.mu.Unlock()
	if exists {
		return "", errSessionExists()
	}
	err = f.call(ctx, CommandSession, nil, func(*fakeCorpus) error {
		id = f.server.session()
		return nil
	})
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != "" {
		return "", errSessionExists()
	}
	f.open = id
	return id, nil
}

// StopPushSession implements [Connection].
func (f *FakePushAPI) StopPushSession(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == "" {
		return errSessionNotFound()
	}
	f.open = ""
	return nil
}

// Close implements [Connection]; there is nothing to release.
func (f *FakePushAPI) Close(context.Context) error { return nil }

// AddDocument implements [DocumentWriter].
func (f *FakePushAPI) AddDocument(ctx context.Context, doc Document) error {
	return f.AddDocumentList(ctx, []Document{doc})
}

// AddDocumentList implements [DocumentWriter].
func (f *FakePushAPI) AddDocumentList(ctx context.Context, docs []Document) error {
	return f.write(ctx, CommandAdd, docs)
}

// UpdateDocument implements [DocumentWriter].
func (f *FakePushAPI) UpdateDocument(ctx context.Context, doc Document, opts UpdateOptions) error {
	return f.UpdateDocumentList(ctx, []Document{doc}, opts)
}

// UpdateDocumentList implements [DocumentWriter].
func (f *FakePushAPI) UpdateDocumentList(ctx context.Context, docs []Document, opts UpdateOptions) error {
	return f.write(ctx, CommandUpdate, withFields(docs, opts))
}

func (f *FakePushAPI) write(ctx context.Context, command Command, docs []Document) error {
	if err := validate(command, docs); err != nil || len(docs) == 0 {
		return err
	}
	kept, err := keepContents(ctx, command, docs)
	if err != nil {
		return err
	}
	args := make([]string, len(docs))
	for i := range docs {
		args[i] = docs[i].URI
	}
	return f.call(ctx, command, args, func(c *fakeCorpus) error {
		if command == CommandUpdate {
			if err := c.merge(map[string]Document{}, kept); err != nil {
				return err
			}
		}
		for _, doc := range kept {
			f.server.apply(c, func(s *fakeState) { s.docs[doc.URI] = doc })
		}
		return nil
	})
}

// keepContents reads the contents of all parts into memory.
func keepContents(ctx context.Context, command Command, docs []Document) ([]Document, error) {
	const limit = 1 << 30
	kept := slices.Clone(docs)
	for i := range kept {
		d := &kept[i]
		d.Metas, d.Directives, d.Parts = slices.Clone(d.Metas), slices.Clone(d.Directives), slices.Clone(d.Parts)
		for j := range d.Parts {
			p := &d.Parts[j]
			content, err := p.ReadAll(ctx, limit)
			if err == nil && p.Size >= 0 && p.Size != int64(len(content)) {
				err = fmt.Errorf("part %q: %d bytes were announced and %d came", p.name(), p.Size, len(content))
			}
			if err != nil {
				return nil, &Error{Type: TypeInvalidParameter, Short: "content not readable", Message: "read its content: " + err.Error(), Command: command, URI: d.URI, Err: err}
			}
			*p = NewPart(p.name(), content, p.Directives...)
		}
	}
	return kept, nil
}

// DeleteDocument implements [DocumentDeleter].
func (f *FakePushAPI) DeleteDocument(ctx context.Context, uri string) error {
	return f.DeleteDocumentList(ctx, []string{uri})
}

// DeleteDocumentList implements [DocumentDeleter].
func (f *FakePushAPI) DeleteDocumentList(ctx context.Context, uris []string) error {
	for _, uri := range uris {
		if err := checkURI(uri); err != nil {
			return located(CommandDelete, err)
		}
	}
	if len(uris) == 0 {
		return nil
	}
	uris = slices.Clone(uris)
	return f.call(ctx, CommandDelete, uris, func(c *fakeCorpus) error {
		f.remove(c, uris)
		return nil
	})
}

func (f *FakePushAPI) remove(c *fakeCorpus, uris []string) {
	for _, uri := range uris {
		f.server.apply(c, func(s *fakeState) { delete(s.docs, uri) })
	}
}

// DeleteDocumentsRootPath implements [DocumentDeleter].
func (f *FakePushAPI) DeleteDocumentsRootPath(ctx context.Context, rootPath string, recursive bool) error {
	mode := NotRecursiveDocuments
	if recursive {
		mode = RecursiveDocuments
	}
	return f.call(ctx, CommandDeleteRootPath, []string{rootPath, strconv.FormatBool(recursive)}, func(c *fakeCorpus) error {
		for _, entry := range c.pushed.entries(rootPath, mode) {
			f.remove(c, []string{entry.URI})
		}
		return nil
	})
}

// DeleteDocumentsWithPrefix implements [DocumentDeleter].
func (f *FakePushAPI) DeleteDocumentsWithPrefix(ctx context.Context, prefix string) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	return f.call(ctx, CommandDeletePrefix, []string{prefix}, func(c *fakeCorpus) error {
		for _, uri := range slices.Sorted(maps.Keys(c.pushed.docs)) {
			if strings.HasPrefix(uri, prefix) {
				f.remove(c, []string{uri})
			}
		}
		return nil
	})
}

// DocumentStatus implements [StatusReader].
func (f *FakePushAPI) DocumentStatus(ctx context.Context, uri string) (Status, error) {
	list, err := f.DocumentStatusList(ctx, []string{uri})
	if err != nil {
		return Status{}, err
	}
	return list[0], nil
}

// DocumentStatusList implements [StatusReader].
func (f *FakePushAPI) DocumentStatusList(ctx context.Context, uris []string) (list []Status, err error) {
	for _, uri := range uris {
		if err := checkURI(uri); err != nil {
			return nil, located(CommandStatus, err)
		}
	}
	err = f.call(ctx, CommandStatus, uris, func(c *fakeCorpus) error {
		for _, uri := range uris {
			doc, exists := c.pushed.docs[uri]
			list = append(list, Status{URI: uri, Stamp: doc.Stamp, Exists: exists})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// SetCheckpoint implements [CheckpointStore].
func (f *FakePushAPI) SetCheckpoint(ctx context.Context, value string, opts CheckpointOptions) (serial uint64, err error) {
	err = f.call(ctx, CommandSetCheckpoint, []string{opts.Name, value, strconv.FormatBool(opts.Sync)}, func(c *fakeCorpus) error {
		serial = f.server.serials.last
		f.server.apply(c, func(s *fakeState) { s.checkpoints[opts.Name] = value })
		if opts.Sync {
			f.server.sync()
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return serial, nil
}

// GetCheckpoint implements [CheckpointStore].
func (f *FakePushAPI) GetCheckpoint(ctx context.Context, query CheckpointQuery) (value string, set bool, err error) {
	command := CommandGetCheckpoint
	if query.Pushed {
		command = CommandGetCheckpointInfo
	}
	err = f.call(ctx, command, []string{query.Name}, func(c *fakeCorpus) error {
		value, set = c.view(query.Pushed).checkpoints[query.Name]
		return nil
	})
	if err != nil {
		return "", false, err
	}
	return value, set, nil
}

// ClearAllCheckpoints implements [CheckpointStore].
func (f *FakePushAPI) ClearAllCheckpoints(ctx context.Context) error {
	return f.call(ctx, CommandClearCheckpoints, nil, func(c *fakeCorpus) error {
		f.server.apply(c, func(s *fakeState) { s.checkpoints = map[string]string{} })
		return nil
	})
}

// EnumerateCheckpointsInfo implements [CheckpointStore].
func (f *FakePushAPI) EnumerateCheckpointsInfo(ctx context.Context, query CheckpointQuery) iter.Seq2[CheckpointInfo, error] {
	command := CommandCheckpoints
	if query.Pushed {
		command = CommandStatedCheckpoints
	}
	return fakeEnumeration(f, ctx, command, nil, func(c *fakeCorpus) (list []CheckpointInfo) {
		checkpoints := c.view(query.Pushed).checkpoints
		for _, name := range slices.Sorted(maps.Keys(checkpoints)) {
			list = append(list, CheckpointInfo{Name: name, Value: checkpoints[name]})
		}
		return list
	})
}

// EnumerateSyncedEntries implements [EntryReader].
func (f *FakePushAPI) EnumerateSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) iter.Seq2[SyncedEntry, error] {
	return fakeEnumeration(f, ctx, CommandEnumerate, []string{rootPath, mode.String()}, func(c *fakeCorpus) []SyncedEntry {
		list := c.synced.entries(rootPath, mode)
		if !slices.Contains(f.server.extensions, CapabilityCursor) {
			slices.Reverse(list) // the protocol promises no order
		}
		return list
	})
}

// fakeEnumeration takes a snapshot and yields it, or as much as a fault allows.
func fakeEnumeration[T any](f *FakePushAPI, ctx context.Context, command Command, args []string, list func(*fakeCorpus) []T) iter.Seq2[T, error] { //nolint:revive // a method cannot have type parameters
	return func(yield func(T, error) bool) {
		var none T
		var values []T
		err := f.call(ctx, command, args, func(c *fakeCorpus) error {
			values = list(c)
			return nil
		})
		if torn, ok := errors.AsType[*tornError](err); ok {
			values, err = values[:min(torn.after, len(values))], torn.err
		} else if err != nil {
			values = nil
		}
		for _, value := range values {
			if cause := context.Cause(ctx); cause != nil {
				yield(none, fmt.Errorf("%s: %w", command, cause))
				return
			}
			if !yield(value, nil) {
				return
			}
		}
		if err != nil {
			yield(none, err)
		}
	}
}

// CountSyncedEntries implements [EntryReader].
func (f *FakePushAPI) CountSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) (n uint64, err error) {
	err = f.call(ctx, CommandCount, []string{rootPath, mode.String()}, func(c *fakeCorpus) error {
		n = uint64(len(c.synced.entries(rootPath, mode)))
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Sync implements [Indexer].
func (f *FakePushAPI) Sync(ctx context.Context) error {
	return f.call(ctx, CommandSync, nil, func(*fakeCorpus) error {
		f.server.sync()
		return nil
	})
}

// TriggerIndexingJob implements [Indexer].
func (f *FakePushAPI) TriggerIndexingJob(ctx context.Context) error {
	return f.call(ctx, CommandTriggerIndexing, nil, func(*fakeCorpus) error {
		f.server.trigger()
		return nil
	})
}

// AreDocumentsSearchable implements [Indexer].
func (f *FakePushAPI) AreDocumentsSearchable(ctx context.Context, serial uint64) (answer Searchable, err error) {
	err = f.call(ctx, CommandSearchable, []string{FormatSerial(serial)}, func(*fakeCorpus) error {
		s := &f.server.serials
		lost := slices.ContainsFunc(s.lost, func(r [2]uint64) bool { return r[0] <= serial && serial <= r[1] })
		if answer = SearchableNo; serial <= s.searchable {
			answer = SearchableYes
		}
		if serial > s.last || lost {
			return errUnknownSerial(serial)
		}
		return nil
	})
	if err != nil {
		return SearchableUnknown, err
	}
	return answer, nil
}
