package steps

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

const (
	records = `SELECT o.id, b.uuid, o.kind, a.name AS account_name, s.name AS shop_name, o.state, o.reason, o.run, b.generation, o.attempts, o.doubt,
			b.received AS created, o.changed, o.due_at, o.owner, e.event_id
		FROM operation o CROSS JOIN event b CROSS JOIN shop s CROSS JOIN account a LEFT JOIN event e ON e.id = o.event
		WHERE b.id = o.id AND s.id = o.shop AND a.id = o.account`
	recordByUUID Query = records + " AND o.id = (SELECT id FROM event WHERE uuid = $1)"
	// The operations of a shop are those of its events.
	recordsOfShop Query = records + " AND o.id IN (SELECT operation FROM event WHERE shop = $1 AND operation IS NOT NULL) ORDER BY o.id"

	shopByName  Query = "SELECT id FROM shop WHERE account = (SELECT id FROM account WHERE name = $1) AND name = $2"
	shopHistory Query = `SELECT s.disconnected_at, s.invited_at, s.invited_event_time, s.invitation_id, s.active_at, s.merchant_id, s.active_version, s.active_event, b.uuid
		FROM shop s LEFT JOIN event b ON b.id = s.active_operation WHERE s.id = $1`

	attemptsOf Query = `SELECT t.id, t.operation, t.number, t.flagged, t.probe, t.started, t.ended, t.answered, t.not_sent, t.status, t.outcome, t.code, t.request_id, t.reason,
			t.answer IS NOT NULL AS has_receipt
		FROM attempt t WHERE t.operation = ANY($1) AND t.number > 0 ORDER BY t.id`
	responsesOf Query = `SELECT t.id, t.answer, t.answer_at, t.number, t.sealed_for FROM event b
		LEFT JOIN attempt t ON t.operation = b.id AND t.answer IS NOT NULL WHERE b.uuid = $1 ORDER BY t.id`

	events = `SELECT e.type, e.source, e.event_id, e.event_time, e.received, t.name AS topic_name, e.part, e.record_offset, e.exit, e.operation, b.uuid
		FROM event e JOIN topic t ON t.id = e.topic LEFT JOIN event b ON b.id = e.operation WHERE e.shop = $1 AND e.exit > 0`
	eventsOfShop      Query = events + " ORDER BY e.id"
	eventsOfOperation Query = events + " AND e.operation = $2 ORDER BY e.id"

	output                  = `SELECT o.event, o.operation, o.type, o.sequence, o.created, o.value, o.published_at, o.part, o.record_offset FROM outbox o WHERE o.shop = $1`
	outputOfShop      Query = output + " ORDER BY o.sequence, o.id"
	outputOfOperation Query = output + " AND o.operation = $2 ORDER BY o.sequence, o.id"

	credentialOf Query = `SELECT version, reference, merchant_id, secret, created FROM credential
		WHERE shop = $1 AND ($2::bigint = 0 OR version = $2) ORDER BY version DESC LIMIT 1`
	credentialAt Query = `SELECT version AS n FROM credential
		WHERE shop = (SELECT id FROM shop WHERE account = (SELECT id FROM account WHERE name = $1) AND name = $2) AND reference = $3 ORDER BY version DESC LIMIT 1`
	shopsList Query = `SELECT s.id, a.name AS account_name, s.name, s.invited_at, s.active_at, s.active_version, s.disconnected_at, s.merchant_id, s.review_state, c.reference
		FROM shop s JOIN account a ON a.id = s.account LEFT JOIN credential c ON c.shop = s.id AND c.version = s.active_version
		WHERE ($1::bigint = 0 OR s.id < $1) AND ($2::text = '' OR a.name = $2) AND ($3::text = '' OR s.merchant_id = $3)
			AND CASE $4::bigint WHEN 0 THEN TRUE WHEN 1 THEN s.active_at IS NOT NULL
				WHEN 4 THEN s.disconnected_at IS NOT NULL
				WHEN 2 THEN s.active_at IS NULL AND s.disconnected_at IS NULL AND s.invited_at IS NOT NULL
				ELSE s.active_at IS NULL AND s.disconnected_at IS NULL AND s.invited_at IS NULL END
			AND ($5::bigint = 0 OR s.active_at IS NOT NULL AND s.review_state = $5)
			AND ($6::bigint = 0 OR s.invited_at >= $6 OR s.active_at >= $6 OR s.disconnected_at >= $6)
		ORDER BY s.id DESC LIMIT $7`
	// Versions above the active one are stored, but their check has not ended well.
	credentialPublished Query = `SELECT s.disconnected_at, c.version, c.reference, c.merchant_id, c.secret, c.created FROM shop s
		LEFT JOIN credential c ON c.shop = s.id AND c.version = s.active_version
		WHERE s.account = (SELECT id FROM account WHERE name = $1) AND s.name = $2`
)

type recordRow struct {
	rows.Operation
	UUID        []byte `db:"uuid"`
	AccountName string `db:"account_name"`
	ShopName    string `db:"shop_name"`
	Generation  int64  `db:"generation"`
	Created     int64  `db:"created"`
	EventID     string `db:"event_id"`
}

func (r *recordRow) record() journal.OperationRecord {
	o := journal.OperationRecord{
		ID: r.ID, UUID: asUUID(r.UUID), Kind: r.Kind, Shop: journal.ShopKey{Account: r.AccountName, Shop: r.ShopName}, State: r.State, Reason: r.Reason,
		Run: int(r.Run), Generation: int(r.Generation), Attempts: int(r.Attempts), Doubt: r.Doubt, Created: displayTime(r.Created), Changed: displayTime(r.Changed),
		Owner: r.Owner, Event: r.EventID,
	}
	if r.DueAt != 0 && journal.StageOf(r.State) != 0 {
		o.Due = displayTime(r.DueAt)
	}
	return o
}

// Operations lists operations, the newest first.
func (j *Journal) Operations(ctx context.Context, f journal.OperationFilter) ([]journal.OperationRecord, error) {
	q, args := filtered(f)
	return list(ctx, j, q, args, (*recordRow).record)
}

// filtered returns the query of a filter and its arguments.
func filtered(f journal.OperationFilter) (Query, []any) {
	var c conditions
	c.when(f.Before > 0, "o.id < ?", f.Before)
	c.when(f.Account != "", "o.account = (SELECT id FROM account WHERE name = ?)", f.Account)
	// The index begins with the account.
	c.when(f.Shop != "", `o.id IN (SELECT operation FROM event WHERE shop IN
			(SELECT id FROM shop WHERE account IN (SELECT id FROM account) AND name = ?))`, f.Shop)
	c.when(f.Kind != 0, "o.kind = ?", int64(f.Kind))
	// Open operations and those in attention have partial indexes, so that done ones
	// cost nothing.
	c.when(f.OpenOnly, "(o.id IN (SELECT id FROM operation WHERE lane IS NOT NULL) OR o.id IN (SELECT id FROM operation WHERE state = 20))")
	c.when(f.State == journal.Attention, "o.id IN (SELECT id FROM operation WHERE state = 20)")
	c.when(f.State != 0 && f.State != journal.Attention, "o.state = ?", int64(f.State))
	c.when(f.State != 0 && f.State.Open(), "o.id IN (SELECT id FROM operation WHERE lane IS NOT NULL)")
	return c.newest(records, "o.id", f.Limit)
}

// Operation finds an operation with its attempts, events and results.
func (j *Journal) Operation(ctx context.Context, id uuid.UUID) (d journal.OperationDetail, err error) {
	found, err := list(ctx, j, recordByUUID, []any{id[:]}, (*recordRow).record)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	if err != nil {
		return d, err
	}
	d.OperationRecord = found[0]
	attempts, err := j.attempts(ctx, []int64{d.ID})
	if err != nil {
		return d, err
	}
	d.Tries = attempts[d.ID]
	shop, err := j.shop(ctx, d.Shop)
	if err != nil {
		return d, err
	}
	if d.Events, err = list(ctx, j, eventsOfOperation, []any{shop, d.ID}, (*eventRecord).record); err != nil {
		return d, err
	}
	d.Output, err = list(ctx, j, outputOfOperation, []any{shop, d.ID}, outputRecord)
	return d, err
}

// Shop returns a shop with all of its operations. The attempts, events and results are
// each read with one query and distributed over the operations.
func (j *Journal) Shop(ctx context.Context, k journal.ShopKey) (journal.ShopHistory, error) {
	h := journal.ShopHistory{Shop: k}
	shop, err := j.shop(ctx, k)
	if err != nil {
		return h, err
	}
	if err := read(ctx, j, shopHistory, []any{shop}, func(r *historyRow) error {
		h.Invited, h.Active, h.Disconnected = invitedView(&r.Shop), activeView(&r.Shop, asUUID(r.UUID)), displayTimeOrZero(r.DisconnectedAt)
		return nil
	}); err != nil {
		return h, err
	}
	records, err := list(ctx, j, recordsOfShop, []any{shop}, (*recordRow).record)
	if err != nil {
		return h, err
	}
	ids, at := make([]int64, len(records)), make(map[int64]*journal.OperationDetail, len(records))
	h.Operations = make([]journal.OperationDetail, len(records))
	for i, r := range records {
		h.Operations[i].OperationRecord = r
		ids[i], at[r.ID] = r.ID, &h.Operations[i]
	}
	attempts, err := j.attempts(ctx, ids)
	if err != nil {
		return h, err
	}
	for i, id := range ids {
		h.Operations[i].Tries = attempts[id]
	}
	if err := read(ctx, j, eventsOfShop, []any{shop}, func(r *eventRecord) error {
		e := r.record()
		h.Events = append(h.Events, e)
		if o := at[r.Operation]; o != nil {
			o.Events = append(o.Events, e)
		}
		return nil
	}); err != nil {
		return h, err
	}
	err = read(ctx, j, outputOfShop, []any{shop}, func(r *rows.Outbox) error {
		x := outputRecord(r)
		h.Output = append(h.Output, x)
		if o := at[r.Operation]; o != nil {
			o.Output = append(o.Output, x)
		}
		return nil
	})
	return h, err
}

// shop finds the id of a shop.
func (j *Journal) shop(ctx context.Context, k journal.ShopKey) (id int64, err error) {
	id, err = readInt(ctx, j, shopByName, k.Account, k.Shop)
	if err == nil && id == 0 {
		err = fmt.Errorf("%w: the shop", journal.ErrNotFound)
	}
	return id, err
}

type historyRow struct {
	rows.Shop
	UUID []byte `db:"uuid"` // of the current activation
}

// invitedView is the last invitation of a shop, nil for none.
func invitedView(s *rows.Shop) *journal.InvitedView {
	if s.InvitedAt == 0 {
		return nil
	}
	return &journal.InvitedView{At: displayTime(s.InvitedAt), EventTime: displayTime(s.InvitedEventTime), InvitationID: s.InvitationID}
}

// activeView is the current activation of a shop, nil for none.
func activeView(s *rows.Shop, operation uuid.UUID) *journal.ActiveView {
	if s.ActiveAt == 0 {
		return nil
	}
	return &journal.ActiveView{At: displayTime(s.ActiveAt), MerchantID: s.MerchantID, Version: s.ActiveVersion, Event: asUUID(s.ActiveEvent), Operation: operation}
}

type attemptRecord struct {
	rows.Attempt
	HasReceipt bool `db:"has_receipt"`
}

// attempts reads the attempts of operations, in the order of their numbers.
func (j *Journal) attempts(ctx context.Context, operations []int64) (map[int64][]journal.AttemptRecord, error) {
	of := make(map[int64][]journal.AttemptRecord)
	err := read(ctx, j, attemptsOf, []any{operations}, func(r *attemptRecord) error {
		a := journal.AttemptRecord{ID: journal.AttemptID(r.ID), Number: int(r.Number), Flagged: r.Flagged, Probe: r.Probe, Started: displayTime(r.Started), HasReceipt: r.HasReceipt}
		if r.Ended != 0 {
			a.End = &journal.AttemptEnd{
				At: displayTime(r.Ended), Answered: r.Answered, NotSent: r.NotSent, Status: int(r.Status), Outcome: r.Outcome, Code: r.Code, RequestID: r.RequestID, Reason: r.Reason,
			}
		}
		of[r.Operation] = append(of[r.Operation], a)
		return nil
	})
	return of, err
}

// Responses lists the stored responses of an operation.
func (j *Journal) Responses(ctx context.Context, id uuid.UUID) (kept []journal.KeptResponse, err error) {
	found := false
	err = read(ctx, j, responsesOf, []any{id[:]}, func(r *rows.Attempt) error {
		found = true
		if r.ID != 0 {
			kept = append(kept, journal.KeptResponse{StoredReceipt: response(r, id), Number: int(r.Number)})
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	return kept, err
}

type eventRecord struct {
	rows.Event
	TopicName string `db:"topic_name"`
	UUID      []byte `db:"uuid"` // of the operation
}

func (r *eventRecord) record() journal.EventRecord {
	return journal.EventRecord{
		Type: r.Type, Source: r.Source, ID: r.EventID, Time: displayTime(r.EventTime), Received: displayTime(r.Received), Topic: r.TopicName, Partition: int(r.Part), Offset: r.RecordOffset,
		Exit: stored.Exit(r.Exit), Operation: asUUID(r.UUID),
	}
}

func outputRecord(r *rows.Outbox) journal.OutputRecord {
	return journal.OutputRecord{
		Event: asUUID(r.Event), Type: r.Type, Sequence: r.Sequence, Created: displayTime(r.Created), Value: r.Value, Published: r.PublishedAt != 0, Partition: int(r.Part), Offset: r.RecordOffset,
	}
}

type shopRecord struct {
	rows.Shop
	AccountName string `db:"account_name"`
	Reference   string `db:"reference"`
}

func (r *shopRecord) record() journal.ShopRecord {
	s := journal.ShopRecord{ID: r.ID, Shop: journal.ShopKey{Account: r.AccountName, Shop: r.Name}, InvitedAt: displayTimeOrZero(r.InvitedAt), DisconnectedAt: displayTimeOrZero(r.DisconnectedAt)}
	if r.ActiveAt != 0 {
		s.ActiveAt, s.Merchant, s.Version, s.Reference, s.State = displayTime(r.ActiveAt), r.MerchantID, r.ActiveVersion, r.Reference, r.ReviewState
	}
	return s
}

// Shops lists shops, the newest first.
func (j *Journal) Shops(ctx context.Context, f journal.ShopFilter) ([]journal.ShopRecord, error) {
	since := int64(0)
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	return list(ctx, j, shopsList, []any{f.Before, f.Account, f.Merchant, int64(f.Stage), int64(f.State), since, bounded(f.Limit)}, (*shopRecord).record)
}

type publishedRow struct {
	rows.Credential
	DisconnectedAt int64 `db:"disconnected_at"`
}

// PublishedCredential finds the current version of a shop's credentials.
func (j *Journal) PublishedCredential(ctx context.Context, k journal.ShopKey) (c journal.Credential, err error) {
	disconnected := false
	err = read(ctx, j, credentialPublished, []any{k.Account, k.Shop}, func(r *publishedRow) error {
		c, disconnected = credential(k, &r.Credential), r.DisconnectedAt != 0
		return nil
	})
	switch {
	case err != nil:
		return journal.Credential{}, err
	case c.Version != 0:
		return c, nil
	case disconnected:
		return journal.Credential{}, journal.ErrDisconnected
	}
	return journal.Credential{}, fmt.Errorf("%w: credentials of an active shop", journal.ErrNotFound)
}

// CredentialVersion finds the version that has a reference.
func (j *Journal) CredentialVersion(ctx context.Context, k journal.ShopKey, reference string) (version int64, err error) {
	version, err = readInt(ctx, j, credentialAt, k.Account, k.Shop, reference)
	if err == nil && version == 0 {
		err = fmt.Errorf("%w: credentials with this reference", journal.ErrNotFound)
	}
	return version, err
}

// Credential finds a version of a shop's credentials; version 0 is the newest.
func (j *Journal) Credential(ctx context.Context, k journal.ShopKey, version int64) (journal.Credential, error) {
	shop, err := j.shop(ctx, k)
	if err != nil {
		return journal.Credential{}, err
	}
	c := journal.Credential{Shop: k}
	err = read(ctx, j, credentialOf, []any{shop, version}, func(r *rows.Credential) error {
		c = credential(k, r)
		return nil
	})
	if err == nil && c.Version == 0 {
		err = fmt.Errorf("%w: version %d of the shop's credentials", journal.ErrNotFound, version)
	}
	return c, err
}
