package schemas

// A Failure is the advice that goes with a reason: what the platform should
// do, whether a success may still follow, and what it means.
type Failure struct {
	Action      Action
	Final       bool
	Description string
	Shop        string // what the platform should show the shop
	Next        string // what can follow, and how long to wait for it
}

type failureRow struct {
	typ     string
	reason  FailureReason
	failure Failure
}

// What can follow a failure.
const (
	nextNothing = "Nothing follows."
	nextPerson  = "A success can follow after an operator of the service has acted; see After `final: false`."
	nextCode    = "Do not wait: another code activates the shop."
)

// failures is the one table of failure reasons. A success after a failure that
// is not final is possible and published as such.
var failures = []failureRow{
	{TypeInvitationFailed, FailureAddressRejected, Failure{ActionContactSupport, true, "Invoicebox refuses the address; the shop needs another one.",
		"Invoicebox does not accept this e-mail address. Enter another one.", "Send a new shop.payment_provider_selected with another address: it is invited at once."}},
	{TypeInvitationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "Two requests got no response: the e-mail may have been sent never, once or twice.",
		"Check your mailbox for the invitation. If it is not there, contact support.", nextPerson}},
	{TypeInvitationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses the service's request, rights or API address; the shop's data is not the cause.",
		"The invitation is delayed by a fault on our side. You need not do anything.", nextPerson}},
	{TypeInvitationFailed, FailureProviderChanged, Failure{ActionNone, true, "The shop chose another provider before the invitation was sent.",
		"Nothing.", nextNothing}},
	{TypeInvitationFailed, FailureExpired, Failure{ActionContactSupport, true, "No request could be sent within the maximum age.",
		"The invitation could not be sent. Choose Invoicebox again.", "Send a new shop.payment_provider_selected."}},
	{TypeInvitationFailed, FailureClosed, Failure{ActionContactSupport, true, "An operator closed the operation.",
		"The invitation was stopped. Contact support.", nextNothing}},

	{TypeActivationFailed, FailureCodeRejected, Failure{ActionRequestNewCode, true, "Invoicebox refuses the code: wrong, used or out of date.",
		"This code is wrong, was used before or is out of date. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureCodeOfOtherShop, Failure{ActionRequestNewCode, true, "The code was used, or is being used, by another shop; it was not sent again.",
		"This code belongs to another shop. Enter the code that was sent to this one.", nextCode}},
	{TypeActivationFailed, FailureOutcomeLost, Failure{ActionRequestNewCode, false, "The code was probably used, but the response is lost; another code activates the shop.",
		"The activation was interrupted. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "Neither the request nor the probe got a response: the code may have been used.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureAnswerUnreadable, Failure{ActionContactSupport, false, "The response reports success but has no usable credentials, so it is not known whether the code was used; the service keeps the response and does not send the code again.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureCredentialsInvalid, Failure{ActionContactSupport, false, "Invoicebox rejects the credentials that it issued.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureMerchantConflict, Failure{ActionContactSupport, false, "The merchant differs from the shop's, or belongs to another shop.",
		"This code belongs to another contract with Invoicebox. Contact support.", nextPerson}},
	{TypeActivationFailed, FailureStoreConflict, Failure{ActionContactSupport, false, "The code was used; the credentials are not stored yet, because another secret is in their place in the credential store.",
		"The activation takes longer than usual. Support is looking into it; you need not enter the code again.", nextPerson}},
	{TypeActivationFailed, FailureSecondToken, Failure{ActionContactSupport, false, "A late response contained another token than the one in use.",
		"Nothing: the shop can take payments.", nextPerson}},
	{TypeActivationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses the service's request, rights or API address; it did not check the code.",
		"The activation is delayed by a fault on our side. Keep the code; you need not do anything.", nextPerson}},
	{TypeActivationFailed, FailureExpired, Failure{ActionRequestNewCode, true, "No request could be sent within the maximum age; the code was not used.",
		"The activation failed. Request a new code and enter it.", nextCode}},
	{TypeActivationFailed, FailureClosed, Failure{ActionContactSupport, true, "An operator closed the operation.",
		"The activation was stopped. Contact support.", nextNothing}},
	{TypeActivationFailed, FailureCredentialsLost, Failure{ActionRequestNewCode, false, "The code was used, and the credentials were lost with the service's journal; a published reference may not resolve. Another code activates the shop again.",
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

// LookupFailure looks up the usual advice for a reason in a failure event; false
// when that event never has that reason. An event may say otherwise where more
// is known.
func LookupFailure(typ string, reason FailureReason) (Failure, bool) {
	for _, row := range failures {
		if row.typ == typ && row.reason == reason {
			return row.failure, true
		}
	}
	return Failure{}, false
}
