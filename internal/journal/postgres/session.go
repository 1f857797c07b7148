package postgres

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal/steps"
)

// The second halves of advisory locks. Numbers of replicas are above them.
const (
	lockOutbox = -1 // the order of the outbox, to the end of a transaction
	lockDuty   = -2 // ending the leases of replicas that are gone
	lockPrune  = -3 // pruning, to the end of a transaction
	lockAudit  = -5 // the chain of the audit trail, to the end of a transaction
	lockMove   = -4 // moving a journal into the database, to the end of the connection
)

// A session shows that this process lives: it holds an advisory lock with the replica's
// number, and receives the notifications of the others.
type session struct {
	j       *Journal
	mu      sync.Mutex
	conn    *pgx.Conn
	replica int64
	cancel  context.CancelFunc
	done    chan struct{}
}

// register registers this process as a replica, ends the claims of replicas that are gone,
// and listens.
func (j *Journal) register(ctx context.Context) error {
	s := &session{j: j, done: make(chan struct{})}
	if err := s.open(ctx, false); err != nil {
		return named(readable(err))
	}
	j.session = s
	err := j.examineConn(ctx, s.conn)
	if err == nil {
		err = j.mayOpen(ctx, s.conn)
	}
	if err == nil {
		err = s.endDeadLeases(ctx, true)
	}
	if err != nil {
		close(s.done)
		return named(readable(err))
	}
	listening, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.listen(listening)
	return nil
}

// open opens the session's connection and registers a replica. If ready is false, the
// replica has yet to examine the earlier state.
func (s *session) open(ctx context.Context, ready bool) error {
	conn, err := s.j.dial(ctx)
	if err != nil {
		return err
	}
	replica, err := s.resume(ctx, conn)
	if err == nil && replica == 0 {
		// The number becomes visible only with its lock. Without the lock another process
		// would consider this replica gone.
		locked := ""
		err = conn.QueryRow(ctx, "WITH r AS (INSERT INTO replica (since, ready) VALUES ($1, $2) RETURNING id) SELECT id, pg_advisory_lock($3, id::int)::text FROM r",
			s.j.clock.Now(), ready, s.j.lockKey).Scan(&replica, &locked)
	}
	if err == nil {
		_, err = conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.j.channel}.Sanitize())
	}
	if err == nil {
		_, err = conn.Exec(ctx, "UPDATE pulse SET replica = $2, ended = NULL WHERE process = $1", s.j.pulse.process[:], replica)
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

// resume takes the number again that the process had before its session was lost, so that
// its leases continue. It returns 0 if others have ended them, or if the server has not
// noticed yet that the session is gone.
func (s *session) resume(ctx context.Context, conn *pgx.Conn) (int64, error) {
	had, mine, there := s.number(), false, false
	if had == 0 {
		return 0, nil
	}
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", s.j.lockKey, int32(had)).Scan(&mine); err != nil || !mine { // #nosec G115 -- as above
		return 0, err
	}
	// A replica that ends these leases holds the lock until their row is deleted.
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM replica WHERE id = $1)", had).Scan(&there); err != nil || there {
		return had, err
	}
	_, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1, $2)", s.j.lockKey, int32(had)) // #nosec G115 -- as above
	return 0, err
}

func (s *session) number() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replica
}

// listen passes on the notifications of other replicas and checks the database regularly.
// It opens a lost session again, and then signals everything that it may have missed.
func (s *session) listen(ctx context.Context) {
	defer close(s.done)
	next := time.Now().Add(s.j.bounds.ping)
	for {
		err := s.awaitNotification(ctx, next)
		if err == nil && !time.Now().Before(next) {
			err = s.within(ctx, s.j.bounds.ping, func(ctx context.Context) error { return s.j.examine(ctx, s.conn, "") })
			next = time.Now().Add(s.j.bounds.ping)
			// A lost notification must not be waited for forever.
			s.signalAll()
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		s.closeConn()
		for s.within(ctx, s.j.bounds.read, s.reopen) != nil {
			s.j.away.Store(true)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
		next = time.Now().Add(s.j.bounds.ping)
		s.signalAll()
	}
}

// signalAll signals everything that a lost notification may have reported.
func (s *session) signalAll() {
	s.j.Notify(steps.Signals{Work: true, Outbox: true, Intents: true})
	notify(s.j.freed)
}

// awaitNotification passes one notification on; its result is nil also if none arrives in time.
func (s *session) awaitNotification(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	n, err := s.conn.WaitForNotification(ctx)
	switch {
	case err == nil:
		s.notified(n.Payload)
	case ctx.Err() != nil && !s.conn.IsClosed():
		return nil
	}
	return err
}

func (s *session) within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// reopen opens the session again, and examines the database.
func (s *session) reopen(ctx context.Context) error {
	if err := s.open(ctx, true); err != nil {
		return err
	}
	if err := s.j.examineConn(ctx, s.conn); err != nil {
		s.closeConn()
		return err
	}
	return nil
}

// closeConn closes the connection without waiting for a server that may be gone.
func (s *session) closeConn() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // the connection is closed because of an earlier error
}

// message is a transaction's notification for the other replicas: the sender, and w for
// work and circuit breakers, p for permits, o for the outbox, i for intents.
func (j *Journal) message(b *batch) string {
	var what strings.Builder
	what.WriteString(strconv.FormatInt(j.session.number(), 10))
	what.WriteByte(' ')
	if b.signals.Work {
		what.WriteByte('w')
	}
	if b.permitReturned {
		what.WriteByte('p')
	}
	if b.signals.Outbox {
		what.WriteByte('o')
	}
	if b.signals.Intents {
		what.WriteByte('i')
	}
	return what.String()
}

func (s *session) notified(message string) {
	who, what, _ := strings.Cut(message, " ")
	if who == strconv.FormatInt(s.number(), 10) {
		return // its own message
	}
	s.j.Notify(steps.Signals{
		Work:    strings.Contains(what, "w") || strings.Contains(what, "p") && s.j.refused.Swap(false),
		Outbox:  strings.Contains(what, "o"),
		Intents: strings.Contains(what, "i"),
	})
	if strings.Contains(what, "t") {
		notify(s.j.freed)
	}
}

// leave ends the session and with it the leases.
func (s *session) leave() {
	if s.cancel != nil {
		s.cancel()
		<-s.done
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !s.conn.IsClosed() {
		_, _ = s.conn.Exec(ctx, pulseEnd, s.j.pulse.process[:], s.j.clock.Now()) // otherwise the others find it gone
	}
	s.closeConn() // releases the lock
}
