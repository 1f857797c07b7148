package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// syncedWrites is how many writes SyncTime measures.
const syncedWrites = 7

// SyncTime measures how long the disk of a journal, which may not be there yet, needs to
// store a page durably: the median of several writes to a file that is removed.
func SyncTime(path string) (time.Duration, error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".check-*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	defer func() { _ = file.Close() }()
	page := make([]byte, 4096)
	var times []time.Duration
	for range syncedWrites {
		before := time.Now()
		if _, err := file.Write(page); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(before))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
