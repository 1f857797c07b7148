package onboarding

import (
	"net/http"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// Doubt is what an outcome's row asks of the operation's doubt before the
// attempt at hand.
type Doubt uint8

// What a rule requires of the doubt.
const (
	AnyDoubt Doubt = iota
	NoDoubt
	InDoubt
)

// An ResponseRule says where an answer leads. The first row that fits decides.
type ResponseRule struct {
	Kind    journal.Kind
	Outcome invoicebox.Outcome
	Status  int               // 0 is any
	Failure invoicebox.Reason // "" is any
	Doubt   Doubt

	From, To journal.State
	Reason   Reason
	Invited  schemas.InvitationOutcome // the invited event to publish, or ""
	Failed   schemas.FailureReason     // the failure event to publish, or ""
	Mark     bool                      // it counts as the shop's last invitation
}

// responseRules is the outcome table of the client's classes for both kinds. An
// activation's 2xx is durable, and its state Received, before it is classified.
var responseRules = []ResponseRule{
	{Kind: journal.Invite, Outcome: invoicebox.Done, From: journal.Sending, To: journal.Done, Reason: ReasonSent, Invited: schemas.OutcomeSent, Mark: true},
	{Kind: journal.Invite, Outcome: invoicebox.Unreadable, From: journal.Sending, To: journal.Done, Reason: ReasonSent, Invited: schemas.OutcomeSent, Mark: true},
	{Kind: journal.Invite, Outcome: invoicebox.Refused, Status: http.StatusConflict, From: journal.Sending, To: journal.Done, Reason: ReasonAlreadyInvited, Invited: schemas.OutcomeAlreadyInvited, Mark: true},
	{Kind: journal.Invite, Outcome: invoicebox.Refused, From: journal.Sending, To: journal.Done, Reason: ReasonRefusedAddress, Failed: schemas.FailureAddressRejected},
	{Kind: journal.Invite, Outcome: invoicebox.NotExecuted, Failure: invoicebox.ReasonSendBy, From: journal.Sending, To: journal.Planned, Reason: ReasonNotSent},
	{Kind: journal.Invite, Outcome: invoicebox.NotExecuted, Failure: invoicebox.ReasonCanceled, From: journal.Sending, To: journal.Planned, Reason: ReasonDrained},
	{Kind: journal.Invite, Outcome: invoicebox.NotExecuted, From: journal.Sending, To: journal.Waiting, Reason: ReasonNotExecuted},
	{Kind: journal.Invite, Outcome: invoicebox.Limited, From: journal.Sending, To: journal.Waiting, Reason: ReasonLimited},
	{Kind: journal.Invite, Outcome: invoicebox.ProbablyNotExecuted, From: journal.Sending, To: journal.Waiting, Reason: ReasonProbablyNotExecuted},
	{Kind: journal.Invite, Outcome: invoicebox.Unauthorized, From: journal.Sending, To: journal.Planned, Reason: ReasonUnauthorized},
	{Kind: journal.Invite, Outcome: invoicebox.OurFault, From: journal.Sending, To: journal.Attention, Reason: ReasonRequestRejected, Failed: schemas.FailureRequestRejected},
	{Kind: journal.Invite, Outcome: invoicebox.Unknown, From: journal.Sending, To: journal.Unknown, Reason: ReasonNoProof, Mark: true},

	{Kind: journal.Activate, Outcome: invoicebox.Done, From: journal.Received, To: journal.Stored, Reason: ReasonTokenUnanswered},
	{Kind: journal.Activate, Outcome: invoicebox.Unreadable, From: journal.Received, To: journal.Attention, Reason: ReasonAnswerUnreadable, Failed: schemas.FailureAnswerUnreadable},
	{Kind: journal.Activate, Outcome: invoicebox.Refused, Doubt: NoDoubt, From: journal.Sending, To: journal.Done, Reason: ReasonRefusedCode, Failed: schemas.FailureCodeRejected},
	{Kind: journal.Activate, Outcome: invoicebox.Refused, Doubt: InDoubt, From: journal.Sending, To: journal.Attention, Reason: ReasonOutcomeLost, Failed: schemas.FailureOutcomeLost},
	{Kind: journal.Activate, Outcome: invoicebox.NotExecuted, Failure: invoicebox.ReasonSendBy, From: journal.Sending, To: journal.Planned, Reason: ReasonNotSent},
	{Kind: journal.Activate, Outcome: invoicebox.NotExecuted, Failure: invoicebox.ReasonCanceled, From: journal.Sending, To: journal.Planned, Reason: ReasonDrained},
	{Kind: journal.Activate, Outcome: invoicebox.NotExecuted, From: journal.Sending, To: journal.Waiting, Reason: ReasonNotExecuted},
	{Kind: journal.Activate, Outcome: invoicebox.Limited, From: journal.Sending, To: journal.Waiting, Reason: ReasonLimited},
	{Kind: journal.Activate, Outcome: invoicebox.ProbablyNotExecuted, From: journal.Sending, To: journal.Waiting, Reason: ReasonProbablyNotExecuted},
	{Kind: journal.Activate, Outcome: invoicebox.Unauthorized, From: journal.Sending, To: journal.Planned, Reason: ReasonUnauthorized},
	{Kind: journal.Activate, Outcome: invoicebox.OurFault, From: journal.Sending, To: journal.Attention, Reason: ReasonRequestRejected, Failed: schemas.FailureRequestRejected},
	{Kind: journal.Activate, Outcome: invoicebox.Unknown, From: journal.Sending, To: journal.Unknown, Reason: ReasonNoProof},
}

// ResponseRuleOf finds the row for an answer. What no row knows proves nothing.
func ResponseRuleOf(kind journal.Kind, v invoicebox.Classification, status int, doubtful bool) ResponseRule {
	for _, r := range responseRules {
		switch {
		case r.Kind != kind || r.Outcome != v.Outcome,
			r.Status != 0 && r.Status != status,
			r.Failure != "" && r.Failure != v.Reason,
			r.Doubt == NoDoubt && doubtful,
			r.Doubt == InDoubt && !doubtful:
		default:
			return r
		}
	}
	return ResponseRule{Kind: kind, Outcome: invoicebox.Unknown, From: journal.Sending, To: journal.Unknown, Reason: ReasonNoProof}
}

// A QuietRule says what follows an unknown outcome when the quiet period is over.
type QuietRule struct {
	Kind    journal.Kind
	Setting string // "" is any
	Again   bool   // fits only an operation that was unknown once
	To      journal.State
	Reason  Reason
}

// quietRules: the first row that fits decides. A probe of an activation may
// spend its code a second time, so it is made once in an operation's life and
// can be forbidden; an invitation costs a second e-mail at worst.
var quietRules = []QuietRule{
	{Kind: journal.Invite, Again: true, To: journal.Planned, Reason: ReasonOnceMore},
	{Kind: journal.Invite, To: journal.Attention, Reason: ReasonOutcomeUnknown},
	{Kind: journal.Activate, Setting: ProbeOnce, Again: true, To: journal.Planned, Reason: ReasonProbe},
	{Kind: journal.Activate, To: journal.Attention, Reason: ReasonOutcomeUnknown},
}

// AfterQuietOf finds the row; unknowns are the operation's attempts of which
// nobody knows, over all runs.
func AfterQuietOf(kind journal.Kind, setting string, unknowns int) QuietRule {
	for _, r := range quietRules {
		if r.Kind == kind && (r.Setting == "" || r.Setting == setting) && (!r.Again || unknowns == 1) {
			return r
		}
	}
	return QuietRule{Kind: kind, To: journal.Attention, Reason: ReasonOutcomeUnknown}
}

// What follows an activation's unknown outcome after the quiet period.
const (
	ProbeOnce = "probe-once" // one more request, flagged; then a person
	Hold      = "hold"       // a person at once
)

// Proves reports whether an ended operation proves that its account's settings are
// right: Invoicebox executed it, or rejected the shop's value.
func Proves(o journal.OperationRecord) bool {
	switch Reason(o.Reason) {
	case ReasonSent, ReasonAlreadyInvited, ReasonActivated, ReasonRefusedAddress, ReasonRefusedCode:
		return o.State == journal.Done
	}
	return false
}

// WithoutEmail returns the outcomes of invitations after which Invoicebox certainly
// sent no e-mail.
func WithoutEmail() []invoicebox.Outcome {
	return []invoicebox.Outcome{invoicebox.NotExecuted, invoicebox.Limited, invoicebox.Unauthorized, invoicebox.OurFault, invoicebox.Refused}
}
