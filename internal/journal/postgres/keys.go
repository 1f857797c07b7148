package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	"invoicebox-worker/internal/journal"
)

const usedKeys = "SELECT purpose, key FROM key_use ORDER BY purpose, since, key"

// keysInUse are the keys of this process's keyset.
type keysInUse struct{ primary, have []journal.Key }

// RegisterKeys records the keys that this process writes rows with.
func (j *Journal) RegisterKeys(ctx context.Context, primary, have []journal.Key) error {
	used, err := j.UsedKeys(ctx)
	if err != nil {
		return err
	}
	err = j.submit(ctx, 0, needs{}, func(t *tx) error {
		for _, k := range journal.Retired(used, have) {
			if _, err := t.exec("DELETE FROM key_use WHERE purpose = $1 AND key = $2", int64(k.Purpose), int64(k.ID)); err != nil {
				return err
			}
		}
		for _, k := range primary {
			if _, err := t.exec("INSERT INTO key_use (purpose, key, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", int64(k.Purpose), int64(k.ID), t.now); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		j.keys.Store(&keysInUse{primary, have})
	}
	return err
}

// knowsKeys refuses what another replica has written with a key that this one
// does not have: it would not find it. It refuses also to write with a key that
// another replica retired: that one would not find it.
func (j *Journal) knowsKeys(used []row) error {
	own := j.keys.Load()
	if own == nil {
		return nil
	}
	keys := make([]journal.Key, len(used))
	for i, r := range used {
		keys[i] = keyOf(r)
	}
	if missing := journal.Without(keys, own.have); len(missing) > 0 {
		return fmt.Errorf("%w: %v", journal.ErrKeyMissing, missing[0])
	}
	if retired := journal.Without(own.primary, keys); len(retired) > 0 {
		return fmt.Errorf("%w: %v", journal.ErrKeyRetired, retired[0])
	}
	return nil
}

func keyOf(r row) journal.Key {
	return journal.Key{Purpose: journal.KeyPurpose(r.int(0)), ID: uint32(r.int(1))} // #nosec G115 -- our own numbers
}

// UsedKeys lists the keys that were recorded.
func (j *Journal) UsedKeys(ctx context.Context) (keys []journal.Key, err error) {
	err = j.read(ctx, usedKeys, func(r row) error {
		keys = append(keys, keyOf(r))
		return nil
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
			where, value := c.Column+" = $1", any(int64(k.ID))
			if k.Purpose == journal.KeyLookup {
				where, value = "substring("+c.Column+" from 1 for 4) = $1", binary.BigEndian.AppendUint32(nil, k.ID)
			}
			if c.Waiting {
				where += " AND state = 1"
			}
			if err := j.read(ctx, "SELECT count(*) FROM "+c.Table+" WHERE "+where, func(r row) error {
				rows.Rows += r.int(0)
				return nil
			}, value); err != nil {
				return nil, err
			}
		}
		list = append(list, rows)
	}
	return list, nil
}
