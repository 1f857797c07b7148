package steps

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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

	letterColumns = `SELECT l.id, t.name AS topic, l.part, l.record_offset, l.record_time, l.received, l.size, l.event_id, l.reason, l.place, l.digest, l.record IS NOT NULL AS kept, l.record, l.replays, l.replay_due, l.replayed,
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
func (u *Unit) keptLetters() (*journal.LetterBounds, error) {
	if u.intake.kept != nil {
		return u.intake.kept, nil
	}
	old := u.j.kept.counted == 0 || u.now-u.j.kept.counted > countedFor || u.now < u.j.kept.counted
	if !u.j.db.Exclusive() || old {
		u.lazy++
		if err := u.tx.Load([]Ask{u.askKept()}); err != nil {
			return nil, u.fail(err)
		}
	}
	if u.j.db.Exclusive() {
		if old {
			u.j.kept = keptLetters{*u.intake.kept, u.now}
		}
		u.intake.kept = &u.j.kept.LetterBounds
	}
	return u.intake.kept, nil
}

// keepLetters inserts dead letters, with their records within the batch's bounds.
func (in *ingestion) keepLetters(letters []journal.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	kept, err := in.keptLetters()
	if err != nil {
		return err
	}
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
	if row.Outbox, err = in.announced(l.Announce.ID); err != nil {
		return err
	}
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
func (u *Unit) announced(event uuid.UUID) (int64, error) {
	if u.j.recovery.Load() == nil {
		return 0, nil
	}
	r, err := first[idRow](u, letterAnnounced, event[:])
	if err != nil || r == nil {
		return 0, err
	}
	return r.ID, nil
}

type letterRow struct {
	ID           int64  `db:"id"`
	Topic        string `db:"topic"`
	Part         int    `db:"part"`
	RecordOffset int64  `db:"record_offset"`
	RecordTime   int64  `db:"record_time"`
	Received     int64  `db:"received"`
	Size         int    `db:"size"`
	EventID      string `db:"event_id"`
	Reason       string `db:"reason"`
	Place        string `db:"place"`
	Digest       []byte `db:"digest"`
	Kept         bool   `db:"kept"`
	Record       []byte `db:"record"`
	Event        []byte `db:"event"`
	Type         string `db:"type"`
	Account      string `db:"account"`
	Shop         string `db:"shop"`
	MessageKey   string `db:"message_key"`
	Replays      int    `db:"replays"`
	ReplayDue    int64  `db:"replay_due,null"`
	Replayed     int64  `db:"replayed,null"`
}

func (r *letterRow) record() journal.DeadLetterRecord {
	l := journal.DeadLetterRecord{ID: r.ID, Topic: r.Topic, Partition: r.Part, Received: wall(r.Received), Kept: r.Kept, DeadLetter: journal.DeadLetter{
		Offset: r.RecordOffset, EventID: r.EventID, Reason: r.Reason, Where: r.Place, Size: r.Size, Digest: r.Digest, Sealed: r.Record,
		Shop: journal.ShopKey{Account: r.Account, Shop: r.Shop}, Key: r.MessageKey, Announce: journal.Draft{ID: asUUID(r.Event), Type: r.Type},
	}}
	for _, t := range []struct {
		micros int64
		to     *time.Time
	}{{r.RecordTime, &l.Time}, {r.ReplayDue, &l.ReplayDue}, {r.Replayed, &l.Replayed}} {
		if t.micros != 0 {
			*t.to = wall(t.micros)
		}
	}
	l.Replays = r.Replays
	return l
}

// DeadLetters lists dead letters, the newest first.
func (j *Journal) DeadLetters(ctx context.Context, f journal.DeadLetterFilter) ([]journal.DeadLetterRecord, error) {
	q, args := filteredLetters(f)
	return list(ctx, j, q, args, (*letterRow).record)
}

// filteredLetters returns the query of a filter and its arguments.
func filteredLetters(f journal.DeadLetterFilter) (Query, []any) {
	where, args := letterConditions(f)
	args = append(args, bounded(f.Limit))
	columns := letterColumns
	if f.NoRecords {
		columns = strings.Replace(columns, "l.record,", "CASE WHEN FALSE THEN l.record END AS record,", 1)
	}
	return Query(columns + where + " ORDER BY l.id DESC LIMIT $" + strconv.Itoa(len(args))), args
}

// letterConditions returns the conditions of a filter on dead letters l, and their
// arguments.
func letterConditions(f journal.DeadLetterFilter) (where string, args []any) {
	var conditions []string
	add := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if f.ID > 0 {
		add("l.id = ?", f.ID)
	}
	if f.Before > 0 {
		add("l.id < ?", f.Before)
	}
	if f.Reason != "" {
		add("l.reason = ?", f.Reason)
	}
	if f.Topic != "" {
		add("l.topic = (SELECT id FROM topic WHERE name = ?)", f.Topic)
	}
	if f.Shop.Shop != "" {
		add("(l.shop = ? OR l.shop = '' AND l.message_key = ?)", f.Shop.Shop)
	}
	if f.Shop.Account != "" {
		add("l.account IN (?, '')", f.Shop.Account)
	}
	if !f.Since.IsZero() {
		add("l.received >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("l.received < ?", f.Until.UnixMicro())
	}
	if f.Open {
		conditions = append(conditions, "l.replayed IS NULL")
	}
	if len(conditions) == 0 {
		return "TRUE", args
	}
	return strings.Join(conditions, " AND "), args
}
