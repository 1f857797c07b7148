package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// leased is the stage of operations that are out on a lease (Claimed and
// Sending): their due_at is its end.
const leased = 3

// maxClaim bounds what one claim can take.
const maxClaim = 1000

// What is due, by due time and id. The claim, its reading and the look ahead
// use the same seek in the same index.
const (
	claimColumns = `SELECT o.id, o.claim, o.state, o.shop, s.name, o.run, b.generation, o.attempts, o.waits, o.doubt, o.reason,
			b.uuid, b.mac, b.subject, o.planned, coalesce(e.event_id, ''), coalesce(e.event_time, 0), coalesce(e.traceparent, ''), coalesce(e.tracestate, ''),
			s.version, s.active_at, s.merchant_id, s.active_version, s.active_event, a.uuid,
			o.receipt, o.version, o.stored_at, o.last_attempt, o.unknowns, o.changed, o.closed
		`
	claimRead = claimColumns + `FROM operation o INDEXED BY operation_due
			CROSS JOIN operation_body b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop
			LEFT JOIN event e ON e.id = o.event LEFT JOIN operation_body a ON a.id = s.active_operation
		WHERE o.account = ? AND o.kind = ? AND o.stage = ? AND o.due_at <= ?
		ORDER BY o.due_at, o.id LIMIT ?`
	claimCall = `UPDATE operation SET state = ?, stage = ?, due_at = ?, claim = claim + 1, owner = ?, changed = ?
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due
			WHERE account = ? AND kind = ? AND stage = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?)`
	claimSettle = `UPDATE operation SET lease_held = 1, due_at = ?, claim = claim + 1, owner = ?
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due
			WHERE account = ? AND kind = ? AND stage = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?)`
)

// Claim takes due operations, the longest due first.
func (j *Journal) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	if r.Limit <= 0 {
		return nil, nil
	}
	if r.Lease <= 0 || r.Kind != journal.Invite && r.Kind != journal.Activate || r.Stage != journal.Call && r.Stage != journal.Settle {
		return nil, fmt.Errorf("journal: claim of kind %d in stage %d for %v makes no sense", r.Kind, r.Stage, r.Lease)
	}
	if r.Stage == journal.Call {
		if err := j.space.enough(); err != nil {
			return nil, err
		}
	}
	return ask(ctx, j, 0, func(t *tx) ([]journal.ClaimedOperation, error) { return t.claim(r) })
}

func (t *tx) claim(r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	account, ok := t.j.writer.accounts[r.Account]
	if !ok {
		return nil, fmt.Errorf("%w: account %q", journal.ErrNotFound, r.Account)
	}
	limit := int64(min(r.Limit, maxClaim))
	var got []journal.ClaimedOperation
	var more []extras
	err := t.each(claimRead, in{account, int64(r.Kind), int64(r.Stage), t.now, limit}, func(c row) error {
		o, x := t.claimed(r, c)
		got, more = append(got, o), append(more, x)
		return nil
	})
	if err != nil || len(got) == 0 {
		return nil, err
	}
	end := t.now + r.Lease.Microseconds()
	for i, o := range got {
		t.keepFacts(o.Ref.Operation, facts{account: account, shop: more[i].shop, kind: r.Kind, key: o.Shop, lease: end})
	}
	for i := range got {
		if err := t.outrun(&got[i], more[i]); err != nil {
			return nil, err
		}
	}
	if r.Stage == journal.Call {
		_, err = t.exec(claimCall, int64(journal.Claimed), int64(leased), end, r.Owner, t.now, account, int64(r.Kind), int64(r.Stage), t.now, limit)
		return got, err
	}
	if _, err = t.exec(claimSettle, end, r.Owner, account, int64(r.Kind), int64(r.Stage), t.now, limit); err != nil {
		return nil, err
	}
	for i := range got {
		if err := t.settling(&got[i], more[i]); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// An answer that is there holds the lane or is beside it: Received, Stored.
const activatingRead = "SELECT EXISTS (SELECT 1 FROM operation WHERE shop = ?1 AND lane IN (1, 3) AND kind = 2 AND state IN (6, 7) AND id <> ?2)"

// outrun tells whether others of its kind wait behind an operation that is to
// be probed, and whether an activation of its shop is before its end.
func (t *tx) outrun(o *journal.ClaimedOperation, x extras) error {
	if o.Kind == journal.Invite && o.State == journal.Claimed {
		r, err := t.one(activatingRead, x.shop, o.Ref.Operation)
		if err != nil {
			return err
		}
		o.Activating = r.int(0) != 0
	}
	if o.Unknowns == 0 {
		return nil
	}
	r, err := t.one("SELECT EXISTS (SELECT 1 FROM operation WHERE shop = ? AND lane = 2 AND kind = ?)", x.shop, int64(o.Kind))
	if err == nil {
		o.Newer = r.int(0) != 0
	}
	return err
}

// extras are what only the stage Settle asks for.
type extras struct{ shop, receipt, version, attempt, changed int64 }

func (t *tx) claimed(r journal.ClaimRequest, c row) (journal.ClaimedOperation, extras) {
	o := journal.ClaimedOperation{
		Ref:  journal.ClaimRef{Operation: c.int(0), Claim: c.int(1) + 1},
		Kind: r.Kind, State: journal.State(c.int(2)), Shop: journal.ShopKey{Account: r.Account, Shop: c.text(4)}, // #nosec G115 -- our own numbers
		Run: int(c.int(5)), Generation: int(c.int(6)), Attempts: int(c.int(7)), Waits: int(c.int(8)), Doubt: c.int(9) != 0, Unknowns: int(c.int(29)), Reason: c.text(10),
		UUID: asUUID(c.blob(11)), SubjectMAC: c.blob(12), Sealed: c.blob(13), Planned: t.j.clock.instant(c.int(14)),
		EventID: c.text(15), EventTime: wall(c.int(16)), TraceParent: c.text(17), TraceState: c.text(18),
		NextVersion: c.int(19) + 1, GateClosed: t.closedSince(t.j.writer.accounts[r.Account], c.int(31)),
	}
	if !c.null(20) {
		o.Active = &journal.ActiveView{At: wall(c.int(20)), MerchantID: c.text(21), Version: c.int(22), Event: asUUID(c.blob(23)), Operation: asUUID(c.blob(24))}
	}
	if r.Stage == journal.Call {
		o.State = journal.Claimed
	}
	if o.State == journal.Received && !c.null(26) {
		// Its credentials were announced with this version before a restore.
		o.NextVersion = c.int(26)
	}
	if o.State == journal.Stored {
		o.StoredAt = t.j.clock.instant(c.int(27))
	}
	return o, extras{shop: c.int(3), receipt: c.int(25), version: c.int(26), attempt: c.int(28), changed: c.int(30)}
}

// settling adds what the settling of o needs to know.
func (t *tx) settling(o *journal.ClaimedOperation, x extras) error {
	if x.receipt != 0 {
		list, err := t.receipts("r.attempt = ?", x.receipt)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			o.Receipt = &list[0]
		}
	}
	if !o.State.Open() {
		return t.comparing(o, x)
	}
	if x.version != 0 && o.State == journal.Stored {
		r, err := t.one(credentialRead, x.shop, x.version)
		if err != nil {
			return err
		}
		if r != nil {
			c := credential(o.Shop, r)
			o.Credential = &c
		}
	}
	r, err := t.one("SELECT number, ended, deadline FROM attempt WHERE id = ?", x.attempt)
	if err != nil {
		return err
	}
	if r != nil && r.null(1) {
		o.OpenAttempt = int(r.int(0))
	}
	if o.State == journal.Unknown {
		o.Closed = t.closed(r, x)
	}
	return nil
}

// comparing adds what a late receipt is compared with.
func (t *tx) comparing(o *journal.ClaimedOperation, x extras) (err error) {
	if o.Late, err = t.receipts("r.operation = ? AND r.attempt IS NOT ?", o.Ref.Operation, orNull(x.receipt)); err != nil {
		return err
	}
	if o.Receipt != nil {
		o.Known = append(o.Known, *o.Receipt)
	}
	current, err := t.receipts("r.attempt = (SELECT a.receipt FROM shop s JOIN operation a ON a.id = s.active_operation WHERE s.id = ?)", x.shop)
	o.Known = append(o.Known, current...)
	if err != nil {
		return err
	}
	return t.each(`SELECT version, reference, merchant_id, secret, created FROM credential
		WHERE shop = ?1 AND version IN (?2, (SELECT active_version FROM shop WHERE id = ?1)) ORDER BY version`, in{x.shop, x.version}, func(r row) error {
		o.Stored = append(o.Stored, credential(o.Shop, r))
		return nil
	})
}

func (t *tx) receipts(where string, args ...any) (list []journal.StoredReceipt, err error) {
	err = t.each("SELECT r.attempt, r.answer, r.at, b.uuid, r.sealed_for FROM receipt r JOIN operation_body b ON b.id = r.operation WHERE "+where+" ORDER BY r.attempt", args,
		func(r row) error {
			list = append(list, journal.StoredReceipt{Operation: asUUID(r.blob(3)), Attempt: journal.AttemptID(r.int(0)), Sealed: r.blob(1), SealedFor: r.text(4), At: wall(r.int(2))})
			return nil
		})
	return list, err
}

// closed is when nothing of the last attempt could leave us any more. Earlier
// processes cannot send since this one holds the file, and their times may be
// those of a clock that was stepped since.
func (t *tx) closed(r row, x extras) time.Time {
	at := x.changed
	switch {
	case r == nil:
	case x.attempt < t.j.writer.firstAttempt:
		at = t.j.writer.ledgers.opened
	case r.null(1):
		at = max(at, r.int(2))
	default:
		at = r.int(1)
	}
	return t.j.clock.instant(at)
}

const credentialRead = `SELECT version, reference, merchant_id, secret, created FROM credential WHERE shop = ? AND version = ?`

func credential(k journal.ShopKey, r row) journal.Credential {
	return journal.Credential{Shop: k, Version: r.int(0), Reference: r.text(1), MerchantID: r.text(2), Sealed: r.blob(3), At: wall(r.int(4))}
}

// Expire ends the leases that have run out.
func (j *Journal) Expire(ctx context.Context) (planned, unknown int, err error) {
	n, err := ask(ctx, j, 0, (*tx).expire)
	return n[0], n[1], err
}

// expire tells how many became planned and unknown.
func (t *tx) expire() (n [2]int, err error) {
	for _, account := range t.j.writer.accounts {
		for _, kind := range kinds {
			for i, x := range []struct {
				query string
				to    journal.State
				stage journal.Stage
				from  journal.State
			}{
				{expireClaimed, journal.Planned, journal.Call, journal.Claimed},
				{expireSending, journal.Unknown, journal.Settle, journal.Sending},
			} {
				changed, err := t.exec(x.query, int64(x.to), int64(x.stage), t.now, t.now, account, int64(kind), int64(leased), t.now, int64(x.from))
				if err != nil {
					return n, err
				}
				if n[i] += int(changed); changed > 0 && x.to == journal.Unknown {
					t.j.writer.doubted.addAll()
				}
				t.woken = t.woken || changed > 0
			}
		}
	}
	return n, nil
}

const (
	expireClaimed = `UPDATE operation SET state = ?, stage = ?, due_at = ?, changed = ?
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE account = ? AND kind = ? AND stage = ? AND due_at <= ?) AND state = ?`
	expireSending = `UPDATE operation SET state = ?, stage = ?, due_at = ?, changed = ?, doubt = 1, unknowns = unknowns + 1, lease_held = 0
		WHERE id IN (SELECT id FROM operation INDEXED BY operation_due WHERE account = ? AND kind = ? AND stage = ? AND due_at <= ?) AND state = ?`
)

var kinds = [...]journal.Kind{journal.Invite, journal.Activate}

// Changed is signalled after a commit by which an operation may have become due.
func (j *Journal) Changed() <-chan struct{} { return j.changed }

// Due looks at the head of every queue: a few index seeks an account.
func (j *Journal) Due(ctx context.Context) ([]journal.Due, error) {
	var due []journal.Due
	err := j.read(ctx, `SELECT a.name, k.kind, g.stage,
			(SELECT o.due_at FROM operation o INDEXED BY operation_due
			 WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at IS NOT NULL ORDER BY o.due_at LIMIT 1) AS at
		FROM account a, (SELECT 1 AS kind UNION ALL SELECT 2) k, (SELECT 1 AS stage UNION ALL SELECT 2) g
		WHERE at IS NOT NULL ORDER BY a.id, k.kind, g.stage`, nil, func(scan scanner) error {
		var d journal.Due
		var at int64
		if err := scan(&d.Account, &d.Kind, &d.Stage, &at); err != nil {
			return err
		}
		d.At = j.clock.instant(at)
		due = append(due, d)
		return nil
	})
	return due, err
}

func asUUID(b []byte) uuid.UUID {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil
	}
	return id
}

const laneRead = `SELECT EXISTS (SELECT 1 FROM operation WHERE shop = ?1 AND lane = 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 2 AND kind = 1 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = ?1 AND lane = 4 ORDER BY lane_order, id LIMIT 1)`

const earlierRead = "SELECT id FROM operation WHERE id IN (?, ?) ORDER BY lane_order, id LIMIT 1"

// release makes the shop's next operation Planned if nothing holds the lane.
func (t *tx) release(shop int64) error {
	r, err := t.one(laneRead, shop)
	if err != nil {
		return err
	}
	held, invite, activate, last := r.int(0) != 0, r.int(1), r.int(2), r.int(3)
	id := invite + activate
	switch {
	case held:
		return nil
	case invite != 0 && activate != 0:
		if r, err = t.one(earlierRead, invite, activate); err != nil {
			return err
		}
		id = r.int(0)
	case id == 0 && last == 0:
		return nil
	case id == 0:
		id = last
	}
	t.woken = true
	_, err = t.exec("UPDATE operation SET state = ?, stage = ?, due_at = ?, lane = ?, changed = ? WHERE id = ?",
		int64(journal.Planned), int64(journal.Call), t.now, stored.LaneHeld, t.now, id)
	return err
}
