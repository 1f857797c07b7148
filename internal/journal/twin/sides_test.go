package twin

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/testutil/pgtest"
)

// options are the options of both journals of a pair.
type options struct {
	planner journal.Planner
	now     func() time.Time
	recover bool
}

// A side is one of the two journals, with a reader of its tables.
type side struct {
	name string
	// open opens the journal, which holds what the one before left.
	open func(options) (journal.Journal, error)
	// tables reads all rows of some tables, each by rising key.
	tables func(context.Context, []move.Table) ([][]move.Row, error)
	// reader is closed before the journal is opened again, nil where nothing has to be.
	reader func()

	j        journal.Journal
	identity uuid.UUID                            // with which it was made
	views    map[string]journal.ShopView          // what the planner saw last, by event
	looks    map[string]journal.RestoredOperation // what the restorer saw last, by operation
	held     chan struct{}                        // told when the planner is asked about an event that holds the writer
	release  chan struct{}                        // lets it go on
}

// marked makes a database count as the one that the journal was in before.
func marked[A any](A) string { return "the same" }

// newSQLite is a side over a file.
func newSQLite(t *testing.T) *side {
	path := filepath.Join(t.TempDir(), "journal.db")
	r := &reader{driver: "sqlite", source: "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_pragma=query_only(1)"}
	t.Cleanup(r.close)
	return &side{
		name: "sqlite", tables: r.tables, reader: r.close, held: make(chan struct{}), release: make(chan struct{}),
		open: func(o options) (journal.Journal, error) {
			j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: o.planner, Now: o.now, Recover: o.recover, Mark: marked[string]})
			if err != nil {
				return nil, err
			}
			return j, nil
		},
	}
}

// newPostgres is a side over a database.
func newPostgres(t *testing.T, server *pgtest.Server) *side {
	address := server.Database(t, "")
	r := &reader{driver: "pgx", source: address}
	t.Cleanup(r.close)
	return &side{
		name: "postgres", tables: r.tables, reader: r.close, held: make(chan struct{}), release: make(chan struct{}),
		open: func(o options) (journal.Journal, error) {
			if err := ended(t.Context(), address); err != nil {
				return nil, err
			}
			j, err := postgres.Open(t.Context(), postgres.Options{URL: address, Planner: o.planner, Now: o.now, Recover: o.recover, Mark: func() string { return marked(0) }})
			if err != nil {
				return nil, err
			}
			return j, nil
		},
	}
}

// ended waits until the server has ended the sessions of a journal that was closed. Until
// then it counts as a process that works.
func ended(ctx context.Context, address string) error {
	db, err := sql.Open("pgx", address)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	for left := 1; left > 0; {
		if err := db.QueryRowContext(ctx, "SELECT count(a.pid) FROM pg_sleep(0.01) LEFT JOIN pg_stat_activity a ON a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'").Scan(&left); err != nil {
			return err
		}
	}
	return nil
}

// A reader reads beside the journal that works with the database.
type reader struct {
	driver, source string
	db             *sql.DB
}

func (r *reader) close() {
	if r.db != nil {
		_ = r.db.Close()
		r.db = nil
	}
}

func (r *reader) tables(ctx context.Context, ts []move.Table) (list [][]move.Row, err error) {
	if r.db == nil {
		if r.db, err = sql.Open(r.driver, r.source); err != nil {
			return nil, err
		}
		r.db.SetMaxOpenConns(1)
	}
	for _, t := range ts {
		rows, err := r.table(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		list = append(list, rows)
	}
	return list, nil
}

func (r *reader) table(ctx context.Context, t move.Table) (list []move.Row, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT "+strings.Join(t.Columns, ", ")+" FROM "+t.Name+" ORDER BY "+strings.Join(t.Columns[:t.Keys], ", ")) // #nosec G202 -- our own names
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		values := make(move.Row, len(t.Columns))
		to := make([]any, len(values))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		list = append(list, values)
	}
	return list, rows.Err()
}

// A clock is set by the test; both journals have it.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }
