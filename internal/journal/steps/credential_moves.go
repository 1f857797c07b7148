package steps

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
)

const (
	currentCredential Query = `SELECT s.id, s.name, s.version, s.active_at, s.active_version, s.review_state, s.review_claim, s.review_refused, s.review_tries, s.review_events,
			c.reference, c.merchant_id, c.secret, c.created, b.uuid, o.run, e.event_id, e.traceparent, e.tracestate,
			(SELECT max(n.version) FROM credential n WHERE n.shop = s.id) AS newest
		FROM shop s CROSS JOIN credential c CROSS JOIN operation o CROSS JOIN event b LEFT JOIN event e ON e.id = o.event
		WHERE s.account = (SELECT id FROM account WHERE name = $1) AND s.name = $2
			AND c.shop = s.id AND c.version = s.active_version AND o.id = s.active_operation AND b.id = o.id`
)

type currentRow struct {
	reviewDetail
	Newest int64 `db:"newest"`
}

// CurrentCredential reads the current credentials of a shop.
func (j *Journal) CurrentCredential(ctx context.Context, k journal.ShopKey) (c journal.CurrentCredential, err error) {
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) (c journal.CurrentCredential, err error) {
		r := first[currentRow](u, currentCredential, k.Account, k.Shop)
		if r == nil {
			return c, fmt.Errorf("%w: credentials of an active shop", journal.ErrNotFound)
		}
		return journal.CurrentCredential{
			Review: u.review(k.Account, &r.reviewDetail), ActivatedAt: displayTime(r.ActiveAt), Newest: r.Newest, NextVersion: r.Shop.Version + 1,
		}, nil
	})
}

// MoveCredential replaces the current credentials of a shop.
func (j *Journal) MoveCredential(ctx context.Context, m journal.CredentialMove) error {
	return j.db.Write(ctx, &Request{
		Needs: Needs{ShopIDs: []int64{m.Ref.Shop}},
		Load: func(l *Loader) {
			l.shops = append(l.shops, m.Ref.Shop)
			l.IDs(OutboxIDs, len(m.Publish))
			for i := range m.Publish {
				l.events = append(l.events, eventKey{m.Ref.Shop, m.Publish[i].ID})
			}
		},
		Do: func(u *Unit) error { return u.moveCredential(&m) },
	})
}

func (u *Unit) moveCredential(m *journal.CredentialMove) error {
	s := u.shops.get(u, m.Ref.Shop)
	if s == nil || s.ReviewClaim != m.Ref.Claim || s.ActiveVersion == 0 {
		return journal.ErrStale
	}
	if m.Credential.Version <= s.Version {
		return journal.ErrVersionTaken
	}
	if s.MerchantID != m.Credential.MerchantID {
		return journal.ErrMerchantConflict
	}
	o := u.operations.get(u, s.ActiveOperation)
	if o == nil {
		return fmt.Errorf("journal: the activation of shop %d does not exist", s.ID)
	}
	if err := u.store(o, s, &m.Credential); err != nil {
		return err
	}
	before := *s
	s.Version, s.ActiveVersion = m.Credential.Version, m.Credential.Version
	if len(m.Publish) > 0 {
		s.ActiveEvent = eventID(m.Publish[0].ID)
	}
	// A check that is being made read the earlier place.
	s.ReviewClaim++
	s.ReviewEvents += int64(m.ReviewEvents)
	u.replaceSecrets(s, before, m.DestroyAt)
	u.audit(m.Audit)
	return u.emit(s, s.ActiveOperation, m.Publish)
}
