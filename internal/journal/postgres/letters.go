package postgres

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// lettersKept counts the dead letters that keep their record.
const lettersKept = "SELECT count(*), coalesce(sum(octet_length(record)), 0)::bigint FROM dead_letter WHERE record IS NOT NULL"

// letters keeps dead letters, with their records as far as the batch's bounds
// allow. Batches of other partitions that are taken in at the same moment are not
// counted: the bounds can be passed by those.
func (t *tx) letters(at partition, ls []journal.DeadLetter, keep journal.LetterBounds, got *journal.Ingested) error {
	if len(ls) == 0 {
		return nil
	}
	r, err := t.one(lettersKept)
	if err != nil {
		return err
	}
	kept := journal.LetterBounds{Number: r.int(0), Bytes: r.int(1)}
	for _, l := range ls {
		if l.Sealed != nil && !keep.Fits(&kept, l.Sealed) {
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
		if outbox, err = t.frozen(l.Announce, 0, 0, 0); err != nil {
			return err
		}
	}
	var recordTime any
	if !l.Time.IsZero() {
		recordTime = l.Time.UnixMicro()
	}
	_, err = t.exec(`INSERT INTO dead_letter (topic, part, record_offset, record_time, received, size, outbox, event_id, reason, place, digest, record, record_key,
			account, shop, message_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		at.topic, int64(at.part), l.Offset, recordTime, t.now, int64(l.Size), outbox, l.EventID, l.Reason, l.Where, l.Digest, l.Sealed, key,
		l.Shop.Account, l.Shop.Shop, l.Key)
	return err
}

// DeadLetters lists dead letters, the newest first; before 0 begins there.
func (j *Journal) DeadLetters(ctx context.Context, before int64, limit int) ([]journal.DeadLetterRecord, error) {
	return j.deadLetters(ctx, "$1::bigint = 0 OR l.id < $1 ORDER BY l.id DESC LIMIT $2", before, bounded(limit))
}

// ShopDeadLetters lists the newest dead letters of a shop.
func (j *Journal) ShopDeadLetters(ctx context.Context, shop journal.ShopKey, limit int) ([]journal.DeadLetterRecord, error) {
	return j.deadLetters(ctx, `l.account IN ($1, '') AND (l.shop = $2 OR l.shop = '' AND l.message_key = $2) ORDER BY l.id DESC LIMIT $3`,
		shop.Account, shop.Shop, bounded(limit))
}

func (j *Journal) deadLetters(ctx context.Context, which string, args ...any) ([]journal.DeadLetterRecord, error) {
	var ls []journal.DeadLetterRecord
	err := j.read(ctx, `SELECT l.id, t.name, l.part, l.record_offset, coalesce(l.record_time, 0), l.received, l.size, l.event_id, l.reason, l.place, l.digest, l.record,
			o.event, o.type, l.account, l.shop, l.message_key
		FROM dead_letter l JOIN topic t ON t.id = l.topic LEFT JOIN outbox o ON o.id = l.outbox
		WHERE `+which, func(r row) error {
		l := journal.DeadLetterRecord{ID: r.int(0), Topic: r.text(1), Partition: int(r.int(2)), Received: wall(r.int(5)), DeadLetter: journal.DeadLetter{
			Offset: r.int(3), Size: int(r.int(6)), EventID: r.text(7), Reason: r.text(8), Where: r.text(9), Digest: r.blob(10), Sealed: r.blob(11),
			Announce: journal.Draft{ID: asUUID(r.blob(12)), Type: r.text(13)},
			Shop:     journal.ShopKey{Account: r.text(14), Shop: r.text(15)}, Key: r.text(16),
		}}
		if r.int(4) != 0 {
			l.Time = wall(r.int(4))
		}
		ls = append(ls, l)
		return nil
	}, args...)
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

const auditInsert = "INSERT INTO audit (at, actor, act, subject, detail) VALUES ($1, $2, $3, $4, $5)"

// AppendAudit appends an entry; also beside a worker.
func (j *Journal) AppendAudit(ctx context.Context, e journal.AuditEntry) error {
	if !j.beside {
		return j.submit(ctx, 0, needs{}, func(t *tx) error { return t.audit(e) })
	}
	if j.closed.Load() {
		return journal.ErrClosed
	}
	at := j.clock.stamp(e.At)
	if at == 0 {
		at = j.clock.micros()
	}
	err := j.bounded(ctx, func(ctx context.Context) error {
		_, err := j.readers.Exec(ctx, auditInsert, at, e.Actor, e.Act, e.Subject, e.Detail)
		return err
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Audit lists entries, the newest first, with ids below before; 0 begins at the newest.
func (j *Journal) Audit(ctx context.Context, before int64, limit int) ([]journal.AuditEntry, error) {
	var es []journal.AuditEntry
	err := j.read(ctx, "SELECT id, at, actor, act, subject, detail FROM audit WHERE $1::bigint = 0 OR id < $1 ORDER BY id DESC LIMIT $2", func(r row) error {
		es = append(es, journal.AuditEntry{ID: r.int(0), At: wall(r.int(1)), Actor: r.text(2), Act: r.text(3), Subject: r.text(4), Detail: r.text(5)})
		return nil
	}, before, bounded(limit))
	return es, err
}

// bounded keeps a caller's limit within what is decent.
func bounded(limit int) int64 { return int64(min(max(limit, 1), 1000)) }
