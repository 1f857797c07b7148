package onboarding

import (
	"math"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

// A signal is what an answer, or a check of the partner's token, tells a gate.
type signal uint8

const (
	sigNone         signal = iota
	sigAnswered            // Invoicebox does its work for this account
	sigLimited             // 429
	sigDrained             // an answer said that no request is left for a while
	sigFault               // unreachable, or a fault of the server
	sigUnauthorized        // our token is bad
	sigRights              // the account may not do this
	sigAddress             // the base URL leads somewhere else
	sigRequest             // the partner id or the request is not accepted
	sigTokenGood           // the token check succeeded
	sigTokenBad            // it did not
	sigRefused             // Invoicebox refuses what one shop gave
	sigPause               // a person closes it
	sigResume              // a person lets one call try
	sigChanged             // the account's settings have changed
	lastSignal      = sigChanged
)

// faultsToRest and faultsToPause are how many faults of one kind in a row, with
// no success between, close an open gate.
const (
	faultsToRest  = 5
	faultsToPause = 3
)

// A gateMove is what a signal does to a gate.
type gateMove uint8

const (
	stay       gateMove = iota
	open                // open, nothing counted
	limit               // limited until told
	countFault          // one more fault in a row; rests at faultsToRest
	countPause          // one more of our own faults in a row; pauses at faultsToPause
	rest                // rests, longer than the last time
	pause               // paused, for the token or by a person
	try                 // one trial now
	countShop           // one more shop in a row was refused; pauses at refusalsToPause
)

// A gateRow is one transition. Trial rows are about the one call that a
// limited or resting gate lets through when its time is over; answers of calls
// that began before the gate closed say nothing new.
type gateRow struct {
	state  journal.GateState
	reason Reason // "" is any
	signal signal
	trial  bool // only for the trial's own answer
	move   gateMove
}

// gateRows is the gate's machine; a pair that is not here changes nothing.
var gateRows = []gateRow{
	{journal.GateOpen, "", sigAnswered, false, open},
	{journal.GateOpen, "", sigLimited, false, limit},
	{journal.GateOpen, "", sigDrained, false, limit},
	{journal.GateOpen, "", sigFault, false, countFault},
	{journal.GateOpen, "", sigUnauthorized, false, pause},
	{journal.GateOpen, "", sigRights, false, countPause},
	{journal.GateOpen, "", sigAddress, false, countPause},
	{journal.GateOpen, "", sigRequest, false, countPause},
	{journal.GateOpen, "", sigRefused, false, countShop},

	{journal.GateLimited, "", sigAnswered, true, open},
	{journal.GateLimited, "", sigLimited, false, limit},
	{journal.GateLimited, "", sigDrained, false, limit},
	{journal.GateLimited, "", sigFault, true, rest},
	{journal.GateLimited, "", sigUnauthorized, false, pause},
	{journal.GateLimited, "", sigRights, true, countPause},
	{journal.GateLimited, "", sigAddress, true, countPause},
	{journal.GateLimited, "", sigRequest, true, countPause},
	{journal.GateLimited, "", sigRefused, true, countShop},

	// The trial that follows a pause: the same again pauses again.
	{journal.GateResting, ReasonRights, sigRights, true, pause},
	{journal.GateResting, ReasonAddress, sigAddress, true, pause},
	{journal.GateResting, ReasonRequest, sigRequest, true, pause},
	{journal.GateResting, ReasonRefusals, sigRefused, true, pause},
	{journal.GateResting, "", sigAnswered, true, open},
	{journal.GateResting, "", sigLimited, false, limit},
	{journal.GateResting, "", sigDrained, true, limit},
	{journal.GateResting, "", sigFault, true, rest},
	{journal.GateResting, "", sigUnauthorized, false, pause},
	{journal.GateResting, "", sigRights, true, countPause},
	{journal.GateResting, "", sigAddress, true, countPause},
	{journal.GateResting, "", sigRequest, true, countPause},
	{journal.GateResting, "", sigRefused, true, countShop},

	{journal.GatePaused, ReasonToken, sigTokenGood, false, open},
	{journal.GatePaused, ReasonAddress, sigTokenGood, false, try},

	{journal.GateOpen, "", sigPause, false, pause},
	{journal.GateLimited, "", sigPause, false, pause},
	{journal.GateResting, "", sigPause, false, pause},
	{journal.GatePaused, "", sigPause, false, pause},
	// What a check of the token opens does not wait for a person.
	{journal.GatePaused, ReasonToken, sigResume, false, stay},
	{journal.GatePaused, ReasonAddress, sigResume, false, stay},
	{journal.GatePaused, "", sigResume, false, try},
	{journal.GatePaused, ReasonRights, sigChanged, false, try},
	{journal.GatePaused, ReasonRequest, sigChanged, false, try},
	{journal.GatePaused, ReasonRefusals, sigChanged, false, try},
	// A call from before the pause: they were not in a row after all.
	{journal.GatePaused, ReasonRefusals, sigAnswered, false, open},
}

var signalReasons = map[signal]Reason{
	sigLimited: ReasonLimited, sigDrained: ReasonLimited, sigFault: ReasonServerFaults, sigUnauthorized: ReasonToken,
	sigRights: ReasonRights, sigAddress: ReasonAddress, sigRequest: ReasonRequest,
	sigRefused: ReasonRefusals, sigPause: ReasonOperator, sigResume: ReasonOperator, sigChanged: ReasonSettings,
}

func gateMoveOf(g journal.Gate, s signal, trial bool) gateMove {
	for _, r := range gateRows {
		if r.state == g.State && (r.reason == "" || string(r.reason) == g.Reason) && r.signal == s && (!r.trial || trial) {
			return r.move
		}
	}
	return stay
}

// unlimited is the allowance of an open gate.
const unlimited = math.MaxInt32

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
	checks  int       // token checks in a row without a success of a call
	checkAt time.Time // when the next one is due, while paused for token or address
	renewed bool      // the token may have changed since the last check began
	refused shopSet   // shops refused in a row, without a success between
}

func newGate(cfg Config, g journal.Gate, now time.Time) *gate {
	out := &gate{cfg: cfg}
	out.adopt(g, now)
	return out
}

// adopt takes over what the journal says. The caller holds mu, or is alone.
func (x *gate) adopt(g journal.Gate, now time.Time) {
	x.known = g
	if g.State == "" {
		g.State = journal.GateOpen
	}
	x.g, x.dirty, x.trial, x.refused = g, false, false, nil
	// A clock that stepped must not close an account for days.
	left := min(g.Until.Sub(now.Round(0)), max(x.cfg.LimitCap, x.cfg.RestCap))
	x.opens = now.Add(max(0, left))
	x.scheduleCheck(now)
}

// allowance is how many operations may be claimed for calls now; when it is
// none, until is when to ask again, zero when only a signal can change it.
func (x *gate) allowance(now time.Time) (n int, until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.g.State {
	case journal.GateOpen:
		return unlimited, time.Time{}
	case journal.GatePaused:
		return 0, time.Time{}
	}
	switch {
	case now.Before(x.opens):
		return 0, x.opens
	case x.trial:
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
	if x.g.State == journal.GateOpen || x.g.State == journal.GatePaused || now.Before(x.opens) || x.trial {
		return false
	}
	x.trial = true
	return true
}

// endTrial gives the trial back, whether it came to a call or not.
func (x *gate) endTrial() {
	x.mu.Lock()
	x.trial = false
	x.mu.Unlock()
}

// closed tells whether a call may not start. Whoever holds the trial may.
func (x *gate) closed(trial bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.g.State == journal.GatePaused || x.g.State != journal.GateOpen && !trial
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
	before := x.g
	if s == sigAnswered {
		x.checks, x.refused = 0, nil
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
		if x.count(reason) >= faultsToPause {
			x.close(journal.GatePaused, reason, time.Time{}, now)
		}
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
	x.g = journal.Gate{State: s, Reason: reason, Until: stored(until), Count: x.g.Count, Since: stored(now)}
	x.opens = until
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
	if x.g.State != journal.GatePaused || reason != ReasonRights && reason != ReasonRequest {
		return false
	}
	x.close(journal.GateResting, x.g.Reason, now, now)
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
	if x.renewed && !x.checkAt.IsZero() {
		x.checkAt = now
	}
}

// scheduleCheck sets when the partner's token is looked at next.
func (x *gate) scheduleCheck(now time.Time) {
	x.checkAt = time.Time{}
	if x.g.State == journal.GatePaused && (x.g.Reason == string(ReasonToken) || x.g.Reason == string(ReasonAddress)) {
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
