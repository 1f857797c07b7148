package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// keyChange is the common part of the commands that change the keyset.
type keyChange struct {
	outputFlag
	Actor  string `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Reason string `name:"reason" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

// change reads the keyset file and calls f to change it. The audit entry is in the
// journal before the file changes.
func (c *keyChange) change(ctx context.Context, s *settings, env environment, f func(journal.Journal, *keyset.Set) (next *keyset.Set, act string, key journal.Key, err error)) error {
	if err := checkActor(&c.Actor, "--reason", c.Reason); err != nil {
		return err
	}
	if err := s.given.Require("keyset-file"); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		file, err := s.keysetFile(nil)
		if err != nil {
			return err
		}
		change, err := file.Change(ctx)
		if err != nil {
			return s.explainKeyset(err)
		}
		defer change.Cancel()
		if _, err := app.KeysetFits(ctx, j, change.Set()); err != nil {
			return err
		}
		next, act, key, err := f(j, change.Set())
		if err != nil {
			return err
		}
		audit := func(act string) error {
			return j.AppendAudit(ctx, journal.AuditEntry{At: time.Now(), Actor: c.Actor, Act: act, Subject: key.String(), Detail: strings.TrimSpace(s.KeysetFile + " " + c.Reason)})
		}
		if err := audit(act); err != nil {
			return fmt.Errorf("the keyset file is not changed, because it cannot be written to the audit trail: %w", err)
		}
		if err := change.Write(ctx, next, file.Wrap); err != nil {
			return errors.Join(&config.Error{Setting: "keyset-file", Value: s.KeysetFile, Want: "cannot be changed: " + config.ErrorText(err)}, audit(act+"_failed"))
		}
		return nil
	})
}

type keyChangeJSON struct {
	File  string   `json:"file"`
	Use   string   `json:"use"`
	ID    string   `json:"id"`
	State string   `json:"state"`          // of the key now: added, primary, dropped
	Lacks []string `json:"lacks,omitzero"` // running workers that do not have it yet
}

func changeView(s *settings, key journal.Key, state string) keyChangeJSON {
	return keyChangeJSON{File: s.KeysetFile, Use: keyUse(key.Purpose), ID: keyName(keyset.KeyID(key.ID)), State: state}
}

type keysRotate struct {
	keyChange
	Use  string        `name:"use" enum:"sealing,lookup" default:"sealing" group:"command" help:"Which key is rotated: sealing, which encrypts, or lookup, which makes digests (default ${default}). Values keep the digests of the look-up keys that they were written with."`
	Wait time.Duration `name:"wait" group:"command" placeholder:"TIME" help:"How long to wait until every running worker has the key, and then promote it. By default the command does not wait."`
}

const (
	waitEvery = time.Second
	waitMost  = 24 * time.Hour
)

// Run adds a key, or promotes the one that was added.
func (c *keysRotate) Run(ctx context.Context, s *settings, env environment) error {
	if c.Wait < 0 || c.Wait > waitMost {
		return &usageError{"--wait must be a time from 0s to 24h"}
	}
	purpose := keyset.Sealing
	if c.Use == useLookup {
		purpose = keyset.Lookup
	}
	var key journal.Key
	var lacks []string
	var state keyset.State
	step := func() error {
		return c.change(ctx, s, env, func(j journal.Journal, set *keyset.Set) (*keyset.Set, string, journal.Key, error) {
			added, found := addedKey(set, purpose)
			if !found {
				next, id, err := set.With(purpose)
				key = journal.Key{Purpose: journal.KeyPurpose(purpose), ID: uint32(id)}
				state = keyset.Added
				return next, "keys.add", key, err
			}
			key = journalKey(added)
			holders, err := app.KeyHolders(ctx, j)
			if err != nil {
				return nil, "", key, err
			}
			lacks = nil
			for _, h := range holders {
				if !slices.Contains(h.Has, key) {
					lacks = append(lacks, h.Owner)
				}
			}
			if len(lacks) > 0 {
				return nil, "", key, errKeyNotEverywhere
			}
			state = keyset.Primary
			next, err := set.Promoted(purpose, added.ID)
			return next, "keys.promote", key, err
		})
	}
	until := time.Now().Add(c.Wait)
	err := step()
	for c.Wait > 0 && (err == nil && state == keyset.Added || errors.Is(err, errKeyNotEverywhere)) && time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitEvery):
		}
		err = step()
	}
	if errors.Is(err, errKeyNotEverywhere) {
		return fmt.Errorf("%w: %v is not promoted, because these workers do not have it: %s. Give them the keyset file, and run the command again", err, key, strings.Join(lacks, ", "))
	}
	if err != nil {
		return err
	}
	return c.write(env.stdout, changeView(s, key, string(state)), func(w io.Writer) {
		if state == keyset.Added {
			_, _ = fmt.Fprintf(w, "%v was added to %s. Give the file to every worker, keep a copy, and run the command again: it promotes the key, and new rows are written with it.\n", key, s.KeysetFile)
			return
		}
		_, _ = fmt.Fprintf(w, "%v is the key for new rows. Give %s to every worker, and keep a copy.\n", key, s.KeysetFile)
		if purpose == keyset.Sealing {
			_, _ = fmt.Fprintln(w, "The running worker seals the older values with it. `keys list` shows how many need an older key; when none does, `keys drop` removes it.")
		}
	})
}

var errKeyNotEverywhere = errors.New("not every running worker has the key")

// addedKey finds the key that was added last and is not primary yet.
func addedKey(set *keyset.Set, p keyset.Purpose) (found keyset.Key, ok bool) {
	for _, k := range set.List() {
		if k.Purpose == p && k.State == keyset.Added {
			found, ok = k, true
		}
	}
	return found, ok
}

type keysDrop struct {
	keyChange
	Key string `arg:"" name:"key" help:"The key's id, as listed."`
}

// Run removes a key.
func (c *keysDrop) Run(ctx context.Context, s *settings, env environment) error {
	id, err := strconv.ParseUint(c.Key, 16, 32)
	if err != nil || len(c.Key) != 8 {
		return &usageError{"a key has eight hexadecimal digits, as `keys list` prints them"}
	}
	var key journal.Key
	err = c.change(ctx, s, env, func(j journal.Journal, set *keyset.Set) (*keyset.Set, string, journal.Key, error) {
		list, err := keyStatuses(ctx, j, set)
		if err != nil {
			return nil, "", key, err
		}
		at := slices.IndexFunc(list, func(k keyStatus) bool { return uint64(k.ID) == id && k.State != keyMissing })
		if at < 0 {
			return nil, "", key, fmt.Errorf("%s has no key %s: `keys list` lists its keys", s.KeysetFile, c.Key)
		}
		status := list[at]
		key = status.Key
		holders, err := app.KeyHolders(ctx, j)
		if err != nil {
			return nil, "", key, err
		}
		var writers []string
		for _, h := range holders {
			if slices.Contains(h.Writes, key) || h.Has == nil {
				writers = append(writers, h.Owner)
			}
		}
		switch {
		case status.State == string(keyset.Primary):
			return nil, "", key, fmt.Errorf("%v serves new rows: `keys rotate` replaces it", key)
		case status.Rows > 0 && key.Purpose == journal.KeySealing:
			return nil, "", key, fmt.Errorf("%v is needed by %d values: %s. A running worker seals them with the primary key", key, status.Rows, describeColumns(status.Columns))
		case status.Rows > 0:
			return nil, "", key, fmt.Errorf("%v is needed to find or check %d values: %s. It is needed for as long as they are kept", key, status.Rows, describeColumns(status.Columns))
		case len(writers) > 0:
			return nil, "", key, fmt.Errorf("%v was used for new rows a moment ago, or may have been, by %s: give them the keyset file, and try again in a minute", key, strings.Join(writers, ", "))
		}
		next, err := set.Without(keyset.Purpose(key.Purpose), keyset.KeyID(key.ID))
		return next, "keys.drop", key, err
	})
	if err != nil {
		return err
	}
	return c.write(env.stdout, changeView(s, key, "dropped"), func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%v was removed from %s. Give the file to every worker. Copies of the journal from before need a copy of the earlier file.\n", key, s.KeysetFile)
	})
}
