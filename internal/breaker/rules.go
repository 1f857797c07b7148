package breaker

import (
	"net/http"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// A Signal is what an answer, or a check of the partner's token, tells a breaker.
type Signal uint8

// The signals.
const (
	SignalNone               Signal = iota
	SignalAnswered                  // Invoicebox does its work for this account
	SignalLimited                   // 429
	SignalRateLimitExhausted        // an answer said that no request is left for a while
	SignalServerFault               // unreachable, or a fault of the server
	SignalUnauthorized              // our token is bad
	SignalRights                    // the account may not do this
	SignalAddress                   // the base URL leads somewhere else
	SignalPartner                   // the partner id is not accepted
	SignalRequest                   // the form of the request is not accepted
	SignalTokenValid                // the token check succeeded
	SignalTokenNoAnswer             // it did not
	SignalTokenInconclusive         // it was answered, and says nothing of the token
	SignalTokenAddress              // what answered it is not the API
	SignalTokenPartner              // its answer does not accept the partner id
	SignalRefused                   // Invoicebox refuses what one shop gave
	SignalUnusable                  // a success that spent one shop's code, and nobody can use it
	SignalUsable                    // a success of an activation was stored
	SignalPause                     // a person closes it
	SignalResume                    // a person lets one call try
	SignalSettingsChanged           // the account's settings have changed
	lastSignal               = SignalSettingsChanged
)

// FaultsToRest and faultsToPause are how many faults of one kind in a row, with
// no success between, close an open breaker.
const (
	FaultsToRest  = 5
	FaultsToPause = 3
)

// An action is what a signal does to a breaker.
type action uint8

const (
	none             action = iota
	open                    // open, nothing counted
	limit                   // limited until told
	countServerFault        // one more fault in a row; backs off at FaultsToRest
	countOurFault           // one more of our own faults in a row; pauses at faultsToPause
	rest                    // backs off, longer than the last time
	pause                   // paused, for the token or by a person
	halfOpen                // one trial now
	allowTrial              // its time is over and Invoicebox answers: the trial may be made
	countShop               // one more shop in a row was refused; pauses at refusalsToPause
	countUnusable           // one more shop's answer in a row is of no use; pauses at unusableToPause
)

// A rule is one transition. Trial rows are about the one call that a
// throttled or backing-off breaker lets through when its time is over; answers of calls
// that began before the breaker closed say nothing new.
type rule struct {
	state  journal.CircuitState
	reason onboarding.Reason // "" is any
	signal Signal
	trial  bool // only for the trial's own answer
	action action
}

// rules is the breaker's machine; a pair that is not here changes nothing.
var rules = []rule{
	{journal.CircuitActive, "", SignalAnswered, false, open},
	{journal.CircuitActive, "", SignalLimited, false, limit},
	{journal.CircuitActive, "", SignalRateLimitExhausted, false, limit},
	{journal.CircuitActive, "", SignalServerFault, false, countServerFault},
	{journal.CircuitActive, "", SignalUnauthorized, false, pause},
	{journal.CircuitActive, "", SignalRights, false, countOurFault},
	{journal.CircuitActive, "", SignalAddress, false, countOurFault},
	{journal.CircuitActive, "", SignalPartner, false, countOurFault},
	{journal.CircuitActive, "", SignalRequest, false, countOurFault},
	{journal.CircuitActive, "", SignalRefused, false, countShop},
	{journal.CircuitActive, "", SignalUnusable, false, countUnusable},

	{journal.CircuitThrottled, "", SignalAnswered, true, open},
	{journal.CircuitThrottled, "", SignalLimited, false, limit},
	{journal.CircuitThrottled, "", SignalRateLimitExhausted, false, limit},
	{journal.CircuitThrottled, "", SignalServerFault, true, rest},
	{journal.CircuitThrottled, "", SignalUnauthorized, false, pause},
	{journal.CircuitThrottled, "", SignalRights, true, countOurFault},
	{journal.CircuitThrottled, "", SignalAddress, true, countOurFault},
	{journal.CircuitThrottled, "", SignalPartner, true, countOurFault},
	{journal.CircuitThrottled, "", SignalRequest, true, countOurFault},
	{journal.CircuitThrottled, "", SignalRefused, true, countShop},
	{journal.CircuitThrottled, "", SignalUnusable, true, countUnusable},

	// The trial that follows a pause: the same again pauses again.
	{journal.CircuitBackingOff, onboarding.ReasonRights, SignalRights, true, pause},
	{journal.CircuitBackingOff, onboarding.ReasonAddress, SignalAddress, true, pause},
	{journal.CircuitBackingOff, onboarding.ReasonPartner, SignalPartner, true, pause},
	{journal.CircuitBackingOff, onboarding.ReasonRequest, SignalRequest, true, pause},
	{journal.CircuitBackingOff, onboarding.ReasonRefusals, SignalRefused, true, pause},
	{journal.CircuitBackingOff, onboarding.ReasonAnswers, SignalUnusable, true, pause},
	// Only an activation that is stored shows that codes are not spent for nothing.
	// Until then calls are made one at a time.
	{journal.CircuitBackingOff, onboarding.ReasonAnswers, SignalUsable, true, open},
	{journal.CircuitBackingOff, onboarding.ReasonAnswers, SignalAnswered, true, none},
	{journal.CircuitBackingOff, onboarding.ReasonAnswers, SignalRefused, true, none},
	{journal.CircuitBackingOff, "", SignalAnswered, true, open},
	{journal.CircuitBackingOff, "", SignalLimited, false, limit},
	{journal.CircuitBackingOff, "", SignalRateLimitExhausted, true, limit},
	{journal.CircuitBackingOff, "", SignalServerFault, true, rest},
	{journal.CircuitBackingOff, "", SignalUnauthorized, false, pause},
	{journal.CircuitBackingOff, "", SignalRights, true, countOurFault},
	{journal.CircuitBackingOff, "", SignalAddress, true, countOurFault},
	{journal.CircuitBackingOff, "", SignalPartner, true, countOurFault},
	{journal.CircuitBackingOff, "", SignalRequest, true, countOurFault},
	{journal.CircuitBackingOff, "", SignalRefused, true, countShop},
	{journal.CircuitBackingOff, "", SignalUnusable, true, countUnusable},

	// Before the trial of a rest, which may be lost, the token is checked, which
	// may not: while requests hang none is made that could have been executed.
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenValid, false, allowTrial},
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenInconclusive, false, allowTrial},
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenNoAnswer, false, rest},

	{journal.CircuitPaused, onboarding.ReasonToken, SignalTokenValid, false, open},
	{journal.CircuitPaused, onboarding.ReasonAddress, SignalTokenValid, false, halfOpen},

	{journal.CircuitActive, "", SignalPause, false, pause},
	{journal.CircuitThrottled, "", SignalPause, false, pause},
	{journal.CircuitBackingOff, "", SignalPause, false, pause},
	{journal.CircuitPaused, "", SignalPause, false, pause},
	// What a check of the token opens does not wait for a person.
	{journal.CircuitPaused, onboarding.ReasonToken, SignalResume, false, none},
	{journal.CircuitPaused, onboarding.ReasonAddress, SignalResume, false, none},
	{journal.CircuitPaused, "", SignalResume, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRights, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonPartner, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRequest, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRefusals, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonAnswers, SignalSettingsChanged, false, halfOpen},
	// A call from before the pause: they were not in a row after all.
	{journal.CircuitPaused, onboarding.ReasonRefusals, SignalAnswered, false, open},
	{journal.CircuitPaused, onboarding.ReasonAnswers, SignalUsable, false, open},
}

var signalReasons = map[Signal]onboarding.Reason{
	SignalLimited: onboarding.ReasonLimited, SignalRateLimitExhausted: onboarding.ReasonLimited, SignalServerFault: onboarding.ReasonServerFaults, SignalTokenNoAnswer: onboarding.ReasonServerFaults, SignalUnauthorized: onboarding.ReasonToken,
	SignalRights: onboarding.ReasonRights, SignalAddress: onboarding.ReasonAddress, SignalPartner: onboarding.ReasonPartner, SignalRequest: onboarding.ReasonRequest,
	SignalRefused: onboarding.ReasonRefusals, SignalUnusable: onboarding.ReasonAnswers, SignalPause: onboarding.ReasonOperator, SignalResume: onboarding.ReasonOperator, SignalSettingsChanged: onboarding.ReasonSettings,
}

// blocks is what a signal says of this process's own settings: the reason for which
// they cannot be used, or "" where they can.
var blocks = map[Signal]onboarding.Reason{
	SignalTokenAddress: onboarding.ReasonAddress, SignalTokenPartner: onboarding.ReasonPartner, SignalTokenValid: "", SignalUnauthorized: "",
}

func actionOf(g journal.Circuit, s Signal, trial bool) action {
	for _, r := range rules {
		if r.state == g.State && (r.reason == "" || string(r.reason) == g.Reason) && r.signal == s && (!r.trial || trial) {
			return r.action
		}
	}
	return none
}

// RefusalsToPause is how many different shops may be refused in a row, with no
// success between, before the account is paused: that many wrong codes or
// addresses one after the other are more likely an account that may not do what
// it asks for, and every further shop would be told to ask for a new code.
const RefusalsToPause = 20

// UnusableToPause is how many different shops in a row may have their code spent
// by a success that nobody can use (unreadable, or of a merchant that conflicts)
// before the account is paused: every further code would be spent as well.
const UnusableToPause = 3

// A signalRule says what an answer tells the account's breaker.
type signalRule struct {
	outcome   invoicebox.Outcome
	kind      journal.Kind         // 0 is any
	status    int                  // 0 is any
	unwritten bool                 // only where no status line came
	failure   invoicebox.Reason    // "" is any
	fault     invoicebox.FaultKind // FaultNone is any
	signal    Signal
}

// signalRules is the part of the outcome table that speaks of the account.
var signalRules = []signalRule{
	{outcome: invoicebox.Done, signal: SignalAnswered},
	{outcome: invoicebox.Unreadable, kind: journal.Invite, signal: SignalAnswered},                           // it was sent; nobody needs its id
	{outcome: invoicebox.Unreadable, signal: SignalNone},                                                     // told when it comes to a person
	{outcome: invoicebox.Refused, kind: journal.Invite, status: http.StatusConflict, signal: SignalAnswered}, // invited before: no refusal of the shop
	{outcome: invoicebox.Refused, signal: SignalRefused},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonSendBy, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonCanceled, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonClosed, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, unwritten: true, signal: SignalServerFault},
	{outcome: invoicebox.NotExecuted, signal: SignalNone}, // 425: the server is well
	{outcome: invoicebox.Limited, signal: SignalLimited},
	{outcome: invoicebox.ProbablyNotExecuted, signal: SignalServerFault},
	{outcome: invoicebox.Unknown, failure: invoicebox.ReasonCanceled, signal: SignalNone},
	{outcome: invoicebox.Unknown, signal: SignalServerFault},
	{outcome: invoicebox.Unauthorized, signal: SignalUnauthorized},
	{outcome: invoicebox.OurFault, failure: invoicebox.ReasonValue, signal: SignalNone}, // one shop's value, never sent
	{outcome: invoicebox.OurFault, fault: invoicebox.FaultRights, signal: SignalRights},
	{outcome: invoicebox.OurFault, fault: invoicebox.FaultAddress, signal: SignalAddress},
	{outcome: invoicebox.OurFault, fault: invoicebox.FaultPartnerID, signal: SignalPartner},
	{outcome: invoicebox.OurFault, signal: SignalRequest},
}

// SignalOf returns what a response tells the breaker of its account.
func SignalOf(kind journal.Kind, v invoicebox.Classification, status int) Signal {
	for _, r := range signalRules {
		switch {
		case r.outcome != v.Outcome, r.kind != 0 && r.kind != kind, r.status != 0 && r.status != status,
			r.unwritten && status != 0,
			r.failure != "" && r.failure != v.Reason,
			r.fault != invoicebox.FaultNone && r.fault != v.Fault:
		default:
			return r.signal
		}
	}
	return SignalNone
}

// A checkSignalRule says what a check of the account's own token tells its breaker. The
// first row that fits decides.
type checkSignalRule struct {
	outcome invoicebox.Outcome
	fault   invoicebox.FaultKind // FaultNone is any
	reason  invoicebox.Reason    // "" is any
	signal  Signal
}

// checkSignalRules: what is not here is no answer. The check sends a token and nothing
// else: whoever refuses its form, or reports success in another form, is not the API.
var checkSignalRules = []checkSignalRule{
	{outcome: invoicebox.Done, signal: SignalTokenValid},
	{outcome: invoicebox.Unauthorized, signal: SignalUnauthorized},
	{outcome: invoicebox.Limited, signal: SignalLimited},
	{outcome: invoicebox.OurFault, fault: invoicebox.FaultPartnerID, signal: SignalTokenPartner},
	{outcome: invoicebox.OurFault, fault: invoicebox.FaultRights, signal: SignalTokenInconclusive},
	{outcome: invoicebox.OurFault, signal: SignalTokenAddress},
	{outcome: invoicebox.Refused, signal: SignalTokenInconclusive},
	{outcome: invoicebox.Unreadable, reason: invoicebox.ReasonBodyCut, signal: SignalTokenInconclusive},
	{outcome: invoicebox.Unreadable, signal: SignalTokenAddress},
	{outcome: invoicebox.Unknown, reason: invoicebox.ReasonNotHTTP, signal: SignalTokenAddress},
	{outcome: invoicebox.Unknown, reason: invoicebox.ReasonHeaderLarge, signal: SignalTokenAddress},
}

// CheckSignalOf returns what a check of the account's own token tells its breaker.
func CheckSignalOf(v invoicebox.Classification) Signal {
	for _, r := range checkSignalRules {
		if r.outcome == v.Outcome && (r.fault == invoicebox.FaultNone || r.fault == v.Fault) && (r.reason == "" || r.reason == v.Reason) {
			return r.signal
		}
	}
	return SignalTokenNoAnswer
}
