package postgres

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// placeSQL tells a database from its copies: the cluster's number, the
// database's, and the timeline, which every promoted standby and every recovery
// to a point in time begins anew. The first needs a right that a role may lack.
const (
	clusterSQL = "SELECT system_identifier::text FROM pg_control_system()"
	placeSQL   = "SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::bigint, left(pg_walfile_name(pg_current_wal_lsn()), 8)"
)

// place is where the journal is.
func (j *Journal) place(ctx context.Context, conn *pgx.Conn) (string, error) {
	if j.options.Mark != nil {
		return j.options.Mark(), nil
	}
	var cluster, timeline string
	var database int64
	if err := conn.QueryRow(ctx, clusterSQL).Scan(&cluster); err != nil {
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "42501" { // insufficient_privilege
			return "", err
		}
	}
	if err := conn.QueryRow(ctx, placeSQL).Scan(&database, &timeline); err != nil {
		return "", err
	}
	return cluster + " " + strconv.FormatInt(database, 10) + " " + timeline, nil
}

// arrive notices on a new connection that the database is not the one that the
// journal was in: it was restored, copied, or a standby took over. What was sent
// last may be missing in it, so the ledgers wait. That nothing else is missing
// nobody can see here.
func (j *Journal) arrive(ctx context.Context, conn *pgx.Conn) error {
	place, err := j.place(ctx, conn)
	if err != nil {
		return err
	}
	var was []byte
	switch err := conn.QueryRow(ctx, "SELECT value FROM meta WHERE name = 'place'").Scan(&was); {
	case err == nil && string(was) == place:
		return nil
	case err == nil:
		j.log.Warn("the journal's database is not the one that it was: it was restored or copied, or a standby took over. What was sent since is not known, " +
			"so no request is sent for one window and the slack. If it is older than the last run, stop at once and use `journal recover`")
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if was != nil {
			if _, err := tx.Exec(ctx, setMeta, "history", decimal(j.clock.micros())); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, setMeta, "place", []byte(place))
		return err
	})
}
