package sqlite

import (
	"context"
	"encoding/binary"

	"invoicebox-worker/internal/journal"
)

// RegisterKeys records the keys that this process writes rows with. The file is
// this process's alone, so that nobody records another.
func (j *Journal) RegisterKeys(ctx context.Context, primary, have []journal.Key) error {
	used, err := j.UsedKeys(ctx)
	if err != nil {
		return err
	}
	return j.submit(ctx, 0, func(t *tx) error {
		for _, k := range journal.Retired(used, have) {
			if _, err := t.exec("DELETE FROM key_use WHERE purpose = ? AND key = ?", int64(k.Purpose), int64(k.ID)); err != nil {
				return err
			}
		}
		for _, k := range primary {
			if _, err := t.exec("INSERT INTO key_use (purpose, key, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", int64(k.Purpose), int64(k.ID), t.now); err != nil {
				return err
			}
		}
		return nil
	})
}

// UsedKeys lists the keys that were recorded.
func (j *Journal) UsedKeys(ctx context.Context) (keys []journal.Key, err error) {
	err = j.read(ctx, "SELECT purpose, key FROM key_use ORDER BY purpose, since, key", nil, func(scan scanner) error {
		var k journal.Key
		err := scan(&k.Purpose, &k.ID)
		keys = append(keys, k)
		return err
	})
	return keys, err
}

// KeyRows counts the rows that need each of some keys.
func (j *Journal) KeyRows(ctx context.Context, keys []journal.Key) (list []journal.KeyRows, err error) {
	for _, k := range keys {
		rows := journal.KeyRows{Key: k}
		for _, c := range journal.KeyColumns() {
			if c.Purpose != k.Purpose {
				continue
			}
			where, value := c.Column+" = ?", any(int64(k.ID))
			if k.Purpose == journal.KeyLookup {
				where, value = "substr("+c.Column+", 1, 4) = ?", binary.BigEndian.AppendUint32(nil, k.ID)
			}
			if c.Waiting {
				where += " AND state = 1"
			}
			if err := j.read(ctx, "SELECT count(*) FROM "+c.Table+" WHERE "+where, in{value}, func(scan scanner) error {
				var n int64
				err := scan(&n)
				rows.Rows += n
				return err
			}); err != nil {
				return nil, err
			}
		}
		list = append(list, rows)
	}
	return list, nil
}
