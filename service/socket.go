package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless-sync/gapless"
)

// Files of the state folder that lead to the daemon.
const (
	socketName  = "serve.sock"
	pointerName = "serve.path" // names the socket where its path would be too long
)

// maxSocketPath is what every system's sockaddr_un takes, with room for the
// folder that the socket is made in.
const maxSocketPath = 80

// socketPath returns where the socket of a state folder is or would be.
func socketPath(state string) string {
	if text, err := os.ReadFile(filepath.Join(state, pointerName)); err == nil {
		return strings.TrimSpace(string(text))
	}
	return filepath.Join(state, socketName)
}

// OwnedError says that a daemon owns the project of a state folder already.
func OwnedError(state string) error {
	return gapless.Errorf(gapless.CodeStoreLocked, state, "%w", gapless.Recoverable(errors.New("another gapless serve owns this project"))).
		WithHint("stop that one first, or use it: every command finds it by itself")
}

// listenLocal opens the socket of a state folder, which no other process must
// own. The returned function removes what was created. Nobody but this
// machine's user can connect at any moment: the socket is made in a folder of
// its own and moved into place once its mode is set.
func listenLocal(ctx context.Context, state string) (net.Listener, func(), error) {
	if client := Dial(ctx, state); client != nil {
		_ = client.Close() // nothing was sent
		return nil, nil, OwnedError(state)
	}
	remove := func() {
		_ = os.Remove(filepath.Join(state, socketName))  // may not exist
		_ = os.Remove(filepath.Join(state, pointerName)) // may not exist
	}
	remove()
	path := filepath.Join(state, socketName)
	if len(path) <= maxSocketPath {
		listener, err := listenAt(state, path)
		return listener, remove, err
	}
	short, err := os.MkdirTemp("", "gapless-")
	if err != nil {
		return nil, nil, fmt.Errorf("create a folder for the socket: %w", err)
	}
	removeBoth := func() {
		remove()
		_ = os.RemoveAll(short) // nothing depends on it any more
	}
	path = filepath.Join(short, socketName)
	listener, err := listenAt(short, path)
	if err == nil {
		err = os.WriteFile(filepath.Join(state, pointerName), []byte(path+"\n"), 0o600)
	}
	if err != nil {
		removeBoth()
		return nil, nil, fmt.Errorf("open the local socket: %w", err)
	}
	return listener, removeBoth, nil
}

func listenAt(dir, path string) (net.Listener, error) {
	private, err := os.MkdirTemp(dir, "s")
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }() // empty by then
	temporary := filepath.Join(private, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the local socket: %w", err), listener.Close())
	}
	return listener, nil
}
