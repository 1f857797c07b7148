package schemas

// A Failure is the advice that goes with a reason: what the platform should
// do, whether a success may still follow, and what it means.
type Failure struct {
	Action  Action
	Final   bool
	Meaning string
	Shop    string // what the platform should show the shop
	Next    string // what can follow, and how long to wait for it
}

type failureRow struct {
	typ     string
	reason  FailureReason
	failure Failure
}

// What can follow a failure.
const (
	nextNothing = "Nothing follows."
	nextPerson  = "A success can follow when an operator of the service has acted. No time is promised: show the text at once and keep reading the topic; after one working day ask the operators."
	nextCode    = "Do not wait: another code activates the shop."
)

// failures is the one table of failure reasons. A success after a failure that
// is not final is possible and published as such.
var failures = []failureRow{
	{TypeInvitationFailed, FailureAddressRejected, Failure{ActionContactSupport, true, "Invoicebox refuses the address; the shop needs another one.",
		"Invoicebox does not accept this e-mail address. Enter another one.", "Send a new shop.payment_provider_selected with another address: it is invited at once."}},
	{TypeInvitationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "Twice no answer came: an e-mail may have been sent, once or twice, or not.",
		"Look into your mailbox for the invitation. If it is not there, contact support.", nextPerson}},
	{TypeInvitationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses our request, rights or address, not the shop's.",
		"The invitation is delayed by a fault on our side. There is nothing for you to do.", nextPerson}},
	{TypeInvitationFailed, FailureProviderChanged, Failure{ActionNone, true, "The shop chose another provider before the invitation was sent.",
		"Nothing.", nextNothing}},
	{TypeInvitationFailed, FailureExpired, Failure{ActionContactSupport, true, "Invoicebox could not be asked within the maximum age; nothing was sent.",
		"The invitation could not be sent. Choose Invoicebox again.", "Send a new shop.payment_provider_selected."}},
	{TypeInvitationFailed, FailureClosed, Failure{ActionContactSupport, true, "A person closed the operation.",
		"The invitation was stopped. Contact support.", nextNothing}},

	{TypeActivationFailed, FailureCodeRejected, Failure{ActionRequestNewCode, true, "Invoicebox refuses the code: wrong, used or out of date.",
		"This code is wrong, was used before or is out of date. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureCodeOfOtherShop, Failure{ActionRequestNewCode, true, "The code was used, or is being used, by another shop; it was not sent again.",
		"This code belongs to another shop. Enter the code that was sent to this one.", nextCode}},
	{TypeActivationFailed, FailureOutcomeLost, Failure{ActionRequestNewCode, false, "The code was probably used, and its answer is lost; another code activates the shop.",
		"The activation was interrupted. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "No answer came, and the probe proved nothing: the code may have been used.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureAnswerUnreadable, Failure{ActionContactSupport, false, "The code was used, but the answer holds no usable credentials; it is kept.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureCredentialsInvalid, Failure{ActionContactSupport, false, "The credentials came and do not work.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureMerchantConflict, Failure{ActionContactSupport, false, "The merchant differs from the shop's, or belongs to another shop.",
		"This code belongs to another contract with Invoicebox. Contact support.", nextPerson}},
	{TypeActivationFailed, FailureSecondToken, Failure{ActionContactSupport, false, "A late answer brought another token than the one in use.",
		"Nothing: the shop can take payments.", nextPerson}},
	{TypeActivationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses our request, rights or address; the code was not judged.",
		"The activation is delayed by a fault on our side. Keep the code; there is nothing for you to do.", nextPerson}},
	{TypeActivationFailed, FailureExpired, Failure{ActionRequestNewCode, true, "Invoicebox could not be asked within the maximum age; the code was not used.",
		"The activation could not be made. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureClosed, Failure{ActionContactSupport, true, "A person closed the operation.",
		"The activation was stopped. Contact support.", nextNothing}},
	{TypeActivationFailed, FailureCredentialsLost, Failure{ActionRequestNewCode, false, "The code was used, and the credentials were lost with the service's journal; a reference that was announced may not resolve. Another code activates the shop anew.",
		"The connection to Invoicebox was lost. Request a new code and enter it.", nextCode}},
}

// FailureReasons returns the closed set of reasons of [TypeInvitationFailed] or
// [TypeActivationFailed]; nil for any other type.
func FailureReasons(typ string) []FailureReason {
	var list []FailureReason
	for _, row := range failures {
		if row.typ == typ {
			list = append(list, row.reason)
		}
	}
	return list
}

// FailureOf looks up the usual advice for a reason in a failure event; false
// when that event never has that reason. An event may say otherwise where more
// is known.
func FailureOf(typ string, reason FailureReason) (Failure, bool) {
	for _, row := range failures {
		if row.typ == typ && row.reason == reason {
			return row.failure, true
		}
	}
	return Failure{}, false
}
