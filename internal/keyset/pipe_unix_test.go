//go:build unix

package keyset_test

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
)

// Opening a pipe waits for a writer, which would hang the start for ever.
func TestLoadDoesNotWaitForAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (keyset.File{Path: path}).Load(t.Context()); !errors.Is(err, secretfile.ErrNotRegular) {
		t.Errorf("a pipe: %v", err)
	}
}
