package cli_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gapless-sync/gapless"
	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// cartServer [FLAG...] FOLDER serves the files of a folder as carts, and sets
// $CART to the address.
func cartServer(ts *testscript.TestScript, neg bool, args []string) {
	serveFolder(ts, neg, args, "CART", func(dir string) http.Handler {
		files, err := server.OpenFolder(dir)
		ts.Check(err)
		carts, err := os.MkdirTemp(ts.Getenv("WORK"), ".carts")
		ts.Check(err)
		s, err := server.New(server.Options{Files: files, Dir: carts})
		ts.Check(err)
		ts.Defer(func() {
			ts.Check(s.Close())
			ts.Check(files.Close())
		})
		return s
	})
}

// webServer [FLAG...] FOLDER serves the files of a folder, and sets $WEB to the
// address.
func webServer(ts *testscript.TestScript, neg bool, args []string) {
	serveFolder(ts, neg, args, "WEB", func(dir string) http.Handler {
		plain := http.FileServer(http.Dir(dir))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path.Clean(r.URL.Path)))); err == nil {
				w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha1.Sum(text)))
			}
			plain.ServeHTTP(w, r)
		})
	})
}

// serveFolder serves what handler makes of a folder, behind what goes wrong on
// the way.
func serveFolder(ts *testscript.TestScript, neg bool, args []string, variable string, handler func(dir string) http.Handler) {
	var b behaviour
	flags := flag.NewFlagSet(variable, flag.ContinueOnError)
	flags.StringVar(&b.authorization, "auth", "", "header Authorization that has to come")
	flags.StringVar(&b.key, "key", "", "header X-Key that has to come")
	flags.StringVar(&b.log, "log", "", "file for a line about every request")
	flags.StringVar(&b.stall, "stall", "", "stall in the middle of bodies, and make this file")
	flags.Int64Var(&b.flip, "flip", 0, "flip this byte of bodies")
	flags.Int64Var(&b.after, "after", 0, "stall after so many bytes")
	flags.IntVar(&b.times, "times", 1, "how often to stall or flip")
	flags.IntVar(&b.meet, "meet", 0, "answer no GET until so many have come")
	secure := flags.Bool("tls", false, "by HTTPS; the authority is written to ca.pem")
	mutual := flags.Bool("mutual", false, "ask for a certificate; one is written to client.pem and client.key")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 1 {
		ts.Fatalf("usage: cartserver|webserver [FLAG...] FOLDER")
	}
	b.met = make(chan struct{})
	for _, file := range []*string{&b.log, &b.stall} {
		if *file != "" {
			*file = ts.MkAbs(*file)
		}
	}
	b.handler = handler(ts.MkAbs(flags.Arg(0)))
	s := httptest.NewUnstartedServer(&b)
	if *mutual {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	}
	if *secure || *mutual {
		s.StartTLS()
		key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
		ts.Check(err)
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), certificate, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("client.pem"), certificate, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("client.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	} else {
		s.Start()
	}
	ts.Defer(s.Close)
	ts.Setenv(variable, s.URL)
}

// behaviour is a server that asks for credentials and has faults.
type behaviour struct {
	handler                        http.Handler
	authorization, key, log, stall string
	flip, after                    int64
	meet                           int
	met                            chan struct{}

	mu    sync.Mutex // guards times, came, and the log
	times int
	came  int
}

func (b *behaviour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.note(r)
	if (b.authorization != "" && r.Header.Get("Authorization") != b.authorization) || (b.key != "" && r.Header.Get("X-Key") != b.key) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodGet && b.meet > 0 {
		b.mu.Lock()
		if b.came++; b.came == b.meet {
			close(b.met)
		}
		b.mu.Unlock()
		select {
		case <-b.met:
		case <-r.Context().Done():
			return
		}
	}
	if r.Method == http.MethodGet && (b.stall != "" || b.flip > 0) {
		w = &faulty{ResponseWriter: w, b: b, gone: r.Context().Done()}
	}
	b.handler.ServeHTTP(w, r)
}

// note writes a line about a request.
func (b *behaviour) note(r *http.Request) {
	if b.log == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	file, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(file, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
		_ = file.Close()
	}
	if err != nil {
		panic(err) // the server answers nothing, and the script fails
	}
}

// due reports whether a fault is to happen now.
func (b *behaviour) due() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times--
	return b.times >= 0
}

// faulty is an answer with a fault in its body.
type faulty struct {
	http.ResponseWriter
	b    *behaviour
	gone <-chan struct{}
	at   int64
}

func (f *faulty) Write(p []byte) (int, error) {
	begin := f.at
	f.at += int64(len(p))
	if i := f.b.flip - begin; f.b.flip > 0 && i >= 0 && i < int64(len(p)) && f.b.due() {
		p = append([]byte(nil), p...)
		p[i] ^= 1
	}
	if i := f.b.after - begin; f.b.stall != "" && i >= 0 && i < int64(len(p)) && f.b.due() {
		if _, err := f.ResponseWriter.Write(p[:i]); err != nil {
			return 0, err
		}
		_ = http.NewResponseController(f.ResponseWriter).Flush()
		if err := os.WriteFile(f.b.stall, nil, 0o600); err != nil {
			return 0, err
		}
		<-f.gone
		panic(http.ErrAbortHandler)
	}
	return f.ResponseWriter.Write(p)
}

// fill FILE SIZE makes a file of pseudo-random bytes and prints what sha256sum
// would.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	size := 0
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill FILE SIZE")
	}
	_, err := fmt.Sscan(args[1], &size)
	ts.Check(err)
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(content) // never fails
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
	fmt.Fprintf(ts.Stdout(), "%x  %s\n", sha256.Sum256(content), filepath.Base(args[0]))
}

// ingest FOLDER FILE writes the event about the ingest of the files of a
// folder, with numbers as ids; with -transaction in front, what the policy
// server says of it.
func ingest(ts *testscript.TestScript, neg bool, args []string) {
	transaction := len(args) > 0 && args[0] == "-transaction"
	if transaction {
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ingest [-transaction] FOLDER FILE")
	}
	dir := ts.MkAbs(args[0])
	list := []any{map[string]any{"destinationTable": "Transactions._id", "value": 67}}
	byID := map[string]any{}
	ts.Check(fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		sum := sha1.Sum(content)
		subdir, base := path.Split(name)
		file := map[string]any{
			"destinationTable": "Files", "_id": len(list), "name": base, "subdir": strings.TrimSuffix(subdir, "/"), "size": len(content),
			"hashtype": "sha1", "hashsum": hex.EncodeToString(sum[:]), "mtime": "2016-11-29T22:09:05",
		}
		byID[fmt.Sprint(len(list))], list = file, append(list, file)
		return err
	}))
	var doc any = map[string]any{
		"cloudEventsVersion": "0.1", "eventType": "org.pacifica.metadata.ingest", "eventID": "metadata.ingest.67",
		"source": "http://metadata.example.org/transactions?_id=67", "contentType": "application/json", "data": list,
	}
	if transaction {
		doc = map[string]any{"_id": 67, "files": byID}
	}
	text, err := json.Marshal(doc)
	ts.Check(err)
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[1])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// damage FILE flips the first byte of a file, and leaves its time as it is.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage FILE")
	}
	name := ts.MkAbs(args[0])
	info, err := os.Stat(name)
	ts.Check(err)
	content, err := os.ReadFile(name)
	ts.Check(err)
	content[0] ^= 1
	ts.Check(os.WriteFile(name, content, 0o600))
	ts.Check(os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// TestDownloadWalk runs the commands of the page about downloads and compares
// the shape of what they print.
func TestDownloadWalk(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/download.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "fetch")
	web := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "archive"))))
	defer web.Close()
	here := strings.NewReplacer("/tmp/fetch", dir, "127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:8081", freePort(t),
		"127.0.0.1:8082", web.Listener.Addr().String(), " web.pid", "")
	steps := walkOf(string(page))
	if len(steps) < 15 {
		t.Fatalf("the page has %d steps", len(steps))
	}
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", "kill $(cat "+dir+"/serve.pid)").Run() // it ends by itself if all went well
	})
	for _, s := range steps {
		if strings.HasPrefix(s.command, "cd ") || strings.HasPrefix(s.command, "python3 -m http.server ") {
			continue // the folder is that of every command, and the server is there
		}
		sh := exec.Command("sh", "-c", here.Replace(s.command))
		if sh.Dir = dir; strings.HasPrefix(s.command, "mkdir ") {
			sh.Dir = "/"
		}
		sh.Env = append(os.Environ(), "CARTD_CART_API_URL=", "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"))
		out, err := sh.CombinedOutput()
		printed := strings.ReplaceAll(string(out), dir, "/tmp/fetch")
		if failed := strings.Contains(printed, "error GAP-"); (err != nil) != failed {
			t.Fatalf("%s: %v\n%s", s.command, err, printed)
		}
		if diff := compare(shape(s.prints), shape(strings.Split(printed, "\n"))); diff != "" {
			t.Errorf("%s prints something else (-page +printed):\n%s", s.command, diff)
		}
	}
}

// freePort returns an address on loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestDownloadInterruptedInput interrupts a download that waits for its list.
func TestDownloadInterruptedInput(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs signals")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "gapless", "download", "--manifest", "-", "--to", filepath.Join(t.TempDir(), "files"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	cmd.Stderr = &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: that it could be written means that it is read.
	if _, err := in.Write(bytes.Repeat([]byte("# nothing\n"), 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != gapless.ExitInterrupted {
		t.Errorf("%v, want exit code %d\n%s", err, gapless.ExitInterrupted, &printed)
	}
}
