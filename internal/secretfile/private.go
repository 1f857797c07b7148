package secretfile

import (
	"fmt"
	"io/fs"
)

// CheckPrivate returns an error if others than the owner of this process can read or
// change the file: see [private]. The error wraps ErrPermissions, and names the file and
// its mode.
func CheckPrivate(path string, info fs.FileInfo) error {
	if private(info) {
		return nil
	}
	return fmt.Errorf("%s (mode %04o) %w", path, info.Mode().Perm(), ErrPermissions)
}

// private reports whether only the owner of this process can read a file, and only that
// user or the superuser can change it. A file of the superuser may be readable by a group
// of this process, because Kubernetes mounts Secrets with fsGroup and a mode of 0440 or
// 0400. Whoever sets up that group must add nobody else to it.
func private(info fs.FileInfo) bool {
	switch info.Mode().Perm() & 0o077 {
	case 0:
		return true
	case 0o040:
		return givenByRoot(info)
	}
	return false
}
