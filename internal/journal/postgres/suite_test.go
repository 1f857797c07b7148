package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	// Tables are made once.
	template, err := Open(t.Context(), Options{URL: server.Database(t, ""), Planner: journaltest.Plain, Mark: samePlace})
	if err != nil {
		t.Fatal(err)
	}
	if err := template.Close(); err != nil {
		t.Fatal(err)
	}
	copies := newDatabases(t, server, "test_1")
	asked := &statements{}
	t.Cleanup(func() { asked.checkWide(t, server.Database(t, "test_1")) })
	journaltest.Run(t, func(t *testing.T, planner journal.Planner, now func() time.Time) (journal.Journal, func() journal.Journal) {
		url := copies.take(t)
		var last *Journal
		open := func() journal.Journal {
			j, err := Open(t.Context(), Options{URL: url, Planner: planner, Now: now, Recover: true, Mark: samePlace, tracer: asked})
			if err != nil {
				t.Fatal(err)
			}
			last = j
			t.Cleanup(func() { _ = j.Close() })
			return j
		}
		return open(), func() journal.Journal {
			last.die(t, url)
			return open()
		}
	})
}

// samePlace makes a copy of the template count as the database itself.
func samePlace() string { return "the same" }

// die ends a journal as the death of its process would, and waits until the
// server has noticed.
func (j *Journal) die(t *testing.T, url string) {
	t.Helper()
	j.vanish()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		var others int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&others); err != nil {
			t.Fatal(err)
		}
		if others == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still there", others)
		}
	}
}

// vanish ends the connections without a word.
func (j *Journal) vanish() {
	j.queue.Close()
	<-j.written
	j.session.cancel()
	<-j.session.done
	ctx := context.Background()
	_ = j.session.conn.Close(ctx)
	if j.conn != nil {
		_ = j.conn.Close(ctx)
	}
	j.readers.Close()
	j.closed.Store(true)
}
