package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
)

// level is the isolation level of every transaction. A statement that waited for the row
// of a ledger must see what the other transaction committed. Transactions name the level,
// because a role or a database may change the default of the session.
const (
	level = pgx.ReadCommitted
	begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
)

// atLevel are the options of a transaction that pgx begins.
var atLevel = pgx.TxOptions{IsoLevel: level}

// settings of every connection. They override the defaults of the server, the database and
// the role.
//
// A statement that was prepared while a table was small may have a plan that reads the
// whole table. So the server may use generic plans, but without sequential scans, and the
// writer prepares its statements again from time to time: see plansAreOld.
// The server ends a transaction whose process was stopped, so that its locks do not block
// the other replicas.
//
// default_transaction_read_only is not among them: see ErrReadOnly.
var settings = map[string]string{
	"default_transaction_isolation": "read committed", "default_transaction_deferrable": "off",
	// A policy that hides rows is an error, never an empty answer.
	"row_security":   "off",
	"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan", "jit": "off",
	"timezone": "UTC", "client_encoding": "UTF8", "standard_conforming_strings": "on", "bytea_output": "hex", "array_nulls": "on",
	"idle_in_transaction_session_timeout": "10s", "lock_timeout": "12s", "statement_timeout": "30s", "idle_session_timeout": "0",
	// A process that was cut off must not hold its session for hours.
	"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}

// newer are settings that servers before a version do not have.
var newer = map[string]int{"transaction_timeout": 17}

// expected are settings that only an administrator can change. With another value the
// journal's guarantees do not hold.
var expected = map[string]string{"session_replication_role": "origin"}

// ignoredOnSocket reports whether a setting has no effect on a socket of this machine, and is read
// back as 0 there.
func ignoredOnSocket(name string) bool { return strings.HasPrefix(name, "tcp_keepalives_") }

// A SettingsError reports a setting of the session that does not have its value.
type SettingsError struct{ Name, Value, Want string }

func (e *SettingsError) Error() string {
	return fmt.Sprintf("journal: the session's %s is %q and has to be %q", e.Name, e.Value, e.Want)
}

// setting makes every connection of a configuration begin with the parameters of the URL
// and then the journal's settings, which override them. They are set on the open
// connection and read back, because a pooler refuses or ignores settings in the startup
// message.
func setting(c *pgx.ConnConfig) {
	all, first := make(map[string]string), make(map[string]string)
	for name, value := range c.RuntimeParams {
		if startup(name) {
			first[name] = value
		} else {
			all[name] = value
		}
	}
	maps.Copy(all, settings)
	if first["application_name"] == "" {
		first["application_name"] = "invoicebox-worker"
	}
	c.RuntimeParams = first
	c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error { return establish(ctx, conn, all) }
}

// addSettings adds settings to every connection of a configuration, after its own.
func addSettings(c *pgx.ConnConfig, more map[string]string) {
	before := c.AfterConnect
	c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if err := before(ctx, conn); err != nil {
			return err
		}
		_, err := set(ctx, conn, more)
		return err
	}
}

// startup reports whether a setting is part of the startup message.
func startup(name string) bool { return name == "application_name" || name == "options" }

// establish sets the settings of a session and reads them back, in two round trips: a
// pooler that shares sessions may send them to two sessions.
func establish(ctx context.Context, conn *pgconn.PgConn, all map[string]string) error {
	all = maps.Clone(all)
	major, _, _ := strings.Cut(conn.ParameterStatus("server_version"), ".")
	version, _ := strconv.Atoi(major)
	for name, from := range newer {
		if version >= from {
			all[name] = "0"
		}
	}
	was, err := set(ctx, conn, all)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(all))
	names = append(names, slices.Sorted(maps.Keys(expected))...)
	var got strings.Builder
	args := make([][]byte, 0, len(names))
	for i, name := range names {
		args = append(args, []byte(name))
		fmt.Fprintf(&got, ", current_setting($%d)", i+1)
	}
	is, err := texts(ctx, conn, "SELECT pg_backend_pid()::text"+got.String(), args)
	if err != nil {
		return err
	}
	if was != is[0] {
		return ErrPooled
	}
	for i, name := range names {
		want, ours := settings[name]
		if all[name] != want || ignoredOnSocket(name) {
			ours = false
		}
		if w, ok := expected[name]; ok {
			want, ours = w, true
		}
		if ours && is[i+1] != want {
			return &SettingsError{Name: name, Value: is[i+1], Want: want}
		}
	}
	return nil
}

// set sets settings of a session and returns the process that serves it.
func set(ctx context.Context, conn *pgconn.PgConn, all map[string]string) (pid string, err error) {
	names := slices.Sorted(maps.Keys(all))
	var sql strings.Builder
	sql.WriteString("SELECT pg_backend_pid()::text")
	args := make([][]byte, 0, 2*len(names))
	for i, name := range names {
		args = append(args, []byte(name), []byte(all[name]))
		fmt.Fprintf(&sql, ", set_config($%d, $%d, FALSE)", 2*i+1, 2*i+2)
	}
	got, err := texts(ctx, conn, sql.String(), args)
	if err != nil {
		return "", refusedSetting(err, names)
	}
	return got[0], nil
}

// refusedSetting names the setting that a server refuses, as far as that is known.
func refusedSetting(err error, names []string) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	for _, name := range names {
		if strings.Contains(strings.ToLower(refused.Message), strings.ToLower(name)) {
			return &URLError{Words: fmt.Sprintf("the server does not accept the parameter %q of the URL (SQLSTATE %s)", name, refused.Code)}
		}
	}
	return err
}

// texts runs a statement with one row without preparing it, so that any pooler passes it
// on.
func texts(ctx context.Context, conn *pgconn.PgConn, sql string, args [][]byte) ([]string, error) {
	r := conn.ExecParams(ctx, sql, args, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, r.Err
	}
	if len(r.Rows) != 1 {
		return nil, fmt.Errorf("%w: the server does not answer", journal.ErrUnreachable)
	}
	out := make([]string, len(r.Rows[0]))
	for i, b := range r.Rows[0] {
		out[i] = string(b)
	}
	return out, nil
}
