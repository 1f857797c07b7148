package journaltest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// smallDiskVariable names the test that a child process runs on a small disk.
const smallDiskVariable = "INVOICEBOX_TEST_SMALL_DISK"

// OnSmallDisk runs a test on a file system of its own with the given number of bytes, so
// that the disk can really be full. That needs namespaces of the kernel, so the test runs
// in a child process; if the system does not permit that, it is skipped. It must be called
// by a whole test, not by a subtest.
func OnSmallDisk(t *testing.T, bytes int, test func(t *testing.T, folder string)) {
	t.Helper()
	if os.Getenv(smallDiskVariable) == t.Name() {
		folder := t.TempDir()
		if err := mountSmallDisk(folder, bytes); err != nil {
			t.Skip("no file system can be made: ", err)
		}
		t.Cleanup(func() { _ = unmount(folder) })
		test(t, folder)
		return
	}
	if strings.Contains(t.Name(), "/") {
		t.Fatal("a part of a test cannot be run alone")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1") // #nosec G204 G702 -- this test itself
	cmd.Env = append(os.Environ(), smallDiskVariable+"="+t.Name())
	if !apart(cmd) {
		t.Skip("this system has no namespaces")
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EINVAL), errors.Is(err, os.ErrPermission):
		t.Skip("namespaces cannot be had: ", err)
	case err != nil:
		t.Errorf("on the small disk: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skip(string(out))
	}
}

// Ballast fills a disk except for the given number of bytes, and returns a function that
// removes it.
func Ballast(t *testing.T, folder string, leave int64) (drop func()) {
	t.Helper()
	path := filepath.Join(folder, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	page, size := make([]byte, 4096), int64(0)
	for {
		n, err := f.Write(page)
		if size += int64(n); err != nil {
			break
		}
	}
	if err := errors.Join(f.Truncate(max(0, size-leave)), f.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}
