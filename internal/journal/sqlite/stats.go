package sqlite

import (
	"context"
	"errors"

	"invoicebox-worker/internal/journal"
)

// Stats counts what is open, in attention and waiting to be published. It
// costs by the number of those, not by what is done.
func (j *Journal) Stats(ctx context.Context) (journal.Stats, error) {
	s := journal.Stats{Operations: make(map[journal.StatKey]int64), Attention: make(map[string]int64)}
	count := func(scan scanner) error {
		var k journal.StatKey
		var n int64
		err := scan(&k.Account, &k.Kind, &k.State, &n)
		s.Operations[k] += n
		return err
	}
	now := j.clock.micros()
	return s, errors.Join(
		j.read(ctx, `SELECT a.name, n.kind, n.state, n.many FROM
			(SELECT account, kind, state, count(*) AS many FROM operation INDEXED BY operation_open WHERE lane IS NOT NULL GROUP BY account, kind, state) n
			JOIN account a ON a.id = n.account`, nil, count),
		j.read(ctx, `SELECT a.name, n.kind, 20, n.many FROM
			(SELECT account, kind, count(*) AS many FROM operation INDEXED BY operation_attention WHERE state = 20 GROUP BY account, kind) n
			JOIN account a ON a.id = n.account`, nil, count),
		j.read(ctx, "SELECT reason, count(*) FROM operation INDEXED BY operation_attention WHERE state = 20 GROUP BY reason", nil, func(scan scanner) error {
			var reason string
			var n int64
			err := scan(&reason, &n)
			s.Attention[reason] = n
			return err
		}),
		j.read(ctx, `SELECT coalesce(min((SELECT o.due_at FROM operation o INDEXED BY operation_due
				WHERE o.account = a.id AND o.kind = k.kind AND o.stage = g.stage AND o.due_at <= ? ORDER BY o.due_at LIMIT 1)), 0)
			FROM account a, (SELECT 1 AS kind UNION ALL SELECT 2) k, (SELECT 1 AS stage UNION ALL SELECT 2) g`, in{now}, func(scan scanner) error {
			var at int64
			err := scan(&at)
			if at != 0 {
				s.OldestDue = j.clock.instant(at)
			}
			return err
		}),
		j.read(ctx, `SELECT (SELECT count(*) FROM outbox_pending), coalesce((SELECT since FROM outbox_pending ORDER BY row LIMIT 1), 0),
			coalesce((SELECT max(id) FROM dead_letter) - (SELECT min(id) FROM dead_letter) + 1, 0),
			coalesce((SELECT max(id) FROM event) - (SELECT min(id) FROM event) + 1, 0),
			(SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())`, nil, func(scan scanner) error {
			var oldest int64
			err := scan(&s.Outbox, &oldest, &s.DeadLetters, &s.Events, &s.Bytes)
			if oldest != 0 {
				s.OldestOut = j.clock.instant(oldest)
			}
			return err
		}),
	)
}
