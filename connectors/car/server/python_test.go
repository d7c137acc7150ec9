package server_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/car/server"
)

// TestPythonClient runs a connector that shares no code with the server.
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
		key, password, _ := r.BasicAuth()
		return key == "k" && password == "p" || r.Header.Get("Authorization") == "car-token abc"
	}
	f := serve(t, openHub(t, t.TempDir()), server.Options{Admit: admit})
	host, port, err := net.SplitHostPort(f.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"my-src", "k", "p"}, {"other:source", "abc"}} {
		out, err := exec.CommandContext(t.Context(), python, append([]string{"testdata/client.py", host, port}, args...)...).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "ok" {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
