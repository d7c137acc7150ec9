package pushapi

import (
	"bytes"
	"fmt"
	"io"
	"strconv"

	"github.com/zeebo/xxh3"
)

// What follows is not of the protocol. A client uses an extension only if the
// server names it in its answer to [CommandCapabilities]; a server that has
// none refuses that command as any other that does not exist. Clients that
// know of no extension notice nothing of them.

// Commands of extensions.
const (
	// CommandCapabilities answers with one [Capability] per line.
	CommandCapabilities Command = "get_capabilities"
	// CommandChanges answers with the changes after PAPI_serial, one line
	// each; see [AppendChange].
	CommandChanges Command = "get_changes"
	// CommandStanding answers how far the document of PAPI_uri has come; see
	// [AppendStanding].
	CommandStanding Command = "get_document_standing"
)

// Capability names an extension.
type Capability string

// The extensions.
const (
	// CapabilityEscape: [HeaderEscape] is heeded.
	CapabilityEscape Capability = "escape"
	// CapabilityForm: parameters of every command are taken from a form in the
	// body too, any number of them.
	CapabilityForm Capability = "form"
	// CapabilityCondition: every command that writes takes ParamIfCheckpoint
	// and ParamIfName.
	CapabilityCondition Capability = "if_checkpoint"
	// CapabilityCommit: add_documents, update_documents and delete_documents
	// take PAPI_checkpoint, PAPI_name and PAPI_sync, and set the checkpoint
	// together with what they do; the reply's body is the serial. Such a server
	// takes parameters from a form too.
	CapabilityCommit Capability = "commit"
	// CapabilityItems: [HeaderItems] is heeded.
	CapabilityItems Capability = "items"
	// CapabilityDryRun: every command that writes takes ParamDryRun.
	CapabilityDryRun Capability = "dry_run"
	// CapabilityCursor: enumerate_synced_entries takes ParamCursor and yields
	// in ascending order of URI bytes.
	CapabilityCursor Capability = "cursor"
	// CapabilityDigest: enumerations end with [TrailerDigest].
	CapabilityDigest Capability = "digest"
	// CapabilityChanges: [CommandChanges] is there.
	CapabilityChanges Capability = "changes"
	// CapabilityStanding: [CommandStanding] is there.
	CapabilityStanding Capability = "standing"
)

// Parameters of extensions.
const (
	// ParamIfCheckpoint makes a write depend on the last value accepted of the
	// checkpoint ParamIfName (by default the one of the empty name): it has to
	// be equal. [ErrCheckpointMismatch] otherwise, and nothing is done.
	ParamIfCheckpoint = "PAPI_if_checkpoint"
	// ParamIfAbsent set to true makes a write depend on that checkpoint not
	// being set.
	ParamIfAbsent = "PAPI_if_absent"
	ParamIfName   = "PAPI_if_name"
	// ParamDryRun set to true answers as if the command had been carried out,
	// and does nothing. A deletion below a path answers with the number of
	// documents that it would delete.
	ParamDryRun = "PAPI_dry_run"
	// ParamCursor continues an enumeration behind a URI.
	ParamCursor = "PAPI_cursor"
)

// Headers of extensions.
const (
	// HeaderItems set to ItemsEach in a request that carries documents has
	// each of them accepted or refused by itself. The reply repeats it, and
	// its body has a line for each that was refused; see [AppendItem].
	HeaderItems = "X-Push-Api-Items"
	ItemsEach   = "each"
	// TrailerDigest follows the body of an enumeration: the number of its
	// lines, a dash, and the hash of its bytes. See [Digest].
	TrailerDigest = "X-Push-Api-Digest"
)

// AppendCapabilities appends the reply's body.
func AppendCapabilities(dst []byte, list []Capability) []byte {
	for _, c := range list {
		dst = append(append(dst, c...), '\n')
	}
	return dst
}

// ReadCapabilities reads the reply's body; names that are not known are kept.
func ReadCapabilities(r io.Reader) ([]Capability, error) {
	var list []Capability
	for line, err := range readLines(r) {
		if err != nil {
			return nil, err
		}
		if len(line) == 0 || len(line) > 100 || len(list) >= 1000 {
			return nil, fmt.Errorf("%q is not the name of a capability", clip(string(line)))
		}
		list = append(list, Capability(line))
	}
	return list, nil
}

// Digest sums up the body of an enumeration as it passes, so that a reader
// knows that it has all of it.
type Digest struct {
	hash  xxh3.Hasher128
	lines uint64
}

// Write takes the next bytes of the body.
func (d *Digest) Write(p []byte) (int, error) {
	d.lines += uint64(bytes.Count(p, []byte{'\n'}))
	return d.hash.Write(p)
}

// String returns the value of [TrailerDigest].
func (d *Digest) String() string {
	sum := d.hash.Sum128().Bytes()
	return fmt.Sprintf("%d-%x", d.lines, sum)
}

// Item is what became of one document of a request.
type Item struct {
	URI string
	// Type and Message say why the document was refused.
	Type    ErrorType
	Message string
}

// AppendItem appends the line of a document that was refused: its URI as in a
// query, a space, the type of the error, a space and the escaped message.
func AppendItem(dst []byte, item Item) []byte {
	dst = append(append(appendQuery(dst, item.URI), ' '), item.Type...)
	return append(EscapeFull.appendEscaped(append(dst, ' '), item.Message), '\n')
}

// ReadItems reads the documents that were refused.
func ReadItems(r io.Reader) ([]Item, error) {
	var items []Item
	for line, err := range readLines(r) {
		if err != nil {
			return nil, err
		}
		uri, rest, ok := bytes.Cut(line, []byte{' '})
		kind, message, more := bytes.Cut(rest, []byte{' '})
		if !ok || !more || len(uri) == 0 || len(kind) == 0 {
			return nil, fmt.Errorf("%q is not the line of a document", clip(string(line)))
		}
		item := Item{Type: ErrorType(kind), Message: EscapeFull.unescape(message)}
		if item.URI, err = queryUnescape(uri); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// ChangeEntry is one change of the feed.
type ChangeEntry struct {
	Serial uint64
	// Delete says that the document was deleted instead of written.
	Delete bool
	URI    string
}

// AppendChange appends the line of a change: its serial, a space, A for a
// document that was added or updated or X for one that was deleted, a space
// and the URI as in a query. The last line of a reply has the letter E, no
// URI, and the serial at which to go on.
func AppendChange(dst []byte, c ChangeEntry) []byte {
	dst = strconv.AppendUint(dst, c.Serial, 10)
	if c.Delete {
		dst = append(dst, " X "...)
	} else {
		dst = append(dst, " A "...)
	}
	return append(appendQuery(dst, c.URI), '\n')
}

// AppendChangesEnd appends the last line of the feed.
func AppendChangesEnd(dst []byte, through uint64) []byte {
	return append(strconv.AppendUint(dst, through, 10), " E\n"...)
}

// ReadChanges calls fn for each change and returns the serial at which to go
// on. A reply without its last line is torn: [io.ErrUnexpectedEOF].
func ReadChanges(r io.Reader, fn func(ChangeEntry) error) (through uint64, err error) {
	for line, err := range readLines(r) {
		if err != nil {
			return 0, err
		}
		serial, rest, _ := bytes.Cut(line, []byte{' '})
		letter, uri, _ := bytes.Cut(rest, []byte{' '})
		c := ChangeEntry{Delete: string(letter) == "X"}
		if c.Serial, err = ParseSerial(string(serial)); err != nil {
			return 0, err
		}
		if string(letter) == "E" && len(uri) == 0 {
			return c.Serial, nil
		}
		if c.URI, err = queryUnescape(uri); err != nil {
			return 0, err
		}
		if c.URI == "" || !c.Delete && string(letter) != "A" {
			return 0, fmt.Errorf("%q is not the line of a change", clip(string(line)))
		}
		if err := fn(c); err != nil {
			return 0, err
		}
	}
	return 0, io.ErrUnexpectedEOF
}
