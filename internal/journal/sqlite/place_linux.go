package sqlite

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sinceBoot reads the clock that no one can set: which start of the machine it
// counts from, and the microseconds since, sleep included.
func sinceBoot() (boot string, micros int64) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var t unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return "", 0
	}
	return string(bytes.TrimSpace(id)), t.Nano() / 1000
}

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
