package app

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// usedKeys is a journal whose rows need keys.
type usedKeys struct {
	keys atomic.Pointer[[]journal.KeyRows]
}

func (u *usedKeys) UsedKeys(context.Context) (keys []journal.Key, err error) {
	for _, k := range *u.keys.Load() {
		keys = append(keys, k.Key)
	}
	return keys, nil
}

func (u *usedKeys) KeyRows(_ context.Context, keys []journal.Key) (list []journal.KeyRows, err error) {
	for _, k := range *u.keys.Load() {
		for _, asked := range keys {
			if k.Key == asked {
				list = append(list, k)
			}
		}
	}
	return list, nil
}

func TestKeyset(t *testing.T) {
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	all, primary := keysOf(keys)
	if len(all) != 2 || len(primary) != 2 || all[0] != primary[0] || all[1] != primary[1] {
		t.Fatalf("%v, %v", all, primary)
	}
	sealing, lookup := journal.Key{Purpose: journal.KeySealing, ID: 0x12ab}, journal.Key{Purpose: journal.KeyLookup, ID: 0xcd34}
	used := func(rows ...journal.KeyRows) *usedKeys {
		u := &usedKeys{}
		rows = append(rows, journal.KeyRows{Key: primary[0], Rows: 7}, journal.KeyRows{Key: primary[1], Rows: 8})
		u.keys.Store(&rows)
		return u
	}
	for name, c := range map[string]struct {
		journal *usedKeys
		want    []string // of the error; none: it is accepted
	}{
		"its own keys":               {used(), nil},
		"a key that no row needs":    {used(journal.KeyRows{Key: sealing}), nil},
		"a sealing key is missing":   {used(journal.KeyRows{Key: sealing, Rows: 3}), []string{"keyset-file", "sealing key 000012ab (3 rows)"}},
		"a look-up key is missing":   {used(journal.KeyRows{Key: lookup, Rows: 4}), []string{"keyset-file", "look-up key 0000cd34 (4 rows)"}},
		"both are missing":           {used(journal.KeyRows{Key: sealing, Rows: 3}, journal.KeyRows{Key: lookup, Rows: 4}), []string{"000012ab", "0000cd34"}},
		"the same number, other use": {used(journal.KeyRows{Key: journal.Key{Purpose: journal.KeyLookup, ID: primary[0].ID}, Rows: 1}), []string{"look-up key"}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			err := checkKeys(t.Context(), c.journal, keys)
			if (err == nil) != (c.want == nil) {
				t.Fatal(err)
			}
			for _, words := range c.want {
				if setting, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(setting.Setting+" "+setting.Error(), words) {
					t.Errorf("%v does not say %q", err, words)
				}
			}
		})
	}
	// A replica that runs stops when another one writes with a key that it lacks.
	t.Run("Watch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			j := used()
			ended := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				ended <- runBeside(func(ctx context.Context) error { <-ctx.Done(); return nil }, func(ctx context.Context) error { return watchKeys(ctx, j, keys) })(ctx)
			}()
			<-time.After(time.Minute)
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatal("it ended with its own keys:", err)
			default:
			}
			rows := append(*j.keys.Load(), journal.KeyRows{Key: lookup, Rows: 1})
			j.keys.Store(&rows)
			began := time.Now()
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "0000cd34") || time.Since(began) > keysEvery {
				t.Error(err, time.Since(began))
			}
			retired := &usedKeys{}
			retired.keys.Store(&[]journal.KeyRows{{Key: primary[0], Rows: 1}})
			if err := watchKeys(ctx, retired, keys); !errors.Is(err, journal.ErrKeyRetired) || !strings.Contains(err.Error(), primary[1].String()) {
				t.Error(err)
			}
			go func() { ended <- watchKeys(ctx, used(), keys) }()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
}
