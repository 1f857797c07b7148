package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// maxClaim bounds what one claim can take.
const maxClaim = 1000

// A claim takes what no other replica is looking at, and then reads what it has
// got. Operations that are out on a lease (Claimed and Sending) have stage 3, and
// due_at is its end.
const (
	claimDue = `WITH due AS MATERIALIZED (SELECT id, due_at FROM operation
		WHERE account = $5 AND kind = $6 AND stage = $8 AND due_at <= $4 ORDER BY due_at, id LIMIT $7 FOR UPDATE SKIP LOCKED) `
	claimTaken  = ` WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING id, array_position(ARRAY(SELECT id FROM due ORDER BY due_at, id), id)`
	claimCall   = claimDue + `UPDATE operation SET state = 4, stage = 3, due_at = $1, claim = claim + 1, owner = $2, replica = $3, changed = $4` + claimTaken
	claimSettle = claimDue + `UPDATE operation SET lease_held = 1, due_at = $1, claim = claim + 1, owner = $2, replica = $3` + claimTaken
	// What else has to be known of an operation, held or not.
	claimColumns = `SELECT o.id, o.claim, o.state, o.shop, s.name, o.run, b.generation, o.attempts, o.waits, o.doubt, o.reason,
			b.uuid, b.mac, b.subject, o.planned, coalesce(e.event_id, ''), coalesce(e.event_time, 0), coalesce(e.traceparent, ''), coalesce(e.tracestate, ''),
			s.version, s.active_at, s.merchant_id, s.active_version, s.active_event, a.uuid,
			o.receipt, o.version, o.stored_at, o.last_attempt, o.unknowns, o.changed, o.kind,
			(SELECT closed + CASE WHEN closed_since IS NULL THEN 0 ELSE greatest(0, $2::bigint - closed_since) END - o.closed FROM account WHERE id = o.account),
			CASE WHEN o.unknowns > 0 THEN EXISTS (SELECT 1 FROM operation p WHERE p.shop = o.shop AND p.lane = 2 AND p.kind = o.kind) ELSE FALSE END,
			CASE WHEN o.kind = 1 AND o.state = 4 THEN EXISTS (SELECT 1 FROM operation p
				WHERE p.shop = o.shop AND p.lane IN (1, 3) AND p.kind = 2 AND p.state IN (6, 7) AND p.id <> o.id) ELSE FALSE END
		FROM operation o
			JOIN operation_body b ON b.id = o.id JOIN shop s ON s.id = o.shop
			LEFT JOIN event e ON e.id = o.event LEFT JOIN operation_body a ON a.id = s.active_operation `
	claimRead = claimColumns + "WHERE o.id = ANY($1)"
)

// Claim takes due operations, the longest due first.
func (j *Journal) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	if r.Limit <= 0 {
		return nil, nil
	}
	if r.Lease <= 0 || r.Kind != journal.Invite && r.Kind != journal.Activate || r.Stage != journal.Call && r.Stage != journal.Settle {
		return nil, fmt.Errorf("journal: claim of kind %d in stage %d for %v makes no sense", r.Kind, r.Stage, r.Lease)
	}
	return askFor(ctx, j, 0, needs{}, func(t *tx) ([]journal.ClaimedOperation, error) { return t.claim(r) })
}

func (t *tx) claim(r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	account, err := t.account(r.Account)
	if err != nil {
		return nil, err
	}
	statement := claimCall
	if r.Stage == journal.Settle {
		statement = claimSettle
	}
	end := t.now + r.Lease.Microseconds()
	taken, err := t.query(statement, end, r.Owner, t.j.session.number(), t.now, account, int64(r.Kind), int64(min(r.Limit, maxClaim)), int64(r.Stage))
	if err != nil || len(taken.rows) == 0 {
		return nil, err
	}
	// They are updated, and read, in any order.
	slices.SortFunc(taken.rows, func(a, b row) int { return cmp.Compare(a.int(1), b.int(1)) })
	ids := idsOf(taken.rows)
	found, err := t.query(claimRead, ids, t.now)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found.rows, func(a, b row) int { return cmp.Compare(slices.Index(ids, a.int(0)), slices.Index(ids, b.int(0))) })
	got, more := make([]journal.ClaimedOperation, 0, len(ids)), make([]extras, 0, len(ids))
	for _, c := range found.rows {
		o, x := t.claimed(r.Account, c)
		got, more = append(got, o), append(more, x)
		f := facts{account: account, shop: x.shop, kind: r.Kind, key: o.Shop, lease: end}
		t.follow(func() { t.j.facts[o.Ref.Operation] = f })
	}
	if r.Stage == journal.Call {
		return got, nil
	}
	// What else has to be known is asked for side by side.
	err = t.parts(len(got), func(int) []string { return nil }, func(i int, t *tx) error { return t.settling(&got[i], more[i]) })
	return got, err
}

// extras are what only the stage Settle asks for.
type extras struct{ shop, receipt, version, attempt, changed int64 }

func (t *tx) claimed(account string, c row) (journal.ClaimedOperation, extras) {
	o := journal.ClaimedOperation{
		Ref:  journal.ClaimRef{Operation: c.int(0), Claim: c.int(1)},
		Kind: journal.Kind(c.int(31)), State: journal.State(c.int(2)), Shop: journal.ShopKey{Account: account, Shop: c.text(4)}, // #nosec G115 -- our own numbers
		Run: int(c.int(5)), Generation: int(c.int(6)), Attempts: int(c.int(7)), Waits: int(c.int(8)), Doubt: c.int(9) != 0, Unknowns: int(c.int(29)), Reason: c.text(10),
		UUID: asUUID(c.blob(11)), SubjectMAC: c.blob(12), Sealed: c.blob(13), Planned: t.j.clock.instant(c.int(14)),
		EventID: c.text(15), EventTime: wall(c.int(16)), TraceParent: c.text(17), TraceState: c.text(18),
		NextVersion: c.int(19) + 1, GateClosed: time.Duration(max(0, c.int(32))) * time.Microsecond, Newer: c.int(33) != 0, Activating: c.int(34) != 0,
	}
	if !c.null(20) {
		o.Active = &journal.ActiveView{At: wall(c.int(20)), MerchantID: c.text(21), Version: c.int(22), Event: asUUID(c.blob(23)), Operation: asUUID(c.blob(24))}
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
		list, err := t.receipts("r.attempt = $1", x.receipt)
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
	r, err := t.one("SELECT number, ended, deadline FROM attempt WHERE id = $1", x.attempt)
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
	if o.Late, err = t.receipts("r.operation = $1 AND r.attempt IS DISTINCT FROM $2", o.Ref.Operation, orNull(x.receipt)); err != nil {
		return err
	}
	if o.Receipt != nil {
		o.Known = append(o.Known, *o.Receipt)
	}
	current, err := t.receipts("r.attempt = (SELECT a.receipt FROM shop s JOIN operation a ON a.id = s.active_operation WHERE s.id = $1)", x.shop)
	o.Known = append(o.Known, current...)
	if err != nil {
		return err
	}
	a, err := t.query(`SELECT version, reference, merchant_id, secret, created FROM credential
		WHERE shop = $1 AND version IN ($2, (SELECT active_version FROM shop WHERE id = $1)) ORDER BY version`, x.shop, x.version)
	for _, r := range a.rows {
		o.Stored = append(o.Stored, credential(o.Shop, r))
	}
	return err
}

func (t *tx) receipts(where string, args ...any) (list []journal.StoredReceipt, err error) {
	a, err := t.query("SELECT r.attempt, r.answer, r.at, b.uuid, r.sealed_for FROM receipt r JOIN operation_body b ON b.id = r.operation WHERE "+where+" ORDER BY r.attempt", args...)
	for _, r := range a.rows {
		list = append(list, journal.StoredReceipt{Operation: asUUID(r.blob(3)), Attempt: journal.AttemptID(r.int(0)), Sealed: r.blob(1), SealedFor: r.text(4), At: wall(r.int(2))})
	}
	return list, err
}

// closed is when nothing of the last attempt could leave its worker any more.
// One that has no end may still be with a worker that only lost the database.
func (t *tx) closed(r row, x extras) time.Time {
	at := x.changed
	switch {
	case r == nil:
	case r.null(1):
		at = max(at, r.int(2))
	default:
		at = r.int(1)
	}
	return t.j.clock.instant(at)
}

const credentialRead = `SELECT version, reference, merchant_id, secret, created FROM credential WHERE shop = $1 AND version = $2`

func credential(k journal.ShopKey, r row) journal.Credential {
	return journal.Credential{Shop: k, Version: r.int(0), Reference: r.text(1), MerchantID: r.text(2), Sealed: r.blob(3), At: wall(r.int(4))}
}

// Expire ends the leases that have run out, and those of replicas that are
// gone.
func (j *Journal) Expire(ctx context.Context) (planned, unknown int, err error) {
	if !j.beside && !j.closed.Load() {
		if err := j.session.bury(ctx, false); err != nil {
			return 0, 0, fmt.Errorf("journal: %w", err)
		}
	}
	n, err := askFor(ctx, j, 0, needs{}, (*tx).expire)
	return n[0], n[1], err
}

// expire tells how many became planned and unknown.
func (t *tx) expire() (n [2]int, err error) {
	as, err := t.together(ask{expireClaimed, []any{t.now}}, ask{expireSending, []any{t.now}})
	if err != nil {
		return n, err
	}
	n[0], n[1] = int(as[0].changed), int(as[1].changed)
	t.woken = t.woken || n[0]+n[1] > 0
	return n, nil
}

const (
	leasesOver    = `WHERE id = ANY(ARRAY(SELECT o.id FROM operation o WHERE o.account = ANY(ARRAY(SELECT id FROM account)) AND o.kind IN (1, 2) AND o.stage = 3 AND o.due_at <= $1 AND o.state = `
	expireClaimed = `UPDATE operation SET state = 2, stage = 1, due_at = $1, changed = $1 ` + leasesOver + `4 FOR UPDATE SKIP LOCKED))`
	expireSending = `UPDATE operation SET state = 8, stage = 2, due_at = $1, changed = $1, doubt = 1, unknowns = unknowns + 1, lease_held = 0 ` + leasesOver + `5 FOR UPDATE SKIP LOCKED))`
)

// Changed is signalled after a commit by which an operation may have become due.
func (j *Journal) Changed() <-chan struct{} { return j.changed }

// Due looks at the head of every queue: a few index seeks an account.
func (j *Journal) Due(ctx context.Context) ([]journal.Due, error) {
	var due []journal.Due
	err := j.read(ctx, `SELECT a.name, k.kind, g.stage, d.at
		FROM account a CROSS JOIN (VALUES (1::bigint), (2)) k(kind) CROSS JOIN (VALUES (1::bigint), (2)) g(stage)
			CROSS JOIN LATERAL (SELECT (SELECT o.due_at FROM operation o
				WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at IS NOT NULL ORDER BY o.due_at LIMIT 1) AS at) d
		WHERE d.at IS NOT NULL ORDER BY a.id, k.kind, g.stage`, func(r row) error {
		due = append(due, journal.Due{Account: r.text(0), Kind: journal.Kind(r.int(1)), Stage: journal.Stage(r.int(2)), At: j.clock.instant(r.int(3))}) // #nosec G115 -- our own numbers
		return nil
	})
	return due, err
}

const laneRead = `SELECT EXISTS (SELECT 1 FROM operation WHERE shop = $1 AND lane = 1),
	(SELECT id FROM operation WHERE shop = $1 AND lane = 2 AND kind = 1 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = $1 AND lane = 2 AND kind = 2 ORDER BY lane_order, id LIMIT 1),
	(SELECT id FROM operation WHERE shop = $1 AND lane = 4 ORDER BY lane_order, id LIMIT 1)`

const earlierRead = "SELECT id FROM operation WHERE id IN ($1, $2) ORDER BY lane_order, id LIMIT 1"

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
	_, err = t.exec("UPDATE operation SET state = $1, stage = $2, due_at = $3, lane = $4, changed = $5 WHERE id = $6",
		int64(journal.Planned), int64(journal.Call), t.now, stored.LaneHeld, t.now, id)
	return err
}
