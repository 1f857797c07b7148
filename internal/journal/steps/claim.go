package steps

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

// maxClaim bounds what one claim can take.
const maxClaim = 1000

// operationColumns are all columns of a [rows.Operation], in their order.
const operationColumns = `id, account, shop, kind, state, stage, due_at, lane, claim, leased, replica, run, attempts, waits, doubt, unknowns, late, event, lane_order,
	restored, open_time, planned, changed, last_attempt, receipt, received, version, stored_at, verified, reason, owner,
	check_open, check_slack, check_ledgers, check_grain, check_from`

const (
	// A claim skips the rows that other replicas have locked.
	dueOperations Query = `SELECT ` + operationColumns + ` FROM operation /*+ INDEXED BY operation_due */
		WHERE account = $1 AND kind = $2 AND stage = $3 AND due_at <= $4 ORDER BY due_at, id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED`
	overdueLeases Query = `SELECT ` + operationColumns + ` FROM operation /*+ INDEXED BY operation_due */
		WHERE account = ANY($1) AND kind = ANY($2) AND stage = $3 AND due_at <= $4 LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED`
	accountIDs Query = "SELECT id FROM account"
	dueHeads   Query = `SELECT a.name, k.kind, g.stage,
			(SELECT o.due_at FROM operation o /*+ INDEXED BY operation_due */
				WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at IS NOT NULL ORDER BY o.due_at LIMIT 1) AS due_at
		FROM account a CROSS JOIN (SELECT 1::bigint AS kind UNION ALL SELECT 2) k CROSS JOIN (SELECT 1::bigint AS stage UNION ALL SELECT 2) g
		ORDER BY a.id, k.kind, g.stage`
)

// Claim claims due operations, the longest due first.
func (j *Journal) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	if r.Limit <= 0 {
		return nil, nil
	}
	if r.Lease <= 0 || r.Kind != journal.Invite && r.Kind != journal.Activate || r.Stage != journal.Call && r.Stage != journal.Settle {
		return nil, fmt.Errorf("journal: invalid claim of kind %d in stage %d for %v", r.Kind, r.Stage, r.Lease)
	}
	if r.Stage == journal.Call {
		if err := j.db.MayBegin(); err != nil {
			return nil, err
		}
	}
	return ask(ctx, j, &Request{Last: true}, func(u *Unit) ([]journal.ClaimedOperation, error) { return u.claim(r) })
}

func (u *Unit) claim(r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	account, err := u.accountID(r.Account)
	if err != nil {
		return nil, err
	}
	taken := loadRows(u, &u.operations, dueOperations, account, int64(r.Kind), int64(r.Stage), u.now, int64(min(r.Limit, maxClaim)))
	if len(taken) == 0 {
		return nil, nil
	}
	end := u.now + r.Lease.Microseconds()
	asked := asked{activating: r.Stage == journal.Call && r.Kind == journal.Invite, settling: r.Stage == journal.Settle, invitations: r.Invitations}
	ids := make([]int64, len(taken))
	for i, o := range taken {
		ids[i] = o.ID
		o.Claim++
		o.Owner, o.Replica = r.Owner, u.tx.Replica()
		if r.Stage == journal.Call {
			u.enter(o, journal.Claimed, end)
		} else {
			lease(o, end)
		}
		asked.newer = asked.newer || o.Unknowns > 0
		asked.comparing = asked.comparing || !o.State.Open()
	}
	details := u.describe(ids, asked)
	got := make([]journal.ClaimedOperation, len(taken))
	for i, d := range details {
		got[i] = u.claimed(d)
		u.tx.KeepOperation(taken[i], got[i].Shop)
	}
	return got, nil
}

// ReleaseExpiredLeases ends the leases that have expired, and those of replicas that are gone.
func (j *Journal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	if err := j.db.EndLeasesOfDead(ctx); err != nil {
		return 0, 0, err
	}
	for {
		n, err := ask(ctx, j, &Request{Last: true}, func(u *Unit) (expired, error) { return u.expire(), nil })
		planned, unknown = planned+n.planned, unknown+n.unknown
		if err != nil || n.planned+n.unknown < maxClaim {
			return planned, unknown, err
		}
	}
}

type expired struct{ planned, unknown int }

// expire ends expired leases and returns how many operations became planned and
// unknown.
func (u *Unit) expire() (n expired) {
	kinds := []int64{int64(journal.Invite), int64(journal.Activate)}
	for _, o := range loadRows(u, &u.operations, overdueLeases, ints(u, accountIDs), kinds, int64(stageLeased), u.now, int64(maxClaim)) {
		if o.State == journal.Claimed {
			n.planned++
			u.enter(o, journal.Planned, u.now)
			continue
		}
		n.unknown++
		o.Doubt = true
		o.Unknowns++
		u.enter(o, journal.Unknown, u.now)
	}
	return n
}

type dueHead struct {
	Name  string        `db:"name"`
	Kind  journal.Kind  `db:"kind"`
	Stage journal.Stage `db:"stage"`
	DueAt int64         `db:"due_at"`
}

// Due reads the head of every queue: a few index lookups for each account.
func (j *Journal) Due(ctx context.Context) (due []journal.Due, err error) {
	err = read(ctx, j, dueHeads, nil, func(h *dueHead) error {
		if h.DueAt != 0 {
			due = append(due, journal.Due{Account: h.Name, Kind: h.Kind, Stage: h.Stage, At: j.db.Clock().Instant(h.DueAt)})
		}
		return nil
	})
	return due, err
}

const (
	operationDetails Query = `SELECT o.id, o.claim, o.state, o.kind, o.account, o.shop, o.run, o.attempts, o.waits, o.doubt, o.unknowns, o.reason, o.planned, o.changed,
			o.receipt, o.version, o.stored_at, o.last_attempt,
			b.uuid, b.mac, b.subject, b.generation, s.name AS shop_name, s.version AS newest_version, c.name AS account_name,
			s.active_at, s.merchant_id, s.active_version, s.active_event, x.uuid AS active_uuid, e.event_id, e.event_time, e.traceparent, e.tracestate,
			c.open_time + CASE WHEN c.open_since IS NULL THEN 0 ELSE greatest(0, $2::bigint - c.open_since) END - o.open_time AS circuit_open
		FROM operation o CROSS JOIN event b CROSS JOIN shop s CROSS JOIN account c
			LEFT JOIN event e ON e.id = o.event LEFT JOIN event x ON x.id = s.active_operation
		WHERE o.id = ANY($1) AND b.id = o.id AND s.id = o.shop AND c.id = o.account`
	// newerQueued finds operations to be probed behind which others of their kind wait.
	newerQueued Query = `SELECT o.id FROM operation o WHERE o.id = ANY($1) AND o.unknowns > 0
		AND EXISTS (SELECT 1 FROM operation p WHERE p.shop = o.shop AND p.lane = $2 AND p.kind = o.kind)`
	// activatingShops finds invitations whose shop has an activation with a response.
	// That activation holds the lane (Received) or is beside it (Stored).
	activatingShops Query = `SELECT o.id FROM operation o WHERE o.id = ANY($1) AND o.kind = $2 AND o.state = $3
		AND EXISTS (SELECT 1 FROM operation p WHERE p.shop = o.shop AND p.lane IN (1, 3) AND p.kind = $4 AND p.state IN ($5, $6) AND p.id <> o.id)`
	// invitationEvents finds the events of the last invitations of the operations' shops.
	invitationEvents Query = `SELECT o.id, e.event_id, e.traceparent FROM operation o CROSS JOIN shop s CROSS JOIN operation i CROSS JOIN event e
		WHERE o.id = ANY($1) AND s.id = o.shop AND i.id = s.invited_operation AND e.id = i.event`
	responsesKept Query = `SELECT t.operation AS of, t.id, t.answer, t.answer_at, t.sealed_for, (SELECT uuid FROM event WHERE id = t.operation) AS uuid
		FROM attempt t WHERE t.operation = ANY($1) AND t.answer IS NOT NULL ORDER BY t.id`
	currentResponses Query = `SELECT o.id AS of, t.id, t.answer, t.answer_at, t.sealed_for, b.uuid
		FROM operation o CROSS JOIN shop s CROSS JOIN operation a CROSS JOIN attempt t CROSS JOIN event b
		WHERE o.id = ANY($1) AND s.id = o.shop AND a.id = s.active_operation AND t.id = a.receipt AND t.answer IS NOT NULL AND b.id = t.operation`
	// credentialsStored finds the credentials that the operations stored, and the
	// current ones of their shops.
	credentialsStored Query = `SELECT o.id, c.version, c.reference, c.merchant_id, c.secret, c.created
		FROM operation o CROSS JOIN shop s CROSS JOIN credential c
		WHERE o.id = ANY($1) AND s.id = o.shop AND c.shop = o.shop AND c.version IN (o.version, s.active_version) ORDER BY c.version`
	currentVerified Query = `SELECT o.id FROM operation o CROSS JOIN shop s CROSS JOIN operation a
		WHERE o.id = ANY($1) AND s.id = o.shop AND a.id = s.active_operation AND a.verified IS NOT NULL`
	lastAttempts Query = `SELECT o.id, t.number, t.ended, t.deadline FROM operation o CROSS JOIN attempt t WHERE o.id = ANY($1) AND t.id = o.last_attempt`
)

// A detail is an operation with the rows that describe it to a caller.
type detail struct {
	rows.Operation
	UUID          []byte `db:"uuid"`
	MAC           []byte `db:"mac"`
	Subject       []byte `db:"subject"`
	Generation    int64  `db:"generation"`
	ShopName      string `db:"shop_name"`
	NewestVersion int64  `db:"newest_version"`
	AccountName   string `db:"account_name"`
	ActiveAt      int64  `db:"active_at"`
	MerchantID    string `db:"merchant_id"`
	ActiveVersion int64  `db:"active_version"`
	ActiveEvent   []byte `db:"active_event"`
	ActiveUUID    []byte `db:"active_uuid"`
	EventID       string `db:"event_id"`
	EventTime     int64  `db:"event_time"`
	TraceParent   string `db:"traceparent"`
	TraceState    string `db:"tracestate"`
	CircuitOpen   int64  `db:"circuit_open"` // microseconds, since the run began

	asked             asked
	newer, activating bool
	invitation        *journal.Cause
	responses         []journal.StoredReceipt // its own, oldest first
	current           []journal.StoredReceipt // of the shop's current activation
	credentials       []journal.Credential
	currentVerified   bool
	attempt           *attemptRow // the last
}

// asked selects the optional queries about operations.
type asked struct {
	newer, activating bool
	invitations       bool
	settling          bool // the rows for the stage Settle
	comparing         bool // the responses that late ones are compared with
	current           bool // the shop's current credentials
}

type causeOf struct {
	ID          int64  `db:"id"` // the operation that needs it
	EventID     string `db:"event_id"`
	TraceParent string `db:"traceparent"`
}

type responseOf struct {
	rows.Attempt
	Of   int64  `db:"of"`   // the operation that needs it
	UUID []byte `db:"uuid"` // of the operation whose response it is
}

func (r *responseOf) stored() journal.StoredReceipt { return response(&r.Attempt, asUUID(r.UUID)) }

// response returns the response that an attempt's row has.
func response(a *rows.Attempt, operation uuid.UUID) journal.StoredReceipt {
	return journal.StoredReceipt{Operation: operation, Attempt: journal.AttemptID(a.ID), Sealed: a.Answer, SealedFor: a.SealedFor, At: displayTime(a.AnswerAt)}
}

type credentialOfOperation struct {
	rows.Credential
	ID int64 `db:"id"`
}

type attemptRow struct {
	ID       int64 `db:"id"` // of the operation
	Number   int64 `db:"number"`
	Ended    int64 `db:"ended"`
	Deadline int64 `db:"deadline"`
}

// describe reads operations as they are in this transaction, in the order of ids. It
// skips those that do not exist. One round trip loads the rows of all of them.
func (u *Unit) describe(ids []int64, asked asked) []*detail {
	u.flush()
	of := make(map[int64]*detail, len(ids))
	asks := []Ask{asking(operationDetails, func(d *detail) {
		d.asked = asked
		of[d.ID] = d
	}, ids, u.now)}
	if asked.newer {
		asks = append(asks, askingInts(newerQueued, func(id int64) { of[id].newer = true }, ids, stored.LaneQueued))
	}
	if asked.activating {
		asks = append(asks, askingInts(activatingShops, func(id int64) { of[id].activating = true }, ids,
			int64(journal.Invite), int64(journal.Claimed), int64(journal.Activate), int64(journal.Received), int64(journal.Stored)))
	}
	if asked.invitations {
		asks = append(asks, asking(invitationEvents, func(c *causeOf) { of[c.ID].invitation = &journal.Cause{EventID: c.EventID, TraceParent: c.TraceParent} }, ids))
	}
	if asked.settling {
		asks = append(asks,
			asking(responsesKept, func(r *responseOf) { of[r.Of].responses = append(of[r.Of].responses, r.stored()) }, ids),
			asking(credentialsStored, func(r *credentialOfOperation) {
				d := of[r.ID]
				d.credentials = append(d.credentials, credential(d.shopKey(), &r.Credential))
			}, ids),
			asking(lastAttempts, func(a *attemptRow) { of[a.ID].attempt = a }, ids))
	}
	if asked.comparing {
		asks = append(asks, asking(currentResponses, func(r *responseOf) { of[r.Of].current = append(of[r.Of].current, r.stored()) }, ids))
	}
	if asked.current {
		asks = append(asks, askingInts(currentVerified, func(id int64) { of[id].currentVerified = true }, ids))
	}
	u.load(asks...)
	details := make([]*detail, 0, len(ids))
	for _, id := range ids {
		if d := of[id]; d != nil {
			details = append(details, d)
		}
	}
	return details
}

func credential(k journal.ShopKey, c *rows.Credential) journal.Credential {
	return journal.Credential{Shop: k, Version: c.Version, Reference: c.Reference, MerchantID: c.MerchantID, Sealed: c.Secret, At: displayTime(c.Created)}
}

func (d *detail) shopKey() journal.ShopKey {
	return journal.ShopKey{Account: d.AccountName, Shop: d.ShopName}
}

// claimed returns what the holder of an operation needs.
func (u *Unit) claimed(d *detail) journal.ClaimedOperation {
	o := journal.ClaimedOperation{
		Ref:  journal.ClaimRef{Operation: d.ID, Claim: d.Claim},
		Kind: d.Kind, State: d.State, Shop: d.shopKey(), Run: int(d.Run), Generation: int(d.Generation), Attempts: int(d.Attempts), Waits: int(d.Waits),
		Doubt: d.Doubt, Unknowns: int(d.Unknowns), Newer: d.newer, Activating: d.activating, Reason: d.Reason,
		UUID: asUUID(d.UUID), SubjectMAC: d.MAC, Sealed: d.Subject, Planned: u.clock.Instant(d.Planned),
		EventID: d.EventID, EventTime: displayTime(d.EventTime), TraceParent: d.TraceParent, TraceState: d.TraceState, Invitation: d.invitation,
		NextVersion: d.NewestVersion + 1, CircuitOpen: time.Duration(max(0, d.CircuitOpen)) * time.Microsecond,
	}
	if d.ActiveAt != 0 {
		o.Active = &journal.ActiveView{At: displayTime(d.ActiveAt), MerchantID: d.MerchantID, Version: d.ActiveVersion, Event: asUUID(d.ActiveEvent), Operation: asUUID(d.ActiveUUID)}
	}
	if o.State == journal.Received && d.Version != 0 {
		// Its credentials were announced with this version before a restore.
		o.NextVersion = d.Version
	}
	if o.State == journal.Stored {
		o.StoredAt = u.clock.Instant(d.StoredAt)
	}
	if d.asked.settling {
		u.settling(&o, d)
	}
	return o
}

// settling adds what the holder needs to settle the operation.
func (u *Unit) settling(o *journal.ClaimedOperation, d *detail) {
	var late []journal.StoredReceipt
	for i := range d.responses {
		if r := &d.responses[i]; int64(r.Attempt) == d.Receipt {
			o.Receipt = r
		} else {
			late = append(late, *r)
		}
	}
	if !o.State.Open() {
		// A late response is compared with these.
		o.Late, o.Stored = late, d.credentials
		if o.Receipt != nil {
			o.Known = append(o.Known, *o.Receipt)
		}
		o.Known = append(o.Known, d.current...)
		return
	}
	if o.State == journal.Stored {
		o.Credential = d.credential(d.Version)
	}
	if d.attempt != nil && d.attempt.Ended == 0 {
		o.OpenAttempt = int(d.attempt.Number)
	}
	if o.State == journal.Unknown {
		o.ConnectionClosed = u.clock.Instant(u.closedAt(d))
	}
}

// credential returns the one with a version, nil if there is none.
func (d *detail) credential(version int64) *journal.Credential {
	for i := range d.credentials {
		if c := &d.credentials[i]; c.Version == version {
			return c
		}
	}
	return nil
}

// closedAt returns since when no worker can send the last attempt any more. An attempt
// without an end may still be in a worker that has only lost the database. If only
// one process can hold the database, earlier ones cannot send, and their times may be
// those of a clock that was set since.
func (u *Unit) closedAt(d *detail) int64 {
	first, opened := u.tx.Opened()
	switch {
	case d.attempt == nil:
		return d.Changed
	case d.LastAttempt < first:
		return opened
	case d.attempt.Ended == 0:
		return max(d.Changed, d.attempt.Deadline)
	default:
		return d.attempt.Ended
	}
}
