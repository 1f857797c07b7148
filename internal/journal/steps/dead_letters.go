package steps

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/keyset"
)

const (
	// lettersKept counts the dead letters that keep their record.
	lettersKept Query = `SELECT count(*), coalesce(sum(octet_length(record)), 0)::bigint FROM dead_letter /*+ INDEXED BY dead_letter_kept */ WHERE record IS NOT NULL`
	// letterAnnounced finds the published event of a dead letter that a recovery
	// replays.
	letterAnnounced Query = "SELECT outbox AS id FROM announced WHERE event = $1"

	letterColumns = `SELECT l.id, t.name AS topic_name, l.part, l.record_offset, l.record_time, l.received, l.size, l.event_id, l.reason, l.place, l.digest, l.record IS NOT NULL AS kept, l.record, l.replays, l.replay_due, l.replayed,
			o.event, o.type, l.account, l.shop, l.message_key
		FROM dead_letter l JOIN topic t ON t.id = l.topic LEFT JOIN outbox o ON o.id = l.outbox WHERE `
)

// keptLetters counts the dead letters that keep their record, if only one process
// holds the journal. They are counted at the first use, and again after some were
// pruned.
type keptLetters struct {
	journal.LetterBounds
	counted int64 // when, 0 for never
}

// countedFor is for how long a count holds: a command can delete dead letters beside the
// worker. In microseconds.
const countedFor = 60_000_000

// RecountLetters makes the next use count again: a database calls it after it has
// pruned dead letters or rolled a transaction back.
func (j *Journal) RecountLetters() { j.kept = keptLetters{} }

func (u *Unit) askKept() Ask {
	return Ask{Query: lettersKept, Each: func(_ []string, values []any) error {
		u.intake.kept = &journal.LetterBounds{}
		u.intake.kept.Number, _ = values[0].(int64)
		u.intake.kept.Bytes, _ = values[1].(int64)
		return nil
	}}
}

// keptLetters counts those that keep their record, including this transaction's. It
// does not count those that other replicas insert at the same moment, so the bounds
// can be exceeded by that number.
func (u *Unit) keptLetters() *journal.LetterBounds {
	if u.intake.kept != nil {
		return u.intake.kept
	}
	old := u.j.kept.counted == 0 || u.now-u.j.kept.counted > countedFor || u.now < u.j.kept.counted
	if !u.j.db.Exclusive() || old {
		u.load(u.askKept())
	}
	if u.j.db.Exclusive() {
		if old {
			u.j.kept = keptLetters{*u.intake.kept, u.now}
		}
		u.intake.kept = &u.j.kept.LetterBounds
	}
	return u.intake.kept
}

// keepLetters inserts dead letters, with their records within the batch's bounds.
func (in *ingestion) keepLetters(letters []journal.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	kept := in.keptLetters()
	was := *kept
	in.undo(func() { *kept = was })
	for _, l := range letters {
		if l.Sealed != nil && !in.batch.Keep.Fits(kept, l.Sealed) {
			l.Sealed = nil
			in.got.Unkept++
		}
		if err := in.keepLetter(&l); err != nil {
			return fmt.Errorf("journal: dead letter at offset %d: %w", l.Offset, err)
		}
	}
	return nil
}

// keepLetter inserts a dead letter and queues the event that reports it.
func (in *ingestion) keepLetter(l *journal.DeadLetter) error {
	row := rows.DeadLetter{Topic: in.topic, Part: int64(in.batch.Partition), RecordOffset: l.Offset, Received: in.now, Size: int64(l.Size), EventID: l.EventID,
		Reason: l.Reason, Place: l.Where, Digest: l.Digest, Record: l.Sealed, Account: l.Shop.Account, Shop: l.Shop.Shop, MessageKey: l.Key}
	if l.Sealed != nil {
		key, err := keyset.SealingKey(l.Sealed)
		if err != nil {
			return fmt.Errorf("dead letter is not sealed: %w", err)
		}
		row.RecordKey = int64(key)
	}
	if !l.Time.IsZero() {
		row.RecordTime = l.Time.UnixMicro()
	}
	var err error
	row.Outbox = in.announced(l.Announce.ID)
	if row.Outbox == 0 {
		if row.Outbox, err = in.freeze(l.Announce, 0, 0, 0); err != nil {
			return err
		}
	}
	in.insert(in.j.tables.letter, &row)
	return nil
}

// announced finds the published event of a dead letter that a recovery replays, 0 for
// none.
func (u *Unit) announced(event uuid.UUID) int64 {
	if u.j.recovery.Load() == nil {
		return 0
	}
	return firstInt(u, letterAnnounced, event[:])
}

type letterRow struct {
	rows.DeadLetter
	TopicName string `db:"topic_name"`
	Kept      bool   `db:"kept"`
	Event     []byte `db:"event"`
	Type      string `db:"type"`
}

func (r *letterRow) record() journal.DeadLetterRecord {
	return journal.DeadLetterRecord{ID: r.ID, Topic: r.TopicName, Partition: int(r.Part), Received: displayTime(r.Received), Kept: r.Kept,
		ReplayDue: displayTimeOrZero(r.ReplayDue), Replayed: displayTimeOrZero(r.Replayed), Replays: int(r.Replays), DeadLetter: journal.DeadLetter{
			Offset: r.RecordOffset, Time: displayTimeOrZero(r.RecordTime), EventID: r.EventID, Reason: r.Reason, Where: r.Place, Size: int(r.Size), Digest: r.Digest, Sealed: r.Record,
			Shop: journal.ShopKey{Account: r.Account, Shop: r.Shop}, Key: r.MessageKey, Announce: journal.Draft{ID: asUUID(r.Event), Type: r.Type},
		}}
}

// DeadLetters lists dead letters, the newest first.
func (j *Journal) DeadLetters(ctx context.Context, f journal.DeadLetterFilter) ([]journal.DeadLetterRecord, error) {
	q, args := filteredLetters(f)
	return list(ctx, j, q, args, (*letterRow).record)
}

// filteredLetters returns the query of a filter and its arguments.
func filteredLetters(f journal.DeadLetterFilter) (Query, []any) {
	var c conditions
	c.when(f.ID > 0, "l.id = ?", f.ID)
	c.when(f.Before > 0, "l.id < ?", f.Before)
	c.when(f.Reason != "", "l.reason = ?", f.Reason)
	c.when(f.Topic != "", "l.topic = (SELECT id FROM topic WHERE name = ?)", f.Topic)
	c.when(f.Shop.Shop != "", "(l.shop = ? OR l.shop = '' AND l.message_key = ?)", f.Shop.Shop, f.Shop.Shop)
	c.when(f.Shop.Account != "", "l.account IN (?, '')", f.Shop.Account)
	c.when(!f.Since.IsZero(), "l.received >= ?", f.Since.UnixMicro())
	c.when(!f.Until.IsZero(), "l.received < ?", f.Until.UnixMicro())
	c.when(f.Open, "l.replayed IS NULL")
	columns := letterColumns
	if f.NoRecords {
		columns = strings.Replace(columns, "l.record,", "CASE WHEN FALSE THEN l.record END AS record,", 1)
	}
	return c.newest(columns+"TRUE", "l.id", f.Limit)
}
