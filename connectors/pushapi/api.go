package pushapi

import (
	"context"
	"fmt"
	"iter"
)

// PushAPI is the client's side of the Push API for one connector.
//
// An operation is first pushed (received; a crash of the server may lose it),
// then synced (durable), then searchable (found by queries). Methods that
// write return when the server has accepted the operation, not when it has
// carried it out. Operations of one connector are applied in the order of the
// calls, and a checkpoint has its place in that order.
//
// Implementations are safe for concurrent use. Errors match the sentinels of
// this package by [errors.Is], and [*Error] by [errors.As]; if a context ended,
// its cause is what they match instead.
type PushAPI interface {
	Connection
	DocumentWriter
	DocumentDeleter
	StatusReader
	CheckpointStore
	EntryReader
	Indexer
}

// Connection is the link to a server and the push session on it.
type Connection interface {
	// SourceName returns the name of the connector.
	SourceName() string

	// Ping reports whether the server can be reached and knows the connector.
	Ping(ctx context.Context) error

	// StartPushSession asks for the server's session id and sends it with
	// every command from now on. The server refuses commands with
	// [ErrSessionMismatch] once it has restarted and may have lost what was
	// not synced: then stop the session, start another, and push again from
	// the last synced checkpoint. [ErrSessionExists] if a session is open.
	// A session is no lock: any number of clients may hold the same one.
	StartPushSession(ctx context.Context) (SessionID, error)

	// StopPushSession forgets the session id; the server is not told.
	// [ErrSessionNotFound] if no session is open.
	StopPushSession(ctx context.Context) error

	// Close sends what is still held back and releases the connection. It does
	// not sync.
	Close(ctx context.Context) error
}

// DocumentWriter adds and updates documents. A document is not to be changed
// after it was handed over, and its parts may be opened until Close.
type DocumentWriter interface {
	// AddDocument creates the document of a URI or replaces it.
	AddDocument(ctx context.Context, doc Document) error

	// AddDocumentList adds documents in order. A long list is sent in several
	// requests; after an error those before the failing one were accepted.
	AddDocumentList(ctx context.Context, docs []Document) error

	// UpdateDocument merges a document into the one that the server holds: the
	// metas and parts that it names replace those of that name, and everything
	// else stays. [ErrUnknownDocument] if the server holds none.
	UpdateDocument(ctx context.Context, doc Document, opts UpdateOptions) error

	// UpdateDocumentList updates documents in order, as AddDocumentList adds.
	UpdateDocumentList(ctx context.Context, docs []Document, opts UpdateOptions) error
}

// UpdateOptions are the rarely used arguments of an update.
type UpdateOptions struct {
	// Fields names the index fields to refresh. Only servers of the first
	// generation heed it.
	Fields []string
}

// DocumentDeleter deletes documents. Deleting what is not there is no error.
type DocumentDeleter interface {
	// DeleteDocument deletes the document of a URI.
	DeleteDocument(ctx context.Context, uri string) error

	// DeleteDocumentList deletes documents; a long list is sent in several
	// requests.
	DeleteDocumentList(ctx context.Context, uris []string) error

	// DeleteDocumentsRootPath deletes the documents below a folder: those
	// directly in it, or with recursive those at any depth. A root path ends
	// at a slash whether it is written or not: "a" does not match "ab". The
	// empty root path is the whole corpus of the connector.
	DeleteDocumentsRootPath(ctx context.Context, rootPath string, recursive bool) error

	// DeleteDocumentsWithPrefix deletes every document whose URI begins with
	// prefix, which must not be empty: "x:master" deletes "x:masterpart" too.
	DeleteDocumentsWithPrefix(ctx context.Context, prefix string) error
}

// StatusReader asks what the server has received, synced or not.
type StatusReader interface {
	// DocumentStatus returns the status of one URI. It is slow in a loop:
	// enumerate instead.
	DocumentStatus(ctx context.Context, uri string) (Status, error)

	// DocumentStatusList returns one status per URI, in their order.
	DocumentStatusList(ctx context.Context, uris []string) ([]Status, error)
}

// Status is what the server has received of one URI.
type Status struct {
	URI string
	// Stamp of the document; empty if it has none.
	Stamp string
	// Exists says that the document was received, not that it can be found.
	Exists bool
}

// CheckpointStore keeps strings under names, in order with the documents.
type CheckpointStore interface {
	// SetCheckpoint records a value. Once it is synced, everything sent before
	// it is synced too. The serial stands for everything sent before; see
	// [Indexer].
	SetCheckpoint(ctx context.Context, value string, opts CheckpointOptions) (serial uint64, err error)

	// GetCheckpoint returns the value under a name, and false if it was never
	// set. Servers that do not tell the two apart return "" and true.
	GetCheckpoint(ctx context.Context, query CheckpointQuery) (value string, set bool, err error)

	// ClearAllCheckpoints forgets the checkpoints of the connector; documents
	// stay.
	ClearAllCheckpoints(ctx context.Context) error

	// EnumerateCheckpointsInfo yields the checkpoints of the connector;
	// query.Name is ignored. An error is the last thing yielded.
	EnumerateCheckpointsInfo(ctx context.Context, query CheckpointQuery) iter.Seq2[CheckpointInfo, error]
}

// CheckpointOptions are the optional arguments of SetCheckpoint.
type CheckpointOptions struct {
	// Name of the checkpoint; empty is the default one.
	Name string
	// Sync makes everything sent so far durable before the reply.
	Sync bool
}

// CheckpointQuery says which checkpoint is read, and how fresh.
type CheckpointQuery struct {
	// Name of the checkpoint; empty is the default one.
	Name string
	// Pushed reads the last value received instead of the last one synced.
	Pushed bool
}

// CheckpointInfo is one checkpoint.
type CheckpointInfo struct {
	Name  string
	Value string
}

// EntryReader lists what the server holds durably.
type EntryReader interface {
	// EnumerateSyncedEntries yields the synced entries below a root path (see
	// [DocumentDeleter]) as they were at one moment. An error is the last
	// thing yielded: an enumeration that ends without one is complete, and
	// nothing may be concluded from the absence of an entry in any other.
	EnumerateSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) iter.Seq2[SyncedEntry, error]

	// CountSyncedEntries returns the number that EnumerateSyncedEntries would
	// yield.
	CountSyncedEntries(ctx context.Context, rootPath string, mode EnumerationMode) (uint64, error)
}

// SyncedEntry is a document, or a folder that slashes in URIs imply.
type SyncedEntry struct {
	// URI of the document, or path of the folder without a slash at its end.
	URI string
	// Stamp of the document; empty if it has none.
	Stamp  string
	Folder bool
}

// EnumerationMode says which entries are enumerated.
type EnumerationMode uint8

// The four modes. There is none for the folders at every depth.
const (
	// RecursiveDocuments are the documents at any depth.
	RecursiveDocuments EnumerationMode = iota
	// NotRecursiveDocuments are the documents directly in the folder.
	NotRecursiveDocuments
	// NotRecursiveFolders are the folders directly in the folder.
	NotRecursiveFolders
	// NotRecursiveAll are both.
	NotRecursiveAll
)

// String returns the name as the wire has it.
func (m EnumerationMode) String() string {
	switch m {
	case RecursiveDocuments:
		return "RECURSIVE_DOCUMENTS"
	case NotRecursiveDocuments:
		return "NOT_RECURSIVE_DOCUMENTS"
	case NotRecursiveFolders:
		return "NOT_RECURSIVE_FOLDERS"
	case NotRecursiveAll:
		return "NOT_RECURSIVE_ALL"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseEnumerationMode returns the mode of a name on the wire.
func ParseEnumerationMode(name string) (EnumerationMode, error) {
	for m := RecursiveDocuments; m <= NotRecursiveAll; m++ {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, Errorf(TypeInvalidParameter, "unknown enumeration mode", "there is no enumeration mode %q", clip(name))
}

// Folders reports whether folders are enumerated.
func (m EnumerationMode) Folders() bool { return m == NotRecursiveFolders || m == NotRecursiveAll }

// Documents reports whether documents are enumerated.
func (m EnumerationMode) Documents() bool { return m != NotRecursiveFolders }

// Recursive reports whether every depth is enumerated.
func (m EnumerationMode) Recursive() bool { return m == RecursiveDocuments }

// Indexer moves operations onwards: from pushed to synced to searchable.
type Indexer interface {
	// Sync returns when everything sent before it is durable.
	Sync(ctx context.Context) error

	// TriggerIndexingJob asks for what is synced to become searchable; it does
	// not wait for that.
	TriggerIndexingJob(ctx context.Context) error

	// AreDocumentsSearchable tells whether everything up to a serial that
	// SetCheckpoint returned is found by queries. If the server does not know
	// the serial, the answer is [SearchableUnknown] and the error is
	// [ErrUnknownSerial], so that a loop that waits for [SearchableYes] ends.
	AreDocumentsSearchable(ctx context.Context, serial uint64) (Searchable, error)
}

// Searchable is an answer of three kinds.
type Searchable uint8

// The three answers.
const (
	SearchableUnknown Searchable = iota
	SearchableNo
	SearchableYes
)

// String returns the answer as the wire has it.
func (s Searchable) String() string {
	switch s {
	case SearchableNo:
		return "false"
	case SearchableYes:
		return "true"
	}
	return "unknown"
}

// ParseSearchable reads an answer from the wire.
func ParseSearchable(text string) (Searchable, error) {
	for s := SearchableUnknown; s <= SearchableYes; s++ {
		if s.String() == text {
			return s, nil
		}
	}
	return SearchableUnknown, fmt.Errorf("%q is not true, false or unknown", clip(text))
}

// SessionID is the incarnation of a server as a decimal number of at least 63
// bits, given back byte for byte. It changes whenever what was not synced may
// have been lost. Empty means none.
type SessionID string

// Version of the protocol.
type Version int

// PAPIV4 is the one version there is.
const PAPIV4 Version = 4
