//go:build unix

package app

import (
	"io/fs"
	"syscall"
)

// ownedByRoot reports whether a file is the superuser's.
func ownedByRoot(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == 0
}
