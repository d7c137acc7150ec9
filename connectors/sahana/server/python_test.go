package server_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/sahana/server"
)

// TestPythonClient runs an active side that shares no code with the server.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("an independent client is part of the proof: %v", err)
		}
		t.Skipf("no independent client: %v", err)
	}
	admit := func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "eden@example.org" && password == "p"
	}
	f := serve(t, openHub(t, t.TempDir()), server.Options{Admit: admit})
	out, err := exec.CommandContext(t.Context(), python, "testdata/client.py", f.address, "eden@example.org", "p").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Fatalf("%v\n%s", err, out)
	}
}
