package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// slowCheckJournal commits the beginning of a check, and says so much later.
type slowCheckJournal struct{ Journal }

func (j slowCheckJournal) BeginCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error) {
	id, err := j.Journal.BeginCheck(ctx, c)
	time.Sleep(10 * time.Minute)
	return id, err
}

// contextSeen notes whether the context had ended when the call was asked for.
type contextSeen struct {
	Client
	ended []bool
}

func (c *contextSeen) CheckOwnToken(ctx context.Context) invoicebox.Exchange {
	c.ended = append(c.ended, ctx.Err() != nil)
	return c.Client.CheckOwnToken(ctx)
}

// A check of the own token goes out while its permits are held, or not at all.
func TestTokenCheck_OwnTokenIsNotCheckedAfterItsPermits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		client := &contextSeen{Client: b.cfg.Accounts[0].Client}
		b.cfg.Accounts[0].Client = client
		for _, j := range []Journal{b.cfg.Journal, slowCheckJournal{b.cfg.Journal}} {
			b.cfg.Journal = j
			p, err := New(b.cfg)
			if err != nil {
				t.Fatal(err)
			}
			p.checkOwnToken(phases{accept: t.Context(), calls: t.Context(), writes: t.Context()}, p.order[0])
			p.tasks.Wait()
		}
		if len(client.ended) == 0 || client.ended[0] {
			t.Errorf("in time it is not asked: %v", client.ended)
		}
		for _, ended := range client.ended[1:] {
			if !ended {
				t.Error("it is asked long after its permits came back")
			}
		}
	})
}
