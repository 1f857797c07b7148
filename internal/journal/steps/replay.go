package steps

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	replaysLast Query = "SELECT coalesce(max(replay_due), 0)::bigint AS n FROM dead_letter WHERE replay_due IS NOT NULL"
	// replaysAsk marks the dead letters of a list, in the order of their ids.
	replaysAsk Query = `UPDATE dead_letter SET replay_due = x.due FROM
		(SELECT l.id, $2::bigint + $3::bigint * (row_number() OVER (ORDER BY l.id) - 1) AS due FROM dead_letter l
			WHERE l.id = ANY($1) AND l.record IS NOT NULL AND l.replayed IS NULL AND l.replay_due IS NULL AND l.replays < $4::bigint) x
		WHERE dead_letter.id = x.id
-- sqlite:
UPDATE dead_letter SET replay_due = x.due FROM
		(SELECT l.id, $2 + $3 * (row_number() OVER (ORDER BY l.id) - 1) AS due FROM dead_letter l
			WHERE l.id IN (SELECT value FROM json_each($1)) AND l.record IS NOT NULL AND l.replayed IS NULL AND l.replay_due IS NULL AND l.replays < $4) x
		WHERE dead_letter.id = x.id`
	replaysDue  Query = letterColumns + "l.replay_due IS NOT NULL ORDER BY l.replay_due, l.id LIMIT $1"
	replayMark  Query = "SELECT topic, replays FROM dead_letter WHERE id = $1 AND replay_due IS NOT NULL FOR UPDATE"
	replayEnded Query = "UPDATE dead_letter SET replay_due = NULL, replays = replays + 1, replayed = $1, record = NULL, record_key = NULL WHERE id = $2"
	replayFails Query = `UPDATE dead_letter SET replay_due = NULL, replays = replays + 1, event_id = $1, reason = $2, place = $3, account = $4, shop = $5
		WHERE id = $6`
	replaysDrop Query = "UPDATE dead_letter SET replay_due = NULL WHERE replay_due IS NOT NULL"
)

// AskReplays marks dead letters, also beside a worker.
func (j *Journal) AskReplays(ctx context.Context, ids []int64, every time.Duration, audit journal.AuditEntry) (int, error) {
	return ask(ctx, j, &Request{Beside: true}, func(u *Unit) (int, error) {
		from := u.now
		if last := firstInt(u, replaysLast); last != 0 {
			from = max(from, last+every.Microseconds())
		}
		asked := u.exec(replaysAsk, ids, from, every.Microseconds(), int64(journal.MaxReplays))
		u.audit(audit)
		return int(asked), nil
	})
}

// DueReplays lists the marked dead letters, the first due first.
func (j *Journal) DueReplays(ctx context.Context, limit int) ([]journal.DeadLetterRecord, error) {
	return list(ctx, j, replaysDue, []any{bounded(limit)}, func(r *letterRow) journal.DeadLetterRecord {
		l := r.record()
		l.ReplayDue = j.db.Clock().Instant(r.ReplayDue)
		return l
	})
}

// Replay takes the record of a marked dead letter.
func (j *Journal) Replay(ctx context.Context, r journal.Replay) (journal.ReplayOutcome, error) {
	b := journal.Batch{Topic: r.Topic, Partition: r.Partition}
	var n Needs
	if r.Event != nil {
		b.Events = []journal.Event{*r.Event}
		n.Shops = []journal.ShopKey{r.Event.Shop}
	}
	return ask(ctx, j, &Request{
		Needs: n, Records: 2,
		Load: func(l *Loader) { l.batch(&b) }, // locks the position, so that the consumer of the partition waits
	}, func(u *Unit) (journal.ReplayOutcome, error) { return u.replay(r, &b) })
}

type replayMarkRow struct {
	Topic   int64 `db:"topic"`
	Replays int   `db:"replays"`
}

func (u *Unit) replay(r journal.Replay, b *journal.Batch) (journal.ReplayOutcome, error) {
	if err := u.checkKeys(); err != nil {
		return "", err
	}
	mark := first[replayMarkRow](u, replayMark, r.ID)
	if mark == nil || mark.Replays != r.Replays {
		return "", journal.ErrStale
	}
	outcome, failed := journal.ReplayIgnored, r.Failed
	if r.Event != nil {
		u.openedElsewhere()
		got := new(journal.Ingested)
		in := &ingestion{Unit: u, batch: b, got: got, topic: mark.Topic}
		if err := in.take(&b.Events[0]); err != nil {
			return "", fmt.Errorf("journal: record of dead letter %d: %w", r.ID, err)
		}
		if err := in.answer(); err != nil {
			return "", err
		}
		switch {
		case got.Accepted > 0:
			outcome = journal.ReplayAccepted
		case got.Repeated > 0:
			outcome = journal.ReplayRepeated
		case len(in.letters) > 0:
			failed = &in.letters[0]
		}
	}
	if failed != nil {
		outcome = journal.ReplayFailed
		u.later(replayFails, failed.EventID, failed.Reason, failed.Where, failed.Shop.Account, failed.Shop.Shop, r.ID)
	} else {
		u.later(replayEnded, u.now, r.ID)
	}
	u.audit(journal.AuditEntry{Actor: "worker", Act: "dead-letters.replayed", Subject: "dead-letter/" + strconv.FormatInt(r.ID, 10), Detail: string(outcome)})
	return outcome, nil
}
