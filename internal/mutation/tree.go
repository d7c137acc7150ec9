package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// root returns the top folder of the working tree.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("find the working tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// copyTree copies what git knows of a working tree or would add to it, as it
// is on disk now.
func copyTree(ctx context.Context, from, to string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the working tree: %w", err)
	}
	for name := range bytes.SplitSeq(out, []byte{0}) {
		if err := copyFile(from, to, string(name)); err != nil {
			return fmt.Errorf("copy the working tree: %w", err)
		}
	}
	return nil
}

// copyFile copies one file, unless it has been removed.
func copyFile(from, to, name string) error {
	info, err := os.Lstat(filepath.Join(from, name))
	if name == "" || errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	target := filepath.Join(to, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	return os.WriteFile(target, text, info.Mode().Perm())
}
