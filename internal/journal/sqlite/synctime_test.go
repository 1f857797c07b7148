package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSyncTime(t *testing.T) {
	folder := t.TempDir()
	took, err := SyncTime(filepath.Join(folder, "j.db"))
	left, readErr := os.ReadDir(folder)
	if err != nil || took <= 0 || readErr != nil || len(left) > 0 {
		t.Errorf("%v, %v; it leaves %v, %v", took, err, left, readErr)
	}
	if _, err := SyncTime(filepath.Join(folder, "none", "j.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}
