package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Client is a command's connection to the daemon that owns a project. It
// serves for one Exec.
type Client struct{ connection net.Conn }

// Dial returns a client if a daemon is serving the project whose state is kept
// in folder state, and nil if none is. A socket that a dead daemon left behind
// counts as none.
func Dial(ctx context.Context, state string) *Client {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", socketPath(state))
	if err != nil {
		return nil
	}
	return &Client{connection: connection}
}

// Close ends the connection; Exec has already done so.
func (c *Client) Close() error { return c.connection.Close() }

// Exec has the daemon execute a command and returns its exit code. Closing
// stop asks for an orderly end, closing abort for an immediate one; either way
// Exec returns when the daemon has ended the command. Cancelling the context
// hangs up. An error means that the daemon refused, or has gone away in
// between.
func (c *Client) Exec(ctx context.Context, r Request, sink Sink, stop, abort <-chan struct{}) (int, error) {
	defer func() { _ = c.connection.Close() }() // all that matters was read
	defer context.AfterFunc(ctx, func() { _ = c.connection.Close() })()
	answer, err := c.begin(ctx, r)
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			control := byte(controlStop)
			select {
			case <-done:
				return
			case <-stop:
				stop = nil
			case <-abort:
				abort, control = nil, controlCancel
			}
			if _, err := c.connection.Write([]byte{control}); err != nil {
				return // reading finds out as well
			}
		}
	}()
	code, err := readFrames(answer, sink)
	if err != nil {
		return 0, errGone(err)
	}
	return code, nil
}

// begin sends the request and returns what follows the daemon's answer to it.
func (c *Client) begin(ctx context.Context, r Request) (io.Reader, error) {
	r.Protocol = protocol
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gapless/exec", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", upgrade)
	if err := request.Write(c.connection); err != nil {
		return nil, errGone(err)
	}
	buffered := bufio.NewReader(c.connection)
	response, err := http.ReadResponse(buffered, request)
	if err != nil {
		return nil, errGone(err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return buffered, nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // whatever can be read explains it
	_ = response.Body.Close()                                  // the connection goes with it
	return nil, gapless.Errorf(gapless.CodeStoreLocked, "", "the daemon refuses: %s", strings.TrimSpace(string(text))).
		WithHint("restart gapless serve with this version")
}
