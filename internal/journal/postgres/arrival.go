package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/steps"
)

// LongestWindow is the longest window of a ledger for which a moved journal has the
// requests from the start: the source does not know the windows of its ledgers.
const LongestWindow = time.Hour

// A series assigns numbers: the next one is above those of the columns.
type series struct {
	name    string // of the sequence; or of the table whose id it is
	columns []string
}

// allSeries lists every series of numbers of the schema.
func allSeries() []series {
	list := []series{
		{"event_id", []string{"event.id", "event.operation", "operation.id", "operation.event", "outbox.operation"}},
		{"attempt_id", []string{"attempt.id", "operation.last_attempt"}},
		{"outbox_row", []string{"outbox.id", "outbox.again", "outbox_pending.row"}},
	}
	for _, table := range []string{"account", "topic", "shop", "ledger", "intent", "dead_letter"} {
		list = append(list, series{table + "_id_seq", []string{table + ".id"}})
	}
	return list
}

// Append copies rows in one transaction, which checks that no other move was begun.
func (t *Target) Append(ctx context.Context, table move.Table, next func() (move.Row, error)) error {
	return t.within(ctx, func(tx pgx.Tx) error {
		columns := slices.Concat(table.Columns, table.Made)
		made, err := t.made(ctx, tx, table)
		if err != nil {
			return err
		}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{table.Name}, columns, pgx.CopyFromFunc(func() ([]any, error) {
			r, err := next()
			if r == nil || err != nil {
				return nil, err
			}
			return append(r, made...), nil
		}))
		return err
	})
}

// made are the values of the columns that only this database has.
func (t *Target) made(ctx context.Context, tx pgx.Tx, table move.Table) (values []any, err error) {
	for _, name := range table.Made {
		switch table.Name + "." + name {
		case "operation.replica", "attempt.replica":
			var replica int64
			if err := tx.QueryRow(ctx, "SELECT min(id) FROM replica").Scan(&replica); err != nil {
				return nil, err
			}
			values = append(values, replica)
		case "attempt.grain":
			values = append(values, int64(1))
		case "ledger.kept":
			values = append(values, LongestWindow.Microseconds())
		case "ledger.taken":
			values = append(values, int64(0))
		default:
			return nil, fmt.Errorf("no value for column %s of table %s", name, table.Name)
		}
	}
	return values, nil
}

// within runs a transaction of the move that was begun, and checks that no other was
// begun.
func (t *Target) within(ctx context.Context, f func(pgx.Tx) error) error {
	if t.state == nil {
		return errors.New("the move was not begun")
	}
	return readable(pgx.BeginTxFunc(ctx, t.conn, atLevel, func(tx pgx.Tx) error {
		var raw []byte
		err := tx.QueryRow(ctx, "SELECT value FROM meta WHERE name = $1 FOR UPDATE", move.Copying).Scan(&raw)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && string(raw) != t.state.String() {
			return fmt.Errorf("%w: another copy into this database has begun", journal.ErrHeld)
		}
		if err != nil {
			return err
		}
		return f(tx)
	}))
}

// Settle writes facts and sets the series. It also updates the statistics, because the
// tables were filled at once and have those of empty tables.
func (t *Target) Settle(ctx context.Context, facts map[string][]byte) error {
	if err := t.within(ctx, func(tx pgx.Tx) error {
		for name, value := range facts {
			if _, err := tx.Exec(ctx, steps.SetFact, name, value); err != nil {
				return err
			}
		}
		for _, s := range allSeries() {
			var highest []string
			for _, c := range s.columns {
				table, column, _ := strings.Cut(c, ".")
				highest = append(highest, "coalesce((SELECT max("+column+") FROM "+table+"), 0)")
			}
			if _, err := tx.Exec(ctx, "SELECT setval('"+s.name+"', greatest(1, x.n), x.n > 0) FROM (SELECT greatest("+strings.Join(highest, ", ")+") AS n) x"); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, table := range move.Tables() {
		if _, err := t.conn.Exec(ctx, "ANALYZE "+table.Name); err != nil {
			return readable(err)
		}
	}
	return nil
}

// Facts reads table meta.
func (t *Target) Facts(ctx context.Context) (map[string][]byte, error) {
	rows, err := t.conn.Query(ctx, "SELECT name, value FROM meta")
	if err != nil {
		return nil, readable(err)
	}
	defer rows.Close()
	facts := make(map[string][]byte)
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		facts[name] = value
	}
	return facts, readable(rows.Err())
}

// Finish removes the mark, so that a worker can open the journal.
func (t *Target) Finish(ctx context.Context, audit journal.AuditEntry) error {
	audit.At = time.UnixMicro(t.j.clock.Now())
	return t.within(ctx, func(tx pgx.Tx) error {
		var last int64
		var hash []byte
		if err := tx.QueryRow(ctx, "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").Scan(&last, &hash); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		e := journal.NextAudit(last, hash, audit.Salted())
		return run(ctx, tx, []step{
			{"INSERT INTO audit (id, at, actor, act, subject, detail_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)", []any{e.ID, e.At.UnixMicro(), e.Actor, e.Act, e.Subject, e.Digest, e.Hash}},
			{"INSERT INTO audit_detail (id, salt, detail) VALUES ($1, $2, $3)", []any{e.ID, e.Salt, e.Detail}},
			{"DELETE FROM meta WHERE name = $1", []any{move.Copying}},
		})
	})
}

// A queryer is a connection or a transaction.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// refuseUnfinished refuses a database into which a journal is being moved.
func refuseUnfinished(ctx context.Context, q queryer) error {
	copying := false
	if err := q.QueryRow(ctx, "SELECT count(*) > 0 FROM meta WHERE name = 'copying'").Scan(&copying); err != nil {
		return err
	}
	if copying {
		return fmt.Errorf("%w: run `invoicebox-worker journal migrate` again to continue", journal.ErrUnfinished)
	}
	return nil
}
