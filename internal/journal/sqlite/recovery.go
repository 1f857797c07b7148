package sqlite

import (
	"context"

	"invoicebox-worker/internal/journal/stored"
)

// numberFact reads a fact that is a number, 0 if it is absent.
func numberFact(c *conn, name string) (int64, error) {
	r, err := c.one("SELECT value FROM meta WHERE name = ?", name)
	if err != nil || r == nil {
		return 0, err
	}
	return stored.UnpackNumber(name, r.blob(0))
}

// usedUp counts a whole limit of requests at an instant.
func (l *ledger) usedUp(from int64) {
	for range l.limit {
		l.add(rounded(from, l.limit, l.window))
	}
}

// RecoveryDue reads the file's own records.
func (j *Journal) RecoveryDue(ctx context.Context) (due bool, err error) {
	if j.lacks {
		return true, nil
	}
	return j.Journal.RecoveryDue(ctx)
}
