package invoicebox

import "time"

// A Verdict is what an exchange means. All of it is safe to log and to count.
type Verdict struct {
	Class Class
	// Fault says what of ours is wrong, where Class is OurFault.
	Fault Fault
	// Code is the answer's business code in the form [a-z][a-z0-9_]{0,63}; empty
	// where there is none or it has another form.
	Code string
	// RetryAfter is how long the answer asks to wait, counted from
	// Exchange.Finished; 0 where it does not say, at most MaxRetryAfter.
	RetryAfter time.Duration
	// Drained is how long no request is left to the account, as told by any
	// answer's rate limit headers; 0 where some are, or nothing is said.
	Drained time.Duration
	// Doubt: the operation may have been executed, and what comes later has to
	// be read with that in mind.
	Doubt bool
	// Reason is one word of a closed set.
	Reason Reason
	// Row names the line of the outcome table that decided.
	Row string
}

// Classify finds the row of the outcome table for an exchange. It parses the
// body: make an activation's answer durable first.
func Classify(x Exchange) Verdict {
	kind, code := anyBody, ""
	switch {
	case x.Success():
		kind = readSuccess(x)
	case x.Status != 0:
		kind, code = readFailure(x)
		if x.Echo {
			code = ""
		}
	}
	v := Verdict{Class: Unknown, Doubt: true, Reason: ReasonInternal}
	for i := range table {
		if r := &table[i]; r.fits(&x, kind) {
			v = Verdict{Class: r.Class, Fault: r.Fault, Doubt: r.Doubt, Reason: r.Reason, Row: r.Name}
			break
		}
	}
	if v.Reason == ReasonNone {
		if v.Reason = x.reason(); v.Reason == ReasonNone {
			v.Reason = ReasonInternal
		}
	}
	v.Code = label(code)
	v.Drained = drained(x)
	switch v.Class {
	case NotExecuted, Limited, ProbablyNotExecuted, Unknown:
		v.RetryAfter = retryAfter(x)
	}
	return v
}

// readSuccess tells whether a success has in it what its operation needs.
func readSuccess(x Exchange) body {
	var err error
	switch x.Operation {
	case Invite:
		_, err = ParseInvitation(x)
	case Activate:
		_, err = ParseActivation(x)
	case Check, CheckOwn:
		var check CheckResult
		if check, err = ParseCheck(x); err == nil && !check.Valid {
			return nobodyBody
		}
	default:
		return unusableBody
	}
	if err != nil {
		return unusableBody
	}
	return usableBody
}
