//go:build !linux

package pgtest

import (
	"syscall"
	"testing"
)

// StartOnSmallDisk needs Linux: elsewhere the test is skipped.
func StartOnSmallDisk(t testing.TB, _ int, _ ...string) (s *Server, fill func() (giveBack func())) {
	t.Helper()
	t.Skip("a disk cannot be mounted here")
	return nil, nil
}

func endWithUs(*syscall.SysProcAttr) {}
