package gaplesstest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chattyDir is the variable that makes [TestChattyProcess] a child.
const chattyDir = "GAPLESS_CHATTY_DIR"

// TestChattyProcess is no test but the process of [TestChattyChild], which has
// more to say than fits into a pipe.
func TestChattyProcess(t *testing.T) { //nolint:paralleltest // it has the process for itself
	dir := os.Getenv(chattyDir)
	if dir == "" {
		return
	}
	fmt.Println(addressLine + "here")
	fmt.Print(strings.Repeat(" ", 1<<18))
	if err := os.WriteFile(filepath.Join(dir, "said"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
}

// A child that goes on talking is not held up.
func TestChattyChild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address, kill := Child(t, "TestChattyProcess", chattyDir+"="+dir)
	if address != "here" {
		t.Errorf("the address is %q", address)
	}
	said := func() bool { _, err := os.Stat(filepath.Join(dir, "said")); return err == nil }
	if !settles(30*time.Second, said) {
		t.Error("the child stands still, for nobody hears what it says")
	}
	kill()
}
