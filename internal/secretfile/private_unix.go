//go:build unix

package secretfile

import (
	"io/fs"
	"os"
	"syscall"
)

// givenByRoot reports whether a file is the superuser's and this process is another user's.
func givenByRoot(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == 0 && os.Geteuid() != 0
}
