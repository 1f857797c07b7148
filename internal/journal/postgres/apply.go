package postgres

import (
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

func credentialVersion(c *journal.Credential) any {
	if c == nil {
		return nil
	}
	return c.Version
}

// remember brings the shop's row up to date: its credential, its last
// invitation, its current activation, and the sequence of its events, of which
// it returns the last one before those of this transition.
func (t *tx) remember(f facts, tr journal.Transition) (sequence int64, err error) {
	own := int64(len(tr.Publish))
	if own == 0 && tr.Credential == nil && tr.Invited == nil && tr.Active == nil && tr.Current == 0 {
		return 0, nil
	}
	s, err := t.one("SELECT sequence, merchant_id, version, coalesce(active_version, 0) FROM shop WHERE id = $1", f.shop)
	if err != nil {
		return 0, err
	}
	sequence = s.int(0)
	if tr.Current != 0 && s.int(3) > tr.Current {
		return 0, journal.ErrOlderVersion
	}
	if c := tr.Credential; c != nil {
		if err := t.store(f, tr.Ref.Operation, s.text(1), *c); err != nil {
			return 0, err
		}
		if s.null(1) {
			if _, err := t.exec("UPDATE shop SET merchant_id = $1, version = greatest(version, $2) WHERE id = $3", c.MerchantID, c.Version, f.shop); err != nil {
				return 0, err
			}
		} else if _, err := t.exec("UPDATE shop SET version = greatest(version, $1) WHERE id = $2", c.Version, f.shop); err != nil {
			return 0, err
		}
	}
	if u := tr.Invited; u != nil {
		if _, err := t.exec(`UPDATE shop SET sequence = $5, invited_operation = $1, invited_at = $2, invitation_id = $3,
			invited_mac = (SELECT mac FROM operation_body WHERE id = $1),
			invited_event_time = (SELECT e.event_time FROM operation p JOIN event e ON e.id = p.event WHERE p.id = $1)
			WHERE id = $4`, tr.Ref.Operation, t.j.clock.stamp(u.At), u.InvitationID, f.shop, sequence+own); err != nil {
			return 0, err
		}
	}
	if u := tr.Active; u != nil {
		version, err := t.stored(tr)
		if err != nil {
			return 0, err
		}
		if version < s.int(3) {
			return 0, journal.ErrOlderVersion
		}
		if _, err := t.exec("UPDATE shop SET sequence = $1, active_operation = $2, active_at = $3, active_event = $4, active_version = $5 WHERE id = $6",
			sequence+own, tr.Ref.Operation, t.j.clock.stamp(u.At), eventID(u.Event), version, f.shop); err != nil {
			return 0, err
		}
		if err := t.beginReview(f, tr.Ref.Operation, version, tr); err != nil {
			return 0, err
		}
	}
	if own > 0 && tr.Invited == nil && tr.Active == nil {
		if _, err := t.exec("UPDATE shop SET sequence = $1 WHERE id = $2", sequence+own, f.shop); err != nil {
			return 0, err
		}
	}
	return sequence, nil
}

// stored finds the version of the credential that the operation's run stored.
func (t *tx) stored(tr journal.Transition) (int64, error) {
	if tr.Credential != nil {
		return tr.Credential.Version, nil
	}
	r, err := t.one("SELECT version FROM operation WHERE id = $1", tr.Ref.Operation)
	if err != nil {
		return 0, err
	}
	if r == nil || r.null(0) {
		return 0, fmt.Errorf("journal: operation %d has stored no credential to be made current", tr.Ref.Operation)
	}
	return r.int(0), nil
}

// store inserts a credential; merchant is the shop's merchant id so far.
func (t *tx) store(f facts, operation int64, merchant string, c journal.Credential) error {
	if c.Version < 1 || c.MerchantID == "" || c.Shop != f.key {
		return fmt.Errorf("journal: a credential of another shop, without version or without merchant id")
	}
	if merchant == "" {
		other, err := t.one("SELECT 1 FROM shop WHERE account = $1 AND merchant_id = $2", f.account, c.MerchantID)
		if err != nil {
			return err
		}
		if other != nil {
			return journal.ErrMerchantConflict
		}
	} else if merchant != c.MerchantID {
		return journal.ErrMerchantConflict
	}
	var key any
	if c.Sealed != nil {
		k, err := keyset.SealingKey(c.Sealed)
		if err != nil {
			return fmt.Errorf("journal: a credential that is not sealed: %w", err)
		}
		key = int64(k)
	}
	n, err := t.exec(`INSERT INTO credential (shop, version, operation, created, reference, merchant_id, secret, secret_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`, f.shop, c.Version, operation, t.now, c.Reference, c.MerchantID, c.Sealed, key)
	if err == nil && n == 0 {
		err = journal.ErrVersionTaken
	}
	return err
}

func eventID(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id[:]
}
