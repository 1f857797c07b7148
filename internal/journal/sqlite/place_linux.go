package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileMark tells a file from its copies: its number in the file system and, as
// numbers are used again, the time when it was made. The device is left out,
// because its number may change with a restart of the machine.
func fileMark(path string) string {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_SYNC_AS_STAT, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d.%09d", s.Ino, s.Btime.Sec, s.Btime.Nsec)
}
