package breaker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// Journal is the part of [journal.Journal] that a group uses.
type Journal interface {
	Accounts(ctx context.Context) ([]journal.Account, error)
	SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error
	ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error
}

// A Reporter receives events of a group.
type Reporter interface {
	// BreakerState is called with the state of an account's breaker for this process
	// when it was read from the journal.
	BreakerState(account string, s journal.CircuitState)
	// BreakerError is called when the journal refuses a step. The step is retried.
	BreakerError(step, msg string, err error, account string)
}

// A Group synchronizes the breakers of a process's accounts with the journal, where all
// replicas share them.
type Group struct {
	journal  Journal
	report   Reporter
	log      *slog.Logger
	breakers []*Breaker

	write chan struct{} // a breaker has to be written
	// Breakers are written in the order in which they changed.
	writing sync.Mutex
}

// NewGroup makes a group of breakers.
func NewGroup(j Journal, r Reporter, log *slog.Logger, breakers []*Breaker) *Group {
	return &Group{journal: j, report: r, log: log, breakers: breakers, write: make(chan struct{}, 1)}
}

// Changes holds a value when a breaker has to be written by flush.
func (g *Group) Changes() <-chan struct{} { return g.write }

// Notify requests a flush. It never blocks.
func (g *Group) Notify() {
	select {
	case g.write <- struct{}{}:
	default:
	}
}

// read returns the breakers that the journal has, by account.
func (g *Group) read(ctx context.Context) (map[string]journal.Circuit, error) {
	known, err := g.journal.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	circuits := make(map[string]journal.Circuit, len(known))
	for _, k := range known {
		circuits[k.Name] = k.Circuit
	}
	return circuits, nil
}

// Load adopts the breakers of the journal, at the start.
func (g *Group) Load(ctx context.Context) error {
	circuits, err := g.read(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, x := range g.breakers {
		x.mu.Lock()
		x.load(circuits[x.account], now)
		paused := x.g.Reason
		retry := x.retryAfterRestart(now)
		state := x.g.State
		x.mu.Unlock()
		g.report.BreakerState(x.account, state)
		if retry {
			g.Notify()
			g.log.Info("the account was paused; after the restart one trial call is made", "account", x.account, "reason", paused)
		}
	}
	return nil
}

// Flush writes every changed breaker; false when one could not be written.
func (g *Group) Flush(ctx context.Context) bool {
	g.writing.Lock()
	defer g.writing.Unlock()
	ok, stale := true, false
	for _, x := range g.breakers {
		x.mu.Lock()
		circuit, was, dirty := x.g, x.known, x.dirty
		x.mu.Unlock()
		if !dirty {
			continue
		}
		if was.State == "" {
			was.State = journal.CircuitActive
		}
		err := g.journal.SetCircuit(ctx, x.account, circuit, &was)
		x.mu.Lock()
		if errors.Is(err, journal.ErrStale) {
			// An operator, or another replica, was first: an earlier result must not
			// undo a pause.
			x.dirty, stale, err = false, true, nil
		} else if err == nil {
			x.known = circuit
			x.version++
			x.dirty = !sameState(x.g, circuit) // it may have changed since
		}
		ok = ok && err == nil
		x.mu.Unlock()
		if err != nil {
			g.report.BreakerError("set_circuit", "cannot write the circuit breaker to the journal", err, x.account)
		}
	}
	if stale && g.Refresh(ctx) != nil {
		g.log.Debug("cannot read the circuit breakers; trying again later")
	}
	return ok
}

// Refresh adopts breakers that another process changed in the journal.
func (g *Group) Refresh(ctx context.Context) error {
	versions := make([]int, len(g.breakers))
	for i, x := range g.breakers {
		x.mu.Lock()
		versions[i] = x.version
		x.mu.Unlock()
	}
	circuits, err := g.read(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for i, x := range g.breakers {
		circuit, there := circuits[x.account]
		x.mu.Lock()
		// A breaker that was written since the read began is newer than the one read.
		adopted := there && !x.dirty && x.version == versions[i] && !sameState(circuit, x.known)
		if x.ownsTrial && circuit.State == x.known.State && circuit.Reason == x.known.Reason {
			adopted = false // only its end, which this process puts off
		}
		if adopted {
			x.load(circuit, now)
		}
		state := x.effective().State
		x.mu.Unlock()
		if adopted {
			g.report.BreakerState(x.account, state)
			g.log.Info("circuit breaker changed by another process or by a command", "account", x.account, "state", string(circuit.State), "reason", circuit.Reason)
		}
	}
	return nil
}

// Change makes the transition of a signal, first in the journal by write and then here.
// It returns the new state, and whether the signal changes it.
func (g *Group) Change(x *Breaker, s Signal, now time.Time, write func(journal.Circuit) error) (circuit journal.Circuit, changes bool, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if circuit, changes = x.Preview(s, now); !changes {
		return circuit, false, nil
	}
	if err = write(circuit); err != nil {
		return circuit, true, err
	}
	x.commit(s, circuit, now)
	return circuit, true, nil
}

// ReserveTrial reports whether this process makes the trial call. The first of several
// replicas makes it. The others wait for its result, or for the time of a call.
func (g *Group) ReserveTrial(ctx context.Context, x *Breaker, callTime time.Duration) bool {
	now := time.Now()
	x.mu.Lock()
	if !x.trial || now.Before(x.opens) {
		// Since the operation was claimed for the trial, Refresh has adopted that another
		// replica makes it.
		x.mu.Unlock()
		return false
	}
	x.ownsTrial = true
	x.mu.Unlock()
	err := g.moveEnd(ctx, x, now.Add(callTime))
	if err == nil {
		return true
	}
	x.mu.Lock()
	x.ownsTrial = false
	x.opens = maxTime(x.opens, now.Add(trialPause))
	x.mu.Unlock()
	if !errors.Is(err, journal.ErrStale) {
		g.report.BreakerError("reserve_trial", "cannot reserve the trial call", err, x.account)
	} else if g.Refresh(ctx) != nil {
		g.log.Debug("cannot read the circuit breakers; trying again later")
	}
	return false
}

// ReleaseTrial releases a trial whose call was not sent, so that any replica can make
// it. If that fails, the others wait as if it had been sent.
func (g *Group) ReleaseTrial(ctx context.Context, x *Breaker) {
	if g.moveEnd(ctx, x, time.Now()) != nil {
		g.log.Debug("cannot release the trial call; other replicas wait for its reserved time", "account", x.account)
	}
}

// moveEnd moves the end of a throttled or backing-off breaker in the journal.
func (g *Group) moveEnd(ctx context.Context, x *Breaker, at time.Time) error {
	until := stored(at)
	x.mu.Lock()
	was, dirty, version := x.known, x.dirty, x.version
	x.mu.Unlock()
	if dirty {
		return journal.ErrStale // this process has a change that is not in the journal yet
	}
	err := g.journal.ReserveTrial(ctx, x.account, was, until)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.version == version {
		x.version++
		x.known.Until = until
		if !x.dirty {
			x.g.Until = until
		}
	}
	return err
}
