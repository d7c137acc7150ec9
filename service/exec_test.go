package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

// daemon serves exec on the socket of a new state folder.
func daemon(t *testing.T, state string, exec Exec) (halt chan struct{}) {
	t.Helper()
	return daemonOn(context.WithoutCancel(t.Context()), t, state, exec)
}

// daemonOn is daemon with commands that live on base.
func daemonOn(base context.Context, t *testing.T, state string, exec Exec) (halt chan struct{}) {
	t.Helper()
	listener, remove, err := listenLocal(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	halt = make(chan struct{})
	commands := &executor{base: base, exec: exec, halt: halt}
	server := &http.Server{Handler: commands}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		commands.running.Wait()
		remove()
	})
	return halt
}

func dial(t *testing.T, state string) *Client {
	t.Helper()
	c := Dial(t.Context(), state)
	if c == nil {
		t.Fatal("no daemon answers")
	}
	return c
}

func TestExecCarriesEverything(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	long := strings.Repeat("0123456789", maxFrame/5) // several frames
	daemon(t, state, func(_ context.Context, r Request, s Streams) int {
		fmt.Fprintf(s.Out, "%s in %s with %s, %d wide\n", r.Args, r.Dir, r.Variables, r.Width)
		fmt.Fprint(s.Out, long)
		fmt.Fprint(s.Err, "aside")
		s.Tick(json.RawMessage(`{"n":1}`))
		return 7
	})
	var out, errs bytes.Buffer
	var ticks []string
	r := Request{Args: []string{"run", "docs"}, Dir: "/x", Config: "/x/gapless.yaml", Variables: map[string]string{"A": "b"}, Width: 80}
	code, err := dial(t, state).Exec(t.Context(), r, Sink{
		Out: &out, Err: &errs, Tick: func(doc json.RawMessage) { ticks = append(ticks, string(doc)) },
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{code, out.String(), errs.String(), ticks}
	want := []any{7, "[run docs] in /x with map[A:b], 80 wide\n" + long, "aside", []string{`{"n":1}`}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// reporting executes until it is stopped and then until it is cancelled.
func reporting(_ context.Context, started chan<- struct{}) Exec {
	return func(ctx context.Context, r Request, s Streams) int {
		close(started)
		<-s.Stop
		fmt.Fprint(s.Out, "stopped ")
		if len(r.Args) > 0 {
			<-ctx.Done()
			fmt.Fprint(s.Out, "cancelled")
		}
		return gapless.ExitInterrupted
	}
}

func TestInterruptsArePassedOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		// what ends it
		stop, abort, halt bool
		want              string
	}{
		{"first", nil, true, false, false, "stopped "},
		{"second", []string{"stubborn"}, true, true, false, "stopped cancelled"},
		{"the daemon stops", nil, false, false, true, "stopped "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state, started := t.TempDir(), make(chan struct{})
			halt := daemon(t, state, reporting(t.Context(), started))
			stop, abort := make(chan struct{}), make(chan struct{})
			go func() {
				<-started
				if test.stop {
					close(stop)
				}
				if test.abort {
					close(abort)
				}
				if test.halt {
					close(halt)
				}
			}()
			var out bytes.Buffer
			code, err := dial(t, state).Exec(t.Context(), Request{Args: test.args}, Sink{Out: &out, Err: &out}, stop, abort)
			if err != nil || code != gapless.ExitInterrupted || out.String() != test.want {
				t.Errorf("%d, %q, %v", code, out.String(), err)
			}
		})
	}
}

// TestACallerThatIsGoneStopsItsCommand hangs up in the middle.
func TestACallerThatIsGoneStopsItsCommand(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	daemon(t, state, func(ctx context.Context, _ Request, s Streams) int {
		hangUp()
		<-s.Stop
		ended <- ctx.Err()
		return 0
	})
	if _, err := dial(t, state).Exec(ctx, Request{}, Sink{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil, nil); err == nil {
		t.Error("no error")
	}
	if err := <-ended; err != nil {
		t.Errorf("it was cancelled instead of stopped: %v", err)
	}
}

func TestADaemonThatHasToEndEndsItsCommands(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	base, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	daemonOn(base, t, state, func(ctx context.Context, _ Request, _ Streams) int {
		cancel()
		<-ctx.Done()
		return gapless.ExitInterrupted
	})
	code, err := dial(t, state).Exec(t.Context(), Request{}, Sink{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil, nil)
	if err != nil || code != gapless.ExitInterrupted {
		t.Errorf("%d, %v", code, err)
	}
}

// TestADaemonThatDiesIsAnError hangs up where a daemon that is killed does:
// before it answers, and while a command is under way.
func TestADaemonThatDiesIsAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, answer string }{
		{"before it answers", ""},
		{"in the middle", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\no\x00\x00\x00\x05hel"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			listener, remove, err := listenLocal(t.Context(), state)
			if err != nil {
				t.Fatal(err)
			}
			defer remove()
			go func() {
				for {
					connection, err := listener.Accept()
					if err != nil {
						return
					}
					if _, err := bufio.NewReader(connection).ReadString('}'); err == nil {
						_, _ = connection.Write([]byte(test.answer))
					}
					_ = connection.Close()
				}
			}()
			_, err = dial(t, state).Exec(t.Context(), Request{}, Sink{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil, nil)
			if gapless.ExitCode(err) != gapless.ExitRecoverable {
				t.Errorf("exit code %d of %v", gapless.ExitCode(err), err)
			}
			if err := listener.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPanicEndsItsCommandAlone(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	daemon(t, state, func(_ context.Context, r Request, _ Streams) int { panic(r.Args[0]) })
	for range 2 {
		var errs bytes.Buffer
		code, err := dial(t, state).Exec(t.Context(), Request{Args: []string{"boom"}}, Sink{Out: &bytes.Buffer{}, Err: &errs}, nil, nil)
		if err != nil || code != gapless.ExitUnknown || !strings.Contains(errs.String(), "boom") {
			t.Errorf("%d, %v, %q", code, err, errs.String())
		}
	}
}

func TestSocketIsPrivateAndFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, folder string }{
		{"beside the state", "state"},
		{"path too long for a socket", strings.Repeat("long/", 40)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state := filepath.Join(t.TempDir(), test.folder)
			if err := os.MkdirAll(state, 0o755); err != nil {
				t.Fatal(err)
			}
			if Dial(t.Context(), state) != nil {
				t.Fatal("a daemon answers before there is one")
			}
			daemon(t, state, func(context.Context, Request, Streams) int { return 3 })
			info, err := os.Stat(socketPath(state))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
			code, err := dial(t, state).Exec(t.Context(), Request{}, Sink{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil, nil)
			if err != nil || code != 3 {
				t.Errorf("%d, %v", code, err)
			}
			if _, _, err := listenLocal(t.Context(), state); err == nil {
				t.Error("two daemons for one project")
			}
		})
	}
}

// TestStaleSocketIsReplaced leaves one behind, as a daemon that was killed.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	listener, _, err := listenLocal(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(state, socketName)); err != nil {
		t.Fatalf("no socket was left behind: %v", err)
	}
	if Dial(t.Context(), state) != nil {
		t.Error("a dead daemon answers")
	}
	daemon(t, state, func(context.Context, Request, Streams) int { return 0 })
	if err := dial(t, state).Close(); err != nil {
		t.Error(err)
	}
}

func TestRequestsOfAnotherProtocolAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, body string }{
		{"nothing", ""},
		{"not JSON", "run\n"},
		{"another protocol", `{"protocol":99}` + "\n"},
		{"too long", `{"dir":"` + strings.Repeat("x", maxRequest+1) + `"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			daemon(t, state, func(context.Context, Request, Streams) int { t.Error("it was executed"); return 0 })
			c := dial(t, state)
			fmt.Fprintf(c.connection, "POST /exec HTTP/1.1\r\nHost: gapless\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n%s", upgrade, len(test.body), test.body)
			answer, err := bufio.NewReader(c.connection).ReadString('\n')
			if err := errors.Join(err, c.Close()); err != nil || !strings.Contains(answer, "400") {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
}

func FuzzReadFrames(f *testing.F) {
	frame := func(kind byte, payload string) string {
		return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))) + payload
	}
	f.Add([]byte(frame(frameOut, "hello") + frame(frameTick, "{}") + frame(frameExit, "0")))
	f.Add([]byte(frame(frameErr, "") + frame(frameExit, "x")))
	f.Add([]byte("o\xff\xff\xff\xff"))
	f.Add([]byte(frame('?', "a")))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		code, err := readFrames(bytes.NewReader(data), Sink{Out: &out, Err: &out})
		if out.Len() > len(data) {
			t.Errorf("%d bytes out of %d", out.Len(), len(data))
		}
		if err == nil && !bytes.Contains(data, fmt.Append(nil, code)) {
			t.Errorf("exit code %d out of nowhere", code)
		}
	})
}
