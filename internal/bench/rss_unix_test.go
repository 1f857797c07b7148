//go:build unix

package bench

import (
	"os"
	"syscall"
)

// peak is the most memory that the process had resident, in bytes.
func peak(s *os.ProcessState) int64 {
	if usage, ok := s.SysUsage().(*syscall.Rusage); ok {
		return int64(usage.Maxrss) << 10
	}
	return 0
}
