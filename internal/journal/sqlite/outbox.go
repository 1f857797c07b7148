package sqlite

import (
	"context"
	"errors"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// emit freezes events of a shop and queues them. One that is there
// already (a step that was made again) is queued once more with the bytes that
// it had: an id has one content.
func (t *tx) emit(ds []journal.Draft, shop, operation int64) error {
	if len(ds) == 0 {
		return nil
	}
	r, err := t.one("SELECT sequence FROM shop WHERE id = ?", shop)
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE shop SET sequence = sequence + ? WHERE id = ?", len(ds), shop); err != nil {
		return err
	}
	return t.emitFrom(r.int(0), ds, shop, operation)
}

// emitFrom is emit where the shop's row counts the events already: theirs
// follow sequence.
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

// Pending lists what waits to be published.
func (j *Journal) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.Outgoing, error) {
	if !j.lease.valid() {
		return nil, journal.ErrStale
	}
	var out []journal.Outgoing
	size := 0
	err := j.read(ctx, `SELECT p.row, p.since, o.event, o.type, o.key, o.value, o.headers, o.sequence, o.mac
		FROM outbox_pending p CROSS JOIN outbox o ON o.id = p.outbox WHERE p.row > ? ORDER BY p.row LIMIT ?`,
		in{after, max(limit, 1)}, func(scan scanner) error {
			var o journal.Outgoing
			var since int64
			var event, headers []byte
			if err := scan(&o.Row, &since, &event, &o.Type, &o.Message.Key, &o.Message.Value, &headers, &o.Sequence, &o.MAC); err != nil {
				return err
			}
			size += len(o.Message.Key) + len(o.Message.Value) + len(headers)
			if len(out) > 0 && size > maxBytes {
				return errEnough
			}
			o.Event, o.Since = asUUID(event), j.clock.instant(since)
			var err error
			if o.Message.Headers, err = stored.UnpackHeaders(headers); err != nil {
				o.MAC = nil // damaged: it is not published, and the others do not wait for it
			}
			out = append(out, o)
			return nil
		})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

// MarkPublished takes rows off the queue. Rows that are off it already change nothing.
func (j *Journal) MarkPublished(ctx context.Context, rows []journal.Published) error {
	if len(rows) == 0 {
		return nil
	}
	return j.submit(ctx, 0, func(t *tx) error {
		if !j.lease.valid() {
			return journal.ErrStale
		}
		for _, p := range rows {
			if _, err := t.exec(`INSERT INTO outbox_published (outbox, row, at, part, record_offset)
				SELECT outbox, row, ?, ?, ? FROM outbox_pending WHERE row = ?
				ON CONFLICT (outbox) DO UPDATE SET row = excluded.row, at = excluded.at, part = excluded.part, record_offset = excluded.record_offset`,
				t.now, p.Partition, p.Offset, p.Row); err != nil {
				return err
			}
		}
		// Rows come mostly in runs.
		for i := 0; i < len(rows); {
			k := i + 1
			for k < len(rows) && rows[k].Row == rows[k-1].Row+1 {
				k++
			}
			if _, err := t.exec("DELETE FROM outbox_pending WHERE row BETWEEN ? AND ?", rows[i].Row, rows[k-1].Row); err != nil {
				return err
			}
			i = k
		}
		return nil
	})
}
