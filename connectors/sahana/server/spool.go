package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"

	"github.com/gapless-sync/gapless/connectors/sahana/s3"
)

// spool keeps a body on disk while it is read for the first time, so that it
// can be read again.
type spool struct {
	file *os.File
	err  error
}

// newSpool returns a spool, and what reads body into it.
func (s *Server) newSpool(body io.Reader) (*spool, io.Reader, error) {
	file, err := os.CreateTemp(s.opts.Dir, "gapless-sahana-*")
	if err != nil {
		return nil, nil, fmt.Errorf("keep the body: %w", err)
	}
	p := &spool{file: file}
	return p, io.TeeReader(body, p), nil
}

// Write notes an error, which would otherwise pass for one of the document.
func (p *spool) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	if err != nil {
		p.err = fmt.Errorf("keep the body: %w", err)
	}
	return n, err
}

// again returns what reads the body from its start.
func (p *spool) again() (io.Reader, error) {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the body again: %w", err)
	}
	return p.file, nil
}

func (p *spool) close() error { return errors.Join(p.file.Close(), os.Remove(p.file.Name())) }

// body returns the document that was sent: the body itself whatever its type,
// or the part of a form whose file name ends as the address does.
func (c *exchange) body() (io.Reader, error) {
	kind, parameters, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || parameters["boundary"] == "" {
		return c.r.Body, nil
	}
	end := ".xml"
	if c.format == s3.S3JSON {
		end = ".s3json"
	}
	parts := multipart.NewReader(c.r.Body, parameters["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, refuse(http.StatusBadRequest, "no part of the form has a file name that ends in %s", end)
		}
		if err != nil {
			return nil, errors.Join(refuse(http.StatusBadRequest, "the form cannot be read: %v", err), err)
		}
		if strings.HasSuffix(part.FileName(), end) {
			return part, nil
		}
	}
}
