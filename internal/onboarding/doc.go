// Package onboarding contains the rules of the service: which event leads to which
// operation, what a response does to it, and what an operator may do about it. The
// rules are pure: they do no I/O, start no goroutine, log nothing, and take the time as
// an argument. internal/engine executes them.
//
// Most rules are tables. The first row that fits decides:
//
//	planner.go             an event: a new operation, a new run, an answer, or nothing
//	transitions.go         the permitted transitions of an operation
//	outcomes.go            what a response does to an operation, and what follows an unknown outcome
//	attention.go           the reasons for which an operation waits for an operator
//	operator_rules.go      which operator action is permitted, and what it does
//	verification_rules.go  what follows the check of a token in use
//	reminder_rules.go      what follows when a reminder of an invitation is due
//	late_responses.go      what follows a response that arrives after its operation ended
//	restore.go             how an operation of a restored journal continues
//	rehearsal.go           what events would lead to, for a dry run
//	events.go              the events that are published
//	obstacles.go           why an operation does not run, in words for an operator
//	reasons.go             the closed set of reasons, which are stored and are metric labels
//
// docs/outcomes.md shows the tables; a test compares them with the code.
//
// # Guarantees
//
//   - A code is not sent again by itself after it may have been executed, except for one
//     probe after the quiet period (see [ProbeOnce] and [Hold]).
//   - Every operation ends in an event, in attention with the event that its reason
//     requires, or is superseded.
//   - The id of an event is made of the operation, its run and the event's type, so a
//     repeat has the same id.
package onboarding
