package sqlite

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// lettersKept counts the dead letters that keep their record.
const lettersKept = "SELECT count(*), coalesce(sum(length(record)), 0) FROM dead_letter INDEXED BY dead_letter_kept WHERE record IS NOT NULL"

// keptLetters is how many dead letters keep their record. It is counted when it is
// first needed, and again after some were forgotten.
type keptLetters struct {
	journal.LetterBounds
	counted bool
}

func (k *keptLetters) count(t *tx) error {
	if k.counted {
		return nil
	}
	r, err := t.one(lettersKept)
	if err != nil {
		return err
	}
	k.Number, k.Bytes, k.counted = r.int(0), r.int(1), true
	return nil
}

// letters keeps dead letters, with their records as far as the batch's bounds allow.
func (t *tx) letters(at partition, ls []journal.DeadLetter, keep journal.LetterBounds, got *journal.Ingested) error {
	if len(ls) == 0 {
		return nil
	}
	kept := &t.j.writer.kept
	if err := kept.count(t); err != nil {
		return err
	}
	was := *kept
	t.undo = append(t.undo, func() { *kept = was })
	for _, l := range ls {
		if l.Sealed != nil && !keep.Fits(&kept.LetterBounds, l.Sealed) {
			l.Sealed = nil
			got.Unkept++
		}
		if err := t.letter(at, &l); err != nil {
			return fmt.Errorf("journal: dead letter at offset %d: %w", l.Offset, err)
		}
	}
	return nil
}

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
	_, err = t.exec(`INSERT INTO dead_letter (id, topic, part, record_offset, record_time, received, size, outbox, event_id, reason, place, digest, record, record_key,
			account, shop, message_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		next(&t.j.writer.ids.letter), at.topic, at.part, l.Offset, recordTime, t.now, l.Size, outbox, l.EventID, l.Reason, l.Where, l.Digest, l.Sealed, key,
		l.Shop.Account, l.Shop.Shop, l.Key)
	return err
}

// DeadLetters lists dead letters, the newest first; before 0 begins there.
func (j *Journal) DeadLetters(ctx context.Context, before int64, limit int) ([]journal.DeadLetterRecord, error) {
	return j.deadLetters(ctx, "?1 = 0 OR l.id < ?1 ORDER BY l.id DESC LIMIT ?2", in{before, bounded(limit)})
}

// ShopDeadLetters lists the newest dead letters of a shop.
func (j *Journal) ShopDeadLetters(ctx context.Context, shop journal.ShopKey, limit int) ([]journal.DeadLetterRecord, error) {
	return j.deadLetters(ctx, `l.account IN (?1, '') AND (l.shop = ?2 OR l.shop = '' AND l.message_key = ?2) ORDER BY l.id DESC LIMIT ?3`,
		in{shop.Account, shop.Shop, bounded(limit)})
}

func (j *Journal) deadLetters(ctx context.Context, which string, args in) ([]journal.DeadLetterRecord, error) {
	var ls []journal.DeadLetterRecord
	err := j.read(ctx, `SELECT l.id, t.name, l.part, l.record_offset, coalesce(l.record_time, 0), l.received, l.size, l.event_id, l.reason, l.place, l.digest, l.record,
			o.event, o.type, l.account, l.shop, l.message_key
		FROM dead_letter l JOIN topic t ON t.id = l.topic LEFT JOIN outbox o ON o.id = l.outbox
		WHERE `+which, args, func(scan scanner) error {
		var l journal.DeadLetterRecord
		var recordTime, received int64
		var event []byte
		var typ *string
		if err := scan(&l.ID, &l.Topic, &l.Partition, &l.Offset, &recordTime, &received, &l.Size, &l.EventID, &l.Reason, &l.Where, &l.Digest, &l.Sealed,
			&event, &typ, &l.Shop.Account, &l.Shop.Shop, &l.Key); err != nil {
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
