package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile acquires the lock that only one process can have. It ends with the process in
// any case.
func lockFile(f *os.File) (held bool, err error) {
	var o windows.Overlapped
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &o)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return true, nil
	}
	return false, err
}
