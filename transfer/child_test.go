package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// childEnv holds the job of a child process: a list of files to bring.
const childEnv = "GAPLESS_TRANSFER_CHILD"

type childJob struct {
	Dir   string
	Files []File
}

// child is the main function of a process that a test kills.
func child() int {
	var job childJob
	text, err := os.ReadFile(os.Getenv(childEnv))
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	if err == nil {
		_, err = Run(context.Background(), Job{Dir: job.Dir, Files: listOf(job.Files...), Supplier: NewWeb(WebOptions{})})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// slowServer serves a set with ranges and counts every byte that it sends. It
// sends in small pieces and keeps little under way, as a distant server does.
type slowServer struct {
	*httptest.Server
	set set

	mu   sync.Mutex // guards what follows
	sent int64
	// alarm is called once when so much was sent.
	alarmAt int64
	alarm   func()
}

func newSlowServer(t *testing.T, s set) *slowServer {
	t.Helper()
	server := &slowServer{set: s}
	server.Server = httptest.NewUnstartedServer(http.HandlerFunc(server.serve))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if err := c.(*net.TCPConn).SetWriteBuffer(8 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func (s *slowServer) serve(w http.ResponseWriter, r *http.Request) {
	data := s.set[strings.TrimPrefix(r.URL.Path, "/")]
	from := 0
	w.Header().Set("ETag", `"one"`)
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && r.Header.Get("If-Range") == `"one"` {
		from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.WriteHeader(http.StatusPartialContent)
	}
	for data = data[from:]; len(data) > 0; {
		n := min(len(data), 16<<10)
		if _, err := w.Write(data[:n]); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		data = data[n:]
		s.count(int64(n))
		select {
		case <-r.Context().Done():
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func (s *slowServer) count(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += n
	if s.alarm != nil && s.sent >= s.alarmAt {
		s.alarm()
		s.alarm = nil
	}
}

// TestKilledAtAnyPoint kills a process again and again while it brings files.
// Large files are continued in their middle; small ones are not brought twice.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	kills, large := 50, 40<<20
	if testing.Short() {
		kills, large = 5, 3<<20
	}
	s := set{}
	for i := range 5 {
		path := fmt.Sprintf("large/%d", i)
		s[path] = content(path, large+i)
	}
	for i := range 400 {
		path := fmt.Sprintf("small/%d/%d", i%10, i)
		s[path] = content(path, 20_000+i)
	}
	total := int64(0)
	for _, data := range s {
		total += int64(len(data))
	}
	server := newSlowServer(t, s)
	job := childJob{Dir: t.TempDir(), Files: s.files(server.URL + "/")}
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	config := t.TempDir() + "/job"
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() (*exec.Cmd, *strings.Builder) {
		var out strings.Builder
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+config)
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &out
	}
	for range kills {
		cmd, out := start()
		reached := make(chan struct{})
		server.mu.Lock()
		// On average the kills are spread over the whole.
		server.alarmAt = server.sent + int64(float64(total/int64(kills))*2*randomFraction())
		server.alarm = func() { close(reached) }
		server.mu.Unlock()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-reached:
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Log("it had just come to its end")
			}
		case err := <-ended:
			if err != nil {
				t.Fatal(err, out)
			}
		}
		for path, data := range readFolder(t, job.Dir) {
			if string(data) != string(s[path]) {
				t.Fatalf("%s has its name and is not right", path)
			}
		}
	}
	cmd, out := start()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, out)
	}
	wantFolder(t, job.Dir, s)
	again := float64(server.sent-total) / float64(total)
	t.Logf("%d kills, %d bytes, %.2f %% sent twice", kills, total, 100*again)
	if again > 0.05 && !testing.Short() {
		t.Errorf("%.1f %% of the bytes were sent twice", 100*again)
	}
}
