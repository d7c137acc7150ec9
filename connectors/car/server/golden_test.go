package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gapless-sync/gapless/connectors/car/server"
)

// Of a reply, what is another one every time.
var (
	jobIDs = regexp.MustCompile(`j[0-9a-f]{28}`)
	traces = regexp.MustCompile(`"trace":"[0-9a-f]{16}"`)
)

// TestGolden replays conversations: pairs of a request, its path behind
// /api/car, and its reply. {job1} is the first job of the conversation, {hub}
// the beginning of the store's id.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			now := time.UnixMilli(1_795_285_439_890)
			f := serve(t, openHub(t, t.TempDir()), server.Options{Now: func() time.Time { return now }})
			replay(t, f, name)
		})
	}
}

func replay(t *testing.T, f *fixture, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []string
	hub := f.hub.ID()[:8]
	known := func(id string) string {
		for i, job := range jobs {
			if job == id {
				return fmt.Sprintf("{job%d}", i+1)
			}
		}
		jobs = append(jobs, id)
		return fmt.Sprintf("{job%d}", len(jobs))
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		request := strings.ReplaceAll(string(archive.Files[i].Data), "{hub}", hub)
		for n, job := range jobs {
			request = strings.ReplaceAll(request, fmt.Sprintf("{job%d}", n+1), job)
		}
		got := exchange(t, f, request)
		got = strings.ReplaceAll(jobIDs.ReplaceAllStringFunc(got, known), hub, "{hub}")
		got = traces.ReplaceAllString(got, `"trace":"{trace}"`)
		if *update {
			archive.Files[i+1].Data = []byte(got)
			continue
		}
		if diff := cmp.Diff(string(archive.Files[i+1].Data), got); diff != "" {
			t.Errorf("%s (-golden +came):\n%s", archive.Files[i].Name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// exchange sends a request, a line with method and path and then its body, and
// returns status and body.
func exchange(t *testing.T, f *fixture, request string) string {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n")
	method, path, _ := strings.Cut(head, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, f.url(path), strings.NewReader(strings.TrimSuffix(body, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.Header.Get(server.HeaderHub) != f.hub.ID() || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %v", head, response.Header)
	}
	return fmt.Sprintf("%d\n%s\n", response.StatusCode, text)
}
