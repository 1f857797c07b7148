package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"invoicebox-worker/internal/journal"
)

// Scrub writes the file anew and empties its log, between two transactions of the writer.
// SQLite leaves what was deleted in pages that are not used any more, and copies of moved
// rows in those that are.
func (d database) Scrub(ctx context.Context) (bool, error) {
	return true, d.j.await(ctx, &request{alone: d.j.scrub, done: make(chan error, 1)}, 0)
}

func (j *Journal) scrub() (err error) {
	c, err := dial(j.path)
	if err != nil {
		return fmt.Errorf("journal: rewrite the file: %w", named(err))
	}
	defer func() { _ = c.close() }()
	// The writer's settings keep temporary tables in memory, and this one is as large as
	// the journal. It belongs on the journal's disk.
	for _, p := range []string{"busy_timeout=" + busyTimeout, "synchronous=FULL", "temp_store=FILE", "temp_store_directory=" + quoted(filepath.Dir(j.path))} {
		if _, err := c.one("PRAGMA " + p); err != nil {
			return fmt.Errorf("journal: rewrite the file: %w", named(err))
		}
	}
	defer func() { _, _ = c.one("PRAGMA temp_store_directory=''") }()
	pages, err := c.one("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
	if err != nil {
		return fmt.Errorf("journal: rewrite the file: %w", named(err))
	}
	// The new file, and the log with its pages.
	if need, free := 2*pages.int(0)+j.space.reserve, j.space.look(); free >= 0 && free < need {
		return fmt.Errorf("%w: rewriting the file needs %d bytes, and %d are free", journal.ErrFull, need, free)
	}
	if _, err := c.exec("VACUUM"); err != nil {
		return fmt.Errorf("journal: rewrite the file: %w", named(err))
	}
	r, err := c.one("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && r.int(0) != 0 {
		err = fmt.Errorf("journal: the log could not be emptied, because somebody reads it")
	}
	return named(err)
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
