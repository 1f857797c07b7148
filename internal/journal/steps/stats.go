package steps

import (
	"context"
	"errors"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	// openCount reads the open operations. An index with their states would change with
	// each step of each operation.
	openCount Query = `SELECT a.name AS account, n.kind, n.state, n.many, n.oldest FROM
		(SELECT account, kind, state, count(*) AS many, min(changed) AS oldest FROM operation /*+ INDEXED BY operation_lane */ WHERE lane IS NOT NULL GROUP BY account, kind, state) n
		JOIN account a ON a.id = n.account`
	attentionCount Query = `SELECT a.name AS account, n.kind, n.many FROM
		(SELECT account, kind, count(*) AS many FROM operation /*+ INDEXED BY operation_attention */ WHERE state = 20 GROUP BY account, kind) n
		JOIN account a ON a.id = n.account`
	attentionReasons Query = "SELECT reason, count(*) AS many FROM operation /*+ INDEXED BY operation_attention */ WHERE state = 20 GROUP BY reason"
	oldestDue        Query = `SELECT a.name AS account, k.kind, coalesce((SELECT o.due_at FROM operation o /*+ INDEXED BY operation_due */
			WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at <= $1 ORDER BY o.due_at LIMIT 1), 0) AS oldest
		FROM account a CROSS JOIN (SELECT 1::bigint AS kind UNION ALL SELECT 2) k CROSS JOIN (SELECT 1::bigint AS stage UNION ALL SELECT 2) g`
	// WaitingEvents is an expression for how many events wait to be published.
	WaitingEvents = "(SELECT count(*) FROM outbox WHERE published_at IS NULL) + (SELECT count(*) FROM outbox_pending)"
	// waitingCount subtracts the first id from the last, because the ids have few gaps.
	waitingCount Query = "SELECT " + WaitingEvents + ` AS outbox, (SELECT coalesce(min(since), 0) FROM (SELECT (SELECT created FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1) AS since
			UNION ALL SELECT (SELECT since FROM outbox_pending ORDER BY row LIMIT 1)) waiting) AS oldest,
		coalesce((SELECT max(id) FROM dead_letter) - (SELECT min(id) FROM dead_letter) + 1, 0) AS dead_letters,
		coalesce((SELECT max(id) FROM event) - (SELECT min(id) FROM event) + 1, 0) AS events`
	databaseSize Query = `SELECT pg_database_size(current_database()) AS n
-- sqlite:
SELECT (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()) AS n`
)

type countRow struct {
	Account string        `db:"account"`
	Kind    journal.Kind  `db:"kind"`
	State   journal.State `db:"state"`
	Reason  string        `db:"reason"`
	Many    int64         `db:"many"`
	Oldest  int64         `db:"oldest"`
}

type waitingRow struct {
	Outbox      int64 `db:"outbox"`
	Oldest      int64 `db:"oldest"`
	DeadLetters int64 `db:"dead_letters"`
	Events      int64 `db:"events"`
}

// Stats counts the operations that are open or in attention and the events that wait
// to be published. Done operations cost nothing.
func (j *Journal) Stats(ctx context.Context) (journal.Stats, error) {
	s := journal.Stats{Operations: make(map[journal.StatKey]int64), Attention: make(map[string]int64), OldestDue: make(map[journal.DueKey]time.Time)}
	clock := j.db.Clock()
	err := errors.Join(
		read(ctx, j, openCount, nil, func(r *countRow) error {
			s.Operations[journal.StatKey{Account: r.Account, Kind: r.Kind, State: r.State}] += r.Many
			if r.State == journal.Received {
				s.OldestReceived = earlier(s.OldestReceived, clock.Instant(r.Oldest))
			}
			return nil
		}),
		read(ctx, j, attentionCount, nil, func(r *countRow) error {
			s.Operations[journal.StatKey{Account: r.Account, Kind: r.Kind, State: journal.Attention}] += r.Many
			return nil
		}),
		read(ctx, j, attentionReasons, nil, func(r *countRow) error {
			s.Attention[r.Reason] = r.Many
			return nil
		}),
		read(ctx, j, oldestDue, []any{clock.Now()}, func(r *countRow) error {
			k := journal.DueKey{Account: r.Account, Kind: r.Kind}
			oldest := s.OldestDue[k] // zero: nothing is due
			if r.Oldest != 0 {
				oldest = earlier(oldest, clock.Instant(r.Oldest))
			}
			s.OldestDue[k] = oldest
			return nil
		}),
		read(ctx, j, waitingCount, nil, func(r *waitingRow) error {
			s.Outbox, s.DeadLetters, s.Events = r.Outbox, r.DeadLetters, r.Events
			if r.Oldest != 0 {
				s.OldestOut = clock.Instant(r.Oldest)
			}
			return nil
		}),
	)
	if err != nil {
		return s, err
	}
	s.Bytes, err = readInt(ctx, j, databaseSize)
	return s, err
}

// earlier returns the earlier of two instants; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
