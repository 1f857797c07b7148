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
	"invoicebox-worker/internal/journal/stored"
)

// A pulse counts the commits of this process in a row that is written with each commit. If
// a database has a lower count than was acknowledged, it has lost commits, whatever else
// it contains.
type pulse struct {
	process uuid.UUID
	next    int64        // the writer's: of the last commit that was tried
	acked   atomic.Int64 // of the last one that was acknowledged
	there   atomic.Bool  // the row existed
	lost    atomic.Bool  // this database lacks commits: nothing more is done in it
	waits   atomic.Bool  // the database moved, and not all replicas have examined it yet
}

// remembered is how long the row of an ended process is retained. A process that was cut
// off for longer and returns considers the database one that lost commits.
const remembered = 30 * 24 * time.Hour

const (
	synchronousSQL = `(current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') = ANY('{on,remote_write,remote_apply}'::text[]))::int`
	pulseInsert    = "INSERT INTO pulse (process, replica, n, at, synchronous) VALUES ($1, $2, $3, $4, " + synchronousSQL + ")"
	// The greater one, because a commit that timed out may be made after later ones.
	pulseInterval = "UPDATE pulse SET n = greatest(n, $2), at = $3, ended = NULL, synchronous = " + synchronousSQL + " WHERE process = $1"
	pulseEnd      = "UPDATE pulse SET ended = $2 WHERE process = $1"
	pulsesEnded   = "UPDATE pulse SET ended = $1 WHERE replica = ANY($2) AND ended IS NULL"
	pulsesPrune   = "DELETE FROM pulse WHERE ended < $1 AND missing = 0"
	// The age of a copy is unknown. A standby that took over has every commit that had to
	// wait for it.
	pulsesDoubt = "UPDATE pulse SET missing = 1 WHERE ended IS NULL AND process <> $1 AND (synchronous = 0 OR $2)"
)

// errLate reports that this process found commits missing.
var errLate = fmt.Errorf("%w: the database lacks commits of a worker, because a late standby took over or it is a copy: run `journal recover`", journal.ErrCopy)

// errMoved makes callers wait.
var errMoved = fmt.Errorf("%w: a standby took over, and it is not known yet whether it has all commits", journal.ErrUnreachable)

// marks are the database's own records.
type marks struct {
	identity         uuid.UUID
	place            string
	copied, recovery bool
	tookOver         int64 // since when it is checked whether a server that took over has all commits; 0: nothing is checked
	pulse            int64 // this process's; -1 if there is none
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
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() (err error) {
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
			m.tookOver, err = stored.UnpackNumber(name, value)
		case "pulse":
			m.pulse, err = stored.UnpackNumber(name, value)
		}
		return err
	})
	return m, err
}

// A querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// examine checks that the database has every commit of this process, and that no other
// process found a missing one. It runs on every new connection, and regularly in the
// session. Place is where the connection leads, "" if that is unchanged. It returns an
// error of the database only. The pulse has the result for the steps.
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
		j.lose("the database lacks commits of this process: a late standby took over, or a copy replaced the database")
		return nil
	case (m.copied || m.recovery) && !j.options.Recover && !j.recovers.Load():
		if there { // otherwise the opening reports it
			j.lose("another process found that the database lacks commits, or a recovery is running")
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
		j.log.Error("the journal is refused: no request is sent, no record ingested and nothing decided; only responses are saved. Stop all workers and run `journal recover`", "why", why)
	}
	j.Notify(steps.Signals{Work: true})
}

// markLate records for all processes that the database lacks commits.
func (j *Journal) markLate(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `INSERT INTO meta (name, value) SELECT 'copied', convert_to(coalesce(max(at), $1::bigint)::text, 'UTF8') FROM pulse ON CONFLICT DO NOTHING`, j.clock.Now())
	return err
}

// settle is the part of an examination that writes, one replica at a time. Each replica
// records that its commits exist; when all have, work resumes.
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
		j.lose("a standby took over that may lack commits, and a replica that ran before did not confirm that all of its commits exist")
	case over:
		j.log.Info("all replicas that ran before have found their commits; work resumes")
	}
	j.Notify(steps.Signals{Work: true})
	return nil
}

// moved records that the database is in another place. It may lack the last requests, so
// the ledgers wait. If it may lack more, all work waits until every replica that ran has
// examined it. The result reports whether there is any such replica.
func (j *Journal) moved(ctx context.Context, tx pgx.Tx, was, place string, now int64) (bool, error) {
	if _, err := tx.Exec(ctx, steps.SetFact, "place", []byte(place)); err != nil || was == "" {
		return false, err
	}
	j.log.Warn("the journal's database was restored or copied, or a standby took over, and later requests are unknown; " +
		"sending no request for one window and the slack. If the database is older than the last run, stop the workers at once and run `journal recover`")
	if _, err := tx.Exec(ctx, steps.SetFact, "history", stored.PackNumber(now)); err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, pulsesDoubt, j.pulse.process[:], !sameButTimeline(was, place))
	if err != nil || n.RowsAffected() == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, steps.SetFact, "took_over", stored.PackNumber(now))
	return true, err
}

// mayOpen waits until it is known whether a standby that took over has all commits.
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

// refusal returns the error with which a step is refused; nil if it may be executed.
// Responses can always be saved.
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

// permitted refuses the other requests with that error.
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
