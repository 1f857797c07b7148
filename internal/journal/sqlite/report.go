package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	recordColumns = `SELECT o.id, b.uuid, o.kind, a.name, s.name, o.state, o.reason, o.run, b.generation, o.attempts, o.doubt, b.created, o.changed,
			coalesce(o.due_at, 0), o.owner, coalesce(e.event_id, '')
		FROM operation o CROSS JOIN operation_body b ON b.id = o.id CROSS JOIN shop s ON s.id = o.shop CROSS JOIN account a ON a.id = o.account
			LEFT JOIN event e ON e.id = o.event WHERE `
	// A shop's operations are those that its events led to.
	ofShop = "o.id IN (SELECT operation FROM event WHERE shop = ? AND operation IS NOT NULL)"
)

func record(scan scanner) (journal.OperationRecord, error) {
	var o journal.OperationRecord
	var id []byte
	var created, changed, due int64
	err := scan(&o.ID, &id, &o.Kind, &o.Shop.Account, &o.Shop.Shop, &o.State, &o.Reason, &o.Run, &o.Generation, &o.Attempts, &o.Doubt, &created, &changed,
		&due, &o.Owner, &o.Event)
	o.UUID, o.Created, o.Changed = asUUID(id), wall(created), wall(changed)
	if due != 0 && journal.StageOf(o.State) != 0 {
		o.Due = wall(due)
	}
	return o, err
}

// Operations lists operations, the newest first.
func (j *Journal) Operations(ctx context.Context, f journal.OperationFilter) ([]journal.OperationRecord, error) {
	var where []string
	var args in
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
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
		add("1")
	}
	var os []journal.OperationRecord
	err := j.read(ctx, recordColumns+strings.Join(where, " AND ")+" ORDER BY o.id DESC LIMIT ?", append(args, bounded(f.Limit)), func(scan scanner) error {
		o, err := record(scan)
		os = append(os, o)
		return err
	})
	return os, err
}

// Operation finds an operation with its attempts, events and results.
func (j *Journal) Operation(ctx context.Context, id uuid.UUID) (journal.OperationDetail, error) {
	var ds []journal.OperationDetail
	err := j.read(ctx, recordColumns+"o.id = (SELECT id FROM operation_body WHERE uuid = ?)", in{id[:]}, func(scan scanner) error {
		o, err := record(scan)
		ds = append(ds, journal.OperationDetail{OperationRecord: o})
		return err
	})
	if err == nil && len(ds) == 0 {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	if err != nil {
		return journal.OperationDetail{}, err
	}
	d := ds[0]
	if d.Tries, err = j.tries(ctx, d.ID); err != nil {
		return journal.OperationDetail{}, err
	}
	shop, err := j.shopRow(ctx, d.Shop)
	if err != nil {
		return journal.OperationDetail{}, err
	}
	if d.Events, err = j.events(ctx, "e.shop = ? AND e.operation = ?", shop, d.ID); err != nil {
		return journal.OperationDetail{}, err
	}
	d.Output, err = j.output(ctx, "o.shop = ? AND o.operation = ?", shop, d.ID)
	return d, err
}

// Shop tells all that the journal knows of a shop.
func (j *Journal) Shop(ctx context.Context, k journal.ShopKey) (journal.ShopHistory, error) {
	h := journal.ShopHistory{Shop: k}
	shop, err := j.shopRow(ctx, k)
	if err != nil {
		return h, err
	}
	if err := j.read(ctx, shopRead, in{shop}, func(scan scanner) error {
		var values, to [10]any
		for i := range to {
			to[i] = &values[i]
		}
		err := scan(to[:]...)
		r := make(row, len(values))
		for i, v := range values {
			r[i] = v
		}
		h.Invited, h.Active = history(r, nil)
		return err
	}); err != nil {
		return h, err
	}
	if h.Events, err = j.events(ctx, "e.shop = ?", shop); err != nil {
		return h, err
	}
	if h.Output, err = j.output(ctx, "o.shop = ?", shop); err != nil {
		return h, err
	}
	var os []journal.OperationRecord
	if err := j.read(ctx, recordColumns+ofShop+" ORDER BY o.id", in{shop}, func(scan scanner) error {
		o, err := record(scan)
		os = append(os, o)
		return err
	}); err != nil {
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
	if err := j.read(ctx, "SELECT event, coalesce(operation, 0) FROM outbox WHERE shop = ?", in{shop}, func(scan scanner) error {
		var event []byte
		var operation int64
		err := scan(&event, &operation)
		owner[asUUID(event)] = operation
		return err
	}); err != nil {
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
	err = j.read(ctx, "SELECT s.id FROM shop s WHERE s.account = (SELECT id FROM account WHERE name = ?) AND s.name = ?", in{k.Account, k.Shop},
		func(scan scanner) error { return scan(&id) })
	if err == nil && id == 0 {
		err = fmt.Errorf("%w: the shop", journal.ErrNotFound)
	}
	return id, err
}

func (j *Journal) tries(ctx context.Context, operation int64) ([]journal.AttemptRecord, error) {
	var as []journal.AttemptRecord
	err := j.read(ctx, `SELECT t.id, t.number, t.flagged, t.probe, t.started, t.ended, t.answered, t.not_sent, t.status, t.outcome, t.code, t.request_id, t.reason,
			EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = t.id)
		FROM attempt t WHERE t.operation = ? ORDER BY t.id`, in{operation}, func(scan scanner) error {
		var a journal.AttemptRecord
		var end journal.AttemptEnd
		var started int64
		var ended *int64
		err := scan(&a.ID, &a.Number, &a.Flagged, &a.Probe, &started, &ended, &end.Answered, &end.NotSent, &end.Status, &end.Outcome, &end.Code, &end.RequestID, &end.Reason, &a.HasReceipt)
		a.Started = wall(started)
		if ended != nil {
			end.At = wall(*ended)
			a.End = &end
		}
		as = append(as, a)
		return err
	})
	return as, err
}

// Responses lists the responses that are kept of an operation.
func (j *Journal) Responses(ctx context.Context, id uuid.UUID) ([]journal.KeptResponse, error) {
	found := false
	var list []journal.KeptResponse
	err := j.read(ctx, `SELECT r.attempt, r.at, r.answer, coalesce(t.number, 0), coalesce(r.sealed_for, '') FROM operation_body b
		LEFT JOIN receipt r ON r.operation = b.id LEFT JOIN attempt t ON t.id = r.attempt
		WHERE b.uuid = ? ORDER BY r.attempt`, in{id[:]}, func(scan scanner) error {
		var attempt, at *int64
		k := journal.KeptResponse{StoredReceipt: journal.StoredReceipt{Operation: id}}
		err := scan(&attempt, &at, &k.Sealed, &k.Number, &k.SealedFor)
		found = true
		if attempt != nil && at != nil {
			k.Attempt, k.At = journal.AttemptID(*attempt), wall(*at)
			list = append(list, k)
		}
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: operation %s", journal.ErrNotFound, id)
	}
	return list, err
}

func (j *Journal) events(ctx context.Context, where string, args ...any) ([]journal.EventRecord, error) {
	var es []journal.EventRecord
	err := j.read(ctx, `SELECT e.type, e.source, e.event_id, e.event_time, e.received, t.name, e.part, e.record_offset, e.exit, b.uuid
		FROM event e JOIN topic t ON t.id = e.topic LEFT JOIN operation_body b ON b.id = e.operation WHERE `+where+" ORDER BY e.id", args,
		func(scan scanner) error {
			var e journal.EventRecord
			var at, received, exit int64
			var operation []byte
			err := scan(&e.Type, &e.Source, &e.ID, &at, &received, &e.Topic, &e.Partition, &e.Offset, &exit, &operation)
			e.Time, e.Received, e.Operation = wall(at), wall(received), asUUID(operation)
			e.Exit = stored.Exit(exit)
			es = append(es, e)
			return err
		})
	return es, err
}

func (j *Journal) output(ctx context.Context, where string, args ...any) ([]journal.OutputRecord, error) {
	var os []journal.OutputRecord
	err := j.read(ctx, `SELECT o.event, o.type, o.sequence, o.created, o.value, p.part, p.record_offset
		FROM outbox o LEFT JOIN outbox_published p ON p.outbox = o.id WHERE `+where, args, func(scan scanner) error {
		var o journal.OutputRecord
		var event []byte
		var created int64
		var part *int
		var offset *int64
		err := scan(&event, &o.Type, &o.Sequence, &created, &o.Value, &part, &offset)
		o.Event, o.Created = asUUID(event), wall(created)
		if part != nil && offset != nil {
			o.Published, o.Partition, o.Offset = true, *part, *offset
		}
		os = append(os, o)
		return err
	})
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
		WHERE shop = ?1 AND (?2 = 0 OR version = ?2) ORDER BY version DESC LIMIT 1`, in{shop, version}, func(scan scanner) error {
		var created int64
		err := scan(&c.Version, &c.Reference, &c.MerchantID, &c.Sealed, &created)
		c.At = wall(created)
		return err
	})
	if err == nil && c.Version == 0 {
		err = fmt.Errorf("%w: version %d of the shop's credentials", journal.ErrNotFound, version)
	}
	return c, err
}
