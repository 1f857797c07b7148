package onboarding

import (
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
	sigPartner             // the partner id is not accepted
	sigRequest             // the form of the request is not accepted
	sigTokenGood           // the token check succeeded
	sigTokenBad            // it did not
	sigTokenOdd            // it was answered, and says nothing of the token
	sigTokenAddress        // what answered it is not the API
	sigTokenPartner        // its answer does not accept the partner id
	sigRefused             // Invoicebox refuses what one shop gave
	sigUnusable            // a success that spent one shop's code, and nobody can use it
	sigUsable              // a success of an activation was stored
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
	stay          gateMove = iota
	open                   // open, nothing counted
	limit                  // limited until told
	countFault             // one more fault in a row; rests at faultsToRest
	countPause             // one more of our own faults in a row; pauses at faultsToPause
	rest                   // rests, longer than the last time
	pause                  // paused, for the token or by a person
	try                    // one trial now
	sound                  // its time is over and Invoicebox answers: the trial may be made
	countShop              // one more shop in a row was refused; pauses at refusalsToPause
	countUnusable          // one more shop's answer in a row is of no use; pauses at unusableToPause
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
	{journal.GateOpen, "", sigPartner, false, countPause},
	{journal.GateOpen, "", sigRequest, false, countPause},
	{journal.GateOpen, "", sigRefused, false, countShop},
	{journal.GateOpen, "", sigUnusable, false, countUnusable},

	{journal.GateLimited, "", sigAnswered, true, open},
	{journal.GateLimited, "", sigLimited, false, limit},
	{journal.GateLimited, "", sigDrained, false, limit},
	{journal.GateLimited, "", sigFault, true, rest},
	{journal.GateLimited, "", sigUnauthorized, false, pause},
	{journal.GateLimited, "", sigRights, true, countPause},
	{journal.GateLimited, "", sigAddress, true, countPause},
	{journal.GateLimited, "", sigPartner, true, countPause},
	{journal.GateLimited, "", sigRequest, true, countPause},
	{journal.GateLimited, "", sigRefused, true, countShop},
	{journal.GateLimited, "", sigUnusable, true, countUnusable},

	// The trial that follows a pause: the same again pauses again.
	{journal.GateResting, ReasonRights, sigRights, true, pause},
	{journal.GateResting, ReasonAddress, sigAddress, true, pause},
	{journal.GateResting, ReasonPartner, sigPartner, true, pause},
	{journal.GateResting, ReasonRequest, sigRequest, true, pause},
	{journal.GateResting, ReasonRefusals, sigRefused, true, pause},
	{journal.GateResting, ReasonAnswers, sigUnusable, true, pause},
	// Only an activation that is stored shows that codes are not spent for nothing.
	// Until then calls are made one at a time.
	{journal.GateResting, ReasonAnswers, sigUsable, true, open},
	{journal.GateResting, ReasonAnswers, sigAnswered, true, stay},
	{journal.GateResting, ReasonAnswers, sigRefused, true, stay},
	{journal.GateResting, "", sigAnswered, true, open},
	{journal.GateResting, "", sigLimited, false, limit},
	{journal.GateResting, "", sigDrained, true, limit},
	{journal.GateResting, "", sigFault, true, rest},
	{journal.GateResting, "", sigUnauthorized, false, pause},
	{journal.GateResting, "", sigRights, true, countPause},
	{journal.GateResting, "", sigAddress, true, countPause},
	{journal.GateResting, "", sigPartner, true, countPause},
	{journal.GateResting, "", sigRequest, true, countPause},
	{journal.GateResting, "", sigRefused, true, countShop},
	{journal.GateResting, "", sigUnusable, true, countUnusable},

	// Before the trial of a rest, which may be lost, the token is checked, which
	// may not: while requests hang none is made that could have been executed.
	{journal.GateResting, ReasonServerFaults, sigTokenGood, false, sound},
	{journal.GateResting, ReasonServerFaults, sigTokenOdd, false, sound},
	{journal.GateResting, ReasonServerFaults, sigTokenBad, false, rest},

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
	{journal.GatePaused, ReasonPartner, sigChanged, false, try},
	{journal.GatePaused, ReasonRequest, sigChanged, false, try},
	{journal.GatePaused, ReasonRefusals, sigChanged, false, try},
	{journal.GatePaused, ReasonAnswers, sigChanged, false, try},
	// A call from before the pause: they were not in a row after all.
	{journal.GatePaused, ReasonRefusals, sigAnswered, false, open},
	{journal.GatePaused, ReasonAnswers, sigUsable, false, open},
}

var signalReasons = map[signal]Reason{
	sigLimited: ReasonLimited, sigDrained: ReasonLimited, sigFault: ReasonServerFaults, sigTokenBad: ReasonServerFaults, sigUnauthorized: ReasonToken,
	sigRights: ReasonRights, sigAddress: ReasonAddress, sigPartner: ReasonPartner, sigRequest: ReasonRequest,
	sigRefused: ReasonRefusals, sigUnusable: ReasonAnswers, sigPause: ReasonOperator, sigResume: ReasonOperator, sigChanged: ReasonSettings,
}

// blocks is what a signal says of this process's own settings: the reason for which
// they cannot be used, or "" where they can.
var blocks = map[signal]Reason{
	sigTokenAddress: ReasonAddress, sigTokenPartner: ReasonPartner, sigTokenGood: "", sigUnauthorized: "",
}

func gateMoveOf(g journal.Gate, s signal, trial bool) gateMove {
	for _, r := range gateRows {
		if r.state == g.State && (r.reason == "" || string(r.reason) == g.Reason) && r.signal == s && (!r.trial || trial) {
			return r.move
		}
	}
	return stay
}
