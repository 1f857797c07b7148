package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	keys       atomic.Pointer[[]journal.KeyRows]
	registered atomic.Uint32 // the sealing key that serves new rows
}

// RegisterKeys adds the primary keys to those that rows may need.
func (u *usedKeys) RegisterKeys(_ context.Context, primary, _ []journal.Key) error {
	rows := *u.keys.Load()
	for _, k := range primary {
		if !slices.ContainsFunc(rows, func(r journal.KeyRows) bool { return r.Key == k }) {
			rows = append(rows, journal.KeyRows{Key: k})
		}
	}
	u.keys.Store(&rows)
	u.registered.Store(primary[0].ID)
	return nil
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
			run := func(ctx context.Context, j *usedKeys) error {
				return newKeyKeeper(&Options{Keyset: keys}, j, nil, slog.New(slog.DiscardHandler)).run(ctx)
			}
			go func() {
				ended <- runBeside(func(ctx context.Context) error { <-ctx.Done(); return nil }, func(ctx context.Context) error { return run(ctx, j) })(ctx)
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
			if err := run(ctx, retired); !errors.Is(err, journal.ErrKeyRetired) || !strings.Contains(err.Error(), primary[1].String()) {
				t.Error(err)
			}
			go func() { ended <- run(ctx, used()) }()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
}

// A worker takes the keys of its changed file into use, tells the journal before, and
// refuses a file that lacks a key that rows need.
func TestKeysetReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inUse := must(keyset.New())
		started := must(inUse.Promoted(keyset.Sealing, first(inUse.PrimaryKeys())))
		var file atomic.Pointer[keyset.Set]
		file.Store(started)
		j := &usedKeys{}
		j.set(inUse, 5)
		changes := 0
		k := newKeyKeeper(&Options{Keyset: inUse, KeysetNow: file.Load}, j, func() { changes++ }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.run(ctx) }()
		wait := func() {
			<-time.After(keysEvery + time.Millisecond)
			synctest.Wait()
		}
		old := k.report()
		added, id, err := started.With(keyset.Sealing)
		if err != nil {
			t.Fatal(err)
		}
		file.Store(added)
		wait()
		if got := k.report(); len(got) != 3 || changes != 1 || got[0] != old[0] {
			t.Fatalf("after a key was added: %+v, %d changes", got, changes)
		}
		file.Store(must(added.Promoted(keyset.Sealing, id)))
		wait()
		is := workerKey{journal.KeySealing, uint32(id), true}
		if got := k.report(); got[0] != is || !got[1].Writes {
			t.Errorf("right after it was promoted: %+v", got)
		}
		if j.registered.Load() != uint32(id) {
			t.Errorf("the journal knows of %08x", j.registered.Load())
		}
		<-time.After(keyLingers)
		if got := k.report(); got[0] != is || got[1].Writes {
			t.Errorf("a minute after it was promoted: %+v", got)
		}
		// The old key is dropped although rows need it.
		dropped := must(file.Load().Without(keyset.Sealing, keyset.KeyID(old[0].ID)))
		file.Store(dropped)
		wait()
		if got := k.report(); len(got) != 3 || k.Look() == nil || !strings.Contains(k.Look().Error(), "5 rows") {
			t.Errorf("without a key that is needed: %+v, %v", got, k.Look())
		}
		// Another file is refused too, and one that is right again is used.
		file.Store(must(keyset.New()))
		wait()
		if got := k.report(); len(got) != 3 || k.Look() == nil {
			t.Errorf("with another keyset: %+v, %v", got, k.Look())
		}
		j.set(dropped, 5)
		file.Store(must(dropped.Promoted(keyset.Sealing, id)))
		wait()
		if got := k.report(); len(got) != 2 || got[0] != is || k.Look() != nil {
			t.Errorf("without the key that nothing needs: %+v, %v", got, k.Look())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func first(a, _ keyset.KeyID) keyset.KeyID { return a }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// set has each primary key of a set needed by so many rows.
func (u *usedKeys) set(keys *keyset.Set, rows int64) {
	_, primary := keysOf(keys)
	u.keys.Store(&[]journal.KeyRows{{Key: primary[0], Rows: rows}, {Key: primary[1], Rows: rows}})
}
