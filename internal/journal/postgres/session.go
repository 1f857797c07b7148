package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// The second halves of advisory locks. Numbers of replicas are above them.
const (
	lockOutbox = -1 // the order of the outbox, to the end of a transaction
	lockDuty   = -2 // ending the leases of replicas that are gone
)

// A session says that this process lives: it holds an advisory lock with the
// replica's number, and hears what the others have to tell.
type session struct {
	j       *Journal
	mu      sync.Mutex
	conn    *pgx.Conn
	replica int64
	cancel  context.CancelFunc
	done    chan struct{}
}

// attend makes this process known as a replica, ends what replicas that are gone
// had claimed, and listens.
func (j *Journal) attend(ctx context.Context) error {
	s := &session{j: j, done: make(chan struct{})}
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("journal: %w", readable(err))
	}
	j.session = s
	alone, err := s.bury(ctx)
	if err == nil && alone {
		err = s.rebase(ctx)
	}
	if err != nil {
		close(s.done)
		return fmt.Errorf("journal: %w", readable(err))
	}
	listening, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.listen(listening)
	return nil
}

// enter opens the session's connection and takes a number.
func (s *session) enter(ctx context.Context) error {
	conn, err := s.j.dial(ctx)
	if err != nil {
		return err
	}
	replica := int64(0)
	err = conn.QueryRow(ctx, "INSERT INTO replica (since) VALUES ($1) RETURNING id", s.j.clock.micros()).Scan(&replica)
	if err == nil {
		_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", s.j.lockKey, int32(replica)) // #nosec G115 -- one for each start of a process
	}
	if err == nil {
		_, err = conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.j.channel}.Sanitize())
	}
	if err != nil {
		_ = conn.Close(ctx)
		return err
	}
	s.mu.Lock()
	s.conn, s.replica = conn, replica
	s.mu.Unlock()
	return nil
}

func (s *session) number() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replica
}

// listen passes on what other replicas tell, and opens the session again when
// it was lost: what was missed meanwhile is looked at.
func (s *session) listen(ctx context.Context) {
	defer close(s.done)
	for {
		n, err := s.conn.WaitForNotification(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.told(n.Payload)
			continue
		}
		_ = s.conn.Close(ctx)
		for {
			if err := s.enter(ctx); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
		notify(s.j.changed)
		notify(s.j.outbox)
	}
}

// message is what a transaction tells the other replicas: who speaks, and w for
// work, p for permits, o for the outbox.
func (j *Journal) message(b *batch) string {
	var what strings.Builder
	what.WriteString(strconv.FormatInt(j.session.number(), 10))
	what.WriteByte(' ')
	if b.woken {
		what.WriteByte('w')
	}
	if b.back {
		what.WriteByte('p')
	}
	if b.out {
		what.WriteByte('o')
	}
	return what.String()
}

func (s *session) told(message string) {
	who, what, _ := strings.Cut(message, " ")
	if who == strconv.FormatInt(s.number(), 10) {
		return // told already
	}
	if strings.Contains(what, "w") || strings.Contains(what, "p") && s.j.refused.Swap(false) {
		notify(s.j.changed)
	}
	if strings.Contains(what, "o") {
		notify(s.j.outbox)
	}
}

// leave ends the session: its leases are free for others at once.
func (s *session) leave() {
	if s.cancel != nil {
		s.cancel()
		<-s.done
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // with it the lock goes
}

// bury ends the leases of replicas whose session is gone. They may still run:
// what they do later is fenced off by the claims' numbers, and what they had sent
// is unknown. It tells whether no other replica is there.
func (s *session) bury(ctx context.Context) (alone bool, err error) {
	conn, err := s.j.dial(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, $2)", s.j.lockKey, int32(lockDuty)); err != nil {
		return false, err
	}
	// A lock that can be had is nobody's; it is held to the end of this transaction.
	rows, err := tx.Query(ctx, "SELECT id, pg_try_advisory_xact_lock($1, id::int) FROM replica WHERE id <> $2 ORDER BY id", s.j.lockKey, s.number())
	if err != nil {
		return false, err
	}
	var gone []int64
	alone = true
	for rows.Next() {
		var id int64
		var free bool
		if err := rows.Scan(&id, &free); err != nil {
			rows.Close()
			return false, err
		}
		if free {
			gone = append(gone, id)
		} else {
			alone = false
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil || len(gone) == 0 {
		return alone, err
	}
	now := s.j.clock.micros()
	for _, sql := range []string{
		`UPDATE operation SET state = 2, stage = 1, due_at = $1, changed = $1 WHERE stage = 3 AND state = 4 AND replica = ANY($2) AND due_at IS NOT NULL`,
		`UPDATE operation SET state = 8, stage = 2, due_at = $1, changed = $1, doubt = 1, unknowns = unknowns + 1, leased = 0
			WHERE stage = 3 AND state = 5 AND replica = ANY($2) AND due_at IS NOT NULL`,
		`UPDATE operation SET due_at = least(due_at, $1), leased = 0 WHERE stage = 2 AND leased = 1 AND replica = ANY($2) AND due_at IS NOT NULL`,
	} {
		if _, err := tx.Exec(ctx, sql, now, gone); err != nil {
			return false, err
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM replica WHERE id = ANY($1)", gone); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", s.j.channel, "0 wo"); err != nil {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	notify(s.j.changed)
	return alone, nil
}

// lookBack is how far back by its start a lone replica looks for attempts that
// still count, over and above one window.
const lookBack = 5 * time.Minute

// rebase is for a clock that was stepped while no replica was there: what ended
// before now did so by now. The ledgers are made anew from the attempts.
func (s *session) rebase(ctx context.Context) error {
	conn, err := s.j.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	now := s.j.clock.micros()
	for _, x := range []struct {
		sql  string
		args []any
	}{
		{"SELECT id FROM ledger ORDER BY id FOR UPDATE", nil},
		{`UPDATE attempt SET ended = CASE WHEN ended > $1 THEN $1 ELSE ended END, counts_from = least(counts_from, $1 + CASE WHEN ended IS NULL THEN deadline - started + slack WHEN answered = 0 THEN slack ELSE 0 END)
			WHERE counts_from IS NOT NULL AND (started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2 OR slow = 1)`, []any{now, lookBack.Microseconds()}},
		{`UPDATE operation SET changed = least(changed, $1) WHERE state = 8 AND due_at IS NOT NULL`, []any{now}},
		{"DELETE FROM permit", nil},
		{`INSERT INTO permit (ledger, counts_from, many) SELECT x.ledger, x.counts_from, count(*) FROM
			(SELECT unnest(ledgers) AS ledger, counts_from FROM attempt
			 WHERE counts_from > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) AND (started > $1 - (SELECT coalesce(max(kept), 0) FROM ledger) - $2 OR slow = 1)) x
			GROUP BY x.ledger, x.counts_from`, []any{now, lookBack.Microseconds()}},
	} {
		if _, err := tx.Exec(ctx, x.sql, x.args...); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}
