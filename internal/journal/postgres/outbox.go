package postgres

import (
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// emitFrom freezes events of a shop and queues them; they follow sequence. One that is
// there already (a step that was made again) is queued once more with the bytes that it
// had: an id has one content.
func (t *tx) emitFrom(sequence int64, ds []journal.Draft, shop, operation int64) error {
	for _, d := range ds {
		sequence++
		if err := t.freeze(d, shop, operation, sequence); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) freeze(d journal.Draft, shop, operation, sequence int64) error {
	row, err := t.frozen(d, shop, operation, sequence)
	if err == nil && row == 0 {
		return t.again(shop, d.ID[:])
	}
	return err
}

// frozen writes an event that is not there yet, and gives its row; 0 where it
// is there.
func (t *tx) frozen(d journal.Draft, shop, operation, sequence int64) (int64, error) {
	m, err := d.Freeze(sequence)
	if err != nil {
		return 0, fmt.Errorf("journal: freeze %s: %w", d.Type, err)
	}
	if m.Value == nil {
		m.Value = []byte{}
	}
	mac, err := t.j.Authenticated(d.ID, d.Type, sequence, m)
	if err != nil {
		return 0, err
	}
	t.out, t.inOrder = true, true
	r, err := t.one(`WITH o AS (INSERT INTO outbox (id, shop, operation, sequence, created, event, type, key, value, headers, mac)
			VALUES (nextval('outbox_row'), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING id)
		INSERT INTO outbox_pending (row, outbox, since) SELECT id, id, $4 FROM o RETURNING row`,
		orNull(shop), orNull(operation), sequence, t.now, d.ID[:], d.Type, m.Key, m.Value, stored.PackHeaders(m.Headers), mac)
	if err != nil || r == nil {
		return 0, err
	}
	return r.int(0), nil
}

// again queues an event of a shop once more.
func (t *tx) again(shop int64, event []byte) error {
	t.out, t.inOrder = true, true
	n, err := t.exec(`WITH o AS (SELECT id FROM outbox WHERE shop = $1 AND event = $2 FOR KEY SHARE),
		r AS (INSERT INTO republish (row, outbox, at) SELECT nextval('outbox_row'), id, $3 FROM o RETURNING row, outbox)
		INSERT INTO outbox_pending (row, outbox, since) SELECT row, outbox, $3 FROM r`, shop, event, t.now)
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: an event to publish again", journal.ErrNotFound)
	}
	return err
}

// OutboxChanged is signalled after a commit that queued an event.
func (j *Journal) OutboxChanged() <-chan struct{} { return j.outbox }
