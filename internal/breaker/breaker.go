package breaker

import (
	"math"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Unlimited is the allowance of an active breaker.
const Unlimited = math.MaxInt32

// trialPause is how long a process that may not make a trial waits before its next
// check, if the breaker sets no time.
const trialPause = time.Second

// A Breaker is the circuit breaker of one account, as this process knows it. The
// journal has the same state a moment later.
type Breaker struct {
	cfg     Config
	account string

	mu                  sync.Mutex
	g                   journal.Circuit
	known               journal.Circuit // what the journal has
	dirty               bool
	version             int       // rises with every write to the journal
	opens               time.Time // by the monotonic clock: when throttled or backing-off ends
	trial               bool      // the trial is under way
	ownsTrial           bool      // this replica reserved the trial, as far as the journal has reported
	healthChecked       bool      // Invoicebox answered a check since the back-off time ended
	checks              int       // token checks in a row without a success of a call
	checkAt             time.Time // when the next one is due, while paused for token or address
	checkRequested      bool      // the token may have changed since the last check began
	consecutiveRefusals shopSet   // shops refused in a row, without a success between

	// Shops whose code was spent in a row although the response could not be used. A
	// stored activation resets the count, a pause does not: until one is stored, the
	// next such response pauses again. It also counts while the breaker is closed.
	consecutiveUnusable shopSet
	start               slowStart

	// blocked is the reason for which the last check of this process found its own
	// settings wrong, "" for none. It is not in the journal, because other replicas may
	// have other settings.
	blocked      onboarding.Reason
	blockedSince time.Time
	// fault is the reason of the last call or check of this process that made the
	// account back off.
	fault invoicebox.Reason
	// unproven: no response has shown yet that the account's settings are right. One
	// call is made at a time.
	unproven bool
}

// Config configures a breaker.
type Config struct {
	Account string
	// Concurrency bounds the calls in flight; a slow start ends when it has reached it.
	Concurrency int
	// LimitCap bounds what a 429 can ask for.
	LimitCap time.Duration
	// How long an account whose calls fail backs off: exponential from RestBase to RestCap.
	RestBase, RestCap time.Duration
	// Checks of the partner's token while an account is paused for it.
	TokenCheckBase, TokenCheckCap time.Duration
	// Unproven: no response has shown yet that the account's settings are right. Until
	// then one call is made at a time.
	Unproven bool
}

// New makes a breaker in the state that the journal has.
func New(cfg Config, g journal.Circuit, now time.Time) *Breaker {
	out := &Breaker{cfg: cfg, account: cfg.Account, start: newSlowStart(cfg.Concurrency), unproven: cfg.Unproven}
	out.load(g, now)
	return out
}

// load adopts the state of the journal. The caller holds mu, or no other goroutine has
// the breaker.
func (b *Breaker) load(g journal.Circuit, now time.Time) {
	b.known = g
	if g.State == "" {
		g.State = journal.CircuitActive
	}
	b.g, b.dirty, b.trial, b.ownsTrial, b.healthChecked, b.consecutiveRefusals = g, false, false, false, false, nil
	// A clock that stepped must not close an account for days.
	left := min(g.Until.Sub(now.Round(0)), max(b.cfg.LimitCap, b.cfg.RestCap))
	b.opens = now.Add(max(0, left))
	if g.Reason == string(onboarding.ReasonAnswers) {
		b.start.unusable(UnusableToPause) // as another replica found
	}
	b.scheduleCheck(now)
}

// ActivationsLeft is how many more activations the slow start permits while so many are
// in flight.
func (b *Breaker) ActivationsLeft(inFlight int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.start.free(inFlight)
}

// Allowance is how many operations may be claimed for calls now. If it is none, until
// is when to ask again, or zero if only a signal can change it.
func (b *Breaker) Allowance(now time.Time) (n int, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.effective().State {
	case journal.CircuitActive:
		return Unlimited, time.Time{}
	case journal.CircuitPaused:
		return 0, time.Time{}
	}
	switch {
	case now.Before(b.opens):
		return 0, b.opens
	case b.trial, b.needsHealthCheck():
		return 0, time.Time{}
	}
	return 1, time.Time{}
}

// Degraded reports whether the account is backing off or throttled, so that routine
// calls should wait. A pause does not count: it concerns the account's own token or
// rights.
func (b *Breaker) Degraded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.g.State == journal.CircuitThrottled || b.g.State == journal.CircuitBackingOff
}

// ReserveTrial reserves the one trial for the first caller; false for an active breaker.
func (b *Breaker) ReserveTrial(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.effective().State; s == journal.CircuitActive || s == journal.CircuitPaused || now.Before(b.opens) || b.trial || b.needsHealthCheck() {
		return false
	}
	b.trial = true
	return true
}

// EndTrial ends the trial, with or without a call.
func (b *Breaker) EndTrial() {
	b.mu.Lock()
	b.trial, b.ownsTrial = false, false
	b.mu.Unlock()
}

// Blocks reports whether a call may not start. The holder of the trial may start one.
func (b *Breaker) Blocks(trial bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.effective().State
	return s == journal.CircuitPaused || s != journal.CircuitActive && !trial
}

// effective returns the breaker for this process: paused if its own check blocks the account.
// The caller holds mu.
func (b *Breaker) effective() journal.Circuit {
	if b.blocked == "" || b.g.State == journal.CircuitPaused {
		return b.g
	}
	return journal.Circuit{State: journal.CircuitPaused, Reason: string(b.blocked), Since: stored(b.blockedSince)}
}

// Proving reports whether calls are made one at a time, because no response has shown
// yet that the account's settings are right.
func (b *Breaker) Proving() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unproven
}

// RecordFault records the reason of a call or check that failed.
func (b *Breaker) RecordFault(s Signal, reason invoicebox.Reason) {
	if s != SignalServerFault && s != SignalTokenNoAnswer {
		return
	}
	b.mu.Lock()
	b.fault = reason
	b.mu.Unlock()
}

// block blocks or unblocks the account by the result of this process's own check, and
// reports whether that changed. The caller holds mu.
func (b *Breaker) block(s Signal, now time.Time) (changed bool) {
	reason, speaks := blocks[s]
	if !speaks || reason == b.blocked {
		return false
	}
	b.blocked, b.blockedSince = reason, now
	b.scheduleCheck(now)
	return true
}

// Record changes the breaker and reports whether the journal has to be updated. Told is
// how long the response asked to wait, 0 if it did not.
func (b *Breaker) Record(s Signal, told time.Duration, trial bool, now time.Time) bool {
	return b.RecordShop("", s, told, trial, now)
}

// RecordShop is Record for a response about one shop.
func (b *Breaker) RecordShop(shop string, s Signal, told time.Duration, trial bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	blocked := b.block(s, now)
	return b.move(shop, s, told, trial, now) || blocked
}

// move makes the transition of a signal and reports whether the journal has to be
// updated. The caller holds mu.
func (b *Breaker) move(shop string, s Signal, told time.Duration, trial bool, now time.Time) bool {
	before := b.g
	if s == SignalAnswered {
		b.checks, b.consecutiveRefusals = 0, nil
	}
	if s == SignalAnswered || s == SignalRefused || s == SignalUsable {
		b.unproven = false
	}
	if s == SignalUsable {
		b.consecutiveUnusable = nil
		b.start.usable()
	}
	if s == SignalUnusable {
		if len(b.consecutiveUnusable) < UnusableToPause {
			b.consecutiveUnusable.add(shop)
		}
		b.start.unusable(len(b.consecutiveUnusable))
	}
	reason := string(signalReasons[s])
	switch actionOf(b.g, s, trial) {
	case none:
		return false
	case open:
		if b.g.State == journal.CircuitActive {
			b.g.Count, b.g.Reason = 0, ""
			return false
		}
		b.g = journal.Circuit{State: journal.CircuitActive, Since: stored(now)}
	case limit:
		until := now.Add(max(time.Second, min(told, b.cfg.LimitCap)))
		if b.g.State == journal.CircuitThrottled && until.Before(b.opens) {
			return false
		}
		b.close(journal.CircuitThrottled, reason, until, now)
	case countServerFault:
		if b.count(reason) >= FaultsToRest {
			b.g.Count = 0
			b.rest(reason, now)
		}
	case rest:
		b.rest(reason, now)
	case countOurFault:
		// The trial of a throttled or backing-off breaker was answered: only a fault of
		// our own can remain.
		if b.g.State != journal.CircuitActive {
			b.g = journal.Circuit{State: journal.CircuitActive, Since: stored(now)}
		}
		if b.count(reason) >= FaultsToPause || b.unproven && (s == SignalAddress || s == SignalPartner) {
			b.close(journal.CircuitPaused, reason, time.Time{}, now)
		}
	case allowTrial:
		b.healthChecked = true
		b.scheduleCheck(now)
		return false
	case pause:
		b.close(journal.CircuitPaused, reason, time.Time{}, now)
	case halfOpen:
		b.close(journal.CircuitBackingOff, b.g.Reason, now, now)
		b.g.Count = 0
	case countShop:
		// Invoicebox processed the shop's values: the count of consecutive faults ends.
		if b.g.State != journal.CircuitActive {
			b.g = journal.Circuit{State: journal.CircuitActive, Since: stored(now)}
		}
		b.g.Count, b.g.Reason = 0, ""
		if b.consecutiveRefusals.add(shop) >= RefusalsToPause {
			b.close(journal.CircuitPaused, reason, time.Time{}, now)
			b.consecutiveRefusals = nil
		}
	case countUnusable:
		// Invoicebox answered: the count of consecutive faults ends.
		if b.g.State != journal.CircuitActive {
			b.g = journal.Circuit{State: journal.CircuitActive, Since: stored(now)}
		}
		b.g.Count, b.g.Reason = 0, ""
		if len(b.consecutiveUnusable) >= UnusableToPause {
			b.close(journal.CircuitPaused, reason, time.Time{}, now)
		}
	}
	if b.g.State == before.State && b.g.Until.Equal(before.Until) && b.g.State == journal.CircuitActive {
		return false // a count alone is not worth a write
	}
	b.dirty = true
	return true
}

// count adds one fault of a kind. Another kind starts from one.
func (b *Breaker) count(reason string) int {
	if b.g.Reason != reason {
		b.g.Count = 0
	}
	b.g.Reason = reason
	b.g.Count++
	return b.g.Count
}

func (b *Breaker) rest(reason string, now time.Time) {
	n := 1
	if b.g.State == journal.CircuitBackingOff {
		n = b.g.Count + 1
	}
	b.close(journal.CircuitBackingOff, reason, now.Add(onboarding.Exponential(b.cfg.RestBase, b.cfg.RestCap, n-1)), now)
	b.g.Count = n
}

func (b *Breaker) close(s journal.CircuitState, reason string, until, now time.Time) {
	since := stored(now)
	if s == b.g.State && reason == b.g.Reason && !b.g.Since.IsZero() && s != journal.CircuitPaused {
		since = b.g.Since // the state and the reason are the same
	}
	b.g = journal.Circuit{State: s, Reason: reason, Until: stored(until), Count: b.g.Count, Since: since}
	b.opens, b.healthChecked = until, false
	if s == journal.CircuitPaused {
		b.opens = time.Time{}
	}
	b.scheduleCheck(now)
}

// retryAfterRestart turns a pause for our rights or request into one trial, because
// settings may have changed with the restart. An account that an operator paused stays
// paused.
func (b *Breaker) retryAfterRestart(now time.Time) bool {
	reason := onboarding.Reason(b.g.Reason)
	if b.g.State != journal.CircuitPaused || reason != onboarding.ReasonRights && reason != onboarding.ReasonRequest && reason != onboarding.ReasonPartner {
		return false
	}
	b.close(journal.CircuitBackingOff, b.g.Reason, now, now)
	b.dirty = true // so that one of all replicas makes it
	return true
}

// RequestCheck asks for a check at once, if one can help.
func (b *Breaker) RequestCheck(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checks, b.checkRequested = 0, true
	if !b.checkAt.IsZero() {
		b.checkAt = now
	}
}

// AfterCheck records a check and sets when the next one is due.
func (b *Breaker) AfterCheck(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checks++
	b.scheduleCheck(now)
	if b.needsHealthCheck() && b.blocked == "" {
		b.checkAt = maxTime(b.opens, now.Add(time.Second))
	}
	if b.checkRequested && !b.checkAt.IsZero() {
		b.checkAt = now
	}
}

// needsHealthCheck reports whether an account that backs off for the server's faults
// still needs a check before its trial.
func (b *Breaker) needsHealthCheck() bool {
	return b.g.State == journal.CircuitBackingOff && b.g.Reason == string(onboarding.ReasonServerFaults) && !b.healthChecked
}

// scheduleCheck sets when the partner's token is checked next.
func (b *Breaker) scheduleCheck(now time.Time) {
	b.checkAt = time.Time{}
	if b.needsHealthCheck() {
		b.checkAt = maxTime(b.opens, now)
	}
	if b.blocked != "" || b.g.State == journal.CircuitPaused && (b.g.Reason == string(onboarding.ReasonToken) || b.g.Reason == string(onboarding.ReasonAddress)) {
		b.checkAt = now.Add(onboarding.Exponential(b.cfg.TokenCheckBase, b.cfg.TokenCheckCap, b.checks))
	}
}

// stored is a time in the precision of the journal.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func sameState(a, b journal.Circuit) bool {
	return a.State == b.State && a.Reason == b.Reason && stored(a.Until).Equal(stored(b.Until))
}

// Preview returns the state after a signal, and whether the signal changes it.
func (b *Breaker) Preview(s Signal, now time.Time) (journal.Circuit, bool) {
	b.mu.Lock()
	next := Breaker{cfg: b.cfg, g: b.g, opens: b.opens, checks: b.checks}
	b.mu.Unlock()
	changes := next.Record(s, 0, false, now)
	return next.g, changes
}

// commit adopts the previewed state, which the journal now has. If the breaker has
// changed meanwhile, the journal is written again.
func (b *Breaker) commit(s Signal, written journal.Circuit, now time.Time) {
	b.Record(s, 0, false, now)
	b.mu.Lock()
	b.known = written
	b.version++
	b.dirty = !sameState(b.g, written)
	b.mu.Unlock()
}

// A Snapshot is a breaker at one instant.
type Snapshot struct {
	Circuit      journal.Circuit   // as it is for this process: paused if its own check blocks the account
	Shared       journal.Circuit   // as it is for all replicas
	CheckAt      time.Time         // when the account's token is checked next, zero: not planned
	Fault        invoicebox.Reason // of the call or check that made the account back off, while it does
	Blocked      onboarding.Reason // why this process's own check found its settings wrong
	BlockedSince time.Time
}

// BlockedOnly reports whether only this process's own check pauses the account.
func (s Snapshot) BlockedOnly() bool {
	return s.Blocked != "" && s.Shared.State != journal.CircuitPaused
}

// Snapshot returns the breaker as it is now.
func (b *Breaker) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Circuit: b.effective(), Shared: b.g, CheckAt: stored(b.checkAt)}
	if s.Circuit.State == journal.CircuitBackingOff && s.Circuit.Reason == string(onboarding.ReasonServerFaults) {
		s.Fault = b.fault
	}
	if s.Blocked = b.blocked; s.Blocked != "" {
		s.BlockedSince = stored(b.blockedSince)
	}
	return s
}

// NextCheck returns when the account's token is checked next, zero if no check is
// planned.
func (b *Breaker) NextCheck() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checkAt
}

// BeginCheck records that a check of the account's token begins, with the present
// token.
func (b *Breaker) BeginCheck() {
	b.mu.Lock()
	b.checkRequested = false
	b.mu.Unlock()
}

// A shopSet is a small set of shops. It never grows beyond refusalsToPause.
type shopSet map[string]struct{}

// add adds a shop and returns how many there are.
func (s *shopSet) add(shop string) int {
	if *s == nil {
		*s = make(shopSet, RefusalsToPause)
	}
	(*s)[shop] = struct{}{}
	return len(*s)
}
