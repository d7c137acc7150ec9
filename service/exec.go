package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/gapless-sync/gapless"
)

// Request is a command to be executed by the daemon.
type Request struct {
	// Protocol is filled in by [Client.Exec].
	Protocol int `json:"protocol"`
	// Args are the arguments behind the program's name.
	Args []string `json:"args"`
	// Dir is the folder that the command was called in.
	Dir string `json:"dir"`
	// Config is the path of the configuration that the caller has found.
	Config string `json:"config"`
	// Variables that the command's configuration refers to, as the caller has
	// them set; no others exist for it.
	Variables map[string]string `json:"variables,omitempty"`
	// Color says whether standard output is a terminal that shows colours.
	Color bool `json:"color,omitempty"`
	// Width of that terminal in characters; 0 if there is none.
	Width int `json:"width,omitempty"`
}

// Streams are what an executing command talks to.
type Streams struct {
	Out, Err io.Writer
	// Tick sends a JSON document about progress to the caller. It may be
	// called from several goroutines.
	Tick func(json.RawMessage)
	// Stop is closed when the caller asks for an orderly end, or is gone.
	Stop <-chan struct{}
}

// Exec executes a command and returns its exit code. The context is cancelled
// when it has to end at once.
type Exec func(ctx context.Context, r Request, s Streams) int

// upgrade is what the connection changes to once the daemon has accepted a
// request: frames in one direction, control bytes in the other.
const upgrade = "gapless-exec"

// executor executes the commands that come through the local socket. Commands
// live on base, not on the connection: when the caller goes away they end in
// good order.
type executor struct {
	base context.Context //nolint:containedctx // ends commands that outlive their callers
	exec Exec
	// halt, when closed, asks all commands to end in good order.
	halt    <-chan struct{}
	running sync.WaitGroup
}

// ServeHTTP answers POST /exec: the body is a [Request] in JSON. The answer
// switches protocols.
func (e *executor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.running.Add(1)
	defer e.running.Done()
	request, err := readRequest(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = connection.Close() }() // everything was written
	if _, err := connection.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + "\r\n\r\n")); err == nil {
		e.execute(request, connection, buffered)
	}
}

func (e *executor) execute(r Request, w io.Writer, control io.ByteReader) {
	ctx, cancel := context.WithCancel(e.base)
	defer cancel()
	stop := make(chan struct{})
	closeStop := sync.OnceFunc(func() { close(stop) })
	go watchCaller(control, closeStop, cancel) // ends with the connection
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-e.halt:
			closeStop()
		case <-done:
		}
	}()
	frames := &frameWriter{w: w}
	code := recovered(e.exec)(ctx, r, Streams{
		Out: stream{frames, frameOut}, Err: stream{frames, frameErr}, Stop: stop,
		Tick: func(doc json.RawMessage) {
			if len(doc) <= maxFrame {
				frames.frame(frameTick, doc)
			}
		},
	})
	exit, _ := json.Marshal(code) // an integer always encodes
	frames.frame(frameExit, exit)
}

// recovered turns a panic of a command into a failure of that command alone.
func recovered(exec Exec) Exec {
	return func(ctx context.Context, r Request, s Streams) (code int) {
		defer func() {
			if cause := recover(); cause != nil {
				fmt.Fprintf(s.Err, "error: the command broke down: %v\n%s", cause, debug.Stack())
				code = gapless.ExitUnknown
			}
		}()
		return exec(ctx, r, s)
	}
}

// watchCaller obeys control bytes until the caller is gone, which counts as an
// orderly stop: nobody is left to look at the result.
func watchCaller(body io.ByteReader, stop func(), cancel context.CancelFunc) {
	defer stop()
	for {
		control, err := body.ReadByte()
		if err != nil {
			return
		}
		switch control {
		case controlStop:
			stop()
		case controlCancel:
			stop()
			cancel()
		}
	}
}

func readRequest(w http.ResponseWriter, r *http.Request) (Request, error) {
	var request Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&request); err != nil {
		return request, fmt.Errorf("read request: %w", err)
	}
	if request.Protocol != protocol || r.Header.Get("Upgrade") != upgrade {
		return request, fmt.Errorf("the daemon speaks version %d of the local protocol, the command version %d", protocol, request.Protocol)
	}
	return request, nil
}

// errGone is the daemon ending, or being killed, in the middle of a command.
func errGone(cause error) error {
	return gapless.Errorf(gapless.CodeRunFailed, "", "the daemon has gone away: %w", gapless.Recoverable(cause)).
		WithHint("look at the daemon's log, then run the command again")
}
