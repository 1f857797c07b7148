package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrPooled reports that a pooler is in front of the server and shares sessions between
// connections.
var ErrPooled = fmt.Errorf("journal: a connection pooler in transaction mode is in front of the server: " +
	"every transaction gets another session, and the journal needs sessions of its own for locks, settings and notifications")

// refuseSharedSessions refuses a pooler that shares sessions. Of two connections that are open at the
// same time, each must have a session of its own and retain it. A pooler with one free
// session gives it to both; a pooler that takes turns exchanges them.
func (j *Journal) refuseSharedSessions(ctx context.Context) error {
	one, err := j.readers.Acquire(ctx)
	if err != nil {
		return named(readable(err))
	}
	defer one.Release()
	two, err := j.readers.Acquire(ctx)
	if err != nil {
		return named(readable(err))
	}
	defer two.Release()
	a, b := one.Conn().PgConn(), two.Conn().PgConn()
	var last [2]string
	for _, i := range []int{0, 1, 1, 0} {
		conn := a
		if i == 1 {
			conn = b
		}
		id, err := sessionOf(ctx, conn)
		if err != nil {
			return named(readable(err))
		}
		if last[i] != "" && last[i] != id || last[1-i] == id {
			return ErrPooled
		}
		last[i] = id
	}
	return nil
}

// sessionOf returns the number of the process that serves a connection.
func sessionOf(ctx context.Context, conn *pgconn.PgConn) (string, error) {
	got, err := texts(ctx, conn, "SELECT pg_backend_pid()::text", nil)
	if err != nil {
		return "", err
	}
	return got[0], nil
}
