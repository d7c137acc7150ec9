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
	"time"
)

// addressLine begins the line by which a child says where it listens.
const addressLine = "address "

// childStart is how long a child may take until it listens.
const childStart = time.Minute

// Child runs one test of this test binary again, as a process of its own with
// more environment variables, NAME=value, and waits until it calls [Listening].
// That test has to return at once where the variables are not set, for it is
// run with all others as well. What the child prints later goes to the standard
// error output. Child returns the address given there, and what kills the process at once, as
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
	first := make(chan string, 1)
	go func() {
		said := bufio.NewReader(out)
		line, _ := said.ReadString('\n') // what there is of it tells
		first <- strings.TrimSpace(line)
		_, _ = io.Copy(os.Stderr, said) // a child that nobody listens to would stop
	}()
	late := time.NewTimer(childStart)
	defer late.Stop()
	select {
	case line := <-first:
		address, ok := strings.CutPrefix(line, addressLine)
		if !ok {
			t.Fatalf("the child of %s said %q instead of where it listens", test, line)
		}
		return address, kill
	case <-late.C:
		t.Fatalf("the child of %s does not say where it listens within %s", test, childStart)
		return "", nil
	}
}

// Listening tells the parent of a [Child] where it listens, and returns when
// the parent is gone: the child then ends, whatever ended the parent. The test
// prints nothing before it, and calls it in a child only.
func Listening(address string) {
	fmt.Println(addressLine + address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
