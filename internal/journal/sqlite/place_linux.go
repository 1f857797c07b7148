package sqlite

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sinceBoot reads the clock that cannot be set: an id of the machine's start, and the
// microseconds since then, sleep included.
func sinceBoot() (boot string, micros int64) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var t unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return "", 0
	}
	return string(bytes.TrimSpace(id)), t.Nano() / 1000
}

// fileMark distinguishes a file from its copies by its number in the file system and its
// creation time, because numbers are used again. It leaves out the device, whose number
// may change when the machine restarts.
func fileMark(path string) string {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_SYNC_AS_STAT, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d.%09d", s.Ino, s.Btime.Sec, s.Btime.Nsec)
}
