//go:build unix

package keyset

import (
	"fmt"
	"os"
	"syscall"
)

// keepOwner gives a file to the owner of another one: root may change the keyset of
// a service that does not run as root.
func keepOwner(of, path string) error {
	info, err := os.Stat(of)
	if err != nil {
		return err
	}
	had, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(had.Uid) == os.Geteuid() {
		return nil
	}
	return os.Lchown(path, int(had.Uid), int(had.Gid))
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path) // #nosec G304 -- the folder of a file that the operator names
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	return nil
}
