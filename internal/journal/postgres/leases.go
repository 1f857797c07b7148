package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A step is a statement of a list that is run in order.
type step struct {
	sql  string
	args []any
}

func run(ctx context.Context, tx pgx.Tx, steps []step) error {
	for _, x := range steps {
		if _, err := tx.Exec(ctx, x.sql, x.args...); err != nil {
			return err
		}
	}
	return nil
}

// deadLeaseTries is how often endDeadLeases tries to end the leases of those that are gone.
const deadLeaseTries = 10

// endDeadLeases ends the leases of replicas whose session is gone. They may still run: the claim
// numbers fence off their later steps, and the outcome of their requests is unknown. An
// opening process also checks that it may open and, if no other replica runs, adapts the
// times to a clock that was set meanwhile.
func (s *session) endDeadLeases(ctx context.Context, opening bool) error {
	ended := false
	err := s.j.bounded(ctx, func(ctx context.Context) (err error) {
		// It locks operations in any order, and not after their shops as the writers do.
		// In a deadlock the server ends this transaction, one second after it began to
		// wait.
		for range deadLeaseTries {
			if ended, err = s.endDeadLeasesIn(ctx, opening); !transient(err) {
				break
			}
		}
		return err
	})
	if err == nil && ended {
		s.j.Notify(steps.Signals{Work: true})
	}
	return err
}

func (s *session) endDeadLeasesIn(ctx context.Context, opening bool) (ended bool, err error) {
	err = pgx.BeginTxFunc(ctx, s.j.readers, atLevel, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", s.j.lockKey, int32(lockDuty)); err != nil {
			return err
		}
		gone, alone, err := s.others(ctx, tx)
		if err != nil {
			return err
		}
		if opening {
			if err := refuseUnfinished(ctx, tx); err != nil {
				return err
			}
		}
		if len(gone) > 0 && !opening {
			// If the database moved, no leases are ended before that was noticed, because
			// the database may lack the last changes of those replicas.
			if here, err := s.j.placeUnchanged(ctx, tx); err != nil || !here {
				return err
			}
		}
		if opening && !s.j.options.Recover {
			copied := false
			if err := tx.QueryRow(ctx, "SELECT count(*) > 0 FROM meta WHERE name IN ('copied', 'recovering')").Scan(&copied); err != nil {
				return err
			}
			if copied {
				return journal.ErrCopy
			}
		}
		now := s.j.clock.Now()
		if ended = len(gone) > 0; ended {
			if err := run(ctx, tx, endLeases(now, gone)); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", s.j.channel, "0 woi"); err != nil {
				return err
			}
		}
		if !opening {
			return nil
		}
		if alone {
			if err := run(ctx, tx, rebase(now)); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "UPDATE replica SET ready = TRUE WHERE id = $1", s.number())
		return err
	})
	return ended, err
}

// others finds the replicas that are gone, and reports whether none runs. A lock that can
// be acquired belongs to no process; it is held to the end of the transaction.
func (s *session) others(ctx context.Context, tx pgx.Tx) (gone []int64, alone bool, err error) {
	rows, err := tx.Query(ctx, "SELECT x.id, x.ready, pg_try_advisory_xact_lock($1, x.id::int) FROM (SELECT id, ready FROM replica WHERE id <> $2 ORDER BY id OFFSET 0) x",
		s.j.lockKey, s.number())
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	alone = true
	for rows.Next() {
		var id int64
		var ready, free bool
		if err := rows.Scan(&id, &ready, &free); err != nil {
			return nil, false, err
		}
		if free {
			gone = append(gone, id)
		} else if ready {
			alone = false
		}
	}
	return gone, alone, rows.Err()
}

func endLeases(now int64, gone []int64) (list []step) {
	for _, q := range steps.EndLeases() {
		list = append(list, step{q.Postgres(), []any{now, gone}})
	}
	return append(list,
		step{pulsesEnded, []any{now, gone}},
		step{pulsesPrune, []any{now - remembered.Microseconds()}},
		step{"DELETE FROM replica WHERE id = ANY($1)", []any{gone}})
}

// rebase is for a clock that was set while no replica ran: ends later than now become now,
// and see [steps.BoundTimes]. The ledgers are derived again from the attempts.
func rebase(now int64) []step {
	at, both := []any{now}, []any{now, steps.LookBack.Microseconds()}
	list := []step{
		{"SELECT id FROM ledger ORDER BY id FOR UPDATE", nil},
		{"UPDATE meta SET value = convert_to(($1::bigint)::text, 'UTF8') WHERE name = 'history' AND convert_from(value, 'UTF8')::bigint > $1", at},
		{`UPDATE attempt SET ended = CASE WHEN ended > $1 THEN $1 ELSE ended END, deadline = least(deadline, $1 + deadline - started),
				counts_from = least(counts_from, $1 + CASE WHEN ended IS NULL THEN deadline - started + slack WHEN answered = 0 THEN slack ELSE 0 END)
			WHERE counts_from IS NOT NULL AND (started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2 OR slow = 1)`, both},
		{`UPDATE operation SET check_from = least(check_from, $1 + CASE check_open WHEN 1 THEN $2 ELSE check_slack END)
			WHERE check_from IS NOT NULL AND id = ANY(ARRAY(SELECT operation FROM attempt WHERE started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2))`, both},
	}
	for _, q := range steps.BoundTimes() {
		list = append(list, step{q.Postgres(), at})
	}
	return append(list,
		step{"DELETE FROM permit", nil},
		step{`INSERT INTO permit (ledger, counts_from, many) SELECT x.ledger, x.counts_from, count(*) FROM
			(SELECT unnest(string_to_array(ledgers, ' ')::bigint[]) AS ledger, counts_from FROM attempt
			 WHERE counts_from > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) AND (started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2 OR slow = 1)
			 UNION ALL SELECT unnest(string_to_array(check_ledgers, ' ')::bigint[]), check_from FROM operation
			 WHERE check_from > $1 - (SELECT coalesce(max(kept), 0) FROM ledger)
				AND id = ANY(ARRAY(SELECT operation FROM attempt WHERE started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2))) x
			GROUP BY x.ledger, x.counts_from`, both})
}
