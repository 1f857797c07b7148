package invoicebox

import "slices"

// A Class says what an exchange means for the operation.
type Class uint8

// The classes.
const (
	// Done: executed, and the answer is good.
	Done Class = iota + 1
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
	// Unreadable: executed, but what the answer should have held is lost.
	Unreadable
)

var classNames = [...]string{"none", "done", "refused", "not_executed", "limited", "probably_not_executed",
	"unauthorized", "our_fault", "unknown", "unreadable"}

// String gives the class's name, one of a closed set.
func (c Class) String() string {
	if int(c) >= len(classNames) {
		return classNames[0]
	}
	return classNames[c]
}

// A Fault says what of ours is wrong where the class is OurFault.
type Fault uint8

// The faults.
const (
	FaultNone Fault = iota
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
func (f Fault) String() string {
	if int(f) >= len(faultNames) {
		return faultNames[0]
	}
	return faultNames[f]
}

// Statuses is a range of statuses, both ends in it. {0, 0} stands for "no status line".
type Statuses struct{ From, To int }

// A Row is one line of the outcome table. The first row that fits decides.
type Row struct {
	// Name is the row's permanent name.
	Name string
	// Operations that the row is about.
	Operations []Operation
	// Statuses, any of which fits.
	Statuses []Statuses
	// Unwritten: fits only where no byte of the request was written.
	Unwritten bool
	// Failures, one of which the exchange must have; empty for any.
	Failures []Reason

	// What it means. Reason is the verdict's; empty where it is the exchange's own.
	Class  Class
	Fault  Fault
	Doubt  bool
	Reason Reason

	body body
}

// Body tells in words what the row asks of the answer's body.
func (r Row) Body() string { return bodyNames[r.body] }

var (
	everyOperation = []Operation{Invite, Activate, Check, CheckOwn}
	effects        = []Operation{Invite, Activate}
	checks         = []Operation{Check, CheckOwn}
	// ownToken are the operations that go out with the partner's token.
	ownToken = []Operation{Invite, Activate, CheckOwn}

	noStatus = []Statuses{{0, 0}}
	success  = []Statuses{{200, 299}}
	// speaking are the statuses with which the API refuses a value.
	speaking = []Statuses{{400, 400}, {404, 404}, {409, 409}, {422, 422}}
)

// table is the outcome table. Its order matters.
var table = [...]Row{
	{Name: "value_unsendable", Operations: everyOperation, Statuses: noStatus, Unwritten: true,
		Failures: []Reason{ReasonValue}, Class: OurFault, Fault: FaultRequest},
	{Name: "nothing_written", Operations: everyOperation, Statuses: noStatus, Unwritten: true, Class: NotExecuted},
	{Name: "lost", Operations: effects, Statuses: noStatus, Class: Unknown, Doubt: true},
	{Name: "lost_check", Operations: checks, Statuses: noStatus, Class: Unknown},

	{Name: "too_early", Operations: everyOperation, Statuses: []Statuses{{425, 425}}, Class: NotExecuted, Reason: ReasonTooEarly},
	{Name: "limited", Operations: everyOperation, Statuses: []Statuses{{429, 429}}, Class: Limited, Reason: ReasonLimited},
	{Name: "request_timeout", Operations: effects, Statuses: []Statuses{{408, 408}}, Class: ProbablyNotExecuted, Doubt: true, Reason: ReasonRequestTimeout},
	{Name: "unavailable", Operations: effects, Statuses: []Statuses{{503, 503}}, Class: ProbablyNotExecuted, Doubt: true, Reason: ReasonUnavailable},
	{Name: "check_put_off", Operations: checks, Statuses: []Statuses{{408, 408}, {503, 503}}, Class: NotExecuted, Reason: ReasonUnavailable},

	{Name: "token_of_nobody", Operations: []Operation{Check}, Statuses: success, body: nobodyBody, Class: Refused, Reason: ReasonRefused},
	{Name: "own_token_of_nobody", Operations: []Operation{CheckOwn}, Statuses: success, body: nobodyBody, Class: Unauthorized, Reason: ReasonUnauthorized},
	{Name: "done", Operations: everyOperation, Statuses: success, body: usableBody, Class: Done, Reason: ReasonOK},
	{Name: "unreadable_cut", Operations: everyOperation, Statuses: success, body: unusableBody,
		Failures: []Reason{ReasonBodyCut, ReasonLost, ReasonReset, ReasonDeadline, ReasonCanceled}, Class: Unreadable, Reason: ReasonBodyCut},
	{Name: "unreadable_large", Operations: everyOperation, Statuses: success, body: unusableBody,
		Failures: []Reason{ReasonBodyLarge}, Class: Unreadable, Reason: ReasonBodyLarge},
	{Name: "unreadable", Operations: everyOperation, Statuses: success, body: unusableBody, Class: Unreadable, Reason: ReasonBodyUnusable},

	{Name: "token_refused", Operations: []Operation{Check}, Statuses: []Statuses{{401, 401}}, Class: Refused, Reason: ReasonRefused},
	{Name: "token_forbidden", Operations: []Operation{Check}, Statuses: []Statuses{{403, 403}}, body: accountBody, Class: Refused, Reason: ReasonRefused},
	{Name: "token_forbidden_by_code", Operations: []Operation{Check}, Statuses: []Statuses{{403, 403}}, body: businessBody, Class: Refused, Reason: ReasonRefused},
	{Name: "unauthorized", Operations: ownToken, Statuses: []Statuses{{401, 401}}, Class: Unauthorized, Reason: ReasonUnauthorized},
	{Name: "forbidden", Operations: everyOperation, Statuses: []Statuses{{403, 403}}, Class: OurFault, Fault: FaultRights, Reason: ReasonForbidden},

	{Name: "refused", Operations: effects, Statuses: speaking, body: businessBody, Class: Refused, Reason: ReasonRefused},
	{Name: "account_refused", Operations: effects, Statuses: speaking, body: accountBody, Class: OurFault, Fault: FaultRights, Reason: ReasonForbidden},
	{Name: "partner_id_refused", Operations: everyOperation, Statuses: []Statuses{{400, 499}}, body: partnerBody, Class: OurFault, Fault: FaultPartnerID, Reason: ReasonPartnerID},
	{Name: "redirected", Operations: everyOperation, Statuses: []Statuses{{300, 399}}, Class: OurFault, Fault: FaultAddress, Reason: ReasonAddress},
	{Name: "wrong_address", Operations: everyOperation, Statuses: []Statuses{{404, 405}, {410, 410}, {421, 421}}, body: codelessBody, Class: OurFault, Fault: FaultAddress, Reason: ReasonAddress},
	{Name: "request_refused", Operations: everyOperation, Statuses: []Statuses{{400, 499}}, Class: OurFault, Fault: FaultRequest, Reason: ReasonRequest},

	{Name: "server_error", Operations: effects, Statuses: []Statuses{{500, 599}}, Class: Unknown, Doubt: true, Reason: ReasonServerError},
	{Name: "server_error_check", Operations: checks, Statuses: []Statuses{{500, 599}}, Class: Unknown, Reason: ReasonServerError},
	{Name: "odd_status", Operations: everyOperation, Statuses: []Statuses{{1, 199}, {600, 999}}, Class: Unknown, Doubt: true, Reason: ReasonOddStatus},
}

// Outcomes gives the outcome table, in the order in which it is read. The same
// refusal with doubt on the operation is for the caller: the table knows one
// exchange, not what came before it.
func Outcomes() []Row {
	rows := slices.Clone(table[:])
	for i := range rows {
		rows[i].Operations = slices.Clone(rows[i].Operations)
		rows[i].Statuses = slices.Clone(rows[i].Statuses)
		rows[i].Failures = slices.Clone(rows[i].Failures)
	}
	return rows
}

// fits tells whether the row is about this exchange.
func (r *Row) fits(x *Exchange, b body) bool {
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
	return slices.ContainsFunc(r.Statuses, func(s Statuses) bool { return x.Status >= s.From && x.Status <= s.To })
}
