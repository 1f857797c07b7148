package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

const (
	movePage = 1000
	// moveTries bounds how often the move of one shop is repeated because the shop changed
	// meanwhile.
	moveTries = 3
	// maxMoveOutbox is how many events may wait to be published while credentials are
	// moved. Each move adds one.
	maxMoveOutbox = 1000
)

// moveCredentials executes an action that moves credentials. It runs concurrently with
// the other actions, which do not wait for the credential store. If the store or the
// journal fails, the action stays open and is retried. Credentials that were moved are
// not moved twice.
func (e *Engine) moveCredentials(s phases, i journal.PendingIntent, store string, entries *tokenEntries) (ended bool) {
	if e.cfg.Stores[store] == nil {
		return e.refuse(s, i, onboarding.NewActionError(onboarding.ResultNoStore, ""))
	}
	e.executeBeside(i, entries, func(time.Time) bool { return e.executeMove(s, i, store) })
	return false
}

// moveCounts count the shops of a move.
type moveCounts struct {
	moved int
	left  map[onboarding.MoveObstacle]int
}

func (e *Engine) executeMove(s phases, i journal.PendingIntent, store string) (ended bool) {
	m := &moveCounts{left: map[onboarding.MoveObstacle]int{}}
	var err error
	if i.Target != nil {
		err = e.moveShop(s, i, store, i.Target.Shop, m)
	} else {
		err = e.moveAccount(s, i, store, m)
	}
	switch {
	case s.draining():
		return false
	case err != nil:
		e.metrics.errors.WithLabelValues("move_credentials").Inc()
		e.log.Warn("cannot move all credentials now; trying again", "account", i.Account, "to", store, "moved", m.moved, "err", err)
		return false
	}
	result, words := onboarding.MoveResult(m.moved, m.left)
	end := onboarding.EndAction(i.Intent, result, words, time.Now())
	end.Audit.Detail = words
	if err := e.journal.EndIntent(s.writes, end); err != nil {
		e.actionFailed(i, err)
		return false
	}
	e.actionEnded(i, end)
	return true
}

// moveAccount moves the credentials of all active shops of an account.
func (e *Engine) moveAccount(s phases, i journal.PendingIntent, store string, m *moveCounts) error {
	f := journal.ShopFilter{Account: i.Account, Stage: journal.ActiveShop, Limit: movePage}
	for {
		page, err := e.journal.Shops(s.accept, f)
		if err != nil {
			return err
		}
		for _, shop := range page {
			f.Before = shop.ID
			if onboarding.InStore(shop.Reference, store) {
				continue
			}
			if err := e.moveShop(s, i, store, shop.Shop, m); err != nil {
				return err
			}
		}
		if len(page) < movePage {
			return nil
		}
	}
}

// errOutboxFull says that the events of moved credentials wait to be published.
var errOutboxFull = fmt.Errorf("engine: more than %d events wait to be published", maxMoveOutbox)

// moveShop moves the credentials of one shop, or counts why they stay. The error says
// that the whole move must be retried.
func (e *Engine) moveShop(s phases, i journal.PendingIntent, store string, shop journal.ShopKey, m *moveCounts) error {
	if s.draining() {
		return context.Canceled
	}
	if c, err := e.journal.Capacity(s.accept); err != nil {
		return err
	} else if c.Outbox > maxMoveOutbox {
		return errOutboxFull
	}
	for range moveTries {
		obstacle, err := e.tryMove(s, i, store, shop)
		switch {
		case errors.Is(err, journal.ErrStale), errors.Is(err, journal.ErrVersionTaken):
			continue
		case err != nil:
			return err
		case obstacle == onboarding.MoveFree:
			m.moved++
		case obstacle != onboarding.MoveDone:
			m.left[obstacle]++
			e.log.Warn("credentials are not moved", "account", shop.Account, "shop", shop.Shop, "to", store, "reason", obstacle)
		}
		return nil
	}
	return fmt.Errorf("the credentials of shop %q change at the same time: %w", shop.Shop, journal.ErrStale)
}

func (e *Engine) tryMove(s phases, i journal.PendingIntent, store string, shop journal.ShopKey) (onboarding.MoveObstacle, error) {
	c, err := e.journal.CurrentCredential(s.writes, shop)
	if errors.Is(err, journal.ErrNotFound) {
		return onboarding.MoveInactive, nil
	}
	if err != nil {
		return "", err
	}
	if obstacle := onboarding.MoveObstacleOf(c, store); obstacle != onboarding.MoveFree {
		return obstacle, nil
	}
	kept, err := e.cfg.Credentials.Read(s.writes, c.Credential)
	switch {
	case errors.Is(err, credentials.ErrUnreadable), errors.Is(err, credentials.ErrAbsent):
		return onboarding.MoveUnreadable, nil
	case err != nil:
		return "", err
	}
	prepared, err := e.cfg.Stores[store].Prepare(s.writes, credentials.Secret{
		Shop: shop, Version: c.NextVersion, Operation: onboarding.MoveOperation(c), MerchantID: kept.MerchantID, Token: kept.Token,
	})
	switch {
	case errors.Is(err, credentials.ErrInvalid):
		return onboarding.MoveNotStored, nil
	case errors.Is(err, credentials.ErrConflict):
		return onboarding.MoveConflict, nil
	case err != nil:
		return "", err
	}
	now := time.Now()
	drafts, reviewEvents, err := e.out.Moved(c, prepared.Row, prepared.Reference, now)
	if err != nil {
		return onboarding.MoveNotStored, nil //nolint:nilerr // the contract cannot represent their reference
	}
	for _, d := range drafts {
		if !onboarding.Publishable(d) {
			return onboarding.MoveNotStored, nil
		}
	}
	err = e.journal.MoveCredential(s.writes, journal.CredentialMove{
		Ref: c.Ref, Credential: prepared.Row, Publish: drafts, ReviewEvents: reviewEvents, DestroyAt: onboarding.DestroyAt(now, e.cfg.DestroyAfter),
		Audit: journal.AuditEntry{
			At: now, Actor: i.Actor, Act: "credentials.moved", Subject: shop.Account + "/" + shop.Shop, Detail: c.Credential.Reference + " to " + prepared.Row.Reference,
		},
	})
	if errors.Is(err, journal.ErrStale) {
		// The copy is not destroyed, because another worker can have committed it.
		e.log.Warn("the credentials of a shop changed while they were moved; unless ref is the shop's reference, destroy this version",
			"account", shop.Account, "shop", shop.Shop, "ref", prepared.Row.Reference)
	}
	return onboarding.MoveFree, err
}

// moveSubject is the queue of an account's moves. They are executed in the order of
// their requests, and no other action waits for them.
func moveSubject(i journal.PendingIntent) string {
	if i.Target != nil {
		return "move/" + i.Target.Shop.Account
	}
	return "move/" + i.Account
}
