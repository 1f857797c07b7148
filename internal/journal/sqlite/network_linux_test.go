package sqlite

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"invoicebox-worker/internal/journal"
)

// A journal that another machine keeps is refused, whatever its settings say.
func TestNetworkFileSystems(t *testing.T) {
	for kind, name := range networks {
		if err := localDisk("/srv", kind); !errors.Is(err, journal.ErrNotDurable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []uint32{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.TMPFS_MAGIC} {
		if err := localDisk("/srv", kind); err != nil {
			t.Errorf("%#x: %v", kind, err)
		}
	}
	if err := checkDisk(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := checkDisk(t.TempDir() + "/none"); err == nil {
		t.Error("a folder that is not there is a good one")
	}
}
