package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

type eventKey struct {
	shop  int64
	event uuid.UUID
}

const (
	eventRow Query = "SELECT id FROM outbox WHERE shop = $1 AND event = $2 FOR KEY SHARE"
	// eventRows is for databases that accept lists of bytes.
	eventRows Query = `SELECT o.shop, o.event, o.id FROM unnest($1::bigint[], $2::bytea[]) AS x(shop, event)
		CROSS JOIN LATERAL (SELECT shop, event, id FROM outbox WHERE shop = x.shop AND event = x.event OFFSET 0 FOR KEY SHARE) o
-- sqlite:
`
)

// askEvents queries the outbox rows of events.
func (u *Unit) askEvents(keys []eventKey) Ask {
	shops, events := make([]int64, len(keys)), make([][]byte, len(keys))
	for i, k := range keys {
		shops[i], events[i] = k.shop, keys[i].event[:]
		u.events[k] = 0
	}
	return Ask{Query: eventRows, Args: []any{shops, events}, Each: func(_ []string, values []any) error {
		shop, _ := values[0].(int64)
		event, _ := values[1].([]byte)
		id, _ := values[2].(int64)
		u.events[eventKey{shop, uuid.UUID(event)}] = id
		return nil
	}}
}

// emit encodes events of a shop and queues them. An event that is in the outbox
// already (the step was repeated) is queued again with its bytes, because the bytes of
// an event never change.
func (u *Unit) emit(s *rows.Shop, operation int64, drafts []journal.Draft) error {
	for _, d := range drafts {
		s.Sequence++
		if _, err := u.freeze(d, s.ID, operation, s.Sequence); err != nil {
			return err
		}
	}
	return nil
}

// freeze encodes an event into an outbox row and queues it.
func (u *Unit) freeze(d journal.Draft, shop, operation, sequence int64) (int64, error) {
	m, err := d.Freeze(sequence)
	if err != nil {
		return 0, fmt.Errorf("journal: encode %s: %w", d.Type, err)
	}
	if m.Value == nil {
		m.Value = []byte{}
	}
	mac, err := u.j.Authenticated(d.ID, d.Type, sequence, m)
	if err != nil {
		return 0, err
	}
	if known := u.eventRow(shop, d.ID); known != 0 {
		u.requeue(known)
		return known, nil
	}
	id := u.next(OutboxIDs)
	if shop != 0 {
		key := eventKey{shop, d.ID}
		u.events[key] = id
		u.made = append(u.made, key)
	}
	u.insert(u.j.tables.outbox, &rows.Outbox{ID: id, Shop: shop, Operation: operation, Sequence: sequence, Created: u.now, Event: d.ID[:], Type: d.Type,
		Key: m.Key, Value: m.Value, Headers: stored.PackHeaders(m.Headers), MAC: mac, RecordOffset: -1})
	u.signals.Outbox = true
	return id, nil
}

// eventRow finds the outbox row of a shop's event, 0 for none.
func (u *Unit) eventRow(shop int64, event uuid.UUID) int64 {
	if shop == 0 {
		return 0
	}
	key := eventKey{shop, event}
	if _, ok := u.events[key]; !ok {
		u.events[key] = 0
		u.load(askingInts(eventRow, func(id int64) { u.events[key] = id }, shop, event[:]))
	}
	return u.events[key]
}

// Authenticated returns the MAC of a row that is inserted, nil without an
// authenticator.
func (j *Journal) Authenticated(event uuid.UUID, typ string, sequence int64, m schemas.Message) ([]byte, error) {
	authenticate := j.authenticator.Load()
	if authenticate == nil {
		return nil, nil
	}
	mac, err := (*authenticate)(journal.OutboxRow{Event: event, Type: typ, Sequence: sequence, Message: m})
	if err != nil {
		return nil, fmt.Errorf("journal: authenticate %s: %w", typ, err)
	}
	return mac, nil
}

// requeue queues a published event again.
func (u *Unit) requeue(outbox int64) {
	u.insert(u.j.tables.pending, &rows.OutboxPending{Row: u.next(OutboxIDs), Outbox: outbox, Since: u.now})
	u.signals.Outbox = true
}

const (
	// pendingRows finds new events and those that were queued again, in one order.
	pendingRows Query = `SELECT p.row, p.since, p.event, p.type, p.key, p.value, p.headers, p.sequence, p.mac, t.term FROM relay_lease t LEFT JOIN LATERAL
		(SELECT p.row, p.since, o.event, o.type, o.key, o.value, o.headers, o.sequence, o.mac FROM (
				(SELECT id AS row, id AS outbox, created AS since FROM outbox WHERE published_at IS NULL AND id > $1 ORDER BY id LIMIT $2) UNION ALL
				(SELECT row, outbox, since FROM outbox_pending WHERE row > $1 ORDER BY row LIMIT $2)) p
			JOIN outbox o ON o.id = p.outbox ORDER BY p.row LIMIT $2) p ON TRUE ORDER BY p.row
-- sqlite:
SELECT p.row, p.since, o.event, o.type, o.key, o.value, o.headers, o.sequence, o.mac FROM (
		SELECT id AS row, id AS outbox, created AS since FROM outbox INDEXED BY outbox_waiting WHERE published_at IS NULL AND id > $1 UNION ALL
		SELECT row, outbox, since FROM outbox_pending WHERE row > $1 ORDER BY row LIMIT $2) p
	CROSS JOIN outbox o ON o.id = p.outbox ORDER BY p.row`
	leaseTerm Query = "SELECT term AS n FROM relay_lease\n-- sqlite:\nSELECT 0 AS n"
	// pendingOf locks the rows, so that only one replica marks them.
	pendingOf   Query = "SELECT row, outbox FROM outbox_pending WHERE row = ANY($1) ORDER BY row FOR UPDATE"
	pendingDrop Query = "DELETE FROM outbox_pending WHERE row = ANY($1)"
)

type pendingRow struct {
	rows.Outbox
	Row   int64 `db:"row"`
	Since int64 `db:"since"`
	Term  int64 `db:"term"` // of the relay lease
}

// Pending lists what waits to be published.
func (j *Journal) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error) {
	term, held := j.db.LeaseTerm()
	var out []journal.OutboxRow
	size := 0
	err := read(ctx, j, pendingRows, []any{after, max(limit, 1)}, func(r *pendingRow) error {
		if !held || term != 0 && r.Term != term {
			return journal.ErrStale
		}
		if r.Row == 0 {
			return ErrStop // nothing waits
		}
		size += len(r.Key) + len(r.Value) + len(r.Headers)
		if len(out) > 0 && size > maxBytes {
			return ErrStop
		}
		o := journal.OutboxRow{Row: r.Row, Event: asUUID(r.Event), Type: r.Type, Since: j.db.Clock().Instant(r.Since), Sequence: r.Sequence, MAC: r.MAC}
		o.Message.Key, o.Message.Value = r.Key, r.Value
		var err error
		if o.Message.Headers, err = stored.UnpackHeaders(r.Headers); err != nil {
			o.MAC = nil // damaged: this event is not published, and the others are
		}
		out = append(out, o)
		return nil
	})
	if errors.Is(err, ErrStop) {
		err = nil
	}
	if err == nil && !held {
		err = journal.ErrStale
	}
	return out, err
}

// MarkPublished records where events were published and ignores rows that do not wait.
func (j *Journal) MarkPublished(ctx context.Context, published []journal.Published) error {
	if len(published) == 0 {
		return nil
	}
	current := int64(0)
	at, ids := make(map[int64]journal.Published, len(published)), make([]int64, len(published))
	for i, p := range published {
		at[p.Row], ids[i] = p, p.Row
	}
	var again []*rows.OutboxPending
	return j.db.Write(ctx, &Request{
		Load: func(l *Loader) {
			again = again[:0]
			l.published = append(l.published, ids...)
			l.Ask(asking(pendingOf, func(r *rows.OutboxPending) { again = append(again, r) }, ids))
			l.Ask(askingInts(leaseTerm, func(term int64) { current = term }))
		},
		Do: func(u *Unit) error {
			if term, held := j.db.LeaseTerm(); !held || term != 0 && term != current {
				return journal.ErrStale
			}
			u.publishedAgain(at, again)
			for _, row := range ids {
				p := u.published.get(u, row)
				if p != nil && p.PublishedAt == 0 {
					u.markPublished(p, at[row])
				}
			}
			return nil
		},
	})
}

func (u *Unit) markPublished(p *rows.Published, at journal.Published) {
	p.PublishedAt, p.Part, p.RecordOffset = u.now, int64(at.Partition), at.Offset
}

// publishedAgain marks events that were queued again, and removes them from the queue. For
// an event that was queued twice the last row counts.
func (u *Unit) publishedAgain(at map[int64]journal.Published, again []*rows.OutboxPending) {
	var drop, events []int64
	for _, r := range again {
		if !u.dequeued[r.Row] { // by an earlier request of this transaction
			drop, events = append(drop, r.Row), append(events, r.Outbox)
		}
	}
	if len(drop) == 0 {
		return
	}
	u.load(want(nil, &u.published, events)...)
	for i, row := range drop {
		p := u.published.get(u, events[i])
		if p == nil {
			u.abort(fmt.Errorf("journal: event %d was queued again and does not exist", events[i]))
		}
		u.markPublished(p, at[row])
		p.Again = max(p.Again, row)
		u.dequeued[row] = true
		u.undo(func() { delete(u.dequeued, row) })
	}
	u.later(pendingDrop, drop)
}
