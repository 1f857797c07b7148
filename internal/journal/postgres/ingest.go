package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"invoicebox-worker/internal/journal"
)

const positionsRead = `SELECT t.name, p.part, p.next_offset, p.batch_last, p.batch_epoch, p.batch_crc
	FROM position p JOIN topic t ON t.id = p.topic ORDER BY t.name, p.part`

func asPosition(r row) journal.Position {
	p := journal.Position{Topic: r.text(0), Partition: int(r.int(1)), Next: r.int(2)}
	if !r.null(3) {
		p.Behind = &journal.BatchMark{Last: r.int(3), Epoch: int32(r.int(4)), CRC: uint32(r.int(5))} // #nosec G115 -- our own numbers
	}
	return p
}

// Positions lists every partition that was begun.
func (j *Journal) Positions(ctx context.Context) ([]journal.Position, error) {
	var ps []journal.Position
	err := j.read(ctx, positionsRead, func(r row) error {
		ps = append(ps, asPosition(r))
		return nil
	})
	return ps, err
}

// Begin sets the positions of partitions that have none.
func (j *Journal) Begin(ctx context.Context, ps []journal.Position) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		for _, p := range ps {
			topic, err := t.topic(p.Topic)
			if err != nil {
				return err
			}
			if _, err := t.exec("INSERT INTO position (topic, part, next_offset, begun) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
				topic, int64(p.Partition), p.Next, t.now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Ingest takes a batch in one transaction. The steps of operations wait while
// it runs: batches of a few hundred events keep that short.
func (j *Journal) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	records := 1 + len(b.Events) + len(b.DeadLetters) + len(b.Deselected)/20
	n := needs{invitees: b.Deselected, keys: []string{"partition " + b.Topic + " " + strconv.Itoa(b.Partition)}}
	for i := range b.Events {
		n.shops = append(n.shops, b.Events[i].Shop)
	}
	return askFor(ctx, j, records, n, func(t *tx) (got journal.Ingested, err error) {
		err = t.ingest(&b, &got)
		return got, err
	})
}

func (t *tx) ingest(b *journal.Batch, got *journal.Ingested) error {
	// Ids are taken in the order of the records, while their shops are locked:
	// within a shop they rise.
	var last, epoch, crc any
	if m := b.Behind; m != nil {
		last, epoch, crc = m.Last, int64(m.Epoch), int64(m.CRC)
	}
	as, err := t.together(
		ask{`UPDATE position SET next_offset = $1, batch_last = $5, batch_epoch = $6, batch_crc = $7
			WHERE topic = (SELECT id FROM topic WHERE name = $2) AND part = $3 AND next_offset = $4 RETURNING topic`,
			[]any{b.Next, b.Topic, int64(b.Partition), b.From, last, epoch, crc}},
		ask{"SELECT nextval('event_id'), nextval('operation_id') FROM generate_series(1, $1::bigint)", []any{len(b.Events)}},
		ask{usedKeys, nil})
	if err != nil {
		return err
	}
	if err := t.j.knowsKeys(as[2].rows); err != nil {
		return err
	}
	if len(as[0].rows) == 0 || b.Next < b.From {
		return journal.ErrPosition
	}
	at, ids := partition{topic: as[0].rows[0].int(0), part: b.Partition, keep: b.Keep}, as[1].rows
	// Events of one shop, or with one code, come one after the other.
	err = t.parts(len(b.Events), func(i int) []string {
		e := &b.Events[i]
		keys := []string{shopName(t.j.shops[e.Shop]), "event " + string(e.Identity[:])}
		for _, mac := range e.SubjectMACs {
			keys = append(keys, "subject "+string(mac))
		}
		return keys
	}, func(i int, t *tx) error {
		if err := t.take(at, ids[i], &b.Events[i], got); err != nil {
			return fmt.Errorf("journal: event at offset %d: %w", b.Events[i].Offset, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.letters(at, b.DeadLetters, b.Keep, got); err != nil {
		return err
	}
	return t.deselect(b.Deselected)
}

// partition is the partition of a batch.
type partition struct {
	topic int64
	part  int
	keep  journal.LetterBounds
}

// take puts one event into the inbox and carries out what it leads to.
func (t *tx) take(at partition, ids row, e *journal.Event, got *journal.Ingested) error {
	account, err := t.account(e.Shop.Account)
	if err != nil {
		return err
	}
	if len(e.Digests) == 0 || len(e.SubjectMACs) == 0 {
		return fmt.Errorf("an event without digests")
	}
	r, err := t.one("INSERT INTO inbox (identity, event) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING event", e.Identity[:], ids.int(0))
	if err != nil {
		return err
	}
	if r == nil {
		return t.known(at, e, got)
	}
	id, shop := ids.int(0), t.j.shops[e.Shop]
	got.Accepted++
	view, err := t.view(account, shop, e)
	if err != nil {
		return err
	}
	exit, operation, err := t.carryOut(plan{event: e, eventID: id, operation: ids.int(1), account: account, shop: shop, view: &view.ShopView, Plan: t.j.planner(*e, view.ShopView)}, view.busy)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO event (id, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		id, shop, int64(e.Kind), exit, orNull(operation), at.topic, int64(at.part), e.Offset, e.Time.UnixMicro(), t.now, e.Digests[0],
		e.Type, e.Source, e.ID, e.TraceParent, e.TraceState)
	if err != nil {
		return err
	}
	return t.restoreRun(operation, exit)
}

// known handles an event whose identity is in the inbox.
func (t *tx) known(at partition, e *journal.Event, got *journal.Ingested) error {
	r, err := t.one("SELECT e.digest FROM inbox i JOIN event e ON e.id = i.event WHERE i.identity = $1", e.Identity[:])
	if err != nil {
		return err
	}
	if r == nil {
		// It is being forgotten: with what it was can nobody compare it any more.
		got.Repeated++
		return nil
	}
	for _, d := range e.Digests {
		if bytes.Equal(d, r.blob(0)) {
			got.Repeated++
			return nil
		}
	}
	got.Reused++
	l, err := e.ReusedLetter()
	if err != nil {
		return fmt.Errorf("make the dead letter: %w", err)
	}
	l.Offset = e.Offset
	return t.letters(at, []journal.DeadLetter{l}, at.keep, got)
}
