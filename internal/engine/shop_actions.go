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
	destroyLease = 10 * time.Minute // until a secret that could not be destroyed is tried again
	// A tenth of the time that secrets are kept, within these bounds, passes until it is
	// looked again whether one is to be destroyed.
	minDestroyEvery, maxDestroyEvery = time.Second, 5 * time.Minute
)

// destroySecrets destroys the secrets whose time has come, until ctx ends.
func (e *Engine) destroySecrets(ctx context.Context) {
	every := maxDestroyEvery // also of those that an earlier setting has destroyed
	if e.cfg.DestroyAfter >= 0 {
		every = max(minDestroyEvery, min(e.cfg.DestroyAfter/10, maxDestroyEvery))
	}
	for {
		list, err := e.journal.ClaimDestructions(ctx, destroyPage, destroyLease)
		if err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrClosed) {
			e.metrics.errors.WithLabelValues("claim_destructions").Inc()
			e.outage.failed(slog.LevelWarn, "cannot look for secrets that are to be destroyed; trying again later", err)
		}
		for _, d := range list {
			e.destroySecret(ctx, d)
		}
		if len(list) < destroyPage && !e.scheduler.sleep(ctx, every) || ctx.Err() != nil {
			return
		}
	}
}

// destroySecret destroys one secret in its store, and then what the journal has of it.
// What fails is tried again when the claim ends.
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
