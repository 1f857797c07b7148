package onboarding

import (
	"net/http"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// doubt is what an outcome's row asks of the operation's doubt before the
// attempt at hand.
type doubt uint8

const (
	anyDoubt doubt = iota
	noDoubt
	inDoubt
)

// An outcomeRow says where an answer leads. The first row that fits decides.
type outcomeRow struct {
	kind    journal.Kind
	class   invoicebox.Class
	status  int               // 0 is any
	failure invoicebox.Reason // "" is any
	doubt   doubt

	from, to journal.State
	reason   Reason
	invited  schemas.InvitationOutcome // the invited event to publish, or ""
	failed   schemas.FailureReason     // the failure event to publish, or ""
	mark     bool                      // it counts as the shop's last invitation
}

// outcomes is the outcome table of the client's classes for both kinds. An
// activation's 2xx is durable, and its state Received, before it is classified.
var outcomes = []outcomeRow{
	{kind: journal.Invite, class: invoicebox.Done, from: journal.Sending, to: journal.Done, reason: ReasonSent, invited: schemas.OutcomeSent, mark: true},
	{kind: journal.Invite, class: invoicebox.Unreadable, from: journal.Sending, to: journal.Done, reason: ReasonSent, invited: schemas.OutcomeSent, mark: true},
	{kind: journal.Invite, class: invoicebox.Refused, status: http.StatusConflict, from: journal.Sending, to: journal.Done, reason: ReasonAlreadyInvited, invited: schemas.OutcomeAlreadyInvited, mark: true},
	{kind: journal.Invite, class: invoicebox.Refused, from: journal.Sending, to: journal.Done, reason: ReasonRefusedAddress, failed: schemas.FailureAddressRejected},
	{kind: journal.Invite, class: invoicebox.NotExecuted, failure: invoicebox.ReasonSendBy, from: journal.Sending, to: journal.Planned, reason: ReasonNotSent},
	{kind: journal.Invite, class: invoicebox.NotExecuted, failure: invoicebox.ReasonCanceled, from: journal.Sending, to: journal.Planned, reason: ReasonDrained},
	{kind: journal.Invite, class: invoicebox.NotExecuted, from: journal.Sending, to: journal.Waiting, reason: ReasonNotExecuted},
	{kind: journal.Invite, class: invoicebox.Limited, from: journal.Sending, to: journal.Waiting, reason: ReasonLimited},
	{kind: journal.Invite, class: invoicebox.ProbablyNotExecuted, from: journal.Sending, to: journal.Waiting, reason: ReasonProbablyNotExecuted},
	{kind: journal.Invite, class: invoicebox.Unauthorized, from: journal.Sending, to: journal.Planned, reason: ReasonUnauthorized},
	{kind: journal.Invite, class: invoicebox.OurFault, from: journal.Sending, to: journal.Attention, reason: ReasonRequestRejected, failed: schemas.FailureRequestRejected},
	{kind: journal.Invite, class: invoicebox.Unknown, from: journal.Sending, to: journal.Unknown, reason: ReasonNoProof, mark: true},

	{kind: journal.Activate, class: invoicebox.Done, from: journal.Received, to: journal.Stored, reason: ReasonTokenUnanswered},
	{kind: journal.Activate, class: invoicebox.Unreadable, from: journal.Received, to: journal.Attention, reason: ReasonAnswerUnreadable, failed: schemas.FailureAnswerUnreadable},
	{kind: journal.Activate, class: invoicebox.Refused, doubt: noDoubt, from: journal.Sending, to: journal.Done, reason: ReasonRefusedCode, failed: schemas.FailureCodeRejected},
	{kind: journal.Activate, class: invoicebox.Refused, doubt: inDoubt, from: journal.Sending, to: journal.Attention, reason: ReasonOutcomeLost, failed: schemas.FailureOutcomeLost},
	{kind: journal.Activate, class: invoicebox.NotExecuted, failure: invoicebox.ReasonSendBy, from: journal.Sending, to: journal.Planned, reason: ReasonNotSent},
	{kind: journal.Activate, class: invoicebox.NotExecuted, failure: invoicebox.ReasonCanceled, from: journal.Sending, to: journal.Planned, reason: ReasonDrained},
	{kind: journal.Activate, class: invoicebox.NotExecuted, from: journal.Sending, to: journal.Waiting, reason: ReasonNotExecuted},
	{kind: journal.Activate, class: invoicebox.Limited, from: journal.Sending, to: journal.Waiting, reason: ReasonLimited},
	{kind: journal.Activate, class: invoicebox.ProbablyNotExecuted, from: journal.Sending, to: journal.Waiting, reason: ReasonProbablyNotExecuted},
	{kind: journal.Activate, class: invoicebox.Unauthorized, from: journal.Sending, to: journal.Planned, reason: ReasonUnauthorized},
	{kind: journal.Activate, class: invoicebox.OurFault, from: journal.Sending, to: journal.Attention, reason: ReasonRequestRejected, failed: schemas.FailureRequestRejected},
	{kind: journal.Activate, class: invoicebox.Unknown, from: journal.Sending, to: journal.Unknown, reason: ReasonNoProof},
}

// outcomeOf finds the row for an answer. What no row knows proves nothing.
func outcomeOf(kind journal.Kind, v invoicebox.Verdict, status int, doubtful bool) outcomeRow {
	for _, r := range outcomes {
		switch {
		case r.kind != kind || r.class != v.Class,
			r.status != 0 && r.status != status,
			r.failure != "" && r.failure != v.Reason,
			r.doubt == noDoubt && doubtful,
			r.doubt == inDoubt && !doubtful:
		default:
			return r
		}
	}
	return outcomeRow{kind: kind, class: invoicebox.Unknown, from: journal.Sending, to: journal.Unknown, reason: ReasonNoProof}
}

// A quietRow says what follows an unknown outcome when the quiet period is over.
type quietRow struct {
	kind    journal.Kind
	setting string // "" is any
	again   bool   // fits only an operation that was unknown once
	to      journal.State
	reason  Reason
}

// afterQuiet: the first row that fits decides. A probe of an activation may
// spend its code a second time, so it is made once in an operation's life and
// can be forbidden; an invitation costs a second e-mail at worst.
var afterQuiet = []quietRow{
	{kind: journal.Invite, again: true, to: journal.Planned, reason: ReasonOnceMore},
	{kind: journal.Invite, to: journal.Attention, reason: ReasonOutcomeUnknown},
	{kind: journal.Activate, setting: ProbeOnce, again: true, to: journal.Planned, reason: ReasonProbe},
	{kind: journal.Activate, to: journal.Attention, reason: ReasonOutcomeUnknown},
}

// afterQuietOf finds the row; unknowns are the operation's attempts of which
// nobody knows, over all runs.
func afterQuietOf(kind journal.Kind, setting string, unknowns int) quietRow {
	for _, r := range afterQuiet {
		if r.kind == kind && (r.setting == "" || r.setting == setting) && (!r.again || unknowns == 1) {
			return r
		}
	}
	return quietRow{kind: kind, to: journal.Attention, reason: ReasonOutcomeUnknown}
}

// A signalRow says what an answer tells the account's gate.
type signalRow struct {
	class     invoicebox.Class
	kind      journal.Kind      // 0 is any
	status    int               // 0 is any
	unwritten bool              // only where no status line came
	failure   invoicebox.Reason // "" is any
	fault     invoicebox.Fault  // FaultNone is any
	signal    signal
}

// signals is the part of the outcome table that speaks of the account.
var signals = []signalRow{
	{class: invoicebox.Done, signal: sigAnswered},
	{class: invoicebox.Unreadable, kind: journal.Invite, signal: sigAnswered},                           // it was sent; nobody needs its id
	{class: invoicebox.Unreadable, signal: sigNone},                                                     // told when it comes to a person
	{class: invoicebox.Refused, kind: journal.Invite, status: http.StatusConflict, signal: sigAnswered}, // invited before: no refusal of the shop
	{class: invoicebox.Refused, signal: sigRefused},
	{class: invoicebox.NotExecuted, failure: invoicebox.ReasonSendBy, signal: sigNone},
	{class: invoicebox.NotExecuted, failure: invoicebox.ReasonCanceled, signal: sigNone},
	{class: invoicebox.NotExecuted, failure: invoicebox.ReasonClosed, signal: sigNone},
	{class: invoicebox.NotExecuted, unwritten: true, signal: sigFault},
	{class: invoicebox.NotExecuted, signal: sigNone}, // 425: the server is well
	{class: invoicebox.Limited, signal: sigLimited},
	{class: invoicebox.ProbablyNotExecuted, signal: sigFault},
	{class: invoicebox.Unknown, failure: invoicebox.ReasonCanceled, signal: sigNone},
	{class: invoicebox.Unknown, signal: sigFault},
	{class: invoicebox.Unauthorized, signal: sigUnauthorized},
	{class: invoicebox.OurFault, failure: invoicebox.ReasonValue, signal: sigNone}, // one shop's value, never sent
	{class: invoicebox.OurFault, fault: invoicebox.FaultRights, signal: sigRights},
	{class: invoicebox.OurFault, fault: invoicebox.FaultAddress, signal: sigAddress},
	{class: invoicebox.OurFault, fault: invoicebox.FaultPartnerID, signal: sigPartner},
	{class: invoicebox.OurFault, signal: sigRequest},
}

func signalOf(kind journal.Kind, v invoicebox.Verdict, status int) signal {
	for _, r := range signals {
		switch {
		case r.class != v.Class, r.kind != 0 && r.kind != kind, r.status != 0 && r.status != status,
			r.unwritten && status != 0,
			r.failure != "" && r.failure != v.Reason,
			r.fault != invoicebox.FaultNone && r.fault != v.Fault:
		default:
			return r.signal
		}
	}
	return sigNone
}
