package postgres

import (
	"context"
	"errors"

	"invoicebox-worker/internal/journal"
)

// openCount reads operation_open alone.
const openCount = `SELECT a.name, n.kind, n.state, n.many FROM
	(SELECT account, kind, state, count(*) AS many FROM operation WHERE lane IS NOT NULL GROUP BY account, kind, state) n
	JOIN account a ON a.id = n.account`

// Stats counts what is open, in attention and waiting to be published. It
// costs by the number of those, not by what is done.
func (j *Journal) Stats(ctx context.Context) (journal.Stats, error) {
	s := journal.Stats{Operations: make(map[journal.StatKey]int64), Attention: make(map[string]int64)}
	count := func(r row) error {
		k := journal.StatKey{Account: r.text(0), Kind: journal.Kind(r.int(1)), State: journal.State(r.int(2))} // #nosec G115 -- our own numbers
		s.Operations[k] += r.int(3)
		return nil
	}
	return s, errors.Join(
		j.read(ctx, openCount, count),
		j.read(ctx, `SELECT a.name, n.kind, 20::bigint, n.many FROM
			(SELECT account, kind, count(*) AS many FROM operation WHERE state = 20 GROUP BY account, kind) n
			JOIN account a ON a.id = n.account`, count),
		j.read(ctx, "SELECT reason, count(*) FROM operation WHERE state = 20 GROUP BY reason", func(r row) error {
			s.Attention[r.text(0)] = r.int(1)
			return nil
		}),
		j.read(ctx, `SELECT coalesce(min((SELECT o.due_at FROM operation o
				WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at <= $1 ORDER BY o.due_at LIMIT 1)), 0)
			FROM account a CROSS JOIN (VALUES (1::bigint), (2)) k(kind) CROSS JOIN (VALUES (1::bigint), (2)) g(stage)`, func(r row) error {
			if at := r.int(0); at != 0 {
				s.OldestDue = j.clock.instant(at)
			}
			return nil
		}, j.clock.micros()),
		j.read(ctx, `SELECT (SELECT count(*) FROM outbox_pending), coalesce((SELECT since FROM outbox_pending ORDER BY row LIMIT 1), 0),
			coalesce((SELECT max(id) FROM dead_letter) - (SELECT min(id) FROM dead_letter) + 1, 0),
			coalesce((SELECT max(id) FROM event) - (SELECT min(id) FROM event) + 1, 0), pg_database_size(current_database())`, func(r row) error {
			s.Outbox, s.DeadLetters, s.Events, s.Bytes = r.int(0), r.int(2), r.int(3), r.int(4)
			if at := r.int(1); at != 0 {
				s.OldestOut = j.clock.instant(at)
			}
			return nil
		}),
	)
}
