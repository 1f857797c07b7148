package invoicebox

import "slices"

// An Outcome says what an exchange means for the operation.
type Outcome uint8

// The outcomes.
const (
	// Done: executed, and the response is good.
	Done Outcome = iota + 1
	// Refused: executed and refused because of the shop's own value (address,
	// code, token). With doubt on the operation it proves nothing about a code.
	Refused
	// NotExecuted: proven; the call can be made again.
	NotExecuted
	// Limited: not executed, too many requests; the whole account has to wait.
	Limited
	// ProbablyNotExecuted: the call can be made again, with doubt.
	ProbablyNotExecuted
	// Unauthorized: the partner's token is bad.
	Unauthorized
	// OurFault: our rights, address, partner id or request are wrong; see Fault.
	OurFault
	// Unknown: executed or not, nothing proves it.
	Unknown
	// Unreadable: executed, but what the response should have held is lost.
	Unreadable
)

var outcomeNames = [...]string{"none", "done", "refused", "not_executed", "limited", "probably_not_executed",
	"unauthorized", "our_fault", "unknown", "unreadable"}

// String gives the name of the outcome, one of a closed set.
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return outcomeNames[0]
	}
	return outcomeNames[o]
}

// A FaultKind says what of ours is wrong where the outcome is OurFault.
type FaultKind uint8

// The kinds of faults.
const (
	FaultNone FaultKind = iota
	// FaultRights: the account may not do this.
	FaultRights
	// FaultAddress: the base URL leads somewhere else.
	FaultAddress
	// FaultPartnerID: the partner id is not accepted.
	FaultPartnerID
	// FaultRequest: the request does not fit the contract.
	FaultRequest
)

var faultNames = [...]string{"none", "rights", "address", "partner_id", "request"}

// String gives the fault's name, one of a closed set.
func (f FaultKind) String() string {
	if int(f) >= len(faultNames) {
		return faultNames[0]
	}
	return faultNames[f]
}

// A StatusRange is a range of statuses, both ends in it. {0, 0} stands for "no status line".
type StatusRange struct{ From, To int }

// An OutcomeRule is one row of the outcome table. The first one that fits decides.
type OutcomeRule struct {
	// Name is the permanent name of the rule.
	Name string
	// Operations that the rule is about.
	Operations []Operation
	// Statuses, any of which fits.
	Statuses []StatusRange
	// Unwritten: fits only where no byte of the request was written.
	Unwritten bool
	// Failures, one of which the exchange must have; empty for any.
	Failures []Reason

	// What it means. Reason is that of the classification; empty where it is the exchange's own.
	Outcome Outcome
	Fault   FaultKind
	Doubt   bool
	Reason  Reason

	body body
}

// Body tells in words what the rule asks of the response's body.
func (r OutcomeRule) Body() string { return bodyNames[r.body] }

var (
	everyOperation = []Operation{Invite, Activate, Check, CheckOwn}
	effects        = []Operation{Invite, Activate}
	checks         = []Operation{Check, CheckOwn}
	// ownToken are the operations that go out with the partner's token.
	ownToken = []Operation{Invite, Activate, CheckOwn}

	noStatus = []StatusRange{{0, 0}}
	success  = []StatusRange{{200, 299}}
	// refusalStatuses are the statuses with which the API refuses a value.
	refusalStatuses = []StatusRange{{400, 400}, {404, 404}, {409, 409}, {422, 422}}
)

// table is the outcome table. Its order matters.
var table = [...]OutcomeRule{
	{Name: "value_unsendable", Operations: everyOperation, Statuses: noStatus, Unwritten: true,
		Failures: []Reason{ReasonValue}, Outcome: OurFault, Fault: FaultRequest},
	{Name: "nothing_written", Operations: everyOperation, Statuses: noStatus, Unwritten: true, Outcome: NotExecuted},
	{Name: "lost", Operations: effects, Statuses: noStatus, Outcome: Unknown, Doubt: true},
	{Name: "lost_check", Operations: checks, Statuses: noStatus, Outcome: Unknown},

	{Name: "too_early", Operations: everyOperation, Statuses: []StatusRange{{425, 425}}, Outcome: NotExecuted, Reason: ReasonTooEarly},
	{Name: "limited", Operations: everyOperation, Statuses: []StatusRange{{429, 429}}, Outcome: Limited, Reason: ReasonLimited},
	{Name: "request_timeout", Operations: effects, Statuses: []StatusRange{{408, 408}}, Outcome: ProbablyNotExecuted, Doubt: true, Reason: ReasonRequestTimeout},
	{Name: "unavailable", Operations: effects, Statuses: []StatusRange{{503, 503}}, Outcome: ProbablyNotExecuted, Doubt: true, Reason: ReasonUnavailable},
	{Name: "check_put_off", Operations: checks, Statuses: []StatusRange{{408, 408}, {503, 503}}, Outcome: NotExecuted, Reason: ReasonUnavailable},

	{Name: "token_of_nobody", Operations: []Operation{Check}, Statuses: success, body: nobodyBody, Outcome: Refused, Reason: ReasonRefused},
	{Name: "own_token_of_nobody", Operations: []Operation{CheckOwn}, Statuses: success, body: nobodyBody, Outcome: Unauthorized, Reason: ReasonUnauthorized},
	{Name: "done", Operations: everyOperation, Statuses: success, body: usableBody, Outcome: Done, Reason: ReasonOK},
	{Name: "unreadable_cut", Operations: everyOperation, Statuses: success, body: unusableBody,
		Failures: []Reason{ReasonBodyCut, ReasonLost, ReasonReset, ReasonDeadline, ReasonCanceled}, Outcome: Unreadable, Reason: ReasonBodyCut},
	{Name: "unreadable_large", Operations: everyOperation, Statuses: success, body: unusableBody,
		Failures: []Reason{ReasonBodyLarge}, Outcome: Unreadable, Reason: ReasonBodyLarge},
	{Name: "unreadable", Operations: everyOperation, Statuses: success, body: unusableBody, Outcome: Unreadable, Reason: ReasonBodyUnusable},

	{Name: "token_refused", Operations: []Operation{Check}, Statuses: []StatusRange{{401, 401}}, Outcome: Refused, Reason: ReasonRefused},
	{Name: "token_forbidden", Operations: []Operation{Check}, Statuses: []StatusRange{{403, 403}}, body: accountBody, Outcome: Refused, Reason: ReasonRefused},
	{Name: "token_forbidden_by_code", Operations: []Operation{Check}, Statuses: []StatusRange{{403, 403}}, body: businessBody, Outcome: Refused, Reason: ReasonRefused},
	{Name: "unauthorized", Operations: ownToken, Statuses: []StatusRange{{401, 401}}, Outcome: Unauthorized, Reason: ReasonUnauthorized},
	{Name: "forbidden", Operations: everyOperation, Statuses: []StatusRange{{403, 403}}, Outcome: OurFault, Fault: FaultRights, Reason: ReasonForbidden},

	{Name: "refused", Operations: effects, Statuses: refusalStatuses, body: businessBody, Outcome: Refused, Reason: ReasonRefused},
	{Name: "account_refused", Operations: effects, Statuses: refusalStatuses, body: accountBody, Outcome: OurFault, Fault: FaultRights, Reason: ReasonForbidden},
	{Name: "partner_id_refused", Operations: everyOperation, Statuses: []StatusRange{{400, 499}}, body: partnerBody, Outcome: OurFault, Fault: FaultPartnerID, Reason: ReasonPartnerID},
	{Name: "redirected", Operations: everyOperation, Statuses: []StatusRange{{300, 399}}, Outcome: OurFault, Fault: FaultAddress, Reason: ReasonAddress},
	{Name: "wrong_address", Operations: everyOperation, Statuses: []StatusRange{{404, 405}, {410, 410}, {421, 421}}, body: codelessBody, Outcome: OurFault, Fault: FaultAddress, Reason: ReasonAddress},
	{Name: "request_refused", Operations: everyOperation, Statuses: []StatusRange{{400, 499}}, Outcome: OurFault, Fault: FaultRequest, Reason: ReasonRequest},

	{Name: "server_error", Operations: effects, Statuses: []StatusRange{{500, 599}}, Outcome: Unknown, Doubt: true, Reason: ReasonServerError},
	{Name: "server_error_check", Operations: checks, Statuses: []StatusRange{{500, 599}}, Outcome: Unknown, Reason: ReasonServerError},
	{Name: "odd_status", Operations: everyOperation, Statuses: []StatusRange{{1, 199}, {600, 999}}, Outcome: Unknown, Doubt: true, Reason: ReasonOddStatus},
}

// OutcomeRules gives the outcome table, in the order in which it is read. The same
// refusal with doubt on the operation is for the caller: the table knows one
// exchange, not what came before it.
func OutcomeRules() []OutcomeRule {
	rows := slices.Clone(table[:])
	for i := range rows {
		rows[i].Operations = slices.Clone(rows[i].Operations)
		rows[i].Statuses = slices.Clone(rows[i].Statuses)
		rows[i].Failures = slices.Clone(rows[i].Failures)
	}
	return rows
}

// fits tells whether the rule is about this exchange.
func (r *OutcomeRule) fits(x *Exchange, b body) bool {
	if !slices.Contains(r.Operations, x.Operation) {
		return false
	}
	if r.Unwritten && x.Written != 0 {
		return false
	}
	if r.body != anyBody && r.body != b {
		return false
	}
	if len(r.Failures) > 0 && !slices.Contains(r.Failures, x.reason()) {
		return false
	}
	return slices.ContainsFunc(r.Statuses, func(s StatusRange) bool { return x.Status >= s.From && x.Status <= s.To })
}
