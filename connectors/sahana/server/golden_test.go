package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestGolden replays conversations: pairs of a request, its path below the
// base, and its answer. {address} is where the server is, {site} its uuid.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			replay(t, fresh(t), name)
		})
	}
}

func replay(t *testing.T, f *fixture, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got txtar.Archive
	got.Comment = archive.Comment
	for _, request := range archive.Files {
		rest, ok := strings.CutPrefix(request.Name, "> ")
		if !ok {
			continue // an answer
		}
		method, path, _ := strings.Cut(rest, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, f.address+path, strings.NewReader(strings.TrimSuffix(string(request.Data), "\n")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.Body.Close() != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(strings.TrimSuffix(f.address, "/"), "{address}", f.server.UUID(), "{site}").Replace(string(body))
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		answer := fmt.Sprintf("< %d %s", response.StatusCode, response.Header.Get("Content-Type"))
		got.Files = append(got.Files, request, txtar.File{Name: answer, Data: []byte(text)})
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
