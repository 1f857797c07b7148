package engine

import (
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// eraseShop executes an action that erases the personal data of a shop. It runs
// concurrently with the other actions, which do not wait until the database is
// rewritten. If a step fails, all are repeated.
func (e *Engine) eraseShop(s phases, i journal.PendingIntent, entries *tokenEntries) (ended bool) {
	e.executeBeside(i, entries, func(time.Time) bool { return e.executeErase(s, i) })
	return false
}

// eraseRows erases the rows of the shop. It ends the action if it refuses it.
func (e *Engine) eraseRows(s phases, i journal.PendingIntent) (erased, ended bool) {
	var refused *onboarding.ActionError
	err := e.journal.ActOnShop(s.writes, journal.ShopAction{Shop: i.ShopID, Decide: func(x journal.ShopSituation) (change journal.ShopChange) {
		change, refused = e.decideErase(i, x, time.Now())
		return change
	}})
	switch {
	case err != nil:
		e.actionFailed(i, err)
		return false, false
	case refused != nil:
		e.actionEnded(i, onboarding.EndAction(i.Intent, refused.Result, refused.Message, time.Now()))
		return false, true
	}
	return true, false
}

// executeErase executes the remaining steps. The rows are erased once: later rows are not
// part of the request, and must not delay the end of the action.
func (e *Engine) executeErase(s phases, i journal.PendingIntent) (ended bool) {
	if i.Result == "" {
		if erased, ended := e.eraseRows(s, i); !erased {
			return ended
		}
	}
	end, err := e.endErase(s, i)
	switch {
	case err == nil:
		e.actionEnded(i, end)
	case s.draining():
	case errors.Is(err, journal.ErrFull):
		e.metrics.errors.WithLabelValues("erase_shop").Inc()
		e.log.Error("the shop's rows are erased, but the disk has too little free space to rewrite the journal; retrying", "intent", i.UUID.String(), "err", err)
	default:
		e.actionFailed(i, err)
	}
	return err == nil
}

func (e *Engine) decideErase(i journal.PendingIntent, x journal.ShopSituation, now time.Time) (journal.ShopChange, *onboarding.ActionError) {
	d, why := onboarding.PlanErase(x, now)
	if why != nil {
		return journal.ShopChange{Intent: onboarding.EndAction(i.Intent, why.Result, why.Message, now)}, why
	}
	d.DestroyAt = onboarding.DestroyAt(now, max(e.cfg.DestroyAfter, 0))
	if x.Active != nil {
		d.Publish = []journal.Draft{e.out.Disconnected(x, *d)}
	}
	return journal.ShopChange{Intent: onboarding.EndAction(i.Intent, onboarding.ResultErased, "", now), Disconnect: d, Erase: true}, nil
}

// endErase makes the steps after the rows of the shop are erased.
func (e *Engine) endErase(s phases, i journal.PendingIntent) (end journal.IntentEnd, err error) {
	erased := journal.AuditEntry{At: time.Now(), Actor: i.Actor, Act: onboarding.DetailsErased, Subject: onboarding.ActionSubject(i.Intent)}
	if _, err := e.journal.EraseAuditDetails(s.writes, i.ShopID, onboarding.KeptDetails(), erased); err != nil {
		return end, err
	}
	// After a restart the scrub begins again, so a stop does not wait for it.
	done, err := e.journal.Scrub(s.accept)
	if err != nil {
		return end, err
	}
	words := ""
	if !done {
		words = onboarding.ResultOf(onboarding.ResultErased).Text + " Erased bytes stay in the files of the database until VACUUM FULL has rewritten its tables."
	}
	end = onboarding.EndAction(i.Intent, onboarding.ResultErased, words, time.Now())
	return end, e.journal.EndIntent(s.writes, end)
}
