package pushapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/gapless-sync/gapless"
)

// listed is one entry of an enumeration. Slices are valid until the callback
// returns.
type listed struct {
	uri, stamp []byte
	folder     bool
	// next is where to go on behind this entry.
	next []byte
}

// walkEntries calls fn for the entries below a prefix, in order of their URIs;
// a folder stands where its first document does. after is empty, or the next
// of an entry to go on behind.
func walkEntries(ctx context.Context, n StoreSnapshot, prefix, after string, mode EnumerationMode, fn func(listed) error) error {
	var behind []byte
	return n.Entries(ctx, prefix, after, func(uri, stamp []byte) ([]byte, error) {
		if mode.Recursive() {
			return nil, fn(listed{uri: uri, stamp: stamp, next: uri})
		}
		slash := bytes.IndexByte(uri[len(prefix):], '/')
		if slash < 0 {
			if !mode.Documents() {
				return nil, nil
			}
			return nil, fn(listed{uri: uri, stamp: stamp, next: uri})
		}
		// No URI has a byte 0xFF: this stands behind all that are in the folder.
		end := len(prefix) + slash
		behind = append(append(behind[:0], uri[:end+1]...), 0xff)
		if !mode.Folders() {
			return behind, nil
		}
		return behind, fn(listed{uri: uri[:end], folder: true, next: behind})
	})
}

// selection returns what an enumeration or a count is of.
func (c *exchange) selection() (folder string, mode EnumerationMode, err error) {
	if folder, err = c.folder(); err != nil {
		return "", 0, err
	}
	name := ParamMode
	if len(c.params[ParamModeLegacy]) > 0 {
		if len(c.params[ParamMode]) > 0 {
			return "", 0, Errorf(TypeInvalidParameter, "contradictory parameters", "parameters %s and %s are one: send either", ParamMode, ParamModeLegacy)
		}
		name = ParamModeLegacy
	}
	text, err := c.required(name)
	if err != nil {
		return "", 0, err
	}
	mode, err = ParseEnumerationMode(text)
	return folder, mode, err
}

// enumerateEntries streams what is synced at this moment.
func (s *Server) enumerateEntries(c *exchange) (err error) {
	if err := c.readParams(); err != nil {
		return err
	}
	folder, mode, err := c.selection()
	if err != nil {
		return err
	}
	after, err := c.cursor(folder, mode)
	if err != nil {
		return err
	}
	snapshot, err := c.corpus.Snapshot(c.r.Context(), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	escape := c.escape()
	return c.enumerate(func(w io.Writer) error {
		var line []byte
		return walkEntries(c.r.Context(), snapshot, folder, after, mode, func(e listed) error {
			line = AppendEntry(line[:0], e.entry(), escape)
			_, err := w.Write(line)
			return err
		})
	})
}

// cursor returns behind which URI an enumeration begins. Where folders are not
// entered, a folder with a slash is behind all that is in it.
func (c *exchange) cursor(folder string, mode EnumerationMode) (string, error) {
	uri, set, err := c.optional(ParamCursor)
	if err != nil || !set {
		return "", err
	}
	if !mode.Recursive() && len(uri) > len(folder) && uri[len(uri)-1] == '/' {
		uri += "\xff"
	}
	return uri, nil
}

func (e listed) entry() SyncedEntry {
	return SyncedEntry{URI: string(e.uri), Stamp: string(e.stamp), Folder: e.folder}
}

func (s *Server) countEntries(c *exchange) (err error) {
	if err := c.readParams(); err != nil {
		return err
	}
	folder, mode, err := c.selection()
	if err != nil {
		return err
	}
	snapshot, err := c.corpus.Snapshot(c.r.Context(), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	count := uint64(0)
	err = walkEntries(c.r.Context(), snapshot, folder, "", mode, func(listed) error {
		count++
		return nil
	})
	if err != nil {
		return err
	}
	return c.text(http.StatusOK, FormatSerial(count))
}

// documentsStatus answers on what has been accepted, synced or not. URIs that
// are not there have no line.
func (s *Server) documentsStatus(c *exchange) (err error) {
	if err := c.readParams(); err != nil {
		return err
	}
	uris, err := c.uris()
	if err != nil {
		return err
	}
	snapshot, err := c.corpus.Snapshot(c.r.Context(), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	escape := c.escape()
	return c.stream(func(w io.Writer) error {
		var line []byte
		for _, uri := range uris {
			stamp, err := snapshot.Stamp(c.r.Context(), uri)
			if errors.Is(err, gapless.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			line = AppendEntry(line[:0], SyncedEntry{URI: uri, Stamp: stamp}, escape)
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
}
