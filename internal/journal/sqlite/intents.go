package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

const (
	intentSubject = `SELECT o.account, o.id FROM operation_body b JOIN operation o ON o.id = b.id WHERE b.uuid = ?`
	intentInsert  = `INSERT INTO intent (uuid, at, actor, act, account, operation, note, merchant_id, token, token_key, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	intentEnd     = `UPDATE intent SET state = ?, result = ?, detail = ?, ended = ?, token = NULL, token_key = NULL WHERE id = ? AND state = 1 RETURNING account`
	intentRead    = `SELECT i.id, i.uuid, i.at, i.actor, i.act, a.name, b.uuid, i.note, i.merchant_id, i.token, i.state, i.result, i.detail, i.ended, i.operation, i.mac
		FROM intent i JOIN account a ON a.id = i.account LEFT JOIN operation_body b ON b.id = i.operation WHERE `
	targetRead = claimColumns + `FROM operation o
			CROSS JOIN operation_body b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop
			LEFT JOIN event e ON e.id = o.event LEFT JOIN operation_body a ON a.id = s.active_operation
		WHERE o.id = ?`
)

// AppendIntent writes what a person asks for; also beside a worker.
func (j *Journal) AppendIntent(ctx context.Context, i journal.Intent, audit journal.AuditEntry) error {
	if i.UUID == uuid.Nil || i.Act == "" {
		return fmt.Errorf("journal: an intent needs an id and an act")
	}
	if j.writer != nil {
		return j.submit(ctx, 0, func(t *tx) error {
			t.dirty, t.asked = true, true
			return j.appendIntent(t.conn, i, audit)
		})
	}
	if err := j.open(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.beside(func(c *conn) error { return j.appendIntent(c, i, audit) })
}

func (j *Journal) appendIntent(c *conn, i journal.Intent, audit journal.AuditEntry) error {
	var key any
	if i.Sealed != nil {
		k, err := keyset.SealingKey(i.Sealed)
		if err != nil {
			return fmt.Errorf("journal: an intent whose token is not sealed: %w", err)
		}
		key = int64(k)
	}
	var account int64
	var operation any
	var r row
	var err error
	if i.Operation != uuid.Nil {
		if r, err = c.one(intentSubject, i.Operation[:]); err == nil && r == nil {
			return fmt.Errorf("%w: operation %s", journal.ErrNotFound, i.Operation)
		}
		if err == nil {
			account, operation = r.int(0), r.int(1)
		}
	} else {
		if r, err = c.one("SELECT id FROM account WHERE name = ?", i.Account); err == nil && r == nil {
			return fmt.Errorf("%w: account %q", journal.ErrNotFound, i.Account)
		}
		if err == nil {
			account = r.int(0)
		}
	}
	if err != nil {
		return err
	}
	if r, err = c.one("SELECT EXISTS (SELECT 1 FROM intent WHERE uuid = ?), (SELECT count(*) FROM intent WHERE state = 1)", i.UUID[:]); err != nil {
		return err
	}
	switch {
	case r.int(0) != 0:
		return journal.ErrIntentExists
	case r.int(1) >= journal.MaxWaitingIntents:
		return journal.ErrTooManyIntents
	}
	at := j.clock.stamp(i.At)
	if at == 0 {
		at = j.clock.micros()
	}
	if _, err := c.exec(intentInsert, i.UUID[:], at, i.Actor, i.Act, account, operation, i.Note, i.MerchantID, i.Sealed, key, i.MAC); err != nil {
		return err
	}
	return j.auditOn(c, audit)
}

// IntentsChanged is signalled after a commit of this process that wrote one.
func (j *Journal) IntentsChanged() <-chan struct{} { return j.intents }

// PendingIntents lists those that wait. Most looks find none, at a reader's cost.
func (j *Journal) PendingIntents(ctx context.Context, limit int) ([]journal.PendingIntent, error) {
	if err := j.open(); err != nil {
		return nil, err
	}
	if j.writer == nil {
		return nil, journal.ErrReadOnly
	}
	waits := false
	if err := j.read(ctx, "SELECT EXISTS (SELECT 1 FROM intent WHERE state = 1)", nil, func(scan scanner) error { return scan(&waits) }); err != nil || !waits {
		return nil, err
	}
	return ask(ctx, j, 0, func(t *tx) (list []journal.PendingIntent, err error) {
		var targets []int64
		if err := t.each(intentRead+"i.state = 1 ORDER BY i.id LIMIT ?", in{bounded(limit)}, func(r row) error {
			list, targets = append(list, journal.PendingIntent{Intent: intent(r)}), append(targets, r.int(14))
			return nil
		}); err != nil {
			return nil, err
		}
		for k, id := range targets {
			if id != 0 {
				// One about an operation that does not exist is not what a command wrote.
				if list[k].Target, err = t.target(list[k].Account, id); err != nil && !errors.Is(err, journal.ErrNotFound) {
					return nil, err
				}
			}
		}
		return list, nil
	})
}

func intent(r row) journal.Intent {
	i := journal.Intent{
		ID: r.int(0), UUID: asUUID(r.blob(1)), At: wall(r.int(2)), Actor: r.text(3), Act: r.text(4), Account: r.text(5), Operation: asUUID(r.blob(6)),
		Note: r.text(7), MerchantID: r.text(8), Sealed: r.blob(9), State: journal.IntentState(r.int(10)), Result: r.text(11), Detail: r.text(12), MAC: r.blob(15), // #nosec G115 -- our own numbers
	}
	if !r.null(13) {
		i.Ended = wall(r.int(13))
	}
	return i
}

// target reads an operation as it stands.
func (t *tx) target(account string, id int64) (*journal.Target, error) {
	r, err := t.one(targetRead, id)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("%w: operation %d", journal.ErrNotFound, id)
	}
	kind, err := t.facts(id)
	if err != nil {
		return nil, err
	}
	o, x := t.claimed(journal.ClaimRequest{Account: account, Kind: kind.kind, Stage: journal.Settle}, r)
	o.Ref.Claim-- // nobody claims it
	if err := t.outrun(&o, x); err != nil {
		return nil, err
	}
	if err := t.settling(&o, x); err != nil {
		return nil, err
	}
	target := &journal.Target{ClaimedOperation: o}
	if o.Active == nil {
		return target, nil
	}
	if r, err = t.one(credentialRead, x.shop, o.Active.Version); err != nil {
		return nil, err
	}
	if r != nil {
		c := credential(o.Shop, r)
		target.Current = &c
	}
	if r, err = t.one("SELECT a.verified FROM shop s JOIN operation a ON a.id = s.active_operation WHERE s.id = ?", x.shop); err != nil {
		return nil, err
	}
	target.CurrentVerified = r != nil && !r.null(0)
	return target, nil
}

func (t *tx) endIntent(e journal.IntentEnd) error {
	if e.State != journal.IntentPerformed && e.State != journal.IntentRefused {
		return fmt.Errorf("journal: no intent ends as %v", e.State)
	}
	r, err := t.change(intentEnd, int64(e.State), e.Result, e.Detail, t.now, e.ID)
	if err != nil {
		return err
	}
	if r == nil {
		return journal.ErrStale
	}
	return t.audit(e.Audit)
}

const (
	nextRun     = "UPDATE operation SET run = run + 1, waits = 0, planned = ?, closed = ?, lane_order = ?, unknowns = max(unknowns, ?) WHERE id = ?"
	enterAnswer = "INSERT INTO receipt (attempt, operation, at, answer, answer_key, sealed_for) VALUES (?, ?, ?, ?, ?, ?)"
	goOnWithIt  = "UPDATE operation SET receipt = ?, received = 1 WHERE id = ?"
)

// Intents lists intents, the newest first.
func (j *Journal) Intents(ctx context.Context, f journal.IntentFilter) ([]journal.Intent, error) {
	where, args := []string{"1"}, in{}
	add := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	if f.UUID != uuid.Nil {
		add("i.uuid = ?", f.UUID[:])
	}
	if f.Operation != uuid.Nil {
		add("i.operation = (SELECT id FROM operation_body WHERE uuid = ?)", f.Operation[:])
	}
	if f.Account != "" {
		add("i.operation IS NULL AND i.account = (SELECT id FROM account WHERE name = ?)", f.Account)
	}
	if f.Before > 0 {
		add("i.id < ?", f.Before)
	}
	var list []journal.Intent
	err := j.read(ctx, intentRead+strings.Join(where, " AND ")+" ORDER BY i.id DESC LIMIT ?", append(args, bounded(f.Limit)), func(scan scanner) error {
		var r [16]any
		var to [16]any
		for i := range r {
			to[i] = &r[i]
		}
		if err := scan(to[:]...); err != nil {
			return err
		}
		values := make(row, len(r))
		for i, v := range r {
			values[i] = v
		}
		one := intent(values)
		one.Sealed = nil
		list = append(list, one)
		return nil
	})
	return list, err
}
