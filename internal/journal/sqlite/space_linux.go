package sqlite

import "syscall"

// diskFree returns how many bytes this user can still write to a folder's disk.
func diskFree(folder string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, err
	}
	free := int64(s.Bavail * uint64(s.Bsize)) // #nosec G115 -- a disk of 2^63 bytes is not ours
	return max(0, free), nil
}
