package postgres

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
)

const usedKeys = "SELECT purpose, key FROM key_use ORDER BY purpose, since, key"

// keysInUse are the keys of this process's keyset.
type keysInUse struct{ primary, have []journal.Key }

// RegisterKeys records the keys that this process writes rows with.
func (j *Journal) RegisterKeys(ctx context.Context, primary, have []journal.Key) error {
	err := j.Journal.RegisterKeys(ctx, primary, have)
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
