package sqlite

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
	m, err := d.Freeze(sequence)
	if err != nil {
		return fmt.Errorf("journal: freeze %s: %w", d.Type, err)
	}
	row := next(&t.j.writer.ids.out)
	if m.Value == nil {
		m.Value = []byte{}
	}
	mac, err := t.j.Authenticated(d.ID, d.Type, sequence, m)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO outbox (id, shop, operation, sequence, created, event, type, key, value, headers, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`,
		row, orNull(shop), orNull(operation), sequence, t.now, d.ID[:], d.Type, m.Key, m.Value, stored.PackHeaders(m.Headers), mac)
	if err != nil {
		return err
	}
	if n == 0 {
		return t.again(shop, d.ID[:])
	}
	return t.enqueue(row, row)
}

func (t *tx) enqueue(row, outbox int64) error {
	t.out = true
	_, err := t.exec("INSERT INTO outbox_pending (row, outbox, since) VALUES (?, ?, ?)", row, outbox, t.now)
	return err
}

// again queues an event of a shop once more.
func (t *tx) again(shop int64, event []byte) error {
	r, err := t.one("SELECT id FROM outbox WHERE shop = ? AND event = ?", shop, event)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("%w: an event to publish again", journal.ErrNotFound)
	}
	outbox := r.int(0)
	row := next(&t.j.writer.ids.out)
	if _, err := t.exec("INSERT INTO republish (row, outbox, at) VALUES (?, ?, ?)", row, outbox, t.now); err != nil {
		return err
	}
	return t.enqueue(row, outbox)
}

// OutboxChanged is signalled after a commit that queued an event.
func (j *Journal) OutboxChanged() <-chan struct{} { return j.outbox }
