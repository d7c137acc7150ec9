//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// leadGroup has a command and all that it starts be killed together.
func leadGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return killGroup(c.Process) }
}

// killGroup kills what is left of the group that a process leads or has led.
func killGroup(p *os.Process) error {
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
