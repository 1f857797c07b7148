package breaker

import (
	"net/http"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// A Signal is what a response, or a check of the partner's token, means for a breaker.
type Signal uint8

// The signals.
const (
	SignalNone               Signal = iota
	SignalAnswered                  // Invoicebox processes requests of this account
	SignalLimited                   // 429
	SignalRateLimitExhausted        // a response reported that no request is left for a while
	SignalServerFault               // unreachable, or a fault of the server
	SignalUnauthorized              // our token is bad
	SignalRights                    // the account may not do this
	SignalAddress                   // the base URL leads somewhere else
	SignalPartner                   // the partner id is not accepted
	SignalRequest                   // the form of the request is not accepted
	SignalTokenValid                // the token check succeeded
	SignalTokenNoAnswer             // the token check got no response
	SignalTokenInconclusive         // its response does not show whether the token is valid
	SignalTokenAddress              // its response is not of the API
	SignalTokenPartner              // its response rejects the partner id
	SignalRefused                   // Invoicebox refuses the code or address of one shop
	SignalUnusable                  // a success that spent one shop's code, with a response that cannot be used
	SignalUsable                    // a success of an activation was stored
	SignalPause                     // an operator pauses the account
	SignalResume                    // an operator permits one trial
	SignalSettingsChanged           // the account's settings have changed
	lastSignal               = SignalSettingsChanged
)

// FaultsToRest and faultsToPause are how many faults of one kind in a row, with
// no success between, open an active breaker.
const (
	FaultsToRest  = 5
	FaultsToPause = 3
)

// An action is what a signal does to a breaker.
type action uint8

const (
	none             action = iota
	open                    // open, nothing counted
	limit                   // throttled for the time of the response
	countServerFault        // one more fault in a row; backs off at FaultsToRest
	countOurFault           // one more of our own faults in a row; pauses at faultsToPause
	rest                    // backs off, longer than the last time
	pause                   // paused, for the token or by an operator
	halfOpen                // one trial now
	allowTrial              // the back-off time is over and Invoicebox answers: the trial may be made
	countShop               // one more shop in a row was refused; pauses at refusalsToPause
	countUnusable           // one more shop's response in a row cannot be used; pauses at unusableToPause
)

// A rule is one transition. Trial rows are for the one call that a throttled or
// backing-off breaker permits when its time is over. Responses to calls that began
// before the breaker opened are ignored.
type rule struct {
	state  journal.CircuitState
	reason onboarding.Reason // "" is any
	signal Signal
	trial  bool // only for the response to the trial
	action action
}

// rules is the breaker's state machine. A pair that is not in it changes nothing.
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

	// Before the trial of an account that backs off, the token is checked. A lost trial
	// has an unknown outcome; a lost check has no effect.
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenValid, false, allowTrial},
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenInconclusive, false, allowTrial},
	{journal.CircuitBackingOff, onboarding.ReasonServerFaults, SignalTokenNoAnswer, false, rest},

	{journal.CircuitPaused, onboarding.ReasonToken, SignalTokenValid, false, open},
	{journal.CircuitPaused, onboarding.ReasonAddress, SignalTokenValid, false, halfOpen},

	{journal.CircuitActive, "", SignalPause, false, pause},
	{journal.CircuitThrottled, "", SignalPause, false, pause},
	{journal.CircuitBackingOff, "", SignalPause, false, pause},
	{journal.CircuitPaused, "", SignalPause, false, pause},
	// A pause that a token check can end does not wait for an operator.
	{journal.CircuitPaused, onboarding.ReasonToken, SignalResume, false, none},
	{journal.CircuitPaused, onboarding.ReasonAddress, SignalResume, false, none},
	{journal.CircuitPaused, "", SignalResume, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRights, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonPartner, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRequest, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonRefusals, SignalSettingsChanged, false, halfOpen},
	{journal.CircuitPaused, onboarding.ReasonAnswers, SignalSettingsChanged, false, halfOpen},
	// The call began before the pause: the refusals were not consecutive.
	{journal.CircuitPaused, onboarding.ReasonRefusals, SignalAnswered, false, open},
	{journal.CircuitPaused, onboarding.ReasonAnswers, SignalUsable, false, open},
}

var signalReasons = map[Signal]onboarding.Reason{
	SignalLimited: onboarding.ReasonLimited, SignalRateLimitExhausted: onboarding.ReasonLimited, SignalServerFault: onboarding.ReasonServerFaults, SignalTokenNoAnswer: onboarding.ReasonServerFaults, SignalUnauthorized: onboarding.ReasonToken,
	SignalRights: onboarding.ReasonRights, SignalAddress: onboarding.ReasonAddress, SignalPartner: onboarding.ReasonPartner, SignalRequest: onboarding.ReasonRequest,
	SignalRefused: onboarding.ReasonRefusals, SignalUnusable: onboarding.ReasonAnswers, SignalPause: onboarding.ReasonOperator, SignalResume: onboarding.ReasonOperator, SignalSettingsChanged: onboarding.ReasonSettings,
}

// blocks maps a signal to the reason for which this process's own settings cannot be
// used, or to "" if they can.
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

// RefusalsToPause is how many different shops may be refused in a row, with no success
// between, before the account is paused. So many wrong codes or addresses in a row more
// likely mean that the account lacks rights, and every further shop would be asked for
// a new code.
const RefusalsToPause = 20

// UnusableToPause is how many different shops in a row may get a successful response
// that cannot be used (unreadable, or of a merchant that conflicts) before the account
// is paused. Each such response spends a code.
const UnusableToPause = 3

// A signalRule maps a response to a signal for the account's breaker.
type signalRule struct {
	outcome   invoicebox.Outcome
	kind      journal.Kind         // 0 is any
	status    int                  // 0 is any
	unwritten bool                 // only where no status line came
	failure   invoicebox.Reason    // "" is any
	fault     invoicebox.FaultKind // FaultNone is any
	signal    Signal
}

// signalRules is the part of the outcome table that concerns the account.
var signalRules = []signalRule{
	{outcome: invoicebox.Done, signal: SignalAnswered},
	{outcome: invoicebox.Unreadable, kind: journal.Invite, signal: SignalAnswered},                           // it was sent, and its id is not needed
	{outcome: invoicebox.Unreadable, signal: SignalNone},                                                     // signalled when it comes to attention
	{outcome: invoicebox.Refused, kind: journal.Invite, status: http.StatusConflict, signal: SignalAnswered}, // invited before: no refusal of the shop
	{outcome: invoicebox.Refused, signal: SignalRefused},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonSendBy, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonCanceled, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, failure: invoicebox.ReasonClosed, signal: SignalNone},
	{outcome: invoicebox.NotExecuted, unwritten: true, signal: SignalServerFault},
	{outcome: invoicebox.NotExecuted, signal: SignalNone}, // 425: no fault of the server
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

// SignalOf returns the signal of a response for the breaker of its account.
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

// A checkSignalRule maps a check of the account's own token to a signal. The first row
// that fits decides.
type checkSignalRule struct {
	outcome invoicebox.Outcome
	fault   invoicebox.FaultKind // FaultNone is any
	reason  invoicebox.Reason    // "" is any
	signal  Signal
}

// checkSignalRules: a result without a row is SignalTokenNoAnswer. The check sends only
// a token, so a server that refuses its form, or reports success in another form, is
// not the API.
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

// CheckSignalOf returns the signal of a check of the account's own token.
func CheckSignalOf(v invoicebox.Classification) Signal {
	for _, r := range checkSignalRules {
		if r.outcome == v.Outcome && (r.fault == invoicebox.FaultNone || r.fault == v.Fault) && (r.reason == "" || r.reason == v.Reason) {
			return r.signal
		}
	}
	return SignalTokenNoAnswer
}
