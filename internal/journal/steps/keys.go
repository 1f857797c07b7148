package steps

import (
	"context"
	"encoding/binary"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const (
	usedKeys  Query = "SELECT purpose, key FROM key_use ORDER BY purpose, since, key"
	keyUsed   Query = "INSERT INTO key_use (purpose, key, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
	keyUnused Query = "DELETE FROM key_use WHERE purpose = $1 AND key = $2"
)

type keyRow struct {
	Purpose journal.KeyPurpose `db:"purpose"`
	Key     uint32             `db:"key"`
}

func (r *keyRow) key() journal.Key { return journal.Key{Purpose: r.Purpose, ID: r.Key} }

// RegisterKeys records the keys that this process writes rows with.
func (j *Journal) RegisterKeys(ctx context.Context, primary, have []journal.Key) error {
	used, err := j.UsedKeys(ctx)
	if err != nil {
		return err
	}
	err = j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		for _, k := range journal.Retired(used, have) {
			u.exec(keyUnused, int64(k.Purpose), int64(k.ID))
		}
		for _, k := range primary {
			u.exec(keyUsed, int64(k.Purpose), int64(k.ID), u.now)
		}
		return nil
	}})
	if err == nil {
		j.keys.Store(&registeredKeys{primary, have})
	}
	return err
}

// registeredKeys are the keys of this process's keyset.
type registeredKeys struct{ primary, have []journal.Key }

func (u *Unit) askKeys() Ask {
	var s rows.Scanner[keyRow]
	u.intake.keys = []journal.Key{}
	return Ask{Query: usedKeys, Each: func(columns []string, values []any) error {
		r, err := s.Scan(columns, values)
		if err == nil {
			u.intake.keys = append(u.intake.keys, r.key())
		}
		return err
	}}
}

// checkKeys fails if another replica has written rows with a key that this one does
// not have, because this one would not find those rows. It also fails if another
// replica has retired a key of this one, because the other would not find the rows
// written with it. It checks nothing if only one process holds the database.
func (u *Unit) checkKeys() error {
	own := u.j.keys.Load()
	if own == nil || u.j.db.Exclusive() {
		return nil
	}
	if u.intake.keys == nil {
		u.load(u.askKeys())
	}
	if missing := journal.Without(u.intake.keys, own.have); len(missing) > 0 {
		return fmt.Errorf("%w: %v", journal.ErrKeyMissing, missing[0])
	}
	if retired := journal.Without(own.primary, u.intake.keys); len(retired) > 0 {
		return fmt.Errorf("%w: %v", journal.ErrKeyRetired, retired[0])
	}
	return nil
}

// UsedKeys lists the keys that were recorded.
func (j *Journal) UsedKeys(ctx context.Context) ([]journal.Key, error) {
	return list(ctx, j, usedKeys, nil, (*keyRow).key)
}

// KeyRows counts the values that need each of some keys. It reads each table once.
func (j *Journal) KeyRows(ctx context.Context, keys []journal.Key) ([]journal.KeyRows, error) {
	counts := make([]journal.KeyRows, len(keys))
	for i, k := range keys {
		counts[i].Key = k
	}
	for _, c := range journal.KeyColumns() {
		if err := read(ctx, j, rowsByKey(c), nil, func(r *keyRows) error {
			id := uint32(r.ID) // #nosec G115 -- as it was stored
			if r.Begin != nil {
				id = binary.BigEndian.Uint32(r.Begin)
			}
			for i := range counts {
				if counts[i].Purpose == c.Purpose && counts[i].ID == id {
					counts[i].Rows += r.N
					counts[i].Columns = append(counts[i].Columns, journal.ColumnRows{Table: c.Table, Column: c.Column, Rows: r.N})
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// keyRows are the values of a column with one key: of its id, or of the bytes with
// which the value names it.
type keyRows struct {
	ID    int64  `db:"id"`
	Begin []byte `db:"begin"`
	N     int64  `db:"n"`
}

// rowsByKey counts the values of a column by their key. It scans the table: it is for
// an operator who changes the keyset.
func rowsByKey(c journal.KeyColumn) Query {
	switch {
	case c.Column == journal.KeysetCheckColumn:
		return "SELECT substr(value, 2, 4) AS begin, count(*) AS n FROM meta WHERE name = 'keyset_check' AND octet_length(value) > 5 GROUP BY 1"
	case c.Purpose == journal.KeyLookup:
		q := "SELECT substr(" + c.Column + ", 1, 4) AS begin, count(*) AS n FROM " + c.Table + " WHERE octet_length(" + c.Column + ") >= 4"
		if c.Waiting {
			q += " AND state = 1"
		}
		return Query(q + " GROUP BY 1")
	}
	return Query("SELECT " + c.Column + " AS id, count(*) AS n FROM " + c.Table + " WHERE " + c.Column + " IS NOT NULL GROUP BY 1")
}
