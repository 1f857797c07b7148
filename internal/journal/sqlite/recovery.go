package sqlite

import (
	"context"
	"fmt"
	"strconv"
)

const setMeta = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// metaNumber reads a fact that is a number, 0 if it is absent.
func metaNumber(c *conn, name string) (int64, error) {
	r, err := c.one("SELECT value FROM meta WHERE name = ?", name)
	if err != nil || r == nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(r.blob(0)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("journal: meta %q is damaged", name)
	}
	return n, nil
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

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
