package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// actShop asks for something about the shop of an operation and waits for its end.
func (h *harness) actShop(op *operation, c onboarding.Action, want onboarding.Result) journal.Intent {
	h.t.Helper()
	return h.ended(h.j.ask(h.keys, journal.Intent{Act: string(c), Account: op.Shop.Account, Shop: op.Shop.Shop}, ""), want)
}

func (h *harness) settled() {
	h.t.Helper()
	h.until(time.Hour, "settled", h.j.settled)
}

// sealedRow is what the journal has of a version of the shop's credentials.
func (h *harness) sealedRow(op *operation, version int64) journal.Credential {
	h.t.Helper()
	c, err := h.j.Credential(context.Background(), op.Shop, version)
	h.j.ok(err)
	return c
}

// oneMerchant gives every code the same merchant id.
func oneMerchant(op invoicebox.Operation, value string, n int) answer {
	if op == invoicebox.Activate {
		return answer{status: 200, body: `{"data":{"merchantId":"m-1","token":"token-` + value + `"}}`}
	}
	return good(op, value, n)
}

const eventDisconnected = "disconnected"

// A disconnected shop has its secret destroyed after the grace period, and a new code
// connects it again.
func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		began := time.Now()
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultDisconnected)
		b.expect(op, journal.Done, onboarding.ReasonActivated, eventActive, eventDisconnected)
		events := b.j.eventsOf(op)
		d, ok := decoded(t, events[1]).(schemas.Disconnected)
		if !ok || d.DestroyAfter.Sub(d.DisconnectedAt) != onboarding.DefaultDestroyAfter || d.DisconnectedAt.Sub(began) > time.Minute {
			t.Errorf("the event is %+v", d)
		}
		if _, err := b.j.PublishedCredential(context.Background(), op.Shop); !errors.Is(err, journal.ErrDisconnected) {
			t.Errorf("its credentials resolve: %v", err)
		}
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultNotActive)
		next := b.add(journal.Activate, "shop-1", "code-2")
		b.settled()
		b.expect(next, journal.Done, onboarding.ReasonActivated, eventActive)
		time.Sleep(onboarding.DefaultDestroyAfter - time.Hour)
		if b.sealedRow(op, 1).Sealed == nil {
			t.Error("the secret was destroyed before its time")
		}
		time.Sleep(time.Hour + maxShopWorkEvery)
		synctest.Wait()
		if b.sealedRow(op, 1).Sealed != nil || b.sealedRow(op, 2).Sealed == nil {
			t.Error("the secret was not destroyed, or a newer one was")
		}
		if c, err := b.j.PublishedCredential(context.Background(), op.Shop); err != nil || c.Version != 2 {
			t.Errorf("the new credentials: %v", err)
		}
		b.finish()
		entries, err := b.j.Audit(context.Background(), 0, 1)
		b.j.ok(err)
		if len(entries) != 1 || entries[0].Act != "credentials.destroyed" || entries[0].Subject != "default/shop-1" || !strings.HasSuffix(entries[0].Detail, "?version=1") {
			t.Errorf("the audit ends with %+v", entries)
		}
	})
}

// A newer version has the older one destroyed after the grace period.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, oneMerchant)
		b.cfg.DestroyAfter = time.Hour
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		b.add(journal.Activate, "shop-1", "code-2")
		b.settled()
		time.Sleep(50 * time.Minute)
		if b.sealedRow(op, 1).Sealed == nil {
			t.Error("the replaced secret was destroyed before its time")
		}
		time.Sleep(11*time.Minute + maxShopWorkEvery)
		synctest.Wait()
		if b.sealedRow(op, 1).Sealed != nil || b.sealedRow(op, 2).Sealed == nil {
			t.Error("the replaced secret was not destroyed, or the current one was")
		}
		b.finish()
	})
}

// Nothing is destroyed where a setting says so.
func TestNeverDestroy(t *testing.T) {
	if testing.Short() {
		t.Skip("long in virtual time: the race detector has nothing to find, and takes minutes")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		b.cfg.DestroyAfter = onboarding.NeverDestroy
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultDisconnected)
		if d, _ := decoded(t, b.j.eventsOf(op)[1]).(schemas.Disconnected); !d.DestroyAfter.IsZero() {
			t.Errorf("the event is %+v", d)
		}
		time.Sleep(2 * onboarding.DefaultDestroyAfter)
		if b.sealedRow(op, 1).Sealed == nil {
			t.Error("the secret was destroyed")
		}
		b.finish()
	})
}

// An operation that is under way refuses the command, one that waits is canceled, and its
// code can be sent later.
func TestDisconnect_OpenOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, answers(map[string][]answer{"code-2": {lost}}))
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		unknown := b.add(journal.Activate, "shop-1", "code-2")
		b.until(time.Minute, "unknown", func() bool { s, _ := b.j.state(unknown); return s == journal.Unknown })
		got := b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultInFlight)
		if !strings.Contains(got.Detail, unknown.UUID.String()+" is unknown") {
			t.Errorf("the refusal does not name the operation: %s", got.Detail)
		}
		if _, err := b.j.PublishedCredential(context.Background(), op.Shop); err != nil {
			t.Errorf("a refused command has disconnected the shop: %v", err)
		}
		b.finish()
	})
}

// A token that does not work any more waits for an operator; a disconnect ends that.
func TestDisconnect_EndsAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
			if op == invoicebox.Check && bad.Load() {
				return answer{status: 401}
			}
			return good(op, value, n)
		})
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		bad.Store(true)
		b.eventually(72*time.Hour, "in attention", func() bool { s, _ := b.j.state(op); return s == journal.Attention })
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultDisconnected)
		b.expect(op, journal.Done, onboarding.ReasonDisconnected, eventActive, "credentials_invalid", eventDisconnected)
		b.finish()
	})
}

// What cannot be destroyed in its store is tried again, and the journal keeps its row until
// then.
func TestDestroy_StoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		store := &undestroyable{Store: b.cfg.Credentials}
		b.cfg.Credentials, b.cfg.DestroyAfter = store, time.Minute
		op := b.add(journal.Activate, "shop-1", "code-1")
		b.start()
		b.settled()
		store.err.Store(&credentials.ErrConflict)
		b.actShop(op, onboarding.ActionDisconnect, onboarding.ResultDisconnected)
		time.Sleep(time.Hour)
		if b.sealedRow(op, 1).Sealed == nil || store.asked.Load() < 3 || store.asked.Load() > 8 {
			t.Errorf("asked %d times", store.asked.Load())
		}
		away := errors.New("away")
		store.err.Store(&away)
		time.Sleep(time.Hour)
		store.err.Store(nil)
		time.Sleep(destroyLease + time.Minute)
		synctest.Wait()
		if b.sealedRow(op, 1).Sealed != nil {
			t.Error("the secret is still there")
		}
		b.finish()
	})
}

type undestroyable struct {
	Store
	err   atomic.Pointer[error]
	asked atomic.Int64
}

func (s *undestroyable) Destroy(ctx context.Context, row journal.Credential) error {
	s.asked.Add(1)
	if err := s.err.Load(); err != nil {
		return *err
	}
	return s.Store.Destroy(ctx, row)
}

// An action on a shop whose row names another shop is refused.
func TestDisconnect_Forged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, good)
		op := b.add(journal.Activate, "shop-1", "code-1")
		other := b.add(journal.Activate, "shop-2", "code-2")
		b.start()
		b.settled()
		b.finish()
		i := b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionDisconnect), Account: "default", Shop: "shop-1"}, "")
		b.j.edit("UPDATE intent SET shop = (SELECT id FROM shop WHERE name = 'shop-2') WHERE uuid = ?", i.UUID[:])
		b.start()
		b.ended(i, onboarding.ResultNotAuthentic)
		b.finish()
		for _, o := range []*operation{op, other} {
			if _, err := b.j.PublishedCredential(context.Background(), o.Shop); err != nil {
				t.Errorf("%s is disconnected: %v", o.Shop.Shop, err)
			}
		}
	})
}

// RunShopWork runs only the part of an engine that destroys secrets and reminds.
func RunShopWork(e *Engine, ctx context.Context) error { //nolint:revive // as the method expression Engine.Run
	e.dueShopWork(ctx)
	return nil
}
