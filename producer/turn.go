package producer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

const (
	// standbyPause is how often a relay without the turn asks for it, over and
	// above what the journal tells.
	standbyPause = time.Second
	// giveWithin bounds giving the turn back.
	giveWithin = 2 * time.Second
)

// errNoTurn says that a batch was not written: the turn had run out.
var errNoTurn = errors.New("producer: the turn to publish has run out")

// A grant is one turn to publish. What was begun with it is not written after
// its end, also when another one follows.
type grant struct {
	number int64
	cancel context.CancelFunc // of what was begun with it
	ctx    context.Context

	mu    sync.Mutex
	until time.Time
}

func (g *grant) keep(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = until
}

// end takes the grant back for good.
func (g *grant) end() {
	g.keep(time.Time{})
	g.cancel()
}

// valid looks at both clocks: the monotonic one stands still while a machine is
// suspended, the wall's can be set back.
func (g *grant) valid() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	return now.Before(g.until) && now.Round(0).Before(g.until.Round(0))
}

// A guarded batch is encoded when its request is put together, on the connection
// and just before it is written: the last moment to leave it, and the time that
// its records carry. A batch that waited for its broker would be refused by a
// topic that bounds the age of records, and be deleted early by one that keeps
// them by their time. A broker recognises a repeat by its sequence, whatever its
// time is.
type guarded struct {
	turn  *grant
	rows  []journal.Outgoing
	who   identity
	batch io.Reader
}

func (g *guarded) Read(b []byte) (int, error) {
	if !g.turn.valid() {
		return 0, errNoTurn
	}
	if g.batch == nil {
		g.batch = bytes.NewReader(encodeBatch(g.rows, g.who, time.Now()))
	}
	return g.batch.Read(b)
}

// An answer is what the journal says when it is asked for the turn.
type answer struct {
	turn journal.RelayTurn
	err  error
}

// askTurn takes the turn, or keeps it, when that is due.
func (r *Relay) askTurn(ctx context.Context, now time.Time, wait func(time.Time)) {
	if r.asking {
		return
	}
	at := r.askAt
	if r.grant != nil && !r.grant.valid() {
		at = r.askedAt.Add(leastPause * 10) // the clock was set
	}
	if now.Before(at) {
		wait(at)
		return
	}
	r.asking, r.askedAt = true, now
	r.fly(func() any {
		turn, err := r.config.Outbox.TakeTurn(ctx)
		return answer{turn, err}
	})
}

// mayPublish tells whether anything can be begun, and notices the turn's end.
func (r *Relay) mayPublish(wait func(time.Time)) bool {
	if r.grant == nil {
		return false
	}
	if r.grant.valid() {
		wait(r.grant.until) // only this goroutine writes it
		return true
	}
	if r.phase == holding {
		r.enter(unknown)
	}
	return false
}

// answered begins, goes on, stops or waits, as the journal says.
func (r *Relay) answered(ctx context.Context, a answer) {
	r.asking = false
	now := time.Now()
	switch {
	case a.err == nil:
		r.status.clear("turn")
		if r.grant == nil || r.grant.number != a.turn.Number {
			r.begin(ctx, a.turn.Number)
		}
		r.grant.keep(a.turn.Until)
		r.enter(holding)
		r.askAt = now.Add(max(a.turn.Until.Sub(now)/3, leastPause))
	case errors.Is(a.err, journal.ErrTurnTaken):
		r.status.clear("turn")
		if r.phase != standby {
			r.log.Info("another replica publishes; this one stands by")
		}
		r.abandon(standby)
		r.askAt = now.Add(standbyPause)
	default:
		r.askAt = now.Add(leastPause * 10)
		if r.grant == nil || !r.grant.valid() {
			r.enter(unknown)
		}
		r.status.note(r.log, "turn", "asking for the turn to publish; trying again", a.err)
	}
}

// begin starts from what the journal holds.
func (r *Relay) begin(ctx context.Context, number int64) {
	if r.phase == standby {
		r.log.Info("this replica publishes now")
	}
	r.abandon(holding)
	g := &grant{number: number}
	g.ctx, g.cancel = context.WithCancel(ctx)
	r.grant = g
}

// abandon throws away all that was held: whoever has the turn now finds it in
// the journal. It returns when nothing is under way any more.
func (r *Relay) abandon(next phase) {
	r.enter(next)
	if r.grant == nil {
		return
	}
	r.grant.end()
	r.grant = nil
	for r.flying > 0 {
		if _, ok := (<-r.events).(answer); ok {
			r.asking = false
		}
		r.flying--
	}
	r.log.Warn("the turn to publish is lost; what this replica held is the other's to publish", "rows", len(r.held))
	for name := range r.topics {
		r.metrics.stopped.WithLabelValues(name).Set(0)
	}
	r.status.forget()
	r.empty()
}

// empty makes the relay know nothing.
func (r *Relay) empty() {
	r.lanes, r.topics, r.held = map[laneKey]*lane{}, map[string]*topic{}, map[int64]int{}
	r.bytes, r.cursor, r.acked = 0, 0, nil
	r.reading, r.stale, r.more, r.full, r.marking = false, false, true, false, false
	r.markAt, r.readAt = time.Time{}, time.Time{}
	r.metrics.held.Set(0)
	r.forged = forged{}
	r.countForged()
	for _, name := range r.config.topics() {
		r.topic(name) // known before the first result needs it
	}
}

// lost notes that the journal refuses what belongs to the turn.
func (r *Relay) lost(err error) bool {
	if !errors.Is(err, journal.ErrStale) {
		return false
	}
	r.abandon(unknown)
	r.askAt = time.Time{}
	return true
}

// give ends the turn, so that another replica has it at once. Nothing of it is
// under way: connections were cut before.
func (r *Relay) give() {
	had := r.grant != nil
	if had {
		r.grant.end()
		r.grant = nil
	}
	r.enter(standby)
	if !had {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveWithin)
	defer cancel()
	if err := r.config.Outbox.GiveTurn(ctx); err != nil {
		r.log.Warn("the turn to publish was not given back; another replica waits until it has run out", "err", err)
	}
}

// A phase is whether this replica publishes.
type phase uint8

const (
	starting phase = iota // nobody was asked yet
	holding
	standby
	unknown // the journal does not answer, and the turn may be over
)

func (r *Relay) enter(p phase) {
	r.phase = p
	r.status.enter(p)
	active := 0.0
	if p == holding {
		active = 1
	}
	r.metrics.active.Set(active)
}
