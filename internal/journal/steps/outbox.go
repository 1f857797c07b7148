package steps

import (
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
	eventRow Query = "SELECT id FROM outbox WHERE shop = $1 AND event = $2"
	// eventRows is for databases that take lists of bytes.
	eventRows Query = `SELECT o.shop, o.event, o.id FROM unnest($1::bigint[], $2::bytea[]) AS x(shop, event)
		CROSS JOIN LATERAL (SELECT shop, event, id FROM outbox WHERE shop = x.shop AND event = x.event OFFSET 0) o
-- sqlite:
`
)

// askEvents finds the rows of events that are there already.
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

// emit freezes events of a shop and queues them. One that is there already (a step
// that was made again) is queued once more with the bytes that it had: an id has
// one content.
func (u *Unit) emit(s *rows.Shop, operation int64, drafts []journal.Draft) error {
	for _, d := range drafts {
		s.Sequence++
		if err := u.freeze(d, s.ID, operation, s.Sequence); err != nil {
			return err
		}
	}
	return nil
}

// freeze makes the row of an event and queues it.
func (u *Unit) freeze(d journal.Draft, shop, operation, sequence int64) error {
	m, err := d.Freeze(sequence)
	if err != nil {
		return fmt.Errorf("journal: freeze %s: %w", d.Type, err)
	}
	if m.Value == nil {
		m.Value = []byte{}
	}
	mac, err := u.j.Authenticated(d.ID, d.Type, sequence, m)
	if err != nil {
		return err
	}
	known, err := u.eventRow(shop, d.ID)
	if err != nil {
		return err
	}
	if known != 0 {
		return u.again(known)
	}
	id, err := u.next(OutboxIDs)
	if err != nil {
		return err
	}
	if shop != 0 {
		key := eventKey{shop, d.ID}
		u.events[key] = id
		u.made = append(u.made, key)
	}
	u.insert(u.j.tables.outbox, &rows.Outbox{ID: id, Shop: shop, Operation: operation, Sequence: sequence, Created: u.now, Event: d.ID[:], Type: d.Type,
		Key: m.Key, Value: m.Value, Headers: stored.PackHeaders(m.Headers), MAC: mac})
	u.enqueue(id, id)
	return nil
}

// eventRow finds the row of a shop's event, 0 when it is not there.
func (u *Unit) eventRow(shop int64, event uuid.UUID) (int64, error) {
	if shop == 0 {
		return 0, nil
	}
	key := eventKey{shop, event}
	id, ok := u.events[key]
	if ok {
		return id, nil
	}
	u.lazy++
	err := u.tx.Load([]Ask{{Query: eventRow, Args: []any{shop, event[:]}, Each: func(_ []string, values []any) error {
		id, _ = values[0].(int64)
		return nil
	}}})
	if err != nil {
		return 0, u.fail(err)
	}
	u.events[key] = id
	return id, nil
}

// Authenticated is the MAC of a row that is written, nil where nothing makes MACs.
func (j *Journal) Authenticated(event uuid.UUID, typ string, sequence int64, m schemas.Message) ([]byte, error) {
	authenticate := j.authenticator.Load()
	if authenticate == nil {
		return nil, nil
	}
	mac, err := (*authenticate)(journal.Outgoing{Event: event, Type: typ, Sequence: sequence, Message: m})
	if err != nil {
		return nil, fmt.Errorf("journal: authenticate %s: %w", typ, err)
	}
	return mac, nil
}

// again queues an event once more.
func (u *Unit) again(outbox int64) error {
	row, err := u.next(OutboxIDs)
	if err != nil {
		return err
	}
	u.insert(u.j.tables.republish, &rows.Republish{Row: row, Outbox: outbox, At: u.now})
	u.enqueue(row, outbox)
	return nil
}

func (u *Unit) enqueue(row, outbox int64) {
	u.signals.Outbox = true
	u.insert(u.j.tables.pending, &rows.Pending{Row: row, Outbox: outbox, Since: u.now})
}
