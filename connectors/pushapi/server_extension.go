package pushapi

import (
	"io"
	"net/http"

	"github.com/gapless-sync/gapless"
)

// serverCapabilities are the extensions that a [Server] has.
func serverCapabilities() []Capability {
	return []Capability{
		CapabilityEscape, CapabilityForm, CapabilityCondition, CapabilityCommit, CapabilityItems, CapabilityDryRun,
		CapabilityCursor, CapabilityDigest, CapabilityChanges, CapabilityStanding,
	}
}

func (s *Server) capabilities(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	return c.text(http.StatusOK, string(AppendCapabilities(nil, serverCapabilities())))
}

// changes streams the change feed behind a serial.
func (s *Server) changes(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	text, err := c.required(ParamSerial)
	if err != nil {
		return err
	}
	after, err := ParseSerial(text)
	if err != nil {
		return err
	}
	return c.stream(func(w io.Writer) error {
		var line []byte
		through, err := c.corpus.Changes(c.r.Context(), after, func(change StoreChange) error {
			entry := ChangeEntry{Serial: change.Serial, Delete: change.Op == gapless.OpDelete, URI: string(change.URI)}
			line = AppendChange(line[:0], entry)
			_, err := w.Write(line)
			return err
		})
		if err != nil {
			return err
		}
		_, err = w.Write(AppendChangesEnd(line[:0], through))
		return err
	})
}

// standing says how far one document has come, and what is in its way.
func (s *Server) standing(c *exchange) error {
	if err := c.readParams(); err != nil {
		return err
	}
	uri, err := c.required(ParamURI)
	if err == nil {
		err = checkURI(uri)
	}
	if err != nil {
		return err
	}
	st, err := c.corpus.Standing(c.r.Context(), uri)
	if err != nil {
		return err
	}
	return c.text(http.StatusOK, string(AppendStanding(nil, st)))
}
