package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/steps"
)

// moveSettings are those of a move's connection in addition to the usual ones: it reads
// whole tables, and waits for the source while its transactions are open.
var moveSettings = map[string]string{
	"statement_timeout": "0", "idle_in_transaction_session_timeout": "5min", "lock_timeout": "10s", "application_name": "invoicebox-worker journal migrate",
}

// A Target is a database into which a journal is moved. It implements [move.Target]. Every
// transaction adds rows above the last, so the content of a table is its progress.
type Target struct {
	j     *Journal
	conn  *pgx.Conn
	state *move.State
}

// OpenTarget opens or creates the tables, and holds them against other moves
// ([journal.ErrHeld]). It uses only the options URL and Now.
func OpenTarget(ctx context.Context, o Options) (_ *Target, err error) {
	config, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Target{j: &Journal{options: o, config: config, log: o.Logger, clock: newClock(o.Now), bounds: usual}}
	t.j.prepareForFaults(config)
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err := t.j.openReaders(ctx); err != nil {
		return nil, err
	}
	if err := t.j.check(ctx); err != nil {
		return nil, err
	}
	if err := t.j.foreign(ctx); err != nil {
		return nil, err
	}
	if err := t.j.versioned(ctx); err != nil {
		return nil, err
	}
	if err := t.connect(ctx); err != nil {
		return nil, named(readable(err))
	}
	return t, nil
}

// foreign refuses a schema with tables of other programs and none of a journal. Tables of
// extensions do not count.
func (j *Journal) foreign(ctx context.Context) error {
	return j.read(ctx, `SELECT relname FROM pg_class c WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
		AND to_regclass('goose_db_version') IS NULL ORDER BY relname LIMIT 1`, func(r row) error {
		return fmt.Errorf("%w: its schema has another program's table %q; use a database, or a schema with search_path, of its own", move.ErrNotEmpty, r.text(0))
	})
}

func (t *Target) connect(ctx context.Context) error {
	config := t.j.config.Copy()
	addSettings(config, moveSettings)
	conn, err := (&Journal{config: config, options: t.j.options}).dial(ctx)
	if err != nil {
		return err
	}
	t.conn = conn
	var oid int64
	if err := conn.QueryRow(ctx, "SELECT 'meta'::regclass::oid::bigint").Scan(&oid); err != nil {
		return err
	}
	t.j.lockKey = int32(uint32(oid)) // #nosec G115 -- an oid has 32 bits
	// The server notices late that the process of a move was killed.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", t.j.lockKey, int32(lockMove)); err != nil {
		return fmt.Errorf("%w: another move into this database is running: %w", journal.ErrHeld, err)
	}
	return nil
}

// Place names the database.
func (t *Target) Place() string {
	c := t.j.config
	return fmt.Sprintf("postgres://%s:%d/%s", c.Host, c.Port, c.Database)
}

// Present returns the time of the database's clock.
func (t *Target) Present(ctx context.Context) (at int64, err error) {
	err = t.conn.QueryRow(ctx, presentSQL, t.j.clock.given()).Scan(&at)
	return at, err
}

// State reads the state of a move that was begun.
func (t *Target) State(ctx context.Context) (*move.State, error) {
	var raw []byte
	err := t.conn.QueryRow(ctx, "SELECT value FROM meta WHERE name = $1", move.Copying).Scan(&raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none was begun
	}
	if err != nil {
		return nil, named(readable(err))
	}
	s, err := move.ParseState(string(raw))
	if err != nil {
		return nil, err
	}
	t.state = &s
	return &s, nil
}

// Begin marks the database. A process that opens the journal registers as a replica first
// and then reads the mark under the same lock.
func (t *Target) Begin(ctx context.Context, s move.State) error {
	again := t.state != nil
	err := pgx.BeginTxFunc(ctx, t.conn, atLevel, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", t.j.lockKey, int32(lockDuty)); err != nil {
			return err
		}
		alive := false
		if err := tx.QueryRow(ctx, "SELECT count(*) > 0 FROM (SELECT id FROM replica OFFSET 0) x WHERE NOT pg_try_advisory_xact_lock($1, x.id::int)",
			t.j.lockKey).Scan(&alive); err != nil {
			return err
		}
		if alive {
			return journal.ErrHeld
		}
		if again {
			if err := empty(ctx, tx); err != nil {
				return err
			}
		} else if err := isEmpty(ctx, tx); err != nil {
			return err
		}
		// This replica stands for the source's worker, whose leases the first worker ends.
		return run(ctx, tx, []step{
			{"DELETE FROM meta", nil},
			{"DELETE FROM replica", nil},
			{"INSERT INTO replica (since, ready) VALUES ($1, TRUE)", []any{t.j.clock.Now()}},
			{steps.SetFact, []any{"identity", s.Identity[:]}},
			{steps.SetFact, []any{move.Copying, []byte(s.String())}},
		})
	})
	if err != nil {
		return fmt.Errorf("journal: begin the copy: %w", readable(err))
	}
	t.state = &s
	return nil
}

// isEmpty refuses a database with rows. The rows of a worker that ingested no record and
// has no account do not count.
func isEmpty(ctx context.Context, tx pgx.Tx) error {
	for _, table := range move.Tables() {
		there := false
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+table.Name+")").Scan(&there); err != nil {
			return err
		}
		if there {
			return fmt.Errorf("%w: it holds a journal already (there are rows in table %s); use an empty database or schema", move.ErrNotEmpty, table.Name)
		}
	}
	var fact string
	switch err := tx.QueryRow(ctx, "SELECT name FROM meta WHERE name NOT IN ('identity', 'created', 'place') ORDER BY name LIMIT 1").Scan(&fact); {
	case err == nil:
		return fmt.Errorf("%w: it holds a journal already (which has a %s); use an empty database or schema", move.ErrNotEmpty, fact)
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	return nil
}

// empty deletes the rows that a move has copied. The source retains the audit's rows.
func empty(ctx context.Context, tx pgx.Tx) error {
	names := []string{"permit"}
	for _, table := range move.Tables() {
		names = append(names, table.Name)
	}
	return run(ctx, tx, []step{
		{"ALTER TABLE audit DISABLE TRIGGER audit_append_only", nil},
		{"TRUNCATE " + strings.Join(names, ", "), nil},
		{"ALTER TABLE audit ENABLE TRIGGER audit_append_only", nil},
	})
}

// Last is the highest key of a table.
func (t *Target) Last(ctx context.Context, table move.Table) (move.Row, error) {
	keys := table.Columns[:table.Keys]
	rows, err := t.conn.Query(ctx, "SELECT "+strings.Join(keys, ", ")+" FROM "+table.Name+" ORDER BY "+strings.Join(keys, " DESC, ")+" DESC LIMIT 1")
	if err != nil {
		return nil, readable(err)
	}
	defer rows.Close()
	var last move.Row
	for rows.Next() {
		if last, err = rows.Values(); err != nil {
			return nil, err
		}
	}
	return last, readable(rows.Err())
}

// Rows reads a table as a stream.
func (t *Target) Rows(ctx context.Context, table move.Table, after move.Row) iter.Seq2[move.Row, error] {
	keys := strings.Join(table.Columns[:table.Keys], ", ")
	query := "SELECT " + strings.Join(table.Columns, ", ") + " FROM " + table.Name
	if after != nil {
		var marks []string
		for i := range after {
			marks = append(marks, "$"+strconv.Itoa(i+1))
		}
		query += " WHERE (" + keys + ") > (" + strings.Join(marks, ", ") + ")"
	}
	query += " ORDER BY " + keys
	return func(yield func(move.Row, error) bool) {
		rows, err := t.conn.Query(ctx, query, after...)
		if err != nil {
			yield(nil, readable(err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := rows.Values()
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, readable(err))
		}
	}
}

// Close closes the connections.
func (t *Target) Close() {
	t.j.conn = t.conn
	t.j.release()
}

var _ move.Target = (*Target)(nil)
