package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// keysEvery is how often a worker looks whether another one writes rows with a
// key that its keyset does not have.
const keysEvery = 5 * time.Second

// A keyReader says which keys the rows of a journal need.
type keyReader interface {
	UsedKeys(ctx context.Context) ([]journal.Key, error)
	KeyRows(ctx context.Context, keys []journal.Key) ([]journal.KeyRows, error)
}

// keysOf lists the keys of a keyset, all and those that serve new rows.
func keysOf(set *keyset.Set) (all, primary []journal.Key) {
	sealing, lookup := set.Keys()
	for _, id := range sealing {
		all = append(all, journal.Key{Purpose: journal.KeySealing, ID: uint32(id)})
	}
	for _, id := range lookup {
		all = append(all, journal.Key{Purpose: journal.KeyLookup, ID: uint32(id)})
	}
	s, l := set.PrimaryKeys()
	return all, []journal.Key{{Purpose: journal.KeySealing, ID: uint32(s)}, {Purpose: journal.KeyLookup, ID: uint32(l)}}
}

// checkKeys refuses a keyset that lacks a key which rows of the journal need: they
// would not open, and a code that was sent would not be found and be sent again.
func checkKeys(ctx context.Context, j keyReader, set *keyset.Set) error {
	used, err := j.UsedKeys(ctx)
	if err != nil {
		return fmt.Errorf("journal: read which keys are used: %w", err)
	}
	all, _ := keysOf(set)
	missing := journal.Without(used, all)
	if len(missing) == 0 {
		return nil
	}
	counted, err := j.KeyRows(ctx, missing)
	if err != nil {
		return fmt.Errorf("journal: count the rows that need a key: %w", err)
	}
	var words []string
	for _, k := range counted {
		if k.Rows > 0 {
			words = append(words, fmt.Sprintf("%s (%d rows)", k.Key, k.Rows))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return errMissingKeys(words)
}

func errMissingKeys(words []string) error {
	return &config.Error{Setting: "keyset-file", Want: "the keyset lacks keys that rows of the journal need: " + strings.Join(words, ", ") +
		"; use the keyset file of the workers that wrote those rows (`keys list` shows the keys of a file)"}
}

// useKeys refuses a keyset that lacks a key, and records the keys that rows are
// written with from now on.
func useKeys(ctx context.Context, j journal.Journal, set *keyset.Set) error {
	if err := checkKeys(ctx, j, set); err != nil {
		return err
	}
	all, primary := keysOf(set)
	if err := j.RegisterKeys(ctx, primary, all); err != nil {
		return fmt.Errorf("journal: record which keys are used: %w", err)
	}
	return nil
}

// watchKeys runs until ctx ends, or until another replica writes rows with a key
// that this keyset does not have: this worker would not find those rows. It ends
// also when another replica does not have a key that this one writes with.
func watchKeys(ctx context.Context, j keyReader, set *keyset.Set) error {
	all, primary := keysOf(set)
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		used, err := j.UsedKeys(ctx)
		if err != nil {
			continue // the journal's line of /readyz reports it
		}
		if retired := journal.Without(primary, used); len(retired) > 0 {
			return fmt.Errorf("%w: %v; give all workers the same keyset-file", journal.ErrKeyRetired, retired[0])
		}
		if missing := journal.Without(used, all); len(missing) > 0 {
			if err := checkKeys(ctx, j, set); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
		}
	}
}

// runBeside runs two components; each ends when the other fails.
func runBeside(run, watch func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error { return run(ctx) })
		both.Go(func() error { return watch(ctx) })
		return both.Wait()
	}
}
