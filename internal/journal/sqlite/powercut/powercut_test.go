package powercut_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/journal/sqlite/powercut"
)

// An ack is something that the journal said is done, and when it said so.
type ack struct {
	act     string
	attempt journal.AttemptID
	moment  int
}

// record uses a journal until its log has been moved into the database more
// than once, and returns what it acknowledged.
func record(t *testing.T) (*powercut.Log, []ack) {
	t.Helper()
	dir := t.TempDir()
	log, err := powercut.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Stop()
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "j.db"), Planner: journaltest.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
		t.Fatal(err)
	}
	before := log.Syncs("j.db")
	var (
		mu   sync.Mutex
		acks []ack
		wg   sync.WaitGroup
	)
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				a := ack{act: fmt.Sprintf("%d-%d", w, i)}
				err := j.AppendAudit(context.Background(), journal.AuditEntry{Act: a.act, Detail: strings.Repeat("x", 40_000)})
				if err == nil {
					a.attempt, err = j.BeginCheck(context.Background(), journal.Check{
						Account: "a", SendBy: time.Hour, Deadline: time.Hour,
						Permits: []journal.Permit{{RateLimit: "l", Limit: 1_000_000, Window: time.Hour, Slack: time.Hour}},
					})
				}
				if err != nil {
					t.Error(err)
					return
				}
				a.moment = log.Now()
				mu.Lock()
				acks = append(acks, a)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// Each checkpoint syncs the database.
	if n := log.Syncs("j.db") - before; n < 2 {
		t.Fatalf("the log was moved into the database %d times", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return log, acks
}

// lost opens the journal that a power cut leaves behind and returns how many
// acknowledged things are not in it.
func lost(t *testing.T, log *powercut.Log, c powercut.Cut, acks []ack) (missing int, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := log.Image(c, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "j.db")
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain})
	if err != nil {
		return 0, err
	}
	there := map[string]bool{}
	for before := int64(0); ; {
		page, err := j.Audit(t.Context(), before, 1000)
		if err != nil {
			return 0, errors.Join(err, j.Close())
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			there[e.Act], before = true, e.ID
		}
	}
	last := journal.AttemptID(0)
	for _, a := range acks {
		if a.moment <= c.At {
			last = max(last, a.attempt)
			if !there[a.act] {
				missing++
			}
		}
	}
	// A ledger that forgot would give the same number again.
	if err := j.EnsureAccount(t.Context(), "a", "p"); err != nil {
		return 0, errors.Join(err, j.Close())
	}
	id, err := j.BeginCheck(t.Context(), journal.Check{Account: "a", SendBy: time.Hour, Deadline: time.Hour})
	if err == nil && id <= last {
		missing++
	}
	return missing, errors.Join(err, j.Close(), sound(path))
}

// sound lets SQLite look through the whole file.
func sound(path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return errors.New(verdict)
	}
	return nil
}

// The power goes at moments all over a run: what was acknowledged by then is
// there, and the file is sound, whatever came of what was not synced.
func TestPowerCut(t *testing.T) {
	log, acks := record(t)
	moments := 15
	if testing.Short() {
		moments = 4
	}
	first := acks[0].moment
	for _, a := range acks {
		first = min(first, a.moment)
	}
	cuts := 0
	for i := range moments {
		at := first + i*(log.Now()-first)/(moments-1)
		for _, seed := range []uint64{0, 1 + uint64(i)} {
			missing, err := lost(t, log, powercut.Cut{At: at, Seed: seed}, acks)
			if err != nil || missing != 0 {
				t.Errorf("power cut at %d of %d, seed %d: %d acknowledged things are lost: %v", at, log.Now(), seed, missing, err)
			}
			cuts++
		}
	}
	t.Logf("%d power cuts over %d writes and syncs, %d acknowledged transitions", cuts, log.Now(), 2*len(acks))
}

// Without syncs a power cut loses what was acknowledged, or all: the test above
// can fail.
func TestPowerCutWithoutSync(t *testing.T) {
	log, acks := record(t)
	missing, err := lost(t, log, powercut.Cut{At: log.Now() * 3 / 4, Deaf: true}, acks)
	if missing == 0 && err == nil {
		t.Error("nothing is lost although nothing was synced")
	}
	t.Logf("%d lost, %v", missing, err)
}
