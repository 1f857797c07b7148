package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
)

// A new replica becomes visible to the others only together with its lock. A replica that
// looked in between would end its leases, although it is at work.
func testSeenWithItsLock(b *bed) {
	first := b.open()
	conn, err := pgx.Connect(b.Context(), b.url)
	b.ok(err)
	defer func() { _ = conn.Close(context.Background()) }()
	ask := func(sql string, args ...any) (n int64) {
		b.ok(conn.QueryRow(b.Context(), sql, args...).Scan(&n))
		return n
	}
	next := ask("SELECT max(id) + 1 FROM replica")
	_, err = conn.Exec(b.Context(), "SELECT pg_advisory_lock($1, $2)", first.lockKey, int32(next)) // #nosec G115 -- of a handful
	b.ok(err)
	begun := make(chan error, 1)
	go func() {
		j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain})
		if err == nil {
			err = j.Close()
		}
		begun <- err
	}()
	b.eventually("nobody waits for the lock", func() bool {
		return ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1::bigint AND classid = $2::bigint",
			next, int64(uint32(first.lockKey))) == 1 // #nosec G115 -- as the server has it
	})
	if n := ask("SELECT count(*) FROM replica WHERE id = $1", next); n != 0 {
		b.Error("a replica is seen before it holds its lock")
	}
	_, err = conn.Exec(b.Context(), "SELECT pg_advisory_unlock($1, $2)", first.lockKey, int32(next)) // #nosec G115 -- as above
	b.ok(err)
	b.ok(<-begun)
}

// One that begins waits for a writer that waits for it: it is ended by the
// server, and begins all the same.
func testBeginsAgain(b *bed) {
	dying := b.open()
	b.codes(dying, 1)
	o := b.claim(dying, journal.Call, 1, time.Hour)[0]
	_, err := send(dying, o, permit(10, time.Hour))
	b.ok(err)
	number := dying.session.number()
	dying.session.leave()

	conn, err := pgx.Connect(b.Context(), b.url)
	b.ok(err)
	defer func() { _ = conn.Close(context.Background()) }()
	// The server notices a moment later that the session has ended. To who begins
	// before that it is at work, and its ledgers are left alone.
	b.eventually("the session does not end", func() bool {
		var held int64
		b.ok(conn.QueryRow(b.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::bigint AND classid = $2::bigint",
			number, int64(uint32(dying.lockKey))).Scan(&held)) // #nosec G115 -- as the server has it
		return held == 0
	})
	_, err = conn.Exec(b.Context(), "SET deadlock_timeout = '1min'") // the other one finds it
	b.ok(err)
	tx, err := conn.Begin(b.Context())
	b.ok(err)
	_, err = tx.Exec(b.Context(), "SELECT id FROM ledger FOR UPDATE")
	b.ok(err)
	begun := make(chan error, 1)
	go func() {
		j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain})
		if err == nil {
			err = j.Close()
		}
		begun <- err
	}()
	b.eventually("it does not wait for the ledger", func() bool {
		var n int64
		b.ok(tx.QueryRow(b.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))").Scan(&n))
		return n > 0
	})
	// What it has made of the operation is behind a lock that only its end frees.
	_, err = tx.Exec(b.Context(), "SELECT id FROM operation WHERE id = $1 FOR UPDATE", o.Ref.Operation)
	b.ok(err)
	b.ok(tx.Rollback(b.Context()))
	b.ok(<-begun)
}
