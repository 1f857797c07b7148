package sqlite

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// Commands beside a working worker append intents; the worker finds each once.
func TestIntentsBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	j := mustOpen(t, options(path))
	ctx := t.Context()
	if err := j.EnsureAccount(ctx, benchAccount, "p"); err != nil {
		t.Fatal(err)
	}
	const commands, each = 4, 10
	var all sync.WaitGroup
	for range commands {
		all.Go(func() {
			beside, err := Open(ctx, Options{Path: path, ReadOnly: true})
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "pause", Account: benchAccount}
				if err := beside.AppendIntent(ctx, i, journal.AuditEntry{Act: "asked", Subject: i.UUID.String()}); err != nil {
					t.Error(err)
				}
			}
			if _, err := beside.PendingIntents(ctx, 1, nil); !errors.Is(err, journal.ErrReadOnly) {
				t.Errorf("the work is given out beside the worker: %v", err)
			}
			if err := beside.EndIntent(ctx, journal.IntentEnd{ID: 1, State: journal.IntentRefused}); !errors.Is(err, journal.ErrReadOnly) {
				t.Errorf("an intent is ended beside the worker: %v", err)
			}
			if err := beside.Close(); err != nil {
				t.Error(err)
			}
			if err := beside.AppendIntent(ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: benchAccount}, journal.AuditEntry{}); !errors.Is(err, journal.ErrClosed) {
				t.Errorf("after closing: %v", err)
			}
		})
	}
	seen := map[uuid.UUID]bool{}
	finish := func() {
		list, err := j.PendingIntents(ctx, 5, nil)
		if err != nil {
			t.Error(err)
		}
		for _, i := range list {
			if seen[i.UUID] {
				t.Errorf("%s is there twice", i.UUID)
			}
			seen[i.UUID] = true
			if err := j.EndIntent(ctx, journal.IntentEnd{ID: i.ID, State: journal.IntentPerformed, Audit: journal.AuditEntry{Act: "performed"}}); err != nil {
				t.Error(err)
			}
		}
	}
	appended := make(chan struct{})
	go func() { all.Wait(); close(appended) }()
	for done := false; !done; {
		select {
		case <-appended:
			done = true
		default:
		}
		finish()
	}
	for len(seen) < commands*each && !t.Failed() {
		finish()
	}
	entries, err := j.Audit(ctx, 0, 1000)
	if err != nil || len(entries) != 2*commands*each {
		t.Errorf("%d audit entries, want %d: %v", len(entries), 2*commands*each, err)
	}
}
