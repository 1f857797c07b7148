package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A pulse counts what this process commits. The count is a row that is written
// with each commit: a database in which it is lower than what was acknowledged
// has lost commits, whatever else it says of itself.
type pulse struct {
	process uuid.UUID
	next    int64        // the writer's: of the last commit that was tried
	acked   atomic.Int64 // of the last one that was acknowledged
	there   atomic.Bool  // the row was
	lost    atomic.Bool  // this database lacks what was done: nothing more is done in it
	waits   atomic.Bool  // the database moved, and not all replicas have looked yet
}

// remembered is how long the row of a process that has ended is kept. One that
// was cut off for longer and comes back takes the database for a late one.
const remembered = 30 * 24 * time.Hour

const (
	synchronousSQL = `(current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') = ANY('{on,remote_write,remote_apply}'::text[]))::int`
	pulseInsert    = "INSERT INTO pulse (process, replica, n, at, synchronous) VALUES ($1, $2, $3, $4, " + synchronousSQL + ")"
	// The greater one: a commit that was given up may be made after later ones.
	pulseInterval = "UPDATE pulse SET n = greatest(n, $2), at = $3, ended = NULL, synchronous = " + synchronousSQL + " WHERE process = $1"
	pulseEnd      = "UPDATE pulse SET ended = $2 WHERE process = $1"
	pulsesBuried  = "UPDATE pulse SET ended = $1 WHERE replica = ANY($2) AND ended IS NULL"
	pulsesPrune   = "DELETE FROM pulse WHERE ended < $1 AND missing = 0"
	// Of a copy nobody knows how old it is; a standby that took over has what was
	// committed while it had to.
	pulsesDoubt = "UPDATE pulse SET missing = 1 WHERE ended IS NULL AND process <> $1 AND (synchronous = 0 OR $2)"
)

// errLate says what a process has found.
var errLate = fmt.Errorf("%w: the database lacks what a worker has committed, as a standby that was late, or a copy: `journal recover`", journal.ErrCopy)

// errMoved makes callers wait.
var errMoved = fmt.Errorf("%w: a standby took over, and it is not known yet whether it has all that was committed", journal.ErrUnreachable)

// marks are what the database says of itself.
type marks struct {
	identity         uuid.UUID
	place            string
	copied, recovery bool
	tookOver         int64 // since when it is checked whether a server that took over has all commits; 0: nothing is checked
	pulse            int64 // this process's; -1 where there is none
}

func readMarks(ctx context.Context, q querier, process uuid.UUID) (m marks, err error) {
	m.pulse = -1
	rows, err := q.Query(ctx, `SELECT name, value FROM meta WHERE name IN ('identity', 'place', 'copied', 'recovering', 'took_over')
		UNION ALL SELECT 'pulse', convert_to(n::text, 'UTF8') FROM pulse WHERE process = $1`, process[:])
	if err != nil {
		return m, err
	}
	var name string
	var value []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		switch name {
		case "identity":
			m.identity = asUUID(value)
		case "place":
			m.place = string(value)
		case "copied":
			m.copied = true
		case "recovering":
			m.recovery = true
		case "took_over":
			m.tookOver = number(value)
		case "pulse":
			m.pulse = number(value)
		}
		return nil
	})
	return m, err
}

// A querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// examine makes sure of the database: that it has all that this process has
// committed, and that nobody has found otherwise. It is asked on every new
// connection, and by the session now and then; place is where the connection
// leads, "" for where it led before. An error is that of the database. What was
// found is in the pulse, for those who step.
func (j *Journal) examine(ctx context.Context, conn *pgx.Conn, place string) error {
	acked, there := j.pulse.acked.Load(), j.pulse.there.Load()
	m, err := readMarks(ctx, conn, j.pulse.process)
	if err != nil {
		return err
	}
	known := j.known.Load()
	late := there && m.pulse < acked
	switch {
	case j.pulse.lost.Load():
		return nil
	case late, known != nil && m.identity != *known:
		if late {
			if err := j.markLate(ctx, conn); err != nil {
				return err
			}
		}
		j.lose("what this process has committed is missing in the database: a standby that was late took over, or a copy was put in its place")
		return nil
	case (m.copied || m.recovery) && !j.options.Recover && !j.recovers.Load():
		if there { // else the opening tells
			j.lose("the database is known to lack what was committed, or is being recovered")
		}
		return nil
	}
	if m.pulse < 0 || place != "" && place != m.place || m.tookOver != 0 {
		return j.settle(ctx, conn, place)
	}
	if j.pulse.waits.Swap(false) {
		j.Notify(steps.Signals{Work: true})
	}
	return nil
}

func (j *Journal) lose(why string) {
	if !j.pulse.lost.Swap(true) {
		j.log.Error("the journal is refused: nothing more is sent, taken in or decided; answers that still come are kept. Stop all workers and use `journal recover`", "why", why)
	}
	j.Notify(steps.Signals{Work: true})
}

// markLate tells all that the database lacks commits.
func (j *Journal) markLate(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `INSERT INTO meta (name, value) SELECT 'copied', convert_to(coalesce(max(at), $1::bigint)::text, 'UTF8') FROM pulse ON CONFLICT DO NOTHING`, j.clock.Now())
	return err
}

// settle is the rest of an examination, where something is to be written: one replica at
// a time. Each says that its commits are here; when all have, work goes on.
func (j *Journal) settle(ctx context.Context, conn *pgx.Conn, place string) error {
	var late, moved, over bool
	err := pgx.BeginTxFunc(ctx, conn, atLevel, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", j.lockKey, int32(lockDuty)); err != nil {
			return err
		}
		m, err := readMarks(ctx, tx, j.pulse.process)
		if err != nil {
			return err
		}
		now := j.clock.Now()
		if place != "" && place != m.place {
			if moved, err = j.moved(ctx, tx, m.place, place, now); err != nil {
				return err
			}
			if moved {
				m.tookOver = now
			}
		}
		if m.pulse < 0 {
			_, err = tx.Exec(ctx, pulseInsert, j.pulse.process[:], j.session.number(), j.pulse.acked.Load(), now)
		} else {
			_, err = tx.Exec(ctx, "UPDATE pulse SET missing = 0, ended = NULL WHERE process = $1 AND (missing <> 0 OR ended IS NOT NULL)", j.pulse.process[:])
		}
		if err != nil || m.tookOver == 0 {
			return err
		}
		missing := 0
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM pulse WHERE missing = 1").Scan(&missing); err != nil {
			return err
		}
		over = missing == 0
		switch {
		case over:
			_, err = tx.Exec(ctx, "DELETE FROM meta WHERE name = 'took_over'")
		case now >= m.tookOver+j.bounds.standby.Microseconds():
			late = true
			_, err = tx.Exec(ctx, `INSERT INTO meta (name, value) SELECT 'copied', convert_to(coalesce(max(at), $1::bigint)::text, 'UTF8') FROM pulse ON CONFLICT DO NOTHING`, now)
		}
		return err
	})
	if err != nil {
		return err
	}
	j.pulse.there.Store(true)
	m, err := readMarks(ctx, conn, j.pulse.process)
	if err != nil {
		return err
	}
	switch j.pulse.waits.Store(m.tookOver != 0 && !j.options.Recover); {
	case late && !j.options.Recover:
		j.lose("a standby took over that need not have had all that was committed, and a replica that was at work before did not come to say that nothing of its work is missing")
	case over:
		j.log.Info("all replicas that were at work have found what they had committed: the journal goes on where it is now")
	}
	j.Notify(steps.Signals{Work: true})
	return nil
}

// moved notes that the database is in another place than it was. What was sent
// last may be missing in it, so the ledgers wait; and where more may be missing,
// all does, until every replica that was at work has looked. It tells whether
// there is any such.
func (j *Journal) moved(ctx context.Context, tx pgx.Tx, was, place string, now int64) (bool, error) {
	if _, err := tx.Exec(ctx, setMeta, "place", []byte(place)); err != nil || was == "" {
		return false, err
	}
	j.log.Warn("the journal's database is not the one that it was: it was restored or copied, or a standby took over. What was sent since is not known, " +
		"so no request is sent for one window and the slack. If it is older than the last run, stop at once and use `journal recover`")
	if _, err := tx.Exec(ctx, setMeta, "history", decimal(now)); err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, pulsesDoubt, j.pulse.process[:], !sameButTimeline(was, place))
	if err != nil || n.RowsAffected() == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, setMeta, "took_over", decimal(now))
	return true, err
}

// mayOpen waits until it is known whether a standby that took over has all.
func (j *Journal) mayOpen(ctx context.Context, conn *pgx.Conn) error {
	for j.pulse.waits.Load() && !j.pulse.lost.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(j.bounds.ping, time.Second) / 4):
		}
		if err := j.examine(ctx, conn, ""); err != nil {
			return err
		}
	}
	if j.pulse.lost.Load() && !j.options.Recover {
		return errLate
	}
	return nil
}

// refusal is what a step gets in place of being made; nil where it may be. Kept
// answers always may.
func (j *Journal) refusal(n steps.Needs) error {
	switch {
	case n.Anyway:
		return nil
	case j.pulse.lost.Load():
		return errLate
	case j.pulse.waits.Load():
		return errMoved
	}
	return nil
}

// permitted tells the others why they are not made.
func (j *Journal) permitted(rs []*request, errs []error) []*request {
	if !j.pulse.waits.Load() && !j.pulse.lost.Load() {
		return rs
	}
	var kept []*request
	for i, r := range rs {
		if errs[i] = j.refusal(r.step.Needs); errs[i] == nil {
			kept = append(kept, r)
		}
	}
	return kept
}
