package pacifica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/httpx"
)

// maxTransaction bounds the description of one transaction in bytes.
const maxTransaction = 512 << 20

// Policy asks the policy server about transactions. It is safe for concurrent
// use.
type Policy struct{ server *server }

// NewPolicy returns a client of the policy server at an address such as
// https://policy.example.org:8181; it connects when it is first used. Its errors
// are [gapless.Misconfigured] and name the option at fault.
func NewPolicy(address string, access Access) (*Policy, error) {
	s, err := newServer("policy", address, access)
	if err != nil {
		return nil, err
	}
	return &Policy{s}, nil
}

// Close drops idle connections.
func (p *Policy) Close() error {
	p.server.door.close()
	return nil
}

// Transaction returns the description of a transaction, which has a file at
// least or says that it has none, and that twice: what it leaves out counts as
// deleted. It is [gapless.ErrNotFound] if there is no such transaction.
func (p *Policy) Transaction(ctx context.Context, id int64) ([]byte, error) {
	doc, none, err := p.transaction(ctx, id)
	if err == nil && none {
		doc, _, err = p.transaction(ctx, id)
	}
	return doc, err
}

// transaction asks once, and reports whether the answer has no files.
func (p *Policy) transaction(ctx context.Context, id int64) (doc []byte, none bool, err error) {
	number := strconv.FormatInt(id, 10)
	c := &call{
		what: "ask for transaction " + number, method: http.MethodGet, url: p.server.base.JoinPath("status/transactions/by_id", number).String(),
		takes: func(r *http.Response) bool { return r.StatusCode == http.StatusNotFound },
	}
	status, doc, err := p.server.read(ctx, c, maxTransaction)
	if err != nil {
		return nil, false, err
	}
	if status == http.StatusNotFound {
		return nil, false, fmt.Errorf("%s: %w", c.what, gapless.ErrNotFound)
	}
	files, _, err := filesMember(doc)
	if errors.Is(err, gapless.ErrNotFound) {
		return nil, false, fmt.Errorf("%s: %w", c.what, err)
	} else if err != nil {
		return nil, false, gapless.Because(gapless.CauseUnreadable, fmt.Errorf("%s: the answer cannot be used: %s", c.what, p.server.say(err.Error())))
	}
	for _, err := range members(files) {
		_ = err // whoever reads the list comes across it
		return doc, false, nil
	}
	return doc, true, nil
}

// read carries a call out and returns the body of its answer; a body that breaks
// off is asked for again.
func (s *server) read(ctx context.Context, c *call, most int64) (status int, body []byte, err error) {
	for attempt := 0; ; attempt++ {
		a, err := s.send(ctx, c)
		if err != nil {
			return 0, nil, err
		}
		body, err := io.ReadAll(io.LimitReader(a.body, most+1))
		_ = a.Close() // what was read is judged by itself
		switch {
		case err == nil && int64(len(body)) > most:
			return 0, nil, gapless.Because(gapless.CauseUnreadable, fmt.Errorf("%s: the answer has more than %s", c.what, gapless.ByteSize(most)))
		case err == nil:
			return a.StatusCode, body, nil
		case ctx.Err() != nil:
			return 0, nil, fmt.Errorf("%s: %w", c.what, context.Cause(ctx))
		case attempt >= s.access.Retries:
			return 0, nil, s.unreachable(ctx, c.what, err)
		}
		if err := s.access.sleep(ctx, httpx.Backoff(attempt)); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", c.what, err)
		}
	}
}
