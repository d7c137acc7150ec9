package pushapi_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

// TestPythonClient runs a client that shares no code with the server.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("an independent client is part of the proof: %v", err)
		}
		t.Skipf("no independent client: %v", err)
	}
	f := serve(t, openHub(t, t.TempDir(), true), pushapi.ServerOptions{
		Connectors: []string{"wiki+pages"}, Credentials: []pushapi.Credential{{Login: "reader", Hash: secretHash}},
	})
	host, port, err := net.SplitHostPort(f.address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "testdata/client.py", host, port, "wiki+pages", "reader", "secret").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Fatalf("%v\n%s", err, out)
	}
}
