package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/schemas"
)

const (
	benchTopic   = schemas.TypeCodeEntered
	benchAccount = "default"
)

// TestConformance runs the suite. A crash is an image of the files, taken while
// the journal is open: that is what the death of a process leaves.
func TestConformance(t *testing.T) {
	journaltest.Run(t, func(t *testing.T, planner journal.Planner, now func() time.Time) (journal.Journal, func() journal.Journal) {
		dir := t.TempDir()
		path := filepath.Join(dir, "journal.db")
		open := func(path string) *Journal {
			j, err := Open(t.Context(), Options{Path: path, Planner: planner, Now: now, Recover: true, Mark: sameFile, checkRows: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			})
			return j
		}
		times := 0
		return open(path), func() journal.Journal {
			times++
			image := filepath.Join(dir, fmt.Sprintf("crash-%d.db", times))
			for _, suffix := range []string{"", "-wal"} {
				journaltest.CopyFile(t, path+suffix, image+suffix)
			}
			path = image
			return open(path)
		}
	})
}

// sameFile makes an image of the files count as the files themselves.
func sameFile(string) string { return "the same" }
