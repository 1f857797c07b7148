package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// A transaction that waits for a row or for the outbox has not locked a ledger: whoever
// holds what it waits for may be about to wait for that ledger.
func TestLedgersAreLockedLast(t *testing.T) {
	t.Parallel()
	b := newBed(t, pgtest.Start(t))
	j := b.open()
	p := permit(100, time.Minute)
	b.codes(j, 3)
	os := b.claim(j, journal.Call, 3, time.Hour)
	_, err := send(j, os[0], p) // makes the ledger
	b.ok(err)

	t.Run("behind rows", func(t *testing.T) {
		other := b.begin("SELECT 1 FROM operation WHERE id = $1 FOR UPDATE", os[1].Ref.Operation)
		done := make(chan error, 1)
		go func() {
			_, err := j.BeginAttempt(context.Background(), journal.AttemptStart{Ref: os[1].Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second,
				Permits: []journal.Permit{p}, Address: &journal.AddressRule{MAC: os[1].SubjectMAC, MACs: [][]byte{os[1].SubjectMAC}, CoolDown: time.Hour}})
			done <- err
		}()
		b.ledgersAreFree(other, 1)
		b.ok(<-done)
	})
	t.Run("behind the outbox", func(t *testing.T) {
		shop := b.begin("SELECT 1 FROM shop WHERE id = (SELECT shop FROM operation WHERE id = $1) FOR UPDATE", os[0].Ref.Operation)
		outbox := b.begin(outboxLock, j.lockKey, int32(lockOutbox))
		done := make(chan error, 3)
		go func() {
			done <- j.Apply(context.Background(), journal.Transition{Ref: os[0].Ref, From: journal.Sending, To: journal.Attention})
		}()
		b.waiting(shop, 1)
		// These wait for the writer, which runs both in its next transaction.
		go func() {
			_, err := j.BeginCheck(context.Background(), journal.Check{Account: "default", SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{p}})
			done <- err
		}()
		go func() {
			done <- j.Apply(context.Background(), journal.Transition{Ref: os[2].Ref, From: journal.Claimed, To: journal.Done,
				Publish: []journal.Draft{journaltest.MakeDraft(uuid.New(), schemas.TypeActivated, os[2].Shop)}})
		}()
		b.eventually("the writer is not waited for", func() bool { return j.queue.Len() == 2 })
		b.ok(shop.Rollback(context.Background()))
		b.ledgersAreFree(outbox, 1)
		for range cap(done) {
			b.ok(<-done)
		}
	})
}

// begin runs a statement in a transaction of a session of its own.
func (b *bed) begin(sql string, args ...any) pgx.Tx {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), b.url)
	b.ok(err)
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(b.Context())
	b.ok(err)
	_, err = tx.Exec(b.Context(), sql, args...)
	b.ok(err)
	return tx
}

// waiting waits until n sessions wait for locks.
func (b *bed) waiting(tx pgx.Tx, n int) {
	b.Helper()
	b.eventually(fmt.Sprint(n, " sessions do not wait"), func() bool {
		now := 0
		b.ok(tx.QueryRow(b.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&now))
		return now == n
	})
}

// ledgersAreFree requires that those who wait for the transaction have not locked a
// ledger, and ends it.
func (b *bed) ledgersAreFree(tx pgx.Tx, waiting int) {
	b.Helper()
	b.waiting(tx, waiting)
	if _, err := tx.Exec(b.Context(), "SELECT id FROM ledger FOR NO KEY UPDATE NOWAIT"); err != nil {
		b.Errorf("a ledger is locked: %v", err)
	}
	b.ok(tx.Rollback(context.Background()))
}
