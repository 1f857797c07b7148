package invoicebox

import "time"

// A Classification is what an exchange means. All of it is safe to log and to count.
type Classification struct {
	Outcome Outcome
	// Fault says what of ours is wrong, where Outcome is OurFault.
	Fault FaultKind
	// Code is the response's business code in the form [a-z][a-z0-9_]{0,63}; empty
	// where there is none or it has another form.
	Code string
	// RetryAfter is how long the response asks to wait, counted from
	// Exchange.Finished; 0 where it does not say, at most MaxRetryAfter.
	RetryAfter time.Duration
	// RateLimitReset is how long no request is left to the account, as told by any
	// answer's rate limit headers; 0 where some are, or nothing is said.
	RateLimitReset time.Duration
	// Doubt: the operation may have been executed, and what comes later has to
	// be read with that in mind.
	Doubt bool
	// Reason is one word of a closed set.
	Reason Reason
	// Rule names the rule of the outcome table that decided.
	Rule string
}

// Classify finds the row of the outcome table for an exchange. It parses the
// body: make an activation's response durable first.
func Classify(x Exchange) Classification {
	kind, code := anyBody, ""
	switch {
	case x.Success():
		kind = readSuccess(x)
	case x.Status != 0:
		kind, code = readFailure(x)
		if x.EchoesSecret {
			code = ""
		}
	}
	return classify(x, kind, code)
}

// ReadInvitation is Classify and ParseInvitation in one reading of the body. The
// invitation of a response that cannot be read has no id.
func ReadInvitation(x Exchange) (Classification, Invitation) {
	if x.Operation != Invite || !x.Success() {
		return Classify(x), Invitation{}
	}
	invitation, err := ParseInvitation(x)
	return classify(x, usable(err), ""), invitation
}

// ReadActivation is Classify and ParseActivation in one reading of the body.
func ReadActivation(x Exchange) (Classification, Activation, error) {
	act, err := ParseActivation(x)
	if x.Operation != Activate || !x.Success() {
		return Classify(x), act, err
	}
	return classify(x, usable(err), ""), act, err
}

// ReadCheck is Classify and ParseCheck in one reading of the body of a success.
func ReadCheck(x Exchange) (Classification, CheckResult, error) {
	result, err := ParseCheck(x)
	if x.Operation != Check && x.Operation != CheckOwn || !x.Success() {
		return Classify(x), result, err
	}
	return classify(x, checkBody(result, err), ""), result, err
}

// classify finds the row for an exchange whose body was read.
func classify(x Exchange, kind body, code string) Classification {
	v := Classification{Outcome: Unknown, Doubt: true, Reason: ReasonInternal}
	for i := range table {
		if r := &table[i]; r.fits(&x, kind) {
			v = Classification{Outcome: r.Outcome, Fault: r.Fault, Doubt: r.Doubt, Reason: r.Reason, Rule: r.Name}
			break
		}
	}
	if v.Reason == ReasonNone {
		if v.Reason = x.reason(); v.Reason == ReasonNone {
			v.Reason = ReasonInternal
		}
	}
	v.Code = label(code)
	v.RateLimitReset = rateLimitReset(x)
	switch v.Outcome {
	case NotExecuted, Limited, ProbablyNotExecuted, Unknown:
		v.RetryAfter = retryAfter(x)
	}
	return v
}

// readSuccess tells whether a success has in it what its operation needs.
func readSuccess(x Exchange) body {
	switch x.Operation {
	case Invite:
		_, err := ParseInvitation(x)
		return usable(err)
	case Activate:
		_, err := ParseActivation(x)
		return usable(err)
	case Check, CheckOwn:
		return checkBody(ParseCheck(x))
	}
	return unusableBody
}

func usable(err error) body {
	if err != nil {
		return unusableBody
	}
	return usableBody
}

func checkBody(check CheckResult, err error) body {
	if err == nil && !check.Valid {
		return nobodyBody
	}
	return usable(err)
}
