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
	if err := s.enter(ctx, false); err != nil {
		return fmt.Errorf("journal: %w", readable(err))
	}
	j.session = s
	err := j.arrive(ctx, s.conn)
	if err == nil {
		err = s.begin(ctx)
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

// enter opens the session's connection and takes a number. Who is not ready has
// to look at what was before it.
func (s *session) enter(ctx context.Context, ready bool) error {
	conn, err := s.j.dial(ctx)
	if err != nil {
		return err
	}
	// Nobody sees the number before its lock is held: whoever did would take this
	// replica as gone.
	replica, locked := int64(0), ""
	err = conn.QueryRow(ctx, "WITH r AS (INSERT INTO replica (since, ready) VALUES ($1, $2) RETURNING id) SELECT id, pg_advisory_lock($3, id::int)::text FROM r",
		s.j.clock.micros(), ready, s.j.lockKey).Scan(&replica, &locked)
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
			if err := s.enter(ctx, true); err == nil {
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
		notify(s.j.intents)
		notify(s.j.freed)
	}
}

// message is what a transaction tells the other replicas: who speaks, and w for
// work and gates, p for permits, o for the outbox, i for intents.
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
	if b.asked {
		what.WriteByte('i')
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
	if strings.Contains(what, "i") {
		notify(s.j.intents)
	}
	if strings.Contains(what, "t") {
		notify(s.j.freed)
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
