package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// The database ends between the start of the worker and the first read of the engine: the
// engine waits for it.
func TestEngine_JournalAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		op := b.add(journal.Activate, "shop-1", "code-1")
		away := &awayAtStart{testJournal: b.j, back: time.Now().Add(time.Minute)}
		b.cfg.Journal = away
		b.start()
		b.until(5*time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive)
		if !away.failed {
			t.Error("no read failed")
		}
	})
}

// awayAtStart cannot read the accounts until the database is back.
type awayAtStart struct {
	*testJournal
	back   time.Time
	failed bool
}

func (j *awayAtStart) Accounts(ctx context.Context) ([]journal.Account, error) {
	if time.Now().Before(j.back) {
		j.failed = true
		return nil, journal.ErrUnreachable
	}
	return j.testJournal.Accounts(ctx)
}
