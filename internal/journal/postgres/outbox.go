package postgres

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
	r, err := t.one("UPDATE shop SET sequence = sequence + $1 WHERE id = $2 RETURNING sequence", int64(len(ds)), shop)
	if err != nil {
		return err
	}
	return t.emitFrom(r.int(0)-int64(len(ds)), ds, shop, operation)
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

// Pending lists what waits to be published.
func (j *Journal) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.Outgoing, error) {
	var out []journal.Outgoing
	size := 0
	term := j.term.Load()
	err := j.read(ctx, `SELECT p.row, p.since, p.event, p.type, p.key, p.value, p.headers, t.term, p.sequence, p.mac FROM relay_lease t LEFT JOIN LATERAL
		(SELECT p.row, p.since, o.event, o.type, o.key, o.value, o.headers, o.sequence, o.mac
			FROM outbox_pending p JOIN outbox o ON o.id = p.outbox WHERE p.row > $1 ORDER BY p.row LIMIT $2) p ON TRUE ORDER BY p.row`, func(r row) error {
		if term != 0 && r.int(7) != term {
			return journal.ErrStale
		}
		if r[0] == nil {
			return errEnough // nothing waits
		}
		o := journal.Outgoing{Row: r.int(0), Event: asUUID(r.blob(2)), Type: r.text(3), Since: j.clock.instant(r.int(1)), Sequence: r.int(8), MAC: r.blob(9)}
		o.Message.Key, o.Message.Value = r.blob(4), r.blob(5)
		size += len(o.Message.Key) + len(o.Message.Value) + len(r.blob(6))
		if len(out) > 0 && size > maxBytes {
			return errEnough
		}
		var err error
		if o.Message.Headers, err = stored.UnpackHeaders(r.blob(6)); err != nil {
			o.MAC = nil // damaged: it is not published, and the others do not wait for it
		}
		out = append(out, o)
		return nil
	}, after, int64(max(limit, 1)))
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

// errEnough ends a walk over rows.
var errEnough = errors.New("enough")

// MarkPublished takes rows off the queue. Rows that are off it already change nothing.
func (j *Journal) MarkPublished(ctx context.Context, rows []journal.Published) error {
	if len(rows) == 0 {
		return nil
	}
	ids, parts, offsets := make([]int64, len(rows)), make([]int64, len(rows)), make([]int64, len(rows))
	for i, p := range rows {
		ids[i], parts[i], offsets[i] = p.Row, int64(p.Partition), p.Offset
	}
	term := j.term.Load()
	return j.submit(ctx, 0, needs{keys: []string{"published"}}, func(t *tx) error {
		// An event that was queued twice may be among them twice: the last one counts.
		as, err := t.together(ask{sql: "SELECT term FROM relay_lease"}, ask{`WITH
			d AS (DELETE FROM outbox_pending WHERE row = ANY($1) AND ($5::bigint = 0 OR (SELECT term FROM relay_lease) = $5) RETURNING row, outbox),
			l AS (SELECT DISTINCT ON (d.outbox) d.outbox, d.row, x.part, x.record_offset FROM d
				JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS x(row, part, record_offset) ON x.row = d.row ORDER BY d.outbox, d.row DESC)
			INSERT INTO outbox_published (outbox, row, at, part, record_offset) SELECT outbox, row, $4, part, record_offset FROM l
			ON CONFLICT (outbox) DO UPDATE SET row = excluded.row, at = excluded.at, part = excluded.part, record_offset = excluded.record_offset`,
			[]any{ids, parts, offsets, t.now, term}})
		if err == nil && term != 0 && as[0].rows[0].int(0) != term {
			err = journal.ErrStale
		}
		return err
	})
}
