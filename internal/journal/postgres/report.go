package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	recordColumns = `SELECT o.id, b.uuid, o.kind, a.name, s.name, o.state, o.reason, o.run, b.generation, o.attempts, o.doubt, b.created, o.changed,
			coalesce(o.due_at, 0), o.owner, coalesce(e.event_id, '')
		FROM operation o JOIN operation_body b ON b.id = o.id JOIN shop s ON s.id = o.shop JOIN account a ON a.id = o.account
			LEFT JOIN event e ON e.id = o.event WHERE `
	// A shop's operations are those that its events led to.
	ofShop = "o.id IN (SELECT operation FROM event WHERE shop = $1 AND operation IS NOT NULL)"
)

func (j *Journal) records(ctx context.Context, where string, args ...any) ([]journal.OperationRecord, error) {
	var os []journal.OperationRecord
	err := j.read(ctx, recordColumns+where, func(r row) error {
		o := journal.OperationRecord{
			ID: r.int(0), UUID: asUUID(r.blob(1)), Kind: journal.Kind(r.int(2)), Shop: journal.ShopKey{Account: r.text(3), Shop: r.text(4)}, // #nosec G115 -- our own numbers
			State: journal.State(r.int(5)), Reason: r.text(6), Run: int(r.int(7)), Generation: int(r.int(8)), Attempts: int(r.int(9)), Doubt: r.int(10) != 0, // #nosec G115
			Created: wall(r.int(11)), Changed: wall(r.int(12)), Owner: r.text(14), Event: r.text(15),
		}
		if r.int(13) != 0 && journal.StageOf(o.State) != 0 {
			o.Due = wall(r.int(13))
		}
		os = append(os, o)
		return nil
	}, args...)
	return os, err
}

// Operations lists operations, the newest first.
func (j *Journal) Operations(ctx context.Context, f journal.OperationFilter) ([]journal.OperationRecord, error) {
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.Before > 0 {
		add("o.id < ?", f.Before)
	}
	if f.Account != "" {
		add("o.account = (SELECT id FROM account WHERE name = ?)", f.Account)
	}
	if f.Shop != "" {
		// By the index that leads with the account.
		add(`o.id IN (SELECT operation FROM event WHERE shop IN
			(SELECT id FROM shop WHERE account IN (SELECT id FROM account) AND name = ?))`, f.Shop)
	}
	if f.Kind != 0 {
		add("o.kind = ?", int64(f.Kind))
	}
	// What is open or in attention is found by its index, however much is done.
	if f.OpenOnly {
		add("(o.id IN (SELECT id FROM operation WHERE lane IS NOT NULL) OR o.id IN (SELECT id FROM operation WHERE state = 20))")
	}
	switch {
	case f.State == journal.Attention:
		add("o.id IN (SELECT id FROM operation WHERE state = 20)")
	case f.State != 0 && f.State.Open():
		add("o.state = ? AND o.id IN (SELECT id FROM operation WHERE lane IS NOT NULL)", int64(f.State))
	case f.State != 0:
		add("o.state = ?", int64(f.State))
	}
	if len(where) == 0 {
		add("TRUE")
	}
	args = append(args, bounded(f.Limit))
	return j.records(ctx, strings.Join(where, " AND ")+" ORDER BY o.id DESC LIMIT $"+strconv.Itoa(len(args)), args...)
}

// Operation finds an operation with its attempts, events and results.
func (j *Journal) Operation(ctx context.Context, id uuid.UUID) (journal.OperationDetail, error) {
	found, err := j.records(ctx, "o.id = (SELECT id FROM operation_body WHERE uuid = $1)", id[:])
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	if err != nil {
		return journal.OperationDetail{}, err
	}
	d := journal.OperationDetail{OperationRecord: found[0]}
	if d.Tries, err = j.tries(ctx, d.ID); err != nil {
		return journal.OperationDetail{}, err
	}
	shop, err := j.shopRow(ctx, d.Shop)
	if err != nil {
		return journal.OperationDetail{}, err
	}
	if d.Events, err = j.events(ctx, "e.shop = $1 AND e.operation = $2", shop, d.ID); err != nil {
		return journal.OperationDetail{}, err
	}
	d.Output, err = j.output(ctx, "o.shop = $1 AND o.operation = $2", shop, d.ID)
	return d, err
}

// Shop tells all that the journal knows of a shop.
func (j *Journal) Shop(ctx context.Context, k journal.ShopKey) (journal.ShopHistory, error) {
	h := journal.ShopHistory{Shop: k}
	shop, err := j.shopRow(ctx, k)
	if err != nil {
		return h, err
	}
	if err := j.read(ctx, shopRead, func(r row) error {
		h.Invited, h.Active = history(r, nil)
		return nil
	}, shop); err != nil {
		return h, err
	}
	if h.Events, err = j.events(ctx, "e.shop = $1", shop); err != nil {
		return h, err
	}
	if h.Output, err = j.output(ctx, "o.shop = $1", shop); err != nil {
		return h, err
	}
	os, err := j.records(ctx, ofShop+" ORDER BY o.id", shop)
	if err != nil {
		return h, err
	}
	for _, o := range os {
		d := journal.OperationDetail{OperationRecord: o}
		if d.Tries, err = j.tries(ctx, o.ID); err != nil {
			return h, err
		}
		h.Operations = append(h.Operations, d)
	}
	// The other parts are read once and shared out.
	for i := range h.Operations {
		d := &h.Operations[i]
		for _, e := range h.Events {
			if e.Operation == d.UUID {
				d.Events = append(d.Events, e)
			}
		}
	}
	err = j.shareOutput(ctx, shop, &h)
	return h, err
}

// shareOutput gives each operation its part of the shop's output.
func (j *Journal) shareOutput(ctx context.Context, shop int64, h *journal.ShopHistory) error {
	owner := make(map[uuid.UUID]int64)
	if err := j.read(ctx, "SELECT event, coalesce(operation, 0) FROM outbox WHERE shop = $1", func(r row) error {
		owner[asUUID(r.blob(0))] = r.int(1)
		return nil
	}, shop); err != nil {
		return err
	}
	for i := range h.Operations {
		for _, o := range h.Output {
			if owner[o.Event] == h.Operations[i].ID {
				h.Operations[i].Output = append(h.Operations[i].Output, o)
			}
		}
	}
	return nil
}

func (j *Journal) shopRow(ctx context.Context, k journal.ShopKey) (id int64, err error) {
	err = j.read(ctx, "SELECT s.id FROM shop s WHERE s.account = (SELECT id FROM account WHERE name = $1) AND s.name = $2", func(r row) error {
		id = r.int(0)
		return nil
	}, k.Account, k.Shop)
	if err == nil && id == 0 {
		err = fmt.Errorf("%w: the shop", journal.ErrNotFound)
	}
	return id, err
}

func (j *Journal) tries(ctx context.Context, operation int64) ([]journal.AttemptRecord, error) {
	var as []journal.AttemptRecord
	err := j.read(ctx, `SELECT t.id, t.number, t.flagged, t.probe, t.started, t.ended, t.answered, t.not_sent, t.status, t.outcome, t.code, t.request_id, t.reason,
			EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = t.id)
		FROM attempt t WHERE t.operation = $1 ORDER BY t.id`, func(r row) error {
		a := journal.AttemptRecord{
			ID: journal.AttemptID(r.int(0)), Number: int(r.int(1)), Flagged: r.int(2) != 0, Probe: r.int(3) != 0, Started: wall(r.int(4)), HasReceipt: r.int(13) != 0,
		}
		if !r.null(5) {
			a.End = &journal.AttemptEnd{
				At: wall(r.int(5)), Answered: r.int(6) != 0, NotSent: r.int(7) != 0, Status: int(r.int(8)), Outcome: r.text(9), Code: r.text(10), RequestID: r.text(11), Reason: r.text(12),
			}
		}
		as = append(as, a)
		return nil
	}, operation)
	return as, err
}

// Responses lists the responses that are kept of an operation.
func (j *Journal) Responses(ctx context.Context, id uuid.UUID) ([]journal.KeptResponse, error) {
	found := false
	var list []journal.KeptResponse
	err := j.read(ctx, `SELECT r.attempt, r.at, r.answer, coalesce(t.number, 0), coalesce(r.sealed_for, '') FROM operation_body b
		LEFT JOIN receipt r ON r.operation = b.id LEFT JOIN attempt t ON t.id = r.attempt
		WHERE b.uuid = $1 ORDER BY r.attempt`, func(r row) error {
		found = true
		if !r.null(0) {
			list = append(list, journal.KeptResponse{
				StoredReceipt: journal.StoredReceipt{Operation: id, Attempt: journal.AttemptID(r.int(0)), At: wall(r.int(1)), Sealed: r.blob(2), SealedFor: r.text(4)}, Number: int(r.int(3)),
			})
		}
		return nil
	}, id[:])
	if err == nil && !found {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	return list, err
}

func (j *Journal) events(ctx context.Context, where string, args ...any) ([]journal.EventRecord, error) {
	var es []journal.EventRecord
	err := j.read(ctx, `SELECT e.type, e.source, e.event_id, e.event_time, e.received, t.name, e.part, e.record_offset, e.exit, b.uuid
		FROM event e JOIN topic t ON t.id = e.topic LEFT JOIN operation_body b ON b.id = e.operation WHERE `+where+" ORDER BY e.id", func(r row) error {
		e := journal.EventRecord{
			Type: r.text(0), Source: r.text(1), ID: r.text(2), Time: wall(r.int(3)), Received: wall(r.int(4)), Topic: r.text(5), Partition: int(r.int(6)), Offset: r.int(7),
			Exit: stored.Exit(r.int(8)), Operation: asUUID(r.blob(9)),
		}
		es = append(es, e)
		return nil
	}, args...)
	return es, err
}

func (j *Journal) output(ctx context.Context, where string, args ...any) ([]journal.OutputRecord, error) {
	var os []journal.OutputRecord
	err := j.read(ctx, `SELECT o.event, o.type, o.sequence, o.created, o.value, p.part, p.record_offset
		FROM outbox o LEFT JOIN outbox_published p ON p.outbox = o.id WHERE `+where, func(r row) error {
		o := journal.OutputRecord{Event: asUUID(r.blob(0)), Type: r.text(1), Sequence: r.int(2), Created: wall(r.int(3)), Value: r.blob(4)}
		if !r.null(5) {
			o.Published, o.Partition, o.Offset = true, int(r.int(5)), r.int(6)
		}
		os = append(os, o)
		return nil
	}, args...)
	slices.SortFunc(os, func(a, b journal.OutputRecord) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return os, err
}

// Credential finds a version of a shop's credentials; version 0 is the newest.
func (j *Journal) Credential(ctx context.Context, k journal.ShopKey, version int64) (journal.Credential, error) {
	shop, err := j.shopRow(ctx, k)
	if err != nil {
		return journal.Credential{}, err
	}
	c := journal.Credential{Shop: k}
	err = j.read(ctx, `SELECT version, reference, merchant_id, secret, created FROM credential
		WHERE shop = $1 AND ($2::bigint = 0 OR version = $2) ORDER BY version DESC LIMIT 1`, func(r row) error {
		c = credential(k, r)
		return nil
	}, shop, version)
	if err == nil && c.Version == 0 {
		err = fmt.Errorf("%w: version %d of the shop's credentials", journal.ErrNotFound, version)
	}
	return c, err
}
