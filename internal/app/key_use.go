package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

const (
	// keysEvery is how often a worker checks whether its keyset file has changed, and
	// whether another worker writes rows with a key that its keyset does not have.
	keysEvery = 5 * time.Second
	// keyLingers is for how long work that has begun may still seal with a key that no
	// longer serves new rows.
	keyLingers = time.Minute
)

// A keyReader reads which keys the rows of a journal need.
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

// checkKeys refuses a keyset that lacks a key which rows of the journal need. Without
// it those rows cannot be decrypted, and a code that was sent is not found and would be
// sent again.
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

// A keyJournal is the part of the journal that a worker's keys need; see
// [journal.Keys].
type keyJournal interface {
	keyReader
	RegisterKeys(ctx context.Context, primary, have []journal.Key) error
}

// useKeys refuses a keyset that lacks a key, and records the keys that rows are
// written with from now on.
func useKeys(ctx context.Context, j keyJournal, set *keyset.Set) error {
	if err := checkKeys(ctx, j, set); err != nil {
		return err
	}
	all, primary := keysOf(set)
	if err := j.RegisterKeys(ctx, primary, all); err != nil {
		return fmt.Errorf("journal: record which keys are used: %w", err)
	}
	return nil
}

// A keyKeeper applies changes of a worker's keyset file.
type keyKeeper struct {
	journal keyJournal
	keys    *keyset.Set        // used by the worker
	file    func() *keyset.Set // the present keyset of the file; nil: it never changes
	changed func()             // called after other keys came into use; may be nil
	log     *slog.Logger

	mu      sync.Mutex
	last    *keyset.Set               // of the file, which is used or was refused
	refused error                     // why it was refused
	lingers map[journal.Key]time.Time // since when a key no longer serves new rows
}

func newKeyKeeper(o *Options, j keyJournal, changed func(), log *slog.Logger) *keyKeeper {
	k := &keyKeeper{journal: j, keys: o.Keyset, file: o.KeysetNow, changed: changed, log: log, lingers: map[journal.Key]time.Time{}}
	if k.file != nil {
		k.last = k.file()
		if now, used := k.last.List(), k.keys.List(); !slices.Equal(now, used) {
			k.last = nil // it changed while the service started
		}
	}
	return k
}

// Setting and Look report a fault of the keys of the file.
func (k *keyKeeper) Setting() string { return "keyset-file" }

// Look returns the fault that /readyz reports.
func (k *keyKeeper) Look() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refused
}

// run runs until ctx ends, until another replica writes rows with a key that this worker
// does not have, or until another replica lacks a key that this one writes with. In both
// cases one of them would not find rows of the other.
func (k *keyKeeper) run(ctx context.Context) error {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		k.reload(ctx)
		all, primary := keysOf(k.keys)
		used, err := k.journal.UsedKeys(ctx)
		if err != nil {
			continue // the journal's line of /readyz reports it
		}
		if retired := journal.Without(primary, used); len(retired) > 0 {
			return fmt.Errorf("%w: %v; give all workers the same keyset-file", journal.ErrKeyRetired, retired[0])
		}
		if missing := journal.Without(used, all); len(missing) > 0 {
			if err := checkKeys(ctx, k.journal, k.keys); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
		}
	}
}

// reload applies the keys of a changed file. The journal records which keys serve new rows
// before one does.
func (k *keyKeeper) reload(ctx context.Context) {
	if k.file == nil {
		return
	}
	now := k.file()
	if now == k.last {
		return
	}
	err := useKeys(ctx, k.journal, now)
	if _, wrong := errors.AsType[*config.Error](err); err != nil && !wrong {
		return // the journal is unreachable; retried at the next check
	}
	k.mu.Lock()
	k.last, k.refused = now, err
	k.mu.Unlock()
	if err != nil {
		k.log.Error("the keyset file has changed and is not used", "err", err.Error())
		return
	}
	_, was := keysOf(k.keys)
	k.keys.Replace(now)
	_, is := keysOf(k.keys)
	k.mu.Lock()
	for _, key := range journal.Without(was, is) {
		k.lingers[key] = time.Now()
	}
	k.mu.Unlock()
	var words []string
	for _, key := range k.keys.List() {
		words = append(words, describeKey(key))
	}
	k.log.Info("the keys of the changed keyset file are in use", "keys", strings.Join(words, ", "))
	if k.changed != nil {
		k.changed()
	}
}

func describeKey(k keyset.Key) string {
	return fmt.Sprintf("%v (%s)", journal.Key{Purpose: journal.KeyPurpose(k.Purpose), ID: uint32(k.ID)}, k.State)
}

// A workerKey is a key that a worker has loaded.
type workerKey struct {
	Purpose journal.KeyPurpose `json:"purpose"`
	ID      uint32             `json:"id"`
	// Writes: the worker writes rows with it, or did recently.
	Writes bool `json:"writes,omitzero"`
}

// report lists the keys for the worker's report.
func (k *keyKeeper) report() (list []workerKey) {
	all, primary := keysOf(k.keys)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range all {
		since, lingers := k.lingers[key]
		list = append(list, workerKey{key.Purpose, key.ID, slices.Contains(primary, key) || lingers && time.Since(since) < keyLingers})
	}
	return list
}

// A KeyHolder is a running worker, with the keys that it has loaded.
type KeyHolder struct {
	Owner string
	Has   []journal.Key
	// Writes are the keys that it writes rows with, or did recently.
	Writes []journal.Key
}

// KeyHolders lists the running workers.
func KeyHolders(ctx context.Context, j journal.Journal) (list []KeyHolder, err error) {
	reports, _, err := reportsOfRunning(ctx, j)
	if err != nil {
		return nil, err
	}
	for _, r := range reports {
		h, f := KeyHolder{Owner: r.Owner}, workerFacts{}
		_ = json.Unmarshal(r.Facts, &f) // the report of another version may have no keys
		for _, k := range f.Keys {
			key := journal.Key{Purpose: k.Purpose, ID: k.ID}
			h.Has = append(h.Has, key)
			if k.Writes {
				h.Writes = append(h.Writes, key)
			}
		}
		list = append(list, h)
	}
	return list, nil
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
