//go:build linux && (amd64 || arm64)

package transfer

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// syncSystem makes everything durable on the file system of an open folder: many
// small files in one step of its journal. Errors since the folder was opened or
// since the last call are reported. It returns false where it cannot do that.
func syncSystem(folder *os.File) (bool, error) {
	if !syncReports() {
		return false, nil
	}
	number := uintptr(306) // syncfs on amd64, which the package syscall does not name
	if runtime.GOARCH == "arm64" {
		number = 267
	}
	_, _, code := syscall.Syscall(number, folder.Fd(), 0, 0)
	switch code {
	case 0:
		return true, nil
	case syscall.ENOSYS:
		return false, nil
	}
	return true, os.NewSyscallError("syncfs", code)
}

// syncReports is whether the kernel, since 5.8, reports what could not be
// written.
func syncReports() bool {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return false
	}
	var release strings.Builder
	for _, c := range name.Release {
		release.WriteByte(byte(c))
	}
	var major, minor int
	if n, err := fmt.Sscanf(release.String(), "%d.%d", &major, &minor); n != 2 || err != nil {
		return false
	}
	return major > 5 || (major == 5 && minor >= 8)
}
