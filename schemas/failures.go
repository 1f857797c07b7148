package schemas

// A Failure is the advice that goes with a reason: what the platform should
// do, whether a success may still follow, and what it means.
type Failure struct {
	Action  Action
	Final   bool
	Meaning string
}

type failureRow struct {
	typ     string
	reason  FailureReason
	failure Failure
}

// failures is the one table of failure reasons. A success after a failure that
// is not final is possible and published as such.
var failures = []failureRow{
	{TypeInvitationFailed, FailureAddressRejected, Failure{ActionContactSupport, true, "Invoicebox refuses the address; the shop needs another one."}},
	{TypeInvitationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "Twice no answer came: an e-mail may have been sent, once or twice, or not."}},
	{TypeInvitationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses our request, rights or address, not the shop's."}},
	{TypeInvitationFailed, FailureProviderChanged, Failure{ActionNone, true, "The shop chose another provider before the invitation was sent."}},
	{TypeInvitationFailed, FailureExpired, Failure{ActionContactSupport, true, "Invoicebox could not be asked within the maximum age; nothing was sent."}},
	{TypeInvitationFailed, FailureClosed, Failure{ActionContactSupport, true, "A person closed the operation."}},

	{TypeActivationFailed, FailureCodeRejected, Failure{ActionRequestNewCode, true, "Invoicebox refuses the code: wrong, used or out of date."}},
	{TypeActivationFailed, FailureCodeOfOtherShop, Failure{ActionRequestNewCode, true, "The code was used, or is being used, by another shop; it was not sent again."}},
	{TypeActivationFailed, FailureOutcomeLost, Failure{ActionRequestNewCode, false, "The code was probably used, and its answer is lost; another code activates the shop."}},
	{TypeActivationFailed, FailureOutcomeUnknown, Failure{ActionContactSupport, false, "No answer came, and the probe proved nothing: the code may have been used."}},
	{TypeActivationFailed, FailureAnswerUnreadable, Failure{ActionContactSupport, false, "The code was used, but the answer holds no usable credentials; it is kept."}},
	{TypeActivationFailed, FailureCredentialsInvalid, Failure{ActionContactSupport, false, "The credentials came and do not work."}},
	{TypeActivationFailed, FailureMerchantConflict, Failure{ActionContactSupport, false, "The merchant differs from the shop's, or belongs to another shop."}},
	{TypeActivationFailed, FailureSecondToken, Failure{ActionContactSupport, false, "A late answer brought another token than the one in use."}},
	{TypeActivationFailed, FailureRequestRejected, Failure{ActionContactSupport, false, "Invoicebox refuses our request, rights or address; the code was not judged."}},
	{TypeActivationFailed, FailureExpired, Failure{ActionRequestNewCode, true, "Invoicebox could not be asked within the maximum age; the code was not used."}},
	{TypeActivationFailed, FailureClosed, Failure{ActionContactSupport, true, "A person closed the operation."}},
	{TypeActivationFailed, FailureCredentialsLost, Failure{ActionRequestNewCode, false, "The code was used, and the credentials were lost with the service's journal; a reference that was announced may not resolve. Another code activates the shop anew."}},
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
