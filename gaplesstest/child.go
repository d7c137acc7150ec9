package gaplesstest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// addressLine begins the line by which a child says where it listens.
const addressLine = "address "

// Child runs one test of this test binary again, as a process of its own with
// more environment variables, NAME=value, and waits until it calls [Listening].
// It returns the address given there, and what kills the process at once, as
// kill -9 does; the end of t does that as well.
func Child(t testing.TB, test string, variables ...string) (address string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), variables...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		_ = in.Close()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), addressLine)
	if err != nil || !ok {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return address, kill
}

// Listening tells the parent of a [Child] where it listens, and returns when
// the parent is gone: the child then ends, whatever ended the parent.
func Listening(address string) {
	fmt.Println(addressLine + address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
