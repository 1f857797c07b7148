package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// shopActions are the commands on shops.
var shopActions = []struct {
	act    onboarding.Action
	result onboarding.Result
	decide func(e *Engine, x journal.ShopSituation, now time.Time) (journal.ShopChange, *onboarding.ActionError)
}{
	{onboarding.ActionDisconnect, onboarding.ResultDisconnected, (*Engine).decideDisconnect},
}

// actOnShop executes or refuses an action on a shop.
func (e *Engine) actOnShop(s phases, i journal.PendingIntent) (ended bool) {
	for _, row := range shopActions {
		if string(row.act) != i.Act {
			continue
		}
		var end journal.IntentEnd
		err := e.journal.ActOnShop(s.writes, journal.ShopAction{Shop: i.ShopID, Decide: func(x journal.ShopSituation) journal.ShopChange {
			now := time.Now()
			change, why := row.decide(e, x, now)
			if why != nil {
				change = journal.ShopChange{Intent: onboarding.EndAction(i.Intent, why.Result, why.Message, now)}
			} else {
				change.Intent = onboarding.EndAction(i.Intent, row.result, "", now)
			}
			end = change.Intent
			return change
		}})
		if err != nil {
			e.actionFailed(i, err)
			return false
		}
		e.actionEnded(i, end)
		return true
	}
	return e.refuse(s, i, onboarding.NewActionError(onboarding.ResultUnknownAct, ""))
}

func (e *Engine) decideDisconnect(x journal.ShopSituation, now time.Time) (journal.ShopChange, *onboarding.ActionError) {
	d, why := onboarding.PlanDisconnect(x, now)
	if why != nil {
		return journal.ShopChange{}, why
	}
	d.DestroyAt = onboarding.DestroyAt(now, e.cfg.DestroyAfter)
	d.Publish = []journal.Draft{e.out.Disconnected(x, *d)}
	return journal.ShopChange{Disconnect: d}, nil
}

const (
	destroyPage  = 20
	destroyLease = 10 * time.Minute // until the next attempt to destroy a secret
	// Due secrets and reminders are searched at intervals of a tenth of the time until
	// a secret is destroyed, or until the first reminder, within these bounds.
	minShopWorkEvery, maxShopWorkEvery = time.Second, 5 * time.Minute
)

// dueShopWork destroys the secrets whose time has come, and publishes reminders that are
// due, until ctx ends.
func (e *Engine) dueShopWork(ctx context.Context) {
	every := maxShopWorkEvery // also of secrets that an earlier setting has destroyed
	if e.cfg.DestroyAfter >= 0 {
		every = min(every, e.cfg.DestroyAfter/10)
	}
	if after := e.cfg.RemindAfter; len(after) > 0 {
		every = min(every, after[0]/10)
	}
	every = max(every, minShopWorkEvery)
	for {
		more := e.destroyDue(ctx)
		more = e.remindDue(ctx) || more
		if !more && !e.scheduler.sleep(ctx, every) || ctx.Err() != nil {
			return
		}
	}
}

// destroyDue destroys a page of the secrets whose time has come. It reports whether more
// may be due.
func (e *Engine) destroyDue(ctx context.Context) (more bool) {
	list, err := e.journal.ClaimDestructions(ctx, destroyPage, destroyLease)
	if err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrClosed) {
		e.metrics.errors.WithLabelValues("claim_destructions").Inc()
		e.outage.failed(slog.LevelWarn, "cannot look for secrets that are to be destroyed; trying again later", err)
	}
	for _, d := range list {
		e.destroySecret(ctx, d)
	}
	return len(list) == destroyPage
}

// destroySecret destroys one secret in its store, and then its data in the journal. A
// failed step is retried when the claim ends.
func (e *Engine) destroySecret(ctx context.Context, d journal.Destruction) {
	c := d.Credential
	attrs := []any{"account", c.Shop.Account, "shop", c.Shop.Shop, "ref", c.Reference}
	if err := e.cfg.Credentials.Destroy(ctx, c); err != nil {
		if ctx.Err() != nil {
			return
		}
		e.metrics.errors.WithLabelValues("destroy_secret").Inc()
		if errors.Is(err, credentials.ErrConflict) {
			e.log.Error("cannot destroy a secret that this service did not write; checking it again later", append(attrs, "err", err.Error())...)
			return
		}
		e.log.Error("cannot destroy a secret in its store; trying again later", append(attrs, "err", err.Error())...)
		return
	}
	err := e.journal.EndDestruction(ctx, d, journal.AuditEntry{
		At: time.Now(), Actor: e.cfg.Owner, Act: "credentials.destroyed", Subject: c.Shop.Account + "/" + c.Shop.Shop, Detail: c.Reference,
	})
	switch {
	case err == nil:
		e.log.Info("destroyed a secret that is not used any more", attrs...)
	case errors.Is(err, journal.ErrStale) || ctx.Err() != nil:
	default:
		e.metrics.errors.WithLabelValues("end_destruction").Inc()
		e.outage.failed(slog.LevelWarn, "cannot record that a secret was destroyed; trying again later", err, attrs...)
	}
}
