package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/steps"
)

// A request is a step that waits for the writer or, with alone, work that runs between two
// transactions.
type request struct {
	step  *steps.Request
	alone func() error
	done  chan error
}

// put queues a step for the writer and waits for the commit. If ctx ends first, the step
// may still be executed.
func (j *Journal) put(ctx context.Context, step *steps.Request) error {
	return j.await(ctx, &request{step: step, done: make(chan error, 1)}, step.Records)
}

func (j *Journal) await(ctx context.Context, r *request, records int) error {
	if j.writer == nil {
		return journal.ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := j.queue.Put(r, records); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer's goroutine: the only place that changes the database.
func (j *Journal) write() {
	defer close(j.written)
	var batch, alone []*request
	var errs []error
	for {
		batch = j.queue.Take(batch[:0])
		if len(batch) == 0 {
			return
		}
		alone = alone[:0]
		batch = slices.DeleteFunc(batch, func(r *request) bool {
			if r.alone != nil {
				alone = append(alone, r)
			}
			return r.alone != nil
		})
		if len(batch) > 0 {
			errs = j.run(batch, errs)
		}
		for _, r := range alone { // they take longer than the steps
			r.done <- r.alone()
		}
		clear(batch)
		clear(alone)
		// The callers of these requests run first, and their next requests join the next
		// batch. Otherwise the writer would often commit a single one.
		runtime.Gosched()
	}
}

// run executes the steps of a batch and returns their results to the callers.
func (j *Journal) run(batch []*request, errs []error) []error {
	steps.Order(batch, func(r *request) *steps.Request { return r.step })
	errs = append(errs[:0], make([]error, len(batch))...)
	if err := j.commit(batch, errs); err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	for i, r := range batch {
		r.done <- errs[i]
	}
	return errs
}

// commit runs a batch in one transaction. After an error the whole batch was rolled
// back; after an error of COMMIT itself that is unknown.
//
// A request that fails is rolled back alone. Almost all fail before they have written
// anything. If one fails after that, the batch runs again with a savepoint for each
// request. Savepoints from the start would copy every page once for each request.
func (j *Journal) commit(batch []*request, errs []error) error {
	again, err := j.attemptCommit(batch, errs, false)
	if again {
		_, err = j.attemptCommit(batch, errs, true)
	}
	return err
}

func (j *Journal) attemptCommit(batch []*request, errs []error, savepoints bool) (again bool, err error) {
	if err := j.checkInPlace(); err != nil {
		j.save()
		return false, err
	}
	if j.writer.conn == nil {
		if err := j.reconnect(); err != nil {
			return false, fmt.Errorf("journal: open the database again: %w", named(err))
		}
	}
	c := j.writer.conn
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		j.disconnect()
		return false, fmt.Errorf("journal: begin: %w", named(err))
	}
	t := &j.writer.tx
	t.reset(c, j.clock.Now())
	wrote, err := t.steps(batch, errs, savepoints)
	if err != nil {
		t.undoAll()
		if errors.Is(err, errAgain) {
			j.rollback()
			return true, nil
		}
		j.disconnect()
		return false, err
	}
	if !wrote {
		// Nothing was written, so there is nothing to sync.
		j.rollback()
		t.publish()
		return false, nil
	}
	commits, err := j.count(c)
	if err == nil {
		_, err = c.exec("COMMIT")
	}
	if err != nil {
		// It is unknown whether the connection is still in the transaction. Closing it rolls
		// the transaction back.
		t.undoAll()
		j.disconnect()
		return false, fmt.Errorf("journal: commit: %w", named(err))
	}
	j.committed(commits)
	t.publish()
	return false, nil
}

var (
	// errTransaction reports that the transaction itself failed, as with a full disk.
	errTransaction = errors.New("journal: the transaction was lost")
	// errAgain reports that a request failed after it had written.
	errAgain = errors.New("journal: the batch has to run with savepoints")
)

// steps runs the steps of a batch, all of them together or each in a savepoint.
func (t *tx) steps(batch []*request, errs []error, savepoints bool) (wrote bool, err error) {
	requests := make([]*steps.Request, len(batch))
	for i, r := range batch {
		requests[i] = r.step
	}
	t.dirty = false
	if savepoints {
		// The cache does not follow a rollback to a savepoint, so it caches nothing of this
		// batch.
		defer t.j.writer.rows.clear()
		for k := range requests {
			errs[k] = t.within(func(t *tx) error {
				one := make([]error, 1)
				if err := t.j.Run(stepTx{t, t.j.writer.rowTexts}, requests[k:k+1], one); err != nil && !errors.Is(err, steps.ErrRollback) {
					return err
				}
				return one[0]
			})
			if errors.Is(errs[k], errTransaction) {
				return false, errs[k]
			}
			wrote = wrote || t.dirty
		}
		return wrote, nil
	}
	if err := t.j.Run(stepTx{t, t.j.writer.rowTexts}, requests, errs); err != nil {
		if fatal(err) {
			return false, fmt.Errorf("%w: %w", errTransaction, named(err))
		}
		clear(errs)
		return false, errAgain
	}
	return t.dirty, nil
}

// within runs f inside a savepoint.
func (t *tx) within(f func(*tx) error) error {
	if _, err := t.conn.exec("SAVEPOINT request"); err != nil {
		return fmt.Errorf("%w: %w", errTransaction, err)
	}
	mark := t.mark()
	err := f(t)
	if err != nil {
		t.rewind(mark)
		t.j.RecountLetters()
		t.j.writer.rows.clear() // rows that f has written may have been read and cached since
		t.dirty = false
		if fatal(err) {
			return fmt.Errorf("%w: %w", errTransaction, named(err))
		}
		if _, e := t.conn.exec("ROLLBACK TO request"); e != nil {
			return fmt.Errorf("%w: %w", errTransaction, errors.Join(err, e))
		}
	}
	if _, e := t.conn.exec("RELEASE request"); e != nil {
		return fmt.Errorf("%w: %w", errTransaction, errors.Join(err, e))
	}
	return err
}

// rollback rolls the transaction back.
func (j *Journal) rollback() {
	if _, err := j.writer.conn.exec("ROLLBACK"); err != nil {
		j.log.Error("rolling back the journal's transaction failed", "err", err)
		j.disconnect()
	}
}

// disconnect closes a connection whose state is unknown.
func (j *Journal) disconnect() {
	if err := j.writer.conn.close(); err != nil {
		j.log.Error("closing the journal's connection failed", "err", err)
	}
	j.writer.conn = nil
}

func (j *Journal) reconnect() error {
	c, err := j.connect()
	if err != nil {
		return err
	}
	j.writer.conn = c
	j.noteFiles()
	return nil
}
