package steps

import (
	"context"
	"fmt"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

const (
	// shopUnended finds the operations of a shop that are open or in attention, and locks
	// them: a worker could claim one meanwhile.
	shopUnended Query = `SELECT id FROM operation WHERE id = ANY(ARRAY(
			SELECT id FROM operation WHERE shop = $1 AND lane IS NOT NULL UNION ALL
			SELECT id FROM operation WHERE shop = $1 AND state = 20)) ORDER BY id FOR NO KEY UPDATE
-- sqlite:
SELECT id FROM (SELECT id FROM operation WHERE shop = $1 AND lane IS NOT NULL UNION ALL SELECT id FROM operation WHERE shop = $1 AND state = 20) ORDER BY id`
	activationRead Query = `SELECT b.uuid, o.run, e.event_id, e.traceparent, e.tracestate
		FROM operation o CROSS JOIN event b LEFT JOIN event e ON e.id = o.event WHERE o.id = $1 AND b.id = o.id`

	// secretsDoomed sets when the secrets of a shop below a version are to be destroyed,
	// but not later than was set before.
	secretsDoomed Query = `UPDATE credential SET destroy_at = least(coalesce(destroy_at, $3), $3)
		WHERE shop = $1 AND version < $2 AND destroyed IS NULL`
)

// ActOnShop executes an operator action on a shop.
func (j *Journal) ActOnShop(ctx context.Context, a journal.ShopAction) error {
	return j.db.Write(ctx, &Request{
		Needs: Needs{ShopIDs: []int64{a.Shop}},
		Load: func(l *Loader) {
			l.shops = append(l.shops, a.Shop)
			l.IDs(OutboxIDs, 1)
		},
		Do: func(u *Unit) error { return u.actOnShop(a) },
	})
}

func (u *Unit) actOnShop(a journal.ShopAction) error {
	s := u.shops.get(u, a.Shop)
	if s == nil {
		return fmt.Errorf("%w: the shop", journal.ErrNotFound)
	}
	unended := u.unended(s)
	situation, err := u.shopSituation(s, unended)
	if err != nil {
		return err
	}
	change := a.Decide(situation)
	i := u.intents.get(u, change.Intent.ID)
	switch {
	case i == nil || i.State != journal.IntentWaiting:
		return journal.ErrStale
	case i.Result != "" && change.Erase:
		return nil // another process has erased them for this action
	case i.Result != "":
		return journal.ErrStale // it must not end before its further steps
	}
	if change.Erase && change.Disconnect != nil {
		i.Result = change.Intent.Result
		if err := u.disconnect(s, unended, change.Disconnect); err != nil {
			return err
		}
		u.erase(s)
		return nil
	}
	if err := u.endIntent(change.Intent); err != nil || change.Disconnect == nil {
		return err
	}
	if s.ActiveVersion == 0 {
		return fmt.Errorf("journal: shop %d has no credentials to disconnect", s.ID)
	}
	return u.disconnect(s, unended, change.Disconnect)
}

// unended loads the operations of a locked shop that are open or in attention.
func (u *Unit) unended(s *rows.Shop) []*rows.Operation {
	return u.operations.list(u, ints(u, shopUnended, s.ID))
}

func (u *Unit) shopSituation(s *rows.Shop, unended []*rows.Operation) (x journal.ShopSituation, err error) {
	x.Shop.Shop = s.Name
	x.Shop.Account = u.accountName(s.Account)
	x.Disconnected = displayTimeOrZero(s.DisconnectedAt)
	if s.ActiveVersion != 0 {
		r := first[originRow](u, activationRead, s.ActiveOperation)
		if r == nil {
			return x, fmt.Errorf("journal: the activation of shop %d does not exist", s.ID)
		}
		x.Active = activeView(s, asUUID(r.UUID))
		x.Run, x.EventID, x.TraceParent, x.TraceState = int(r.Run), r.EventID, r.TraceParent, r.TraceState
	}
	for _, o := range unended {
		b := u.bodies.get(u, o.ID)
		if b == nil {
			return x, fmt.Errorf("journal: operation %d has no body", o.ID)
		}
		x.Operations = append(x.Operations, journal.ShopOperation{ID: o.ID, UUID: asUUID(b.UUID), Kind: o.Kind, State: o.State, Reason: o.Reason, Doubt: o.Doubt})
	}
	return x, nil
}

// disconnect ends operations of a shop, and the use of its credentials if it has any.
func (u *Unit) disconnect(s *rows.Shop, unended []*rows.Operation, d *journal.Disconnect) error {
	for _, o := range unended {
		cancel, end := slices.Contains(d.Cancel, o.ID), slices.Contains(d.End, o.ID)
		switch {
		case cancel && stored.Cancellable(o.State):
			if o.Lane == stored.LaneHeld {
				u.releaseLane(s.ID)
			}
			u.supersede(o, d.Reason)
		case end && o.State == journal.Attention:
			o.Reason = d.Reason
			u.enter(o, journal.Done, 0)
			u.markVerified(o)
		case cancel, end:
			return fmt.Errorf("journal: operation %d is %v and cannot be ended", o.ID, o.State)
		}
	}
	if !d.DestroyAt.IsZero() {
		u.later(secretsDoomed, s.ID, s.Version+1, u.clock.StampUp(d.DestroyAt))
	}
	if s.ActiveVersion == 0 {
		return nil
	}
	if activation := u.operations.get(u, s.ActiveOperation); activation != nil {
		// The responses of the activation are not needed any more.
		u.markVerified(activation)
	}
	// The event names the activation.
	named := s.ActiveOperation
	u.deactivate(s, u.stampOrNow(d.At))
	return u.emit(s, named, d.Publish)
}

// deactivate takes the current credentials from a shop.
func (u *Unit) deactivate(s *rows.Shop, at int64) {
	s.ActiveOperation, s.ActiveAt, s.ActiveVersion, s.ActiveEvent, s.MerchantID = 0, 0, 0, nil, ""
	s.ReviewState, s.ReviewRoutine, s.ReviewDue, s.ReviewRefused, s.ReviewTries, s.ReviewEvents = 0, false, 0, 0, 0, 0
	s.ReviewClaim++ // a check that is being made has no effect any more
	s.DisconnectedAt, s.RemindDue = at, 0
}

// replaceSecrets sets when the secrets that a shop's new current credentials replace are
// destroyed. Was is the shop before.
func (u *Unit) replaceSecrets(s *rows.Shop, was rows.Shop, destroyAt time.Time) {
	if was.ActiveVersion != 0 && was.ActiveVersion != s.ActiveVersion && !destroyAt.IsZero() {
		u.later(secretsDoomed, s.ID, s.ActiveVersion, u.clock.StampUp(destroyAt))
	}
}

// disconnectedSince finds, in a restored journal, the shops that were disconnected since
// the copy was made and not activated after that.
const disconnectedSince Query = `SELECT x.shop AS id, x.key, x.value, x.headers FROM announced n JOIN outbox x ON x.id = n.outbox
	WHERE x.type = $1 AND NOT EXISTS (SELECT 1 FROM outbox y WHERE y.shop = x.shop AND y.type IN ($1, $2) AND y.sequence > x.sequence) ORDER BY x.shop`

type disconnectedRow struct {
	ID int64 `db:"id"`
	activatedRow
}

// restoreDisconnected disconnects shops as was published since the copy was made. Their
// operations were restored before.
func (u *Unit) restoreDisconnected() {
	var found []disconnectedRow
	each(u, disconnectedSince, []any{schemas.TypeDisconnected, schemas.TypeActivated}, func(r *disconnectedRow) { found = append(found, *r) })
	for _, r := range found {
		d, ok := r.data(schemas.TypeDisconnected).(schemas.Disconnected)
		if !ok {
			continue
		}
		s := u.shops.get(u, r.ID)
		if s == nil {
			continue
		}
		u.deactivate(s, d.DisconnectedAt.UnixMicro())
		if !d.DestroyAfter.IsZero() {
			u.later(secretsDoomed, s.ID, s.Version+1, max(u.now, d.DestroyAfter.UnixMicro()))
		}
	}
}

const (
	destructionDue Query = "SELECT EXISTS (SELECT 1 FROM credential WHERE destroy_at <= $1) AS found"
	// Current credentials are skipped, whatever their row says, and so are older rows of
	// the same secret: it was moved to another store and back. Those of a shop whose
	// latest credentials, or whose disconnect, are not published yet wait for that.
	destructionsClaim Query = `SELECT c.shop, c.version, c.created, c.reference, c.merchant_id, c.secret, s.name, a.name AS account_name
		FROM credential c JOIN shop s ON s.id = c.shop JOIN account a ON a.id = s.account
		WHERE c.destroy_at <= $1 AND s.active_version IS DISTINCT FROM c.version
			AND NOT EXISTS (SELECT 1 FROM credential n WHERE n.shop = s.id AND n.version = s.active_version AND n.reference = c.reference)
			AND NOT EXISTS (SELECT 1 FROM outbox x WHERE x.shop = c.shop AND x.published_at IS NULL AND x.type = ANY($3))
		ORDER BY c.destroy_at, c.shop, c.version LIMIT $2 FOR NO KEY UPDATE OF c SKIP LOCKED`
	destructionLease Query = "UPDATE credential SET destroy_at = $3 WHERE shop = $1 AND version = $2"
	secretDestroyed  Query = `UPDATE credential SET secret = NULL, secret_key = NULL, proof = NULL, destroy_at = NULL, destroyed = $3
		WHERE shop = $1 AND version = $2 AND destroyed IS NULL AND destroy_at IS NOT NULL`
	// secretResponses erases the responses that brought a destroyed secret. 30 and 31 are
	// the states of ended operations.
	secretResponses Query = `UPDATE attempt SET answer = NULL, answer_key = NULL, answer_at = NULL, sealed_for = ''
		WHERE answer IS NOT NULL AND operation = (SELECT o.id FROM credential c JOIN operation o ON o.id = c.operation
			WHERE c.shop = $1 AND c.version = $2 AND o.version = c.version AND o.state IN (30, 31) AND o.late = 0)`
)

type destructionRow struct {
	rows.Credential
	Name        string `db:"name"`
	AccountName string `db:"account_name"`
}

// ClaimDestructions claims secrets that are to be destroyed. It asks a reader first,
// because most calls find none.
func (j *Journal) ClaimDestructions(ctx context.Context, limit int, lease time.Duration) ([]journal.Destruction, error) {
	if err := j.db.Writable(); err != nil {
		return nil, err
	}
	if lease <= 0 {
		return nil, fmt.Errorf("journal: a claim for %v", lease)
	}
	if due, err := readInt(ctx, j, destructionDue, j.db.Clock().Now()); err != nil || due == 0 {
		return nil, err
	}
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) (claimed []journal.Destruction, err error) {
		each(u, destructionsClaim, []any{u.now, min(bounded(limit), maxClaim), []string{schemas.TypeActivated, schemas.TypeDisconnected}}, func(r *destructionRow) {
			claimed = append(claimed, journal.Destruction{
				ShopID: r.Shop, Credential: credential(journal.ShopKey{Account: r.AccountName, Shop: r.Name}, &r.Credential),
			})
		})
		for _, d := range claimed {
			u.later(destructionLease, d.ShopID, d.Credential.Version, u.now+lease.Microseconds())
		}
		return claimed, nil
	})
}

// EndDestruction records that a secret is destroyed.
func (j *Journal) EndDestruction(ctx context.Context, d journal.Destruction, audit journal.AuditEntry) error {
	return j.db.Write(ctx, &Request{
		Needs: Needs{ShopIDs: []int64{d.ShopID}},
		Load:  func(l *Loader) { l.shops = append(l.shops, d.ShopID) },
		Do: func(u *Unit) error {
			s := u.shops.get(u, d.ShopID)
			if s == nil || s.ActiveVersion == d.Credential.Version {
				return journal.ErrStale
			}
			if u.exec(secretDestroyed, d.ShopID, d.Credential.Version, u.now) == 0 {
				return journal.ErrStale
			}
			u.later(secretResponses, d.ShopID, d.Credential.Version)
			u.audit(audit)
			return nil
		},
	})
}
