package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// StartOnSmallDisk starts a server whose data has a disk of so many bytes for
// itself. Fill takes all that is left of it, until it is told to give it back. It
// takes the right to mount: without it the test is skipped.
func StartOnSmallDisk(t testing.TB, bytes int, settings ...string) (s *Server, fill func() (giveBack func())) {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("none", folder, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", bytes)); err != nil {
		t.Skipf("a disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	return start(t, filepath.Join(folder, "data"), settings...), func() func() {
		t.Helper()
		name := filepath.Join(folder, "ballast")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		for page := make([]byte, 4096); err == nil; {
			_, err = f.Write(page)
		}
		_ = f.Close()
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		return func() { _ = os.Remove(name) }
	}
}

// endWithUs lets a process not outlive the test's.
func endWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
