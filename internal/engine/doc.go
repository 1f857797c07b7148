// Package engine executes operations. [Engine] claims them from the journal, calls
// Invoicebox, saves responses, stores and verifies credentials, retries, and executes
// operator actions. [Pruner] deletes rows that nothing needs any more. The rules are in
// internal/onboarding, the circuit breaker of an account in internal/breaker.
//
// The way of an operation:
//
//	dispatch.go             claim what is due, within permits and free slots
//	execute.go              precheck, begin the attempt, call, handle the response
//	activation_response.go  save, parse and store the response of an activation, or
//	                        continue from a saved one
//	token_check.go          check a new token, or the account's own
//	writes.go               write transitions and responses to the journal, and repeat
//	                        a write that fails
//	late_responses.go       compare responses that arrive after their operation ended
//	verification.go         verify the tokens in use
//	reminders.go           publish reminders of invitations
//	operator.go             execute operator actions
//	set_credentials.go      execute the actions that bring a token
//	journal_outage.go       log outages of the journal
//
// # Guarantees
//
//   - Nothing is sent before its attempt is durable, with its permits taken and the
//     account's breaker open. If no slot becomes free by the send-by instant, or the
//     worker stops, nothing is sent and the attempt records that.
//   - A code is sent only after the credential store reported that it is ready for the
//     shop, and after the code was decrypted.
//   - The successful response of an activation is encrypted and durable before it is
//     parsed. The engine tries to save it until it succeeds, also while it stops; only a
//     closed journal ends that.
//   - An `activated` event is committed with the credentials that it names, or later.
//   - No e-mail is sent while an activation of the shop has its response and has not
//     ended. With an address cool-down an account sends at most one e-mail to an address
//     in that time.
//   - Accounts do not wait for each other: each has reserved slots, and half of all slots
//     are shared. Within an account activations go first; invitations get every tenth
//     claim while both wait.
//   - At most three operations are in flight for each call in flight. Waiting operations
//     hold no goroutine.
//   - The time for which an account is not active does not count towards the maximum age.
//   - When the context of Run ends, nothing more is sent. Calls in flight are awaited for
//     the drain time, their outcomes are written, and claimed operations are released.
//   - An operator action is executed or refused once: its end, its effect and its audit
//     entry are one commit.
//
// # Failures
//
//	journal refuses a write      repeated until the lease nears its end; a response without end
//	journal unreachable, full    no call begins; outcomes and responses are written when it is back
//	crash in claimed             planned again when the lease ends
//	crash in sending             unknown: nobody can tell whether the request was executed
//	crash in received, stored    resumed from the saved response
//	credential store not ready   activations wait, invitations continue
//	keyset lacks a key           the operation waits a minute; then the value counts as edited
//	sealed value moved, edited   attention; an operator action is refused, an event is not published
//	panic                        ends the process; everything durable is resumed
//
// Leases are measured from before the claim by the monotonic clock. An operation whose
// lease is too short for send-by, call and write is released. Credentials that were never
// current are not verified again.
//
// docs/operations.md says what to do in each case, and docs/verification.md how the
// simulation of this package and its mutants are run.
package engine
