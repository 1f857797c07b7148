package steps

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/keyset"
)

const (
	intentOfOperation Query = "SELECT o.account, o.id AS operation FROM event b CROSS JOIN operation o WHERE b.uuid = $1 AND o.id = b.id"
	intentOfAccount   Query = "SELECT id AS account FROM account WHERE name = $1"
	intentOfShop      Query = "SELECT account, id AS shop FROM shop WHERE account = (SELECT id FROM account WHERE name = $1) AND name = $2"
	intentsThere      Query = `SELECT EXISTS (SELECT 1 FROM intent WHERE uuid = $1) AS known,
		(SELECT count(*) FROM (SELECT 1 FROM intent WHERE state = 1 LIMIT $2) x) AS waiting`
	intentInsert Query = `INSERT INTO intent (uuid, at, actor, act, account, operation, shop, note, merchant_id, token, token_key, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (uuid) DO NOTHING`
	importForget Query = "UPDATE intent SET note = '', merchant_id = '', mac = NULL WHERE id = $1"
	newestResult Query = "SELECT id FROM outbox WHERE shop = $1 AND operation = $2 ORDER BY sequence DESC LIMIT 1 FOR KEY SHARE"
	intentWaits  Query = "SELECT EXISTS (SELECT 1 FROM intent WHERE state = 1 AND NOT id = ANY($1)) AS found"

	intentRecords = `SELECT i.id, i.uuid, i.at, i.actor, i.act, i.operation, i.shop, i.note, i.merchant_id, i.token, i.state, i.result, i.detail, i.ended, i.mac,
			a.name AS account_name, b.uuid AS operation_uuid, s.name AS shop_name
		FROM intent i JOIN account a ON a.id = i.account LEFT JOIN event b ON b.id = i.operation LEFT JOIN shop s ON s.id = i.shop WHERE `
	intentsWaiting Query = intentRecords + "i.state = 1 AND NOT i.id = ANY($2) ORDER BY i.id LIMIT $1"
)

// AppendIntent inserts an operator action; also beside a worker.
func (j *Journal) AppendIntent(ctx context.Context, i journal.Intent, audit journal.AuditEntry) error {
	if i.UUID == uuid.Nil || i.Act == "" {
		return fmt.Errorf("journal: an intent needs an id and an act")
	}
	return j.db.Write(ctx, &Request{Beside: true, Do: func(u *Unit) error { return u.appendIntent(i, audit) }})
}

type thereIntents struct {
	Known   bool  `db:"known"`
	Waiting int64 `db:"waiting"`
}

func (u *Unit) appendIntent(i journal.Intent, audit journal.AuditEntry) error {
	var key any
	if i.Sealed != nil {
		k, err := keyset.SealingKey(i.Sealed)
		if err != nil {
			return fmt.Errorf("journal: the token of an intent is not sealed: %w", err)
		}
		key = int64(k)
	}
	about, err := u.intentSubject(i)
	if err != nil {
		return err
	}
	there := first[thereIntents](u, intentsThere, i.UUID[:], int64(journal.MaxWaitingIntents))
	switch {
	case there.Known:
		return journal.ErrIntentExists
	case there.Waiting >= journal.MaxWaitingIntents:
		return journal.ErrTooManyIntents // each of several processes may insert one more
	}
	var operation, shop any
	if about.Operation != 0 {
		operation = about.Operation
	}
	if about.Shop != 0 {
		shop = about.Shop
	}
	n := u.exec(intentInsert, i.UUID[:], u.stampOrNow(i.At), i.Actor, i.Act, about.Account, operation, shop, i.Note, i.MerchantID, i.Sealed, key, i.MAC)
	if n == 0 { // another process has inserted it since
		return journal.ErrIntentExists
	}
	u.signals.Intents = true
	u.audit(audit)
	return nil
}

// intentSubject finds the account, and the operation or the shop, of an intent.
func (u *Unit) intentSubject(i journal.Intent) (*rows.Intent, error) {
	var about *rows.Intent
	missing := fmt.Sprintf("account %q", i.Account)
	switch {
	case i.Shop != "" && i.Operation != uuid.Nil:
		return nil, fmt.Errorf("journal: an intent is about a shop or about an operation, not both")
	case i.Shop != "":
		about, missing = first[rows.Intent](u, intentOfShop, i.Account, i.Shop), "the shop"
	case i.Operation != uuid.Nil:
		about, missing = first[rows.Intent](u, intentOfOperation, i.Operation[:]), fmt.Sprint("operation ", i.Operation)
	default:
		about = first[rows.Intent](u, intentOfAccount, i.Account)
	}
	if about == nil {
		return nil, fmt.Errorf("%w: %s", journal.ErrNotFound, missing)
	}
	return about, nil
}

type intentRecord struct {
	rows.Intent
	AccountName   string `db:"account_name"`
	OperationUUID []byte `db:"operation_uuid"`
	ShopName      string `db:"shop_name"`
}

func (r *intentRecord) intent() journal.Intent {
	return journal.Intent{
		ID: r.ID, UUID: asUUID(r.UUID), At: displayTime(r.At), Actor: r.Actor, Act: r.Act, Account: r.AccountName, Operation: asUUID(r.OperationUUID), Shop: r.ShopName, Note: r.Note,
		MerchantID: r.MerchantID, Sealed: r.Token, State: r.State, Result: r.Result, Detail: r.Detail, Ended: displayTimeOrZero(r.Ended), MAC: r.MAC,
	}
}

// PendingIntents lists those that wait. It first uses a reader, because most calls find
// none.
func (j *Journal) PendingIntents(ctx context.Context, limit int, skip []int64) ([]journal.PendingIntent, error) {
	if err := j.db.Writable(); err != nil {
		return nil, err
	}
	if skip == nil {
		skip = []int64{} // nil is NULL, and no id differs from NULL
	}
	if waits, err := readInt(ctx, j, intentWaits, skip); err != nil || waits == 0 {
		return nil, err
	}
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) ([]journal.PendingIntent, error) { return u.pendingIntents(limit, skip), nil })
}

func (u *Unit) pendingIntents(limit int, skip []int64) (pending []journal.PendingIntent) {
	of := make(map[int64][]int) // places in the list, by operation
	var ids []int64
	each(u, intentsWaiting, []any{bounded(limit), skip}, func(r *intentRecord) {
		if r.Operation != 0 {
			ids = append(ids, r.Operation)
			of[r.Operation] = append(of[r.Operation], len(pending))
		}
		pending = append(pending, journal.PendingIntent{Intent: r.intent(), ShopID: r.Shop})
	})
	if len(ids) == 0 {
		return pending
	}
	slices.Sort(ids)
	// A command does not insert an intent about an operation that does not exist.
	details := u.describe(slices.Compact(ids), asked{newer: true, activating: true, settling: true, comparing: true, current: true})
	for _, d := range details {
		for _, place := range of[d.ID] {
			pending[place].Target = u.intentTarget(d)
		}
	}
	return pending
}

// intentTarget returns the operation of an intent, with what its execution needs.
func (u *Unit) intentTarget(d *detail) *journal.Target {
	t := &journal.Target{ClaimedOperation: u.claimed(d)}
	if t.Active != nil {
		t.Current, t.CurrentVerified = d.credential(t.Active.Version), d.currentVerified
	}
	return t
}

// Intents lists intents, the newest first.
func (j *Journal) Intents(ctx context.Context, f journal.IntentFilter) ([]journal.Intent, error) {
	q, args := filteredIntents(f)
	return list(ctx, j, q, args, func(r *intentRecord) journal.Intent {
		i := r.intent()
		i.Sealed = nil
		return i
	})
}

// filteredIntents returns the query of a filter and its arguments.
func filteredIntents(f journal.IntentFilter) (Query, []any) {
	var c conditions
	c.when(f.UUID != uuid.Nil, "i.uuid = ?", f.UUID[:])
	c.when(f.Operation != uuid.Nil, "i.operation = (SELECT id FROM event WHERE uuid = ?)", f.Operation[:])
	c.when(f.Account != "", "i.operation IS NULL AND i.shop IS NULL AND i.account = (SELECT id FROM account WHERE name = ?)", f.Account)
	c.when(f.Shop.Shop != "", "i.shop = (SELECT id FROM shop WHERE account = (SELECT id FROM account WHERE name = ?) AND name = ?)", f.Shop.Account, f.Shop.Shop)
	c.when(f.Before > 0, "i.id < ?", f.Before)
	return c.newest(intentRecords+"TRUE", "i.id", f.Limit)
}

// EndIntent ends an intent that changes no operation: it was refused, or it changes a
// circuit breaker.
func (j *Journal) EndIntent(ctx context.Context, e journal.IntentEnd) error {
	return j.db.Write(ctx, &Request{
		Load: func(l *Loader) { l.intents = append(l.intents, e.ID) },
		Do:   func(u *Unit) error { return u.endIntent(e) },
	})
}

func (u *Unit) endIntent(e journal.IntentEnd) error {
	if e.State != journal.IntentPerformed && e.State != journal.IntentRefused {
		return fmt.Errorf("journal: no intent ends as %v", e.State)
	}
	i := u.intents.get(u, e.ID)
	if i == nil || i.State != journal.IntentWaiting {
		return journal.ErrStale
	}
	if e.Reissue {
		if err := u.reissue(i.Operation); err != nil {
			return err
		}
	}
	if i.Token != nil && i.Operation == 0 && i.Shop == 0 {
		// The row of an import does not name its shop, so an erasure would not find it. The
		// audit trail has the same.
		u.later(importForget, i.ID)
	}
	i.State, i.Result, i.Detail, i.Ended, i.Token, i.TokenKey = e.State, e.Result, e.Detail, u.now, nil, 0
	if e.Circuit != nil {
		a, err := u.account(i.Account)
		if err != nil {
			return err
		}
		if err := u.setCircuit(a, *e.Circuit); err != nil {
			return err
		}
	}
	u.audit(e.Audit)
	return nil
}

// reissue queues the newest result of an operation once more.
func (u *Unit) reissue(operation int64) error {
	o := u.operations.get(u, operation)
	if o == nil {
		return journal.ErrNotFound
	}
	newest := firstInt(u, newestResult, o.Shop, operation)
	if newest == 0 {
		return fmt.Errorf("%w: a result of the operation", journal.ErrNotFound)
	}
	u.requeue(newest)
	return nil
}
