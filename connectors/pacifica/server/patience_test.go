package server_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// pipes is a listener of connections in memory, whose time tests control.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestPatience has a client stop in the middle of what it sends or takes.
func TestPatience(t *testing.T) {
	t.Parallel()
	dir, carts := t.TempDir(), t.TempDir()
	content := strings.Repeat("x", 4<<20)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := server.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	synctest.Test(t, func(t *testing.T) {
		s, err := server.New(server.Options{Files: folder, Dir: carts})
		if err != nil {
			t.Fatal(err)
		}
		listener := make(pipes)
		web := &http.Server{Handler: s}
		done := make(chan error)
		go func() { done <- web.Serve(listener) }()
		ask := func(method, path, body string) string {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			s.ServeHTTP(w, r)
			return w.Body.String()
		}
		ask("POST", "/cart", body(wants("a", content)))
		synctest.Wait()

		taking, far := net.Pipe()
		listener <- far
		if _, err := io.WriteString(taking, "GET /cart HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, taking, 1<<20); err != nil {
			t.Fatal(err)
		}
		sending, far := net.Pipe()
		listener <- far
		if _, err := io.WriteString(sending, "POST /cart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if status := ask("GET", "/cart/status", ""); !strings.Contains(status, `"downloads":1`) {
			t.Errorf("the client was given up early: %s", status)
		}
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if status := ask("GET", "/cart/status", ""); !strings.Contains(status, `"downloads":0`) || !strings.Contains(status, `"ready"`) {
			t.Errorf("the client is not given up: %s", status)
		}
		for name, conn := range map[string]net.Conn{"taking": taking, "sending": sending} {
			if n, err := io.Copy(io.Discard, conn); n > 3<<20 || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("%s: %d more bytes, %v", name, n, err)
			}
			_ = conn.Close()
		}
		close(listener)
		if err := errors.Join(s.Close(), web.Close()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestSlowOrders has many clients that begin to order and then send nothing:
// others order all the same.
func TestSlowOrders(t *testing.T) {
	t.Parallel()
	f := serve(t, server.Options{})
	f.write(t, "a", "x")
	host := strings.Trim(strings.TrimPrefix(f.address, "http://"), "/")
	for i := range 20 {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		length := 1000
		if i%2 == 0 {
			length = 50 << 20
		}
		if _, err := fmt.Fprintf(conn, "POST /slow%d HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", i, length); err != nil {
			t.Fatal(err)
		}
		// The server asks for the body when it has begun to wait for it, or when
		// it cannot even do that.
		if i < 4 {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.client.Timeout = 10 * time.Second
	f.ready(t, "quick", wants("a", "x"))
}
