package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
)

// A DeniedError names the right that the user of the database lacks, and who can grant it.
type DeniedError struct{ Words string }

func (e *DeniedError) Error() string { return "journal: " + e.Words }

// MayWork checks whether a worker could create its tables, or write the existing ones, in
// a reachable database; nil if it could. It tries each right in a transaction that it
// rolls back.
func MayWork(ctx context.Context, o Options) error {
	config, err := parse(o.URL)
	if err != nil {
		return err
	}
	j := &Journal{bounds: usual}
	j.prepareForFaults(config)
	conn, err := connect(ctx, o.URL, config)
	if err != nil {
		return named(readable(err))
	}
	defer func() { _ = conn.Close(ctx) }()
	made, err := checkRights(ctx, conn, written)
	if err == nil {
		err = try(ctx, conn, made)
	}
	if err != nil {
		return named(readable(err))
	}
	return nil
}

// A use returns the rights that are needed on a table.
type use func(table string) []string

// written are the rights of a worker. Audit entries are only appended, and the version of
// the tables is only read.
func written(table string) []string {
	switch table {
	case "audit":
		return []string{"SELECT", "INSERT"}
	case "schema_version", "goose_db_version":
		return []string{"SELECT"}
	}
	return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
}

// readRights are the rights of a command beside a worker. A command that requests an action
// needs more, and gets an error for the missing right.
func readRights(string) []string { return []string{"SELECT"} }

// sequences are those that no column owns.
var sequences = []string{"attempt_id", "event_id", "outbox_row"}

// tables are all tables of a journal, and that of its migrations.
func tables() []string {
	all := []string{"goose_db_version"}
	for _, r := range journal.TableRows() {
		all = append(all, r.Table)
	}
	return all
}

type catalogue interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// checkRights finds the missing rights, and reports whether there are tables. A policy that
// hides rows counts as a missing right, because hidden rows would be inserted again.
func checkRights(ctx context.Context, conn catalogue, needs use) (made bool, err error) {
	var schema string
	var may bool
	if err := conn.QueryRow(ctx, `SELECT coalesce(current_schema(), ''), coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE),
		to_regclass('schema_version') IS NOT NULL AND to_regclass('operation') IS NOT NULL`).Scan(&schema, &may, &made); err != nil {
		return false, err
	}
	switch {
	case schema == "":
		return false, &DeniedError{"search_path names no schema that exists and that the user may use: create it first, owned by the user"}
	case !made && !may:
		return false, &DeniedError{fmt.Sprintf("the user may not make tables in schema %q", schema)}
	case !made:
		return false, nil
	}
	var names, rights []string
	for _, table := range tables() {
		for _, right := range needs(table) {
			names, rights = append(names, table), append(rights, right)
		}
	}
	rows, err := conn.Query(ctx, `SELECT c.relname, string_agg(x.needed, ', ' ORDER BY x.ord) FILTER (WHERE NOT has_table_privilege(c.oid, x.needed)), row_security_active(c.oid)
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY x (name, needed, ord) JOIN pg_class c ON c.relname = x.name
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') GROUP BY c.oid, c.relname ORDER BY c.relname`, names, rights)
	if err != nil {
		return false, err
	}
	var lacks, hidden []string
	var name string
	var missing *string
	var hides bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &missing, &hides}, func() error {
		if missing != nil {
			lacks = append(lacks, fmt.Sprintf("%s on table %s", *missing, name))
		}
		if hides {
			hidden = append(hidden, name)
		}
		return nil
	}); err != nil {
		return false, err
	}
	if len(needs("attempt")) > 1 { // a reader needs none
		for _, sequence := range sequences {
			var uses bool
			if err := conn.QueryRow(ctx, "SELECT coalesce(has_sequence_privilege(to_regclass($1)::oid, 'USAGE'), TRUE)", sequence).Scan(&uses); err != nil {
				return false, err
			}
			if !uses {
				lacks = append(lacks, "USAGE on sequence "+sequence)
			}
		}
	}
	switch {
	case len(hidden) > 0:
		return false, &DeniedError{fmt.Sprintf("row-level security hides rows of %s from the user: have the owner of the tables disable it, or give the user BYPASSRLS", firstOf(hidden, "table "))}
	case len(lacks) > 0:
		return false, &DeniedError{fmt.Sprintf("the user lacks the right %s: have the owner of the tables grant it", firstOf(lacks, ""))}
	}
	return true, nil
}

// firstOf returns the first of a list and the number of the others.
func firstOf(list []string, what string) string {
	if len(list) == 1 {
		return what + list[0]
	}
	return fmt.Sprintf("%s%s and %d more", what, list[0], len(list)-1)
}

// errBack makes the transaction roll back.
var errBack = errors.New("rolled back")

// try executes a worker's statements on no row, or on one of its own, and rolls them back.
// A right that the catalogue shows may still be denied, and a server may be full.
func try(ctx context.Context, conn *pgx.Conn, made bool) error {
	err := pgx.BeginTxFunc(ctx, conn, atLevel, func(tx pgx.Tx) error {
		statements := []string{"CREATE TABLE invoicebox_worker_check AS SELECT 1 AS id"}
		if made {
			var err error
			if statements, err = eachRight(ctx, tx); err != nil {
				return err
			}
		}
		var p pgx.Batch
		for _, sql := range statements {
			p.Queue(sql)
		}
		if err := tx.SendBatch(ctx, &p).Close(); err != nil {
			return err
		}
		return errBack
	})
	denied, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, errBack):
		return nil
	case ok && denied.Code == "42501":
		return &DeniedError{"a statement of a worker was denied to the user: " + denied.Message}
	}
	return err
}

// eachRight returns statements for each right on each table.
func eachRight(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT c.relname, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' ORDER BY a.attnum LIMIT 1)
		FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname = ANY($1) ORDER BY c.relname`, tables())
	if err != nil {
		return nil, err
	}
	statements := []string{"INSERT INTO meta (name, value) VALUES ('check', 'check') ON CONFLICT (name) DO UPDATE SET value = excluded.value"}
	var table, column string
	_, err = pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		name, set := pgx.Identifier{table}.Sanitize(), pgx.Identifier{column}.Sanitize()
		sql := map[string]string{
			"SELECT": "SELECT * FROM " + name + " WHERE FALSE",
			"INSERT": "INSERT INTO " + name + " OVERRIDING SYSTEM VALUE SELECT * FROM " + name + " WHERE FALSE",
			"UPDATE": "UPDATE " + name + " SET " + set + " = " + set + " WHERE FALSE",
			"DELETE": "DELETE FROM " + name + " WHERE FALSE",
		}
		for _, right := range written(table) {
			statements = append(statements, sql[right])
		}
		return nil
	})
	return statements, err
}

// mayUseTables checks the rights before anything is read. A database whose rows a policy
// hides would look like one without a journal.
func (j *Journal) mayUseTables(ctx context.Context) error {
	needs := use(written)
	if j.beside {
		needs = readRights
	}
	_, err := checkRights(ctx, j.readers, needs)
	switch {
	case err == nil:
		return nil
	case j.beside && strings.Contains(err.Error(), "may not make tables"):
		return nil // there are none, which the caller reports
	}
	return named(readable(err))
}
