package postgres

import (
	"context"
	"errors"
	"slices"

	"invoicebox-worker/internal/journal"
)

// Only the replica that publishes seals values again.
func testReseal(b *bed) {
	first, second := b.open(), b.open()
	ctx := context.Background()
	if err := first.SetKeysetCheck(ctx, []byte{1, 0, 0, 0, 1, 9}); err != nil {
		b.Fatal(err)
	}
	again := func(string, []byte) ([]byte, error) { return []byte{1, 0, 0, 0, 2, 9}, nil }
	r := journal.Reseal{Column: journal.SealedCheck, Key: 2}
	if _, err := first.AcquireLease(ctx); err != nil {
		b.Fatal(err)
	}
	if got, err := second.Reseal(ctx, r, again); !errors.Is(err, journal.ErrStale) {
		b.Errorf("beside the one that publishes: %+v, %v", got, err)
	}
	if err := first.ReleaseLease(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := second.AcquireLease(ctx); err != nil {
		b.Fatal(err)
	}
	if got, err := first.Reseal(ctx, r, again); !errors.Is(err, journal.ErrStale) {
		b.Errorf("after the lease was released: %+v, %v", got, err)
	}
	if got, err := second.Reseal(ctx, r, again); err != nil || got.Rows != 1 {
		b.Errorf("with the lease: %+v, %v", got, err)
	}
}

// A replica takes nothing in beside one that writes with a key that it lacks, nor
// beside one that lacks the key with which it writes itself.
func testKeys(b *bed) {
	first, second := b.open(), b.open()
	shared := journal.Key{Purpose: journal.KeyLookup, ID: 1}
	old, fresh := journal.Key{Purpose: journal.KeyLookup, ID: 2}, journal.Key{Purpose: journal.KeyLookup, ID: 3}
	ctx := context.Background()
	register := func(j *Journal, primary journal.Key, more ...journal.Key) {
		b.Helper()
		if err := j.RegisterKeys(ctx, []journal.Key{primary}, append(slices.Clone(more), primary)); err != nil {
			b.Fatal(err)
		}
	}
	take := func(j *Journal) error {
		_, err := j.Ingest(ctx, journal.Batch{Topic: topic, From: b.next, Next: b.next})
		return err
	}
	register(first, old, shared)
	register(second, shared, old)
	if err := errors.Join(take(first), take(second)); err != nil {
		b.Fatal(err)
	}
	register(second, fresh, shared, old)
	if err := take(first); !errors.Is(err, journal.ErrKeyMissing) {
		b.Errorf("beside a key that it lacks: %v", err)
	}
	register(first, old, shared, fresh)
	if err := errors.Join(take(first), take(second)); err != nil {
		b.Fatal(err)
	}
	// No row needs the old key.
	register(second, fresh, shared)
	if err := take(first); !errors.Is(err, journal.ErrKeyRetired) {
		b.Errorf("with a key that another lacks: %v", err)
	}
	if err := take(second); err != nil {
		b.Error(err)
	}
}
