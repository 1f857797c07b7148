package onboarding

import (
	"math"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

// unlimited is the allowance of an open gate.
const unlimited = math.MaxInt32

// trialPause is how long who may not make a trial waits before it looks again, if
// the gate does not say.
const trialPause = time.Second

// A gate is one account's, as this process knows it. The journal has the same,
// a moment later.
type gate struct {
	cfg Config

	mu      sync.Mutex
	g       journal.Gate
	known   journal.Gate // what the journal has
	dirty   bool
	version int       // rises with every write to the journal
	opens   time.Time // by the monotonic clock: when limited or resting ends
	trial   bool      // the trial is under way
	mine    bool      // and no other replica's, as far as the journal has said
	sounded bool      // Invoicebox answered a check since the rest was over
	checks  int       // token checks in a row without a success of a call
	checkAt time.Time // when the next one is due, while paused for token or address
	renewed bool      // the token may have changed since the last check began
	refused shopSet   // shops refused in a row, without a success between

	// Shops whose code was spent for nothing in a row, without an activation
	// between that was stored. It outlives a pause: until one is stored, the next
	// such answer pauses again. It counts also while the gate is closed.
	unusable shopSet
	start    slowStart

	// blocked is the reason for which the last check of this process found its own
	// settings wrong, "" for none. It is not in the journal, because other replicas may
	// have other settings.
	blocked      Reason
	blockedSince time.Time
	// fault is the reason of the last call or check of this process that made the
	// account back off.
	fault invoicebox.Reason
	// unproven: no answer has shown yet that the account's settings are right. One
	// call is made at a time.
	unproven bool
}

func newGate(cfg Config, g journal.Gate, now time.Time) *gate {
	out := &gate{cfg: cfg, start: newSlowStart(cfg.Concurrency)}
	out.adopt(g, now)
	return out
}

// adopt takes over what the journal says. The caller holds mu, or is alone.
func (x *gate) adopt(g journal.Gate, now time.Time) {
	x.known = g
	if g.State == "" {
		g.State = journal.GateOpen
	}
	x.g, x.dirty, x.trial, x.mine, x.sounded, x.refused = g, false, false, false, false, nil
	// A clock that stepped must not close an account for days.
	left := min(g.Until.Sub(now.Round(0)), max(x.cfg.LimitCap, x.cfg.RestCap))
	x.opens = now.Add(max(0, left))
	if g.Reason == string(ReasonAnswers) {
		x.start.unusable(unusableToPause) // as another replica found
	}
	x.scheduleCheck(now)
}

// activations is how many more may be claimed for calls while so many are in
// flight, as far as the use of their responses bounds them.
func (x *gate) activations(inFlight int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.start.free(inFlight)
}

// allowance is how many operations may be claimed for calls now; when it is
// none, until is when to ask again, zero when only a signal can change it.
func (x *gate) allowance(now time.Time) (n int, until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.shown().State {
	case journal.GateOpen:
		return unlimited, time.Time{}
	case journal.GatePaused:
		return 0, time.Time{}
	}
	switch {
	case now.Before(x.opens):
		return 0, x.opens
	case x.trial, x.unsounded():
		return 0, time.Time{}
	}
	return 1, time.Time{}
}

// unwell tells whether Invoicebox is resting or limits the account: a bad time
// for what can wait. A pause is about the account's own token or rights.
func (x *gate) unwell() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.g.State == journal.GateLimited || x.g.State == journal.GateResting
}

// takeTrial gives the one trial to whoever asks first; false for an open gate.
func (x *gate) takeTrial(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.shown().State; s == journal.GateOpen || s == journal.GatePaused || now.Before(x.opens) || x.trial || x.unsounded() {
		return false
	}
	x.trial = true
	return true
}

// endTrial gives the trial back, whether it came to a call or not.
func (x *gate) endTrial() {
	x.mu.Lock()
	x.trial, x.mine = false, false
	x.mu.Unlock()
}

// closed tells whether a call may not start. Whoever holds the trial may.
func (x *gate) closed(trial bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shown().State
	return s == journal.GatePaused || s != journal.GateOpen && !trial
}

// shown returns the gate for this process: paused if its own check blocks the account.
// The caller holds mu.
func (x *gate) shown() journal.Gate {
	if x.blocked == "" || x.g.State == journal.GatePaused {
		return x.g
	}
	return journal.Gate{State: journal.GatePaused, Reason: string(x.blocked), Since: stored(x.blockedSince)}
}

// blockedOnly reports whether only this process's own check pauses the account. The
// caller holds mu.
func (x *gate) blockedOnly() bool { return x.blocked != "" && x.g.State != journal.GatePaused }

// proving reports whether calls are made one at a time, because no response has shown
// yet that the account's settings are right.
func (x *gate) proving() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.unproven
}

// failed records the reason of a call or check that failed.
func (x *gate) failed(s signal, reason invoicebox.Reason) {
	if s != sigFault && s != sigTokenBad {
		return
	}
	x.mu.Lock()
	x.fault = reason
	x.mu.Unlock()
}

// block blocks or unblocks the account by the result of this process's own check, and
// reports whether that changed. The caller holds mu.
func (x *gate) block(s signal, now time.Time) (changed bool) {
	reason, speaks := blocks[s]
	if !speaks || reason == x.blocked {
		return false
	}
	x.blocked, x.blockedSince = reason, now
	x.scheduleCheck(now)
	return true
}

// tell changes the gate and says whether the journal has to be told. Told is
// how long the answer asked to wait, 0 where it did not.
func (x *gate) tell(s signal, told time.Duration, trial bool, now time.Time) bool {
	return x.tellOf("", s, told, trial, now)
}

// tellOf is tell for an answer about one shop.
func (x *gate) tellOf(shop string, s signal, told time.Duration, trial bool, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	blocked := x.block(s, now)
	return x.move(shop, s, told, trial, now) || blocked
}

// move makes the move of a signal and reports whether the journal has to be updated.
// The caller holds mu.
func (x *gate) move(shop string, s signal, told time.Duration, trial bool, now time.Time) bool {
	before := x.g
	if s == sigAnswered {
		x.checks, x.refused = 0, nil
	}
	if s == sigAnswered || s == sigRefused || s == sigUsable {
		x.unproven = false
	}
	if s == sigUsable {
		x.unusable = nil
		x.start.usable()
	}
	if s == sigUnusable {
		if len(x.unusable) < unusableToPause {
			x.unusable.add(shop)
		}
		x.start.unusable(len(x.unusable))
	}
	reason := string(signalReasons[s])
	switch gateMoveOf(x.g, s, trial) {
	case stay:
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
	case countFault:
		if x.count(reason) >= faultsToRest {
			x.g.Count = 0
			x.rest(reason, now)
		}
	case rest:
		x.rest(reason, now)
	case countPause:
		// The trial of a limited or resting gate was answered: only our own
		// fault is left of it.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		if x.count(reason) >= faultsToPause || x.unproven && (s == sigAddress || s == sigPartner) {
			x.close(journal.GatePaused, reason, time.Time{}, now)
		}
	case sound:
		x.sounded = true
		x.scheduleCheck(now)
		return false
	case pause:
		x.close(journal.GatePaused, reason, time.Time{}, now)
	case try:
		x.close(journal.GateResting, x.g.Reason, now, now)
		x.g.Count = 0
	case countShop:
		// Whoever judges what a shop gave does its work: no fault is left in a row.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		x.g.Count, x.g.Reason = 0, ""
		if x.refused.add(shop) >= refusalsToPause {
			x.close(journal.GatePaused, reason, time.Time{}, now)
			x.refused = nil
		}
	case countUnusable:
		// Invoicebox answered: no fault is left in a row.
		if x.g.State != journal.GateOpen {
			x.g = journal.Gate{State: journal.GateOpen, Since: stored(now)}
		}
		x.g.Count, x.g.Reason = 0, ""
		if len(x.unusable) >= unusableToPause {
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
func (x *gate) count(reason string) int {
	if x.g.Reason != reason {
		x.g.Count = 0
	}
	x.g.Reason = reason
	x.g.Count++
	return x.g.Count
}

func (x *gate) rest(reason string, now time.Time) {
	n := 1
	if x.g.State == journal.GateResting {
		n = x.g.Count + 1
	}
	x.close(journal.GateResting, reason, now.Add(growing(x.cfg.RestBase, x.cfg.RestCap, n-1)), now)
	x.g.Count = n
}

func (x *gate) close(s journal.GateState, reason string, until, now time.Time) {
	since := stored(now)
	if s == x.g.State && reason == x.g.Reason && !x.g.Since.IsZero() && s != journal.GatePaused {
		since = x.g.Since // the state and the reason are the same
	}
	x.g = journal.Gate{State: s, Reason: reason, Until: stored(until), Count: x.g.Count, Since: since}
	x.opens, x.sounded = until, false
	if s == journal.GatePaused {
		x.opens = time.Time{}
	}
	x.scheduleCheck(now)
}

// retry turns a pause for our rights or request into one trial: a restart is a
// person's act, and settings may have changed with it. What a person paused
// stays so.
func (x *gate) retry(now time.Time) bool {
	reason := Reason(x.g.Reason)
	if x.g.State != journal.GatePaused || reason != ReasonRights && reason != ReasonRequest && reason != ReasonPartner {
		return false
	}
	x.close(journal.GateResting, x.g.Reason, now, now)
	x.dirty = true // so that one of all replicas makes it
	return true
}

// renew asks for a check at once, if one can help.
func (x *gate) renew(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checks, x.renewed = 0, true
	if !x.checkAt.IsZero() {
		x.checkAt = now
	}
}

// checked notes a check and sets when the next one is due.
func (x *gate) checked(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checks++
	x.scheduleCheck(now)
	if x.unsounded() && x.blocked == "" {
		x.checkAt = later(x.opens, now.Add(time.Second))
	}
	if x.renewed && !x.checkAt.IsZero() {
		x.checkAt = now
	}
}

// unsounded tells whether a rest for the server's faults still wants a check
// before its trial.
func (x *gate) unsounded() bool {
	return x.g.State == journal.GateResting && x.g.Reason == string(ReasonServerFaults) && !x.sounded
}

// scheduleCheck sets when the partner's token is looked at next.
func (x *gate) scheduleCheck(now time.Time) {
	x.checkAt = time.Time{}
	if x.unsounded() {
		x.checkAt = later(x.opens, now)
	}
	if x.blocked != "" || x.g.State == journal.GatePaused && (x.g.Reason == string(ReasonToken) || x.g.Reason == string(ReasonAddress)) {
		x.checkAt = now.Add(growing(x.cfg.TokenCheckBase, x.cfg.TokenCheckCap, x.checks))
	}
}

// stored is a time as the journal keeps it.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// growing doubles base n times, up to limit.
func growing(base, limit time.Duration, n int) time.Duration {
	d := base
	for range n {
		if d >= limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, limit)
}

func sameGate(a, b journal.Gate) bool {
	return a.State == b.State && a.Reason == b.Reason && stored(a.Until).Equal(stored(b.Until))
}
