package sqlite

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"invoicebox-worker/internal/journal"
)

// networks are the file systems, by the number that statfs returns, whose files are on
// another machine. Their locks and syncs are not reliable, nor is the memory that SQLite
// shares beside its log.
var networks = map[uint32]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CODA_SUPER_MAGIC: "Coda",
}

// memory are the file systems whose files end with the machine, or with the container that
// they belong to.
var memory = map[uint32]string{
	unix.TMPFS_MAGIC:           "tmpfs (memory)",
	unix.RAMFS_MAGIC:           "ramfs (memory)",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs (a container's own layer)",
}

// volatileFileSystem names the file system of a folder if files on it do not last, else "".
func volatileFileSystem(folder string) string {
	var info unix.Statfs_t
	if unix.Statfs(folder, &info) != nil {
		return ""
	}
	return memory[uint32(info.Type)] // the kernel's numbers have 32 bits
}

// checkDisk refuses a folder on another machine.
func checkDisk(folder string) error {
	var info unix.Statfs_t
	for {
		switch err := unix.Statfs(folder, &info); {
		case err == nil:
			return localDisk(folder, uint32(info.Type)) // the kernel's numbers have 32 bits
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("journal: %s: %w", folder, err)
		}
	}
}

func localDisk(folder string, kind uint32) error {
	if name, ok := networks[kind]; ok {
		return fmt.Errorf("%w: the folder %s is on a network file system (%s)", journal.ErrNotDurable, folder, name)
	}
	return nil
}
