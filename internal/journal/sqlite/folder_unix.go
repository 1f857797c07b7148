//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
)

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	d, err := os.Open(path) // #nosec G304 -- the folder of the journal
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("journal: sync the folder: %w", err)
	}
	return nil
}
