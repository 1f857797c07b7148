package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"invoicebox-worker/internal/journal"
)

const positionsRead = `SELECT t.name, p.part, p.next_offset, p.batch_last, p.batch_epoch, p.batch_crc
	FROM position p JOIN topic t ON t.id = p.topic ORDER BY t.name, p.part`

// batchMark reads the columns of a mark.
func batchMark(last, epoch, crc int64) *journal.BatchMark {
	return &journal.BatchMark{Last: last, Epoch: int32(epoch), CRC: uint32(crc)} // #nosec G115 -- our own numbers
}

// Positions lists every partition that was begun.
func (j *Journal) Positions(ctx context.Context) ([]journal.Position, error) {
	var ps []journal.Position
	err := j.read(ctx, positionsRead, nil,
		func(scan scanner) error {
			var p journal.Position
			var last, epoch, crc sql.NullInt64
			err := scan(&p.Topic, &p.Partition, &p.Next, &last, &epoch, &crc)
			if last.Valid {
				p.Behind = batchMark(last.Int64, epoch.Int64, crc.Int64)
			}
			ps = append(ps, p)
			return err
		})
	return ps, err
}

// Begin sets the positions of partitions that have none.
func (j *Journal) Begin(ctx context.Context, ps []journal.Position) error {
	return j.submit(ctx, 0, func(t *tx) error {
		for _, p := range ps {
			topic, err := t.intern(t.j.writer.topics, "topic", p.Topic)
			if err != nil {
				return err
			}
			if _, err := t.exec("INSERT INTO position (topic, part, next_offset, begun) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
				topic, p.Partition, p.Next, t.now); err != nil {
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
	return ask(ctx, j, records, func(t *tx) (got journal.Ingested, err error) {
		err = t.ingest(&b, &got)
		return got, err
	})
}

func (t *tx) ingest(b *journal.Batch, got *journal.Ingested) error {
	topic, ok := t.j.writer.topics[b.Topic]
	if !ok {
		return journal.ErrPosition
	}
	var last, epoch, crc any
	if m := b.Behind; m != nil {
		last, epoch, crc = m.Last, int64(m.Epoch), int64(m.CRC)
	}
	n, err := t.exec("UPDATE position SET next_offset = ?, batch_last = ?, batch_epoch = ?, batch_crc = ? WHERE topic = ? AND part = ? AND next_offset = ?",
		b.Next, last, epoch, crc, topic, b.Partition, b.From)
	if err != nil {
		return err
	}
	if n == 0 || b.Next < b.From {
		return journal.ErrPosition
	}
	at := partition{topic: topic, name: b.Topic, part: b.Partition, keep: b.Keep}
	for i := range b.Events {
		if err := t.take(at, &b.Events[i], got); err != nil {
			return fmt.Errorf("journal: event at offset %d: %w", b.Events[i].Offset, err)
		}
	}
	if err := t.letters(at, b.DeadLetters, b.Keep, got); err != nil {
		return err
	}
	for _, k := range b.Deselected {
		if err := t.deselect(k); err != nil {
			return err
		}
	}
	return nil
}

// partition is the partition of a batch.
type partition struct {
	topic int64
	name  string
	part  int
	keep  journal.LetterBounds
}

// take puts one event into the inbox and carries out what it leads to.
func (t *tx) take(at partition, e *journal.Event, got *journal.Ingested) error {
	account, ok := t.j.writer.accounts[e.Shop.Account]
	if !ok {
		return fmt.Errorf("%w: account %q", journal.ErrNotFound, e.Shop.Account)
	}
	if len(e.Digests) == 0 || len(e.SubjectMACs) == 0 {
		return fmt.Errorf("an event without digests")
	}
	id := t.j.writer.ids.event
	n, err := t.exec("INSERT INTO inbox (identity, event) VALUES (?, ?) ON CONFLICT DO NOTHING", e.Identity[:], id)
	if err != nil {
		return err
	}
	if n == 0 {
		return t.known(at, e, got)
	}
	got.Accepted++
	t.j.writer.ids.event++
	shop, view, err := t.view(account, e)
	if err != nil {
		return err
	}
	exit, operation, err := t.carryOut(plan{event: e, eventID: id, account: account, shop: shop, view: &view.ShopView, Plan: t.j.planner(*e, view.ShopView)}, view.busy)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO event (id, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, shop, int64(e.Kind), exit, orNull(operation), at.topic, at.part, e.Offset, e.Time.UnixMicro(), t.now, e.Digests[0],
		e.Type, e.Source, e.ID, e.TraceParent, e.TraceState)
	if err != nil {
		return err
	}
	return t.restoreRun(operation, exit)
}

// known handles an event whose identity is in the inbox.
func (t *tx) known(at partition, e *journal.Event, got *journal.Ingested) error {
	r, err := t.one("SELECT e.digest FROM inbox i JOIN event e ON e.id = i.event WHERE i.identity = ?", e.Identity[:])
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
