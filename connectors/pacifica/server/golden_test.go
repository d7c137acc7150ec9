package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gapless-sync/gapless/connectors/pacifica/server"
)

// TestGolden replays exchanges, byte for byte. {host} is where the server is,
// {length} that of the body, {root} and {bar} hashes of files. Of an archive
// the head and a listing are shown. The files are not verified before
// "verified".
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			folder, err := server.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			g := &gate{folder, make(chan struct{})}
			o := server.Options{Files: g}
			if strings.Contains(name, "failed") {
				o.Admit = func(r *http.Request) (string, bool) {
					user, password, _ := r.BasicAuth()
					return user, user == "reader" && password == "secret"
				}
			}
			f := serve(t, o)
			f.root = dir
			f.write(t, archived(1100), "the content of root.txt\n")
			f.write(t, archived(1102), "bar")
			replay(t, f, g, name)
		})
	}
}

// dates are what differs from run to run.
var dates = regexp.MustCompile(`(?m)^Date: .*\r$`)

func replay(t *testing.T, f *fixture, g *gate, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.Trim(f.address, "htp:/")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	got := txtar.Archive{Comment: archive.Comment}
	etag := ""
	for _, request := range archive.Files {
		what, ok := strings.CutPrefix(request.Name, "> ")
		if !ok {
			continue // an answer
		}
		got.Files = append(got.Files, request)
		if what == "verified" {
			close(g.opened)
			for uid := range strings.SplitSeq("cart 0b8e5a2e-7c5d-4a65-8f5d-1f6a3a1b2c3d", " ") {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, f.address+uid, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.SetBasicAuth("reader", "secret")
				for status := "staging"; status == "staging"; {
					response, err := f.client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					status = response.Header.Get("X-Pacifica-Status")
				}
			}
			continue
		}
		head, content, _ := strings.Cut(string(request.Data), "\n\n")
		fill := strings.NewReplacer("{host}", host, "{root}", sha1Of("the content of root.txt\n"), "{bar}", sha1Of("bar"), "{etag}", etag)
		content = fill.Replace(strings.TrimSuffix(content, "\n"))
		head = strings.ReplaceAll(strings.Replace(fill.Replace(head), "{length}", fmt.Sprint(len(content)), 1), "\n", "\r\n")
		if _, err := io.WriteString(conn, head+"\r\n\r\n"+content); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(head, " ")
		answer, tag := read(t, answers, method)
		if tag != "" {
			etag = tag
		}
		text := dates.ReplaceAllString(answer, "Date: {date}\r")
		got.Files = append(got.Files, txtar.File{Name: "< " + what, Data: []byte(strings.ReplaceAll(text, "\r\n", "\n"))})
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(&got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(&got))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// read reads one answer as it is on the wire.
func read(t *testing.T, answers *bufio.Reader, method string) (text, etag string) {
	t.Helper()
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("%v behind %s", err, head.String())
		}
		head.WriteString(line)
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head.String())), &http.Request{Method: http.MethodHead})
	if err != nil {
		t.Fatal(err)
	}
	length := max(r.ContentLength, 0)
	if method == http.MethodHead {
		length = 0
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(answers, content); err != nil {
		t.Fatal(err)
	}
	text = string(content)
	if r.Header.Get("Content-Type") == "application/octet-stream" && r.StatusCode == http.StatusOK {
		names, contents, err := untar(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		text = ""
		for _, name := range names {
			text += fmt.Sprintf("%s %q\n", name, contents[name])
		}
	} else if r.StatusCode == http.StatusPartialContent {
		text = fmt.Sprintf("%q\n", strings.TrimRight(text, "\x00"))
	}
	if !strings.HasSuffix(text, "\n") && text != "" {
		text += "\n"
	}
	return head.String() + text, r.Header.Get("ETag")
}
