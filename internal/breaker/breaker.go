package breaker

import (
	"math"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Unlimited is the allowance of an open gate.
const Unlimited = math.MaxInt32

// trialPause is how long who may not make a trial waits before it looks again, if
// the gate does not say.
const trialPause = time.Second

// A Breaker is one account's, as this process knows it. The journal has the same,
// a moment later.
type Breaker struct {
	cfg     BreakerConfig
	account string

	mu            sync.Mutex
	g             journal.Gate
	known         journal.Gate // what the journal has
	dirty         bool
	version       int       // rises with every write to the journal
	opens         time.Time // by the monotonic clock: when limited or resting ends
	trial         bool      // the trial is under way
	ownsTrial     bool      // and no other replica's, as far as the journal has said
	healthChecked bool      // Invoicebox answered a check since the rest was over
	checks        int       // token checks in a row without a success of a call
	checkAt       time.Time // when the next one is due, while paused for token or address
	renewed       bool      // the token may have changed since the last check began
	refused       shopSet   // shops refused in a row, without a success between

	// Shops whose code was spent for nothing in a row, without an activation
	// between that was stored. It outlives a pause: until one is stored, the next
	// such answer pauses again. It counts also while the gate is closed.
	unusable shopSet
	start    slowStart

	// blocked is the reason for which the last check of this process found its own
	// settings wrong, "" for none. It is not in the journal, because other replicas may
	// have other settings.
	blocked      onboarding.Reason
	blockedSince time.Time
	// fault is the reason of the last call or check of this process that made the
	// account back off.
	fault invoicebox.Reason
	// unproven: no answer has shown yet that the account's settings are right. One
	// call is made at a time.
	unproven bool
}

// BreakerConfig is what a gate needs of the configuration.
type BreakerConfig struct {
	Account string
	// Concurrency bounds the calls in flight; a slow start ends when it has reached it.
	Concurrency int
	// LimitCap bounds what a 429 can ask for.
	LimitCap time.Duration
	// Rests of an account whose calls fail: exponential from RestBase to RestCap.
	RestBase, RestCap time.Duration
	// Checks of the partner's token while an account is paused for it.
	TokenCheckBase, TokenCheckCap time.Duration
	// Unproven: no response has shown yet that the account's settings are right. Until
	// then one call is made at a time.
	Unproven bool
}

func NewBreaker(cfg BreakerConfig, g journal.Gate, now time.Time) *Breaker {
	out := &Breaker{cfg: cfg, account: cfg.Account, start: newSlowStart(cfg.Concurrency), unproven: cfg.Unproven}
	out.load(g, now)
	return out
}

// load takes over what the journal says. The caller holds mu, or is alone.
func (x *Breaker) load(g journal.Gate, now time.Time) {
	x.known = g
	if g.State == "" {
		g.State = journal.GateOpen
	}
	x.g, x.dirty, x.trial, x.ownsTrial, x.healthChecked, x.refused = g, false, false, false, false, nil
	// A clock that stepped must not close an account for days.
	left := min(g.Until.Sub(now.Round(0)), max(x.cfg.LimitCap, x.cfg.RestCap))
	x.opens = now.Add(max(0, left))
	if g.Reason == string(onboarding.ReasonAnswers) {
		x.start.unusable(UnusableToPause) // as another replica found
	}
	x.scheduleCheck(now)
}

// ActivationsLeft is how many more may be claimed for calls while so many are in
// flight, as far as the use of their responses bounds them.
func (x *Breaker) ActivationsLeft(inFlight int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.start.free(inFlight)
}

// Allowance is how many operations may be claimed for calls now; when it is
// none, until is when to ask again, zero when only a signal can change it.
func (x *Breaker) Allowance(now time.Time) (n int, until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.shown().State {
	case journal.GateOpen:
		return Unlimited, time.Time{}
	case journal.GatePaused:
		return 0, time.Time{}
	}
	switch {
	case now.Before(x.opens):
		return 0, x.opens
	case x.trial, x.needsHealthCheck():
		return 0, time.Time{}
	}
	return 1, time.Time{}
}

// Degraded tells whether Invoicebox is resting or limits the account: a bad time
// for what can wait. A pause is about the account's own token or rights.
func (x *Breaker) Degraded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.g.State == journal.GateLimited || x.g.State == journal.GateResting
}

// TakeTrial gives the one trial to whoever asks first; false for an open gate.
func (x *Breaker) TakeTrial(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.shown().State; s == journal.GateOpen || s == journal.GatePaused || now.Before(x.opens) || x.trial || x.needsHealthCheck() {
		return false
	}
	x.trial = true
	return true
}

// EndTrial gives the trial back, whether it came to a call or not.
func (x *Breaker) EndTrial() {
	x.mu.Lock()
	x.trial, x.ownsTrial = false, false
	x.mu.Unlock()
}

// Closed tells whether a call may not start. Whoever holds the trial may.
func (x *Breaker) Closed(trial bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shown().State
	return s == journal.GatePaused || s != journal.GateOpen && !trial
}

// shown returns the gate for this process: paused if its own check blocks the account.
// The caller holds mu.
func (x *Breaker) shown() journal.Gate {
	if x.blocked == "" || x.g.State == journal.GatePaused {
		return x.g
	}
	return journal.Gate{State: journal.GatePaused, Reason: string(x.blocked), Since: stored(x.blockedSince)}
}

// Proving reports whether calls are made one at a time, because no response has shown
// yet that the account's settings are right.
func (x *Breaker) Proving() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.unproven
}

// RecordFault records the reason of a call or check that failed.
func (x *Breaker) RecordFault(s Signal, reason invoicebox.Reason) {
	if s != SignalServerFault && s != SignalTokenNoAnswer {
		return
	}
	x.mu.Lock()
	x.fault = reason
	x.mu.Unlock()
}

// block blocks or unblocks the account by the result of this process's own check, and
// reports whether that changed. The caller holds mu.
func (x *Breaker) block(s Signal, now time.Time) (changed bool) {
	reason, speaks := blocks[s]
	if !speaks || reason == x.blocked {
		return false
	}
	x.blocked, x.blockedSince = reason, now
	x.scheduleCheck(now)
	return true
}

// Record changes the gate and says whether the journal has to be told. Told is
// how long the answer asked to wait, 0 where it did not.
func (x *Breaker) Record(s Signal, told time.Duration, trial bool, now time.Time) bool {
	return x.RecordShop("", s, told, trial, now)
}

// RecordShop is tell for an answer about one shop.
func (x *Breaker) RecordShop(shop string, s Signal, told time.Duration, trial bool, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	blocked := x.block(s, now)
	return x.move(shop, s, told, trial, now) || blocked
}

// move makes the move of a signal and reports whether the journal has to be updated.
// The caller holds mu.
func (x *Breaker) move(shop string, s Signal, told time.Duration, trial bool, now time.Time) bool {
	before := x.g
	if s == SignalAnswered {
		x.checks, x.refused = 0, nil
	}
	if s == SignalAnswered || s == SignalRefused || s == SignalUsable {
		x.unproven = false
	}
	if s == SignalUsable {
		x.unusable = nil
		x.start.usable()
	}
	if s == SignalUnusable {
		if len(x.unusable) < UnusableToPause {
			x.unusable.add(shop)
		}
		x.start.unusable(len(x.unusable))
	}
	reason := string(signalReasons[s])
	switch actionOf(x.g, s, trial) {
	case none:
		return false
	case open:
		if x.g.State == journal.GateOpen {
			x.g.Count, x.g.Reason = 0, ""
			return false
		}
		x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
	case limit:
		until := now.Add(max(time.Second, min(told, x.cfg.LimitCap)))
		if x.g.State == journal.GateLimited && until.Before(x.opens) {
			return false
		}
		x.close(journal.GateLimited, reason, until, now)
	case countServerFault:
		if x.count(reason) >= FaultsToRest {
			x.g.Count = 0
			x.rest(reason, now)
		}
	case rest:
		x.rest(reason, now)
	case countOurFault:
		// The trial of a limited or resting gate was answered: only our own
		// fault is left of it.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		if x.count(reason) >= FaultsToPause || x.unproven && (s == SignalAddress || s == SignalPartner) {
			x.close(journal.GatePaused, reason, time.Time{}, now)
		}
	case allowTrial:
		x.healthChecked = true
		x.scheduleCheck(now)
		return false
	case pause:
		x.close(journal.GatePaused, reason, time.Time{}, now)
	case halfOpen:
		x.close(journal.GateResting, x.g.Reason, now, now)
		x.g.Count = 0
	case countShop:
		// Whoever judges what a shop gave does its work: no fault is left in a row.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		x.g.Count, x.g.Reason = 0, ""
		if x.refused.add(shop) >= RefusalsToPause {
			x.close(journal.GatePaused, reason, time.Time{}, now)
			x.refused = nil
		}
	case countUnusable:
		// Invoicebox answered: no fault is left in a row.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		x.g.Count, x.g.Reason = 0, ""
		if len(x.unusable) >= UnusableToPause {
			x.close(journal.GatePaused, reason, time.Time{}, now)
		}
	}
	if x.g.State == before.State && x.g.Until.Equal(before.Until) && x.g.State == journal.GateOpen {
		return false // a count alone is not worth a write
	}
	x.dirty = true
	return true
}

// count adds one fault of a kind; another kind begins anew.
func (x *Breaker) count(reason string) int {
	if x.g.Reason != reason {
		x.g.Count = 0
	}
	x.g.Reason = reason
	x.g.Count++
	return x.g.Count
}

func (x *Breaker) rest(reason string, now time.Time) {
	n := 1
	if x.g.State == journal.GateResting {
		n = x.g.Count + 1
	}
	x.close(journal.GateResting, reason, now.Add(onboarding.Exponential(x.cfg.RestBase, x.cfg.RestCap, n-1)), now)
	x.g.Count = n
}

func (x *Breaker) close(s journal.GateState, reason string, until, now time.Time) {
	since := stored(now)
	if s == x.g.State && reason == x.g.Reason && !x.g.Since.IsZero() && s != journal.GatePaused {
		since = x.g.Since // the state and the reason are the same
	}
	x.g = journal.Gate{State: s, Reason: reason, Until: stored(until), Count: x.g.Count, Since: since}
	x.opens, x.healthChecked = until, false
	if s == journal.GatePaused {
		x.opens = time.Time{}
	}
	x.scheduleCheck(now)
}

// retry turns a pause for our rights or request into one trial: a restart is a
// person's act, and settings may have changed with it. What a person paused
// stays so.
func (x *Breaker) retry(now time.Time) bool {
	reason := onboarding.Reason(x.g.Reason)
	if x.g.State != journal.GatePaused || reason != onboarding.ReasonRights && reason != onboarding.ReasonRequest && reason != onboarding.ReasonPartner {
		return false
	}
	x.close(journal.GateResting, x.g.Reason, now, now)
	x.dirty = true // so that one of all replicas makes it
	return true
}

// RequestCheck asks for a check at once, if one can help.
func (x *Breaker) RequestCheck(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checks, x.renewed = 0, true
	if !x.checkAt.IsZero() {
		x.checkAt = now
	}
}

// AfterCheck notes a check and sets when the next one is due.
func (x *Breaker) AfterCheck(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checks++
	x.scheduleCheck(now)
	if x.needsHealthCheck() && x.blocked == "" {
		x.checkAt = laterOf(x.opens, now.Add(time.Second))
	}
	if x.renewed && !x.checkAt.IsZero() {
		x.checkAt = now
	}
}

// needsHealthCheck tells whether a rest for the server's faults still wants a check
// before its trial.
func (x *Breaker) needsHealthCheck() bool {
	return x.g.State == journal.GateResting && x.g.Reason == string(onboarding.ReasonServerFaults) && !x.healthChecked
}

// scheduleCheck sets when the partner's token is looked at next.
func (x *Breaker) scheduleCheck(now time.Time) {
	x.checkAt = time.Time{}
	if x.needsHealthCheck() {
		x.checkAt = laterOf(x.opens, now)
	}
	if x.blocked != "" || x.g.State == journal.GatePaused && (x.g.Reason == string(onboarding.ReasonToken) || x.g.Reason == string(onboarding.ReasonAddress)) {
		x.checkAt = now.Add(onboarding.Exponential(x.cfg.TokenCheckBase, x.cfg.TokenCheckCap, x.checks))
	}
}

// stored is a time as the journal keeps it.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func laterOf(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func sameGate(a, b journal.Gate) bool {
	return a.State == b.State && a.Reason == b.Reason && stored(a.Until).Equal(stored(b.Until))
}

// Preview tells what a signal would make of the gate, and whether it changes it.
func (x *Breaker) Preview(s Signal, now time.Time) (journal.Gate, bool) {
	x.mu.Lock()
	next := Breaker{cfg: x.cfg, g: x.g, opens: x.opens, checks: x.checks}
	x.mu.Unlock()
	changes := next.Record(s, 0, false, now)
	return next.g, changes
}

// commit takes over what was foreseen, now that the journal has it. Where the
// gate changed meanwhile, the journal is told anew.
func (x *Breaker) commit(s Signal, written journal.Gate, now time.Time) {
	x.Record(s, 0, false, now)
	x.mu.Lock()
	x.known = written
	x.version++
	x.dirty = !sameGate(x.g, written)
	x.mu.Unlock()
}

// A Snapshot is a gate at one instant.
type Snapshot struct {
	Gate         journal.Gate      // as it is for this process: paused if its own check blocks the account
	Shared       journal.Gate      // as it is for all replicas
	CheckAt      time.Time         // when the account's token is checked next, zero: not planned
	Fault        invoicebox.Reason // of the call or check that made the account back off, while it does
	Blocked      onboarding.Reason // why this process's own check found its settings wrong
	BlockedSince time.Time
}

// BlockedOnly reports whether only this process's own check pauses the account.
func (s Snapshot) BlockedOnly() bool {
	return s.Blocked != "" && s.Shared.State != journal.GatePaused
}

// Snapshot returns the gate as it is now.
func (x *Breaker) Snapshot() Snapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Snapshot{Gate: x.shown(), Shared: x.g, CheckAt: stored(x.checkAt)}
	if s.Gate.State == journal.GateResting && s.Gate.Reason == string(onboarding.ReasonServerFaults) {
		s.Fault = x.fault
	}
	if s.Blocked = x.blocked; s.Blocked != "" {
		s.BlockedSince = stored(x.blockedSince)
	}
	return s
}

// NextCheck returns when the account's token is checked next, zero if no check is
// planned.
func (x *Breaker) NextCheck() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.checkAt
}

// BeginCheck notes that a check of the account's token begins: it uses the token as
// it is now.
func (x *Breaker) BeginCheck() {
	x.mu.Lock()
	x.renewed = false
	x.mu.Unlock()
}

// A shopSet is a small set of shops. It never grows beyond refusalsToPause.
type shopSet map[string]struct{}

// add adds a shop and tells how many there are.
func (s *shopSet) add(shop string) int {
	if *s == nil {
		*s = make(shopSet, RefusalsToPause)
	}
	(*s)[shop] = struct{}{}
	return len(*s)
}
