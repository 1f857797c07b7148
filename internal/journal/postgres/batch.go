package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
)

// A batch is one transaction with many requests in it. Each request is written
// as if it were alone, one statement after the other; the batch runs them as
// coroutines and sends what all of them ask for in one round trip. Requests that
// touch the same shop run one after the other, in the order in which they came.
type batch struct {
	j    *Journal
	conn *pgx.Conn
	now  int64 // of the transaction, once it holds its locks

	jobs    []*job
	held    map[string]*job // keys of jobs that run
	after   []func()        // memory follows, once committed
	permits permits
	invited map[journal.ShopKey]int64 // shops with an open invitation, of those that chose another provider
	woken   bool                      // an operation may have become due
	asked   bool                      // an intent waits
	out     bool                      // something waits to be published
	back    bool                      // permits come back earlier than was known
	inOrder bool                      // rows of the outbox are to be numbered in the order of commits
	ordered bool                      // it holds the lock for that
	wrote   bool
	late    []late // statements of steps that wait for the commit
	alone   bool   // it has one request: a failure takes nothing else with it
}

// A job is a request, or a part of one that may run beside its other parts.
type job struct {
	tx     *tx
	run    func(*tx) error
	keys   []string
	parent *job
	parts  int // that have not ended
	next   func() (struct{}, bool)
	stop   func()
	state  jobState
	err    error
	dirty  bool
}

type jobState uint8

const (
	jobPending jobState = iota // its keys are not free yet
	jobReady                   // can go on
	jobAsks                    // waits for answers
	jobWaits                   // waits for its parts
	jobEnded
)

// An ask is a statement with its arguments; an answer its rows, and how many
// it has changed.
type ask struct {
	sql  string
	args []any
}

type answer struct {
	rows    []row
	changed int64
}

// A tx is what a request sees of its batch.
type tx struct {
	*batch
	job     *job
	yield   func(struct{}) bool
	asks    []ask
	answers []answer
}

// errTransaction says that the transaction is lost, errLeft that the batch
// ended before the request had.
var (
	errTransaction = errors.New("journal: the transaction was lost")
	errLeft        = errors.New("journal: the batch was given up")
)

func newBatch(j *Journal, conn *pgx.Conn) *batch {
	return &batch{j: j, conn: conn, held: make(map[string]*job), permits: newPermits()}
}

func (b *batch) add(run func(*tx) error, keys []string, parent *job) *job {
	o := &job{run: run, keys: keys, parent: parent}
	o.tx = &tx{batch: b, job: o}
	b.jobs = append(b.jobs, o)
	if parent != nil {
		parent.parts++
	}
	return o
}

// all runs the jobs to their ends. An error means that the transaction is lost.
func (b *batch) all(ctx context.Context) error {
	defer func() {
		for _, o := range b.jobs {
			if o.stop != nil {
				o.stop()
			}
		}
	}()
	for {
		b.advance()
		asking := b.asking()
		if len(asking) == 0 {
			for _, o := range b.jobs {
				if o.state != jobEnded {
					return fmt.Errorf("%w: requests wait for each other", errTransaction)
				}
			}
			return nil
		}
		if err := b.round(ctx, asking); err != nil {
			return err
		}
	}
}

// advance lets every job go on that can, until none can.
func (b *batch) advance() {
	for again := true; again; {
		again = false
		waiting := make(map[string]bool)
		// Jobs are added while this runs.
		for i := 0; i < len(b.jobs); i++ {
			o := b.jobs[i]
			if o.state == jobPending && b.free(o, waiting) {
				b.start(o)
				o.state = jobReady
			}
			if o.state == jobPending {
				for _, k := range o.keys {
					waiting[k] = true
				}
			}
			if o.state != jobReady {
				continue
			}
			again = true
			if _, more := o.next(); more {
				if o.state == jobReady {
					o.state = jobAsks
				}
				continue
			}
			b.end(o)
		}
	}
}

// free tells whether a job's keys are nobody else's, and nobody waits for them
// who came before.
func (b *batch) free(o *job, waiting map[string]bool) bool {
	for _, k := range o.keys {
		if waiting[k] || b.held[k] != nil {
			return false
		}
	}
	return true
}

func (b *batch) start(o *job) {
	for _, k := range o.keys {
		b.held[k] = o
	}
	o.next, o.stop = iter.Pull(func(yield func(struct{}) bool) {
		o.tx.yield = yield
		o.err = o.run(o.tx)
	})
}

func (b *batch) end(o *job) {
	o.state = jobEnded
	for _, k := range o.keys {
		delete(b.held, k)
	}
	p := o.parent
	if p == nil {
		return
	}
	if p.err == nil {
		p.err = o.err
	}
	p.dirty = p.dirty || o.dirty
	if p.parts--; p.parts == 0 && p.state == jobWaits {
		p.state = jobReady
	}
}

func (b *batch) asking() []*job {
	var out []*job
	for _, o := range b.jobs {
		if o.state == jobAsks {
			out = append(out, o)
		}
	}
	return out
}

// round sends what all jobs ask for, and hands out the answers.
func (b *batch) round(ctx context.Context, asking []*job) error {
	var p pgx.Batch
	locks := b.inOrder && !b.ordered
	if locks {
		p.Queue("SELECT pg_advisory_xact_lock($1, $2)", b.j.lockKey, int32(lockOutbox))
		b.ordered = true
	}
	for _, o := range asking {
		for _, a := range o.tx.asks {
			p.Queue(a.sql, a.args...)
		}
	}
	b.j.trips.Add(1)
	b.j.statements.Add(int64(p.Len()))
	results := b.conn.SendBatch(ctx, &p)
	if locks {
		if _, err := readAnswer(results); err != nil {
			_ = results.Close()
			return fmt.Errorf("%w: %w", errTransaction, err)
		}
	}
	for _, o := range asking {
		o.tx.answers = o.tx.answers[:0]
		for _, a := range o.tx.asks {
			got, err := readAnswer(results)
			if err != nil {
				_ = results.Close()
				return fmt.Errorf("%w: %s: %w", errTransaction, first(a.sql), err)
			}
			o.tx.answers = append(o.tx.answers, got)
			if got.changed > 0 {
				o.dirty, b.wrote = true, true
			}
		}
		o.state = jobReady
	}
	if err := results.Close(); err != nil {
		return fmt.Errorf("%w: %w", errTransaction, err)
	}
	return nil
}

func readAnswer(results pgx.BatchResults) (answer, error) {
	rows, err := results.Query()
	if err != nil {
		return answer{}, err
	}
	return collect(rows)
}

func collect(rows pgx.Rows) (answer, error) {
	defer rows.Close()
	var got answer
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return answer{}, err
		}
		got.rows = append(got.rows, values)
	}
	rows.Close()
	tag := rows.CommandTag()
	if !tag.Select() {
		got.changed = tag.RowsAffected()
	}
	return got, rows.Err()
}

// first is the beginning of a statement, for errors: it holds no value.
func first(sql string) string { return sql[:min(len(sql), 40)] }

func (t *tx) query(sql string, args ...any) (answer, error) {
	t.asks = append(t.asks[:0], ask{sql, args})
	if !t.yield(struct{}{}) {
		return answer{}, errLeft
	}
	return t.answers[0], nil
}

// one returns the first row, nil when there is none.
func (t *tx) one(sql string, args ...any) (row, error) {
	a, err := t.query(sql, args...)
	if err != nil || len(a.rows) == 0 {
		return nil, err
	}
	return a.rows[0], nil
}

// transient tells whether the same transaction may succeed when it is made
// again: it lost against another replica's, which may have made the same row at the
// same moment, or somebody canceled it.
func transient(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40P01" || e.Code == "40001" || e.Code == "55P03" || e.Code == "57014" || e.Code == "23505"
	}
	return false
}
