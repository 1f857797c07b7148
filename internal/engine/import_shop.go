package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/schemas"
)

// importTries bounds how often credentials are stored under another version because the
// shop changed meanwhile.
const importTries = 3

// errStore: the credential store failed, not the journal.
var errStore = errors.New("the credential store is not available")

// importShop imports a shop that is connected already. It checks the token, and then
// writes everything in one commit. It runs concurrently with the other actions.
func (e *Engine) importShop(s phases, acc *account, i journal.PendingIntent, entries *tokenEntries) (ended bool) {
	x, err := e.openImport(i)
	if err != nil {
		return e.refuseForged(s, i, err)
	}
	e.executeBeside(i, entries, func(since time.Time) bool { return e.executeImport(s, acc, i, x, entries, since) })
	return false
}

func (e *Engine) executeImport(s phases, acc *account, i journal.PendingIntent, x Import, entries *tokenEntries, since time.Time) (ended bool) {
	shop := journal.ShopKey{Account: i.Account, Shop: x.Shop}
	s, span := e.startRoot(s, i.Act, shop.Account, shop.Shop, tracing.Event{})
	defer span.End()
	finish := func(r onboarding.Result) {
		why := e.destroyUncommitted(s, i, entries, since, onboarding.NewActionError(r, ""))
		if why == nil {
			return
		}
		end := endImport(i, shop, why)
		if err := e.journal.EndIntent(s.writes, end); err != nil {
			e.actionFailed(i, err)
			return
		}
		ended = true
		e.actionEnded(i, end)
	}
	storeFailed := func(err error) {
		e.log.Error("cannot import a shop: the credential store failed", "intent", i.UUID.String(), "err", err)
		if e.overdue(s, since) {
			finish(onboarding.ResultStoreUnavailable)
		}
	}
	now := time.Now()
	if ValidateEntered(i.MerchantID, x.Token) != nil {
		finish(onboarding.ResultInvalid)
		return ended
	}
	if e.isOwnToken(x.Token) {
		finish(onboarding.ResultOwnToken)
		return ended
	}
	switch result, err := e.connected(s, shop, i.MerchantID, x); {
	case errors.Is(err, errStore):
		storeFailed(err)
		return ended
	case err != nil:
		e.actionFailed(i, err)
		return ended
	case result != "":
		finish(result)
		return ended
	}
	in, err := e.importEvent(i.Intent, shop, now)
	if err != nil {
		e.actionFailed(i, err)
		return ended
	}
	op := journal.ClaimedOperation{UUID: in.Operation, Kind: journal.Activate, Shop: shop, Run: 1, EventID: in.Event.ID}
	verdict, check := e.checkToken(s, &task{ClaimedOperation: op, acc: acc, leaseEnd: now.Add(e.cfg.Lease)}, x.Token)
	e.saveCheckEnd(s, check)
	switch {
	case verdict == tokenBad:
		finish(onboarding.ResultTokenRefused)
		return ended
	case verdict == tokenSilent && e.overdue(s, since):
		finish(onboarding.ResultTokenUnanswered)
		return ended
	case verdict == tokenSilent:
		return false // retried later
	}
	for version, try := int64(1), 0; try < importTries; try++ {
		next, result, err := e.tryImport(s, i, x, in, op, entries, version)
		switch {
		case errors.Is(err, journal.ErrVersionTaken) && next > 0:
			version = next
			continue
		case errors.Is(err, errStore):
			storeFailed(err)
		case err != nil:
			e.actionFailed(i, err)
		case result != onboarding.ResultImported:
			finish(result)
		default:
			ended = true
			acc.wakeVerification()
			e.actionEnded(i, endImport(i, shop, onboarding.NewActionError(result, "")))
		}
		return ended
	}
	return false
}

// connected compares the credentials of an active shop with an import; "" if the shop
// is not active.
func (e *Engine) connected(s phases, shop journal.ShopKey, merchant string, x Import) (onboarding.Result, error) {
	current, err := e.journal.CurrentCredential(s.writes, shop)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	}
	kept, err := e.cfg.Credentials.Read(s.writes, current.Credential)
	switch {
	case errors.Is(err, credentials.ErrUnreadable), errors.Is(err, credentials.ErrAbsent):
		return onboarding.ResultConnected, nil
	case err != nil:
		return "", fmt.Errorf("%w: %w", errStore, err)
	case kept.MerchantID == merchant && kept.Token.Equal(x.Token):
		return onboarding.ResultImportedSame, nil
	}
	return onboarding.ResultConnected, nil
}

// importEvent makes the event that represents the activation that was made elsewhere.
func (e *Engine) importEvent(i journal.Intent, shop journal.ShopKey, now time.Time) (in journal.ShopImport, err error) {
	id := "import-" + i.UUID.String()
	in.Event = journal.Event{
		Identity: schemas.Identity("", e.cfg.Source, id), Type: schemas.TypeCodeEntered, Source: e.cfg.Source, ID: id, Time: now, Shop: shop, Kind: journal.Activate,
	}
	if in.Event.Digests, err = e.cfg.Keys.MACs(keyset.DomainContent, []byte(id)); err != nil {
		return in, err
	}
	if in.Event.SubjectMACs, err = e.cfg.Keys.MACs(keyset.DomainCode, keyset.SubjectText(shop.Account, id)); err != nil {
		return in, err
	}
	if in.Event.Sealed, err = e.cfg.Keys.Seal([]byte(id), keyset.SubjectAAD(journal.Activate.String(), shop.Account, shop.Shop, in.Event.SubjectMACs[0])); err != nil {
		return in, err
	}
	in.Operation = schemas.OperationID(journal.Activate.String(), shop.Account, "", in.Event.SubjectMACs[0], 0)
	in.Reason = string(onboarding.ReasonImported)
	return in, nil
}

// tryImport stores the credentials with a version and commits the import. If the
// version is already in use, it returns the next one.
func (e *Engine) tryImport(
	s phases, i journal.PendingIntent, x Import, in journal.ShopImport, op journal.ClaimedOperation, entries *tokenEntries, version int64,
) (next int64, r onboarding.Result, err error) {
	prepared, err := e.cfg.Credentials.Prepare(s.writes, credentials.Secret{
		Shop: op.Shop, Version: version, Operation: op.UUID, MerchantID: i.MerchantID, Token: x.Token,
	})
	switch {
	case errors.Is(err, credentials.ErrInvalid):
		return 0, onboarding.ResultInvalid, nil
	case errors.Is(err, credentials.ErrConflict):
		e.log.Error("the credential store has a foreign secret at the path of an imported one", "intent", i.UUID.String(), "err", err)
		return 0, onboarding.ResultStoreConflict, nil
	case err != nil:
		return 0, "", fmt.Errorf("%w: %w", errStore, err)
	}
	now := time.Now()
	event := e.out.Activated(op, prepared.Row, prepared.Reference, schemas.VerificationVerified, now, now)
	if !onboarding.Publishable(event) {
		entries.setUncommitted(i.ID, &prepared.Row)
		return 0, onboarding.ResultInvalid, nil
	}
	end := endImport(i, op.Shop, onboarding.NewActionError(onboarding.ResultImported, ""))
	in.Made = journal.Transition{To: journal.Done, Intent: &end, Credential: &prepared.Row, Active: e.activeUpdate(now, event, true), Verified: true}
	if x.Publish {
		in.Made.Publish = []journal.Draft{event}
	} else {
		in.Made.Active.Event = uuid.Nil
	}
	next, err = e.journal.ImportShop(s.writes, in)
	switch {
	case errors.Is(err, journal.ErrMerchantConflict):
		entries.setUncommitted(i.ID, &prepared.Row)
		return 0, onboarding.ResultMerchantConflict, nil
	case errors.Is(err, journal.ErrStale):
		entries.setUncommitted(i.ID, &prepared.Row) // a refusal destroys it
	}
	return next, onboarding.ResultImported, err
}

// endImport ends an import. The intent is about the account, and its audit entry about the
// shop.
func endImport(i journal.PendingIntent, shop journal.ShopKey, r *onboarding.ActionError) journal.IntentEnd {
	end := onboarding.EndRefused(i.Intent, r, time.Now())
	end.Audit.Subject = shop.Account + "/" + shop.Shop
	return end
}

// destroyUncommitted destroys the secret that a refused import stored. No other action
// knows the secret: a store knows it by the import's own operation. It returns the error to
// refuse with, which names a secret that could not be destroyed, or nil to retry later.
func (e *Engine) destroyUncommitted(s phases, i journal.PendingIntent, entries *tokenEntries, since time.Time, why *onboarding.ActionError) *onboarding.ActionError {
	c := entries.uncommitted(i.ID)
	if c == nil {
		return why
	}
	_, err := e.journal.CredentialVersion(s.writes, c.Shop, c.Reference)
	switch {
	case err == nil: // another worker has executed the import
		return why
	case !errors.Is(err, journal.ErrNotFound):
		e.actionFailed(i, err)
		return nil
	}
	err = e.cfg.Credentials.Destroy(s.writes, *c)
	switch {
	case err == nil:
		return why
	case !e.overdue(s, since):
		e.log.Error("cannot destroy the secret of a refused import; trying again", "intent", i.UUID.String(), "ref", c.Reference, "err", err)
		return nil
	}
	e.log.Error("cannot destroy the secret of a refused import; it stays in the credential store", "intent", i.UUID.String(), "ref", c.Reference, "err", err)
	return why.SecretNotDestroyed(c.Reference)
}
