package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A request is a step that waits for the writer.
type request struct {
	step *steps.Request
	done chan error
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// submit queues a step for the writer and waits for the commit. If ctx ends first, the
// step may still be executed.
func (j *Journal) submit(ctx context.Context, step *steps.Request) error {
	if j.beside {
		return journal.ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{step: step, done: make(chan error, 1)}
	if err := j.queue.Put(r, step.Records); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return j.waitError(ctx)
	}
}

// write is the writer's goroutine: the only place that changes the database.
func (j *Journal) write() {
	defer close(j.written)
	var batch []*request
	for {
		batch = j.queue.Take(batch[:0])
		if len(batch) == 0 {
			return
		}
		steps.Order(batch, func(r *request) *steps.Request { return r.step })
		errs := j.commit(batch)
		for i, r := range batch {
			r.done <- errs[i]
		}
		clear(batch)
	}
}

// A retry is how the requests of a transaction are run again.
type retry uint8

const (
	noRetry         retry = iota // each request has its result
	retrySeparately              // nothing was committed: run each request in a transaction of its own
	retryAll                     // nothing was committed, because the connection was lost before: run all together
	retryLocked                  // nothing was committed, because other replicas took permits: run all together, with the ledgers locked
)

// tries bounds how often a transaction is run.
const tries = 10

// commit runs requests in one transaction. If one of them fails the transaction, each
// is run again in a transaction of its own.
func (j *Journal) commit(rs []*request) []error {
	ctx, cancel := context.WithTimeout(context.Background(), j.bounds.commit)
	defer cancel()
	errs, next := j.transact(ctx, rs, false)
	if next == retryAll || next == retryLocked {
		errs, next = j.transact(ctx, rs, next == retryLocked)
	}
	if next == noRetry {
		return errs
	}
	if len(rs) > 1 {
		return j.commitApart(rs, errs)
	}
	for try := 0; next != noRetry && try < tries; try++ {
		errs, next = j.transact(ctx, rs, next == retryLocked)
	}
	return errs
}

// commitApart runs each request in a transaction of its own. All together have the time
// bound of two transactions, so that they do not wait one after the other for a database
// that is gone.
func (j *Journal) commitApart(rs []*request, errs []error) []error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*j.bounds.commit)
	defer cancel()
	for i := range rs {
		if ctx.Err() != nil {
			errs[i] = readable(ctx.Err())
			continue
		}
		next := retrySeparately
		for try := 0; next != noRetry && try < tries; try++ {
			var one []error
			one, next = j.transact(ctx, rs[i:i+1], next == retryLocked)
			errs[i] = one[0]
		}
		if !errors.Is(errs[i], journal.ErrUnreachable) {
			continue
		}
		// Either this request breaks the connection, or the database is gone.
		if _, err := j.connection(ctx); err != nil {
			for k := i + 1; k < len(rs); k++ {
				errs[k] = errs[i]
			}
			return errs
		}
	}
	return errs
}

// transact runs the requests in one transaction. If locked, it locks the ledgers before
// it counts their permits.
func (j *Journal) transact(ctx context.Context, rs []*request, locked bool) (errs []error, next retry) {
	errs = make([]error, len(rs))
	fail := func(err error) []error {
		if gone := errors.Is(err, journal.ErrUnreachable); gone {
			j.away.Store(true)
			j.disconnect()
		}
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	conn, err := j.connection(ctx)
	if err != nil {
		if transient(err) { // a statement of the connection's setup was canceled
			next = retrySeparately
		}
		return fail(fmt.Errorf("journal: connect: %w", readable(err))), next
	}
	b := newBatch(j, conn)
	b.single = len(rs) == 1
	if j.pulse.waits.Load() {
		if err := j.examine(ctx, conn, ""); err != nil {
			j.disconnect()
			return fail(named(readable(err))), noRetry
		}
	}
	if kept := j.permitted(rs, errs); len(kept) < len(rs) {
		if len(kept) == 0 {
			return errs, noRetry
		}
		got, next := j.transact(ctx, kept, locked)
		for i := range rs {
			if errs[i] == nil {
				errs[i], got = got[0], got[1:]
			}
		}
		return errs, next
	}
	locks, refused, err := j.prepare(ctx, conn, rs)
	if err != nil {
		next = j.lostBefore(ctx, conn)
		j.disconnect()
		return fail(named(readable(err))), next
	}
	copy(errs, refused)
	locks.lockLedgers = locks.lockLedgers || locked
	err = b.steps(ctx, locks, rs, errs)
	if err != nil && b.now == 0 {
		if next = j.lostBefore(ctx, conn); transient(err) {
			next = retrySeparately
		}
		j.disconnect()
		return fail(fmt.Errorf("journal: begin: %w", readable(err))), next
	}
	if errors.Is(err, steps.ErrRollback) {
		b.rollback(ctx)
		if b.single {
			return errs, noRetry
		}
		return errs, retrySeparately
	}
	if err != nil {
		shown := readable(err)
		if next = j.lostBefore(ctx, conn); next == noRetry && !errors.Is(shown, journal.ErrUnreachable) && (!b.single || transient(err)) {
			next = retrySeparately
		}
		b.rollback(ctx)
		return fail(shown), next
	}
	j.away.Store(false)
	if !b.wrote {
		// Rows that were only read may be cached.
		after := b.after
		b.rollback(ctx)
		b.after = after
		b.publish()
		return errs, noRetry
	}
	if err := b.commit(ctx); err != nil {
		switch {
		case errors.Is(err, errTaken):
			next = retryLocked
			j.counts.forget()
		case transient(err) || errors.Is(err, errTransaction) && !b.single:
			next = retrySeparately
		}
		if errors.Is(err, errTransaction) {
			b.rollback(ctx)
		} else {
			j.disconnect()
		}
		return fail(fmt.Errorf("journal: commit: %w", readable(err))), next
	}
	b.publish()
	return errs, noRetry
}

// steps runs the steps of the requests. Their first query begins the transaction.
func (b *batch) steps(ctx context.Context, l locks, rs []*request, errs []error) error {
	requests := make([]*steps.Request, len(rs))
	for i, r := range rs {
		requests[i] = r.step
	}
	t := &stepTx{batch: b, ctx: ctx, texts: b.j.rowTexts, opening: b.opening(l)}
	return b.j.Run(t, requests, errs)
}

// lostBefore returns retryAll if the connection was lost before a commit and there is time
// to open another.
func (j *Journal) lostBefore(ctx context.Context, conn *pgx.Conn) retry {
	if conn.IsClosed() && ctx.Err() == nil {
		return retryAll
	}
	return noRetry
}

// publish updates memory after the commit and signals waiting goroutines.
func (b *batch) publish() {
	for _, f := range b.after {
		f()
	}
	if b.permitReturned && b.j.refused.Swap(false) {
		// A caller that waits for a permit waits for a later instant.
		b.signals.Work = true
	}
	b.j.Notify(b.signals)
}

// rollback rolls the transaction back.
func (b *batch) rollback(ctx context.Context) {
	if b.conn.IsClosed() {
		b.j.disconnect()
		return
	}
	if _, err := b.conn.Exec(ctx, "ROLLBACK"); err != nil {
		b.j.disconnect()
	}
	b.after = nil
}

// connection returns the writer's connection and opens it again if it was lost.
func (j *Journal) connection(ctx context.Context) (*pgx.Conn, error) {
	if j.conn != nil && !j.conn.IsClosed() {
		return j.conn, nil
	}
	conn, err := j.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.examineConn(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	j.conn = conn
	return conn, nil
}

func (j *Journal) disconnect() {
	if j.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	j.counts.forget()     // the next connection may lead to another server
	_ = j.conn.Close(ctx) // it is closed because it is broken, so its error does not matter
	j.conn = nil
}
