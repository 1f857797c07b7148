package virtual

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// errDisk is what a journal in trouble says.
var errDisk = errors.New("simulated: the disk does not answer")

// A flakyJournal is a worker's journal with troubles: it is slow, fails before or
// after a commit, stands still, and is where a worker dies.
type flakyJournal struct {
	journal.Journal
	dying chan struct{} // gets the worker's death, once
	asked chan struct{} // gets that it is to be told to stop

	mu           sync.Mutex
	rnd          *rand.Rand
	slow         time.Duration // the most that a step takes before, and after, its commit
	failing      float64       // how likely a step fails
	held         chan struct{} // closed when it goes on; nil while it does
	dead         chan struct{}
	processEnded bool
	fatal        string // the step that the worker dies at, "" for none
	after        bool   // behind its commit
	gentle       bool   // it is told to stop there
	left         int    // how many of these steps it still survives
}

func newFlakyJournal(rnd *rand.Rand) *flakyJournal {
	return &flakyJournal{rnd: rnd, dying: make(chan struct{}, 1), asked: make(chan struct{}, 1), dead: make(chan struct{})}
}

func (d *flakyJournal) wrap(j journal.Journal) journal.Journal {
	d.Journal = j
	return d
}

// trouble sets how slow it is and how often it fails.
func (d *flakyJournal) trouble(slow time.Duration, failing float64) {
	d.mu.Lock()
	d.slow, d.failing = slow, failing
	d.mu.Unlock()
}

// dieAt makes the worker die, or be told to stop, at the n-th (from 0) step of
// a name.
func (d *flakyJournal) dieAt(step string, after, gentle bool, n int) {
	d.mu.Lock()
	d.fatal, d.after, d.gentle, d.left = step, after, gentle, n
	d.mu.Unlock()
}

// endProcess ends every step, now and later: the process is gone.
func (d *flakyJournal) endProcess() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.processEnded {
		d.processEnded = true
		close(d.dead)
	}
}

func (d *flakyJournal) hold(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.held == nil:
		d.held = make(chan struct{})
	case !on && d.held != nil:
		close(d.held)
		d.held = nil
	}
}

// step does one thing that changes the journal.
func (d *flakyJournal) step(ctx context.Context, name string, do func() error) error {
	if err := d.half(ctx, name, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return d.half(ctx, name, true)
}

// half is what happens before a commit, or after it.
func (d *flakyJournal) half(ctx context.Context, name string, after bool) error {
	wait, fails, dies := d.draw(name, after)
	if err := d.pass(ctx, wait, dies); err != nil {
		return err
	}
	if fails {
		return errDisk
	}
	return nil
}

func (d *flakyJournal) draw(name string, after bool) (wait time.Duration, fails, dies bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow > 0 {
		wait = time.Duration(d.rnd.Int64N(int64(d.slow)))
	}
	fails = d.rnd.Float64() < d.failing
	if d.fatal == name && d.after == after {
		if d.left--; d.left < 0 {
			d.fatal = ""
			if dies = !d.gentle; !dies {
				select {
				case d.asked <- struct{}{}:
				default: // it has been asked already
				}
			}
		}
	}
	return wait, fails, dies
}

func (d *flakyJournal) agony() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rnd.Int64N(int64(2 * time.Second)))
}

// pass lets the time go by that a step takes.
func (d *flakyJournal) pass(ctx context.Context, wait time.Duration, dies bool) error {
	if dies {
		// The disk hangs for a while first, and the others go on.
		select {
		case <-time.After(d.agony()):
		case <-d.dead:
			return journal.ErrClosed
		}
		d.dying <- struct{}{}
		<-d.dead
	}
	for {
		d.mu.Lock()
		held := d.held
		d.mu.Unlock()
		if held == nil {
			break
		}
		select {
		case <-held:
		case <-d.dead:
			return journal.ErrClosed
		}
	}
	if wait == 0 {
		wait = time.Nanosecond
	}
	select {
	case <-d.dead:
		return journal.ErrClosed
	default:
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.dead:
		return journal.ErrClosed
	}
}

func (d *flakyJournal) SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error {
	return d.step(ctx, "circuit", func() error { return d.Journal.SetCircuit(ctx, account, g, was) })
}

func (d *flakyJournal) ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error {
	return d.step(ctx, "trial", func() error { return d.Journal.ReserveTrial(ctx, account, was, until) })
}

func (d *flakyJournal) InitPositions(ctx context.Context, ps []journal.Position) error {
	return d.step(ctx, "begin", func() error { return d.Journal.InitPositions(ctx, ps) })
}

func (d *flakyJournal) Ingest(ctx context.Context, b journal.Batch) (out journal.Ingested, err error) {
	err = d.step(ctx, "ingest", func() (err error) { out, err = d.Journal.Ingest(ctx, b); return err })
	return out, err
}

func (d *flakyJournal) Claim(ctx context.Context, r journal.ClaimRequest) (out []journal.ClaimedOperation, err error) {
	err = d.step(ctx, "claim", func() (err error) { out, err = d.Journal.Claim(ctx, r); return err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (d *flakyJournal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	err = d.step(ctx, "expire", func() (err error) { planned, unknown, err = d.Journal.ReleaseExpiredLeases(ctx); return err })
	return planned, unknown, err
}

func (d *flakyJournal) BeginAttempt(ctx context.Context, s journal.AttemptStart) (id journal.AttemptID, err error) {
	err = d.step(ctx, "send", func() (err error) { id, err = d.Journal.BeginAttempt(ctx, s); return err })
	return id, err
}

func (d *flakyJournal) BeginCheck(ctx context.Context, c journal.Check) (id journal.AttemptID, err error) {
	err = d.step(ctx, "start check", func() (err error) { id, err = d.Journal.BeginCheck(ctx, c); return err })
	return id, err
}

func (d *flakyJournal) EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	return d.step(ctx, "end check", func() error { return d.Journal.EndAttempt(ctx, id, end) })
}

func (d *flakyJournal) SaveResponse(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	err = d.step(ctx, "receive", func() (err error) { s, mine, err = d.Journal.SaveResponse(ctx, r); return err })
	return s, mine, err
}

func (d *flakyJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (s journal.State, mine bool, id journal.AttemptID, err error) {
	err = d.step(ctx, "receive", func() (err error) { s, mine, id, err = d.Journal.SaveResponseAndBeginCheck(ctx, r, c); return err })
	return s, mine, id, err
}

func (d *flakyJournal) Apply(ctx context.Context, t journal.Transition) error {
	return d.step(ctx, "apply", func() error { return d.Journal.Apply(ctx, t) })
}

func (d *flakyJournal) MarkPublished(ctx context.Context, rows []journal.Published) error {
	return d.step(ctx, "mark", func() error { return d.Journal.MarkPublished(ctx, rows) })
}
