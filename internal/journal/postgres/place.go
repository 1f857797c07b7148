package postgres

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// placeSQL distinguishes a database from its copies: the cluster's number, the database's,
// and the timeline. Every promoted standby and every point-in-time recovery begins a new
// timeline. A role may lack the right to read the first number.
const (
	mayAskSQL  = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
	clusterSQL = "SELECT system_identifier::text FROM pg_control_system()"
	placeSQL   = "SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::bigint, left(pg_walfile_name(pg_current_wal_lsn()), 8)"
)

// place returns where the journal is.
func (j *Journal) place(ctx context.Context, conn *pgx.Conn) (string, error) {
	if j.options.Mark != nil {
		return j.options.Mark(), nil
	}
	var cluster, timeline string
	var database int64
	may := false
	if err := conn.QueryRow(ctx, mayAskSQL).Scan(&may); err != nil {
		return "", err
	}
	if may {
		if err := conn.QueryRow(ctx, clusterSQL).Scan(&cluster); err != nil {
			return "", err
		}
	}
	if err := conn.QueryRow(ctx, placeSQL).Scan(&database, &timeline); err != nil {
		return "", err
	}
	return cluster + " " + strconv.FormatInt(database, 10) + " " + timeline, nil
}

// sameButTimeline reports whether two places can be of one database: a standby that took
// over, or a restored base backup.
func sameButTimeline(a, b string) bool {
	cut := func(s string) string { return s[:max(strings.LastIndexByte(s, ' '), 0)] }
	return cut(a) == cut(b)
}

// examineConn examines the database of a new connection. If it was restored or copied, or a
// standby took over, it may lack the last requests and more.
func (j *Journal) examineConn(ctx context.Context, conn *pgx.Conn) error {
	place, err := j.place(ctx, conn)
	if err != nil {
		return err
	}
	return j.examine(ctx, conn, place)
}

// placeUnchanged reports whether the database is where the journal recorded it.
func (j *Journal) placeUnchanged(ctx context.Context, tx pgx.Tx) (bool, error) {
	place, err := j.place(ctx, tx.Conn())
	if err != nil {
		return false, err
	}
	was := ""
	err = tx.QueryRow(ctx, "SELECT convert_from(value, 'UTF8') FROM meta WHERE name = 'place'").Scan(&was)
	return was == place, err
}
