package sqlite

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// letter keeps a dead letter and queues the event that tells of it.
func (t *tx) letter(at partition, l *journal.DeadLetter) error {
	var key any
	if l.Sealed != nil {
		k, err := keyset.SealingKey(l.Sealed)
		if err != nil {
			return fmt.Errorf("a dead letter that is not sealed: %w", err)
		}
		key = int64(k)
	}
	outbox, err := t.announcedLetter(l.Announce.ID)
	if err != nil {
		return err
	}
	if outbox == 0 {
		outbox = t.j.writer.ids.out
		if err := t.freeze(l.Announce, 0, 0, 0); err != nil {
			return err
		}
	}
	var recordTime any
	if !l.Time.IsZero() {
		recordTime = l.Time.UnixMicro()
	}
	_, err = t.exec(`INSERT INTO dead_letter (id, topic, part, record_offset, record_time, received, size, outbox, event_id, reason, place, digest, record, record_key)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		next(&t.j.writer.ids.letter), at.topic, at.part, l.Offset, recordTime, t.now, l.Size, outbox, l.EventID, l.Reason, l.Where, l.Digest, l.Sealed, key)
	return err
}

// DeadLetters lists dead letters, the newest first; before 0 begins there.
func (j *Journal) DeadLetters(ctx context.Context, before int64, limit int) ([]journal.DeadLetterRecord, error) {
	var ls []journal.DeadLetterRecord
	err := j.read(ctx, `SELECT l.id, t.name, l.part, l.record_offset, coalesce(l.record_time, 0), l.received, l.size, l.event_id, l.reason, l.place, l.digest, l.record,
			o.event, o.type
		FROM dead_letter l JOIN topic t ON t.id = l.topic LEFT JOIN outbox o ON o.id = l.outbox
		WHERE ?1 = 0 OR l.id < ?1 ORDER BY l.id DESC LIMIT ?2`, in{before, bounded(limit)}, func(scan scanner) error {
		var l journal.DeadLetterRecord
		var recordTime, received int64
		var event []byte
		var typ *string
		if err := scan(&l.ID, &l.Topic, &l.Partition, &l.Offset, &recordTime, &received, &l.Size, &l.EventID, &l.Reason, &l.Where, &l.Digest, &l.Sealed,
			&event, &typ); err != nil {
			return err
		}
		if recordTime != 0 {
			l.Time = wall(recordTime)
		}
		l.Received = wall(received)
		l.Announce.ID = asUUID(event)
		if typ != nil {
			l.Announce.Type = *typ
		}
		ls = append(ls, l)
		return nil
	})
	return ls, err
}

// audit appends an entry.
func (t *tx) audit(e journal.AuditEntry) error {
	at := t.j.clock.stamp(e.At)
	if at == 0 {
		at = t.now
	}
	_, err := t.exec(auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
	return err
}

const auditInsert = "INSERT INTO audit (at, actor, act, subject, detail) VALUES (?, ?, ?, ?, ?)"

// AppendAudit appends an entry; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, e journal.AuditEntry) error {
	if j.writer != nil {
		return j.submit(ctx, 0, func(t *tx) error { return t.audit(e) })
	}
	if err := j.open(); err != nil {
		return err
	}
	return j.beside(func(c *conn) error { return j.auditOn(c, e) })
}

func (j *Journal) auditOn(c *conn, e journal.AuditEntry) error {
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	_, err := c.exec(auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
	return err
}

// Audit lists entries, the newest first, with ids below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	var es []journal.AuditEntry
	err := j.read(ctx, "SELECT id, at, actor, act, subject, detail FROM audit WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2", in{before, bounded(limit)},
		func(scan scanner) error {
			var e journal.AuditEntry
			var at int64
			err := scan(&e.ID, &at, &e.Actor, &e.Act, &e.Subject, &e.Detail)
			e.At = wall(at)
			es = append(es, e)
			return err
		})
	return es, err
}

// bounded keeps a caller's limit within what is decent.
func bounded(limit int) int { return min(max(limit, 1), 1000) }
