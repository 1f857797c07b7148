package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is gone with the machine, or with its container, is warned of.
func TestVolatileFileSystems(t *testing.T) {
	const shared = "/dev/shm"
	var info unix.Statfs_t
	if unix.Statfs(shared, &info) != nil || uint32(info.Type) != unix.TMPFS_MAGIC {
		t.Skip("there is no tmpfs at " + shared)
	}
	folder, err := os.MkdirTemp(shared, "journal-test-") //nolint:usetesting // it has to be on the tmpfs
	if err != nil {
		t.Skip("nothing can be made in " + shared)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if words := strings.Join(Warnings(filepath.Join(folder, "j.db")), " "); !strings.Contains(words, "tmpfs") {
		t.Errorf("a journal in memory: %q", words)
	}
	for _, kind := range []uint32{unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC} {
		if memory[kind] == "" {
			t.Errorf("%x is not known", kind)
		}
	}
}
