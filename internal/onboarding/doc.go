// Package onboarding decides which event leads to which operation ([NewPlanner]), and
// executes operations ([Engine]): it claims them, calls Invoicebox, saves responses,
// stores and verifies credentials, retries, and performs what operators ask for.
//
// The decisions are data: the state machine ([Edges]), the outcomes of responses and
// what follows an unknown outcome (outcomes.go), the circuit breaker of an account
// (breaker.go, gaterows.go), the reasons of attention ([AttentionRows]), the verification
// of credentials (reviewrules.go), operator actions (acts.go) and the recovery of a
// restored journal ([RestoreRows]). docs/outcomes.md shows these tables.
//
// # Guarantees
//
//   - Nothing is sent before its attempt is durable, with its permits taken and the
//     account open. BeginAttempt and the call are two steps: if no slot becomes free by
//     the send-by instant, or the worker stops in between, nothing is sent and the
//     attempt records that.
//   - A code is sent only after the credential store reported that it is ready for
//     the shop, and after the code was decrypted.
//   - A successful response of an activation is sealed and durable before it is parsed.
//     The engine tries to save it until it succeeds, also while stopping; only a closed
//     journal ends that.
//   - An `activated` event is committed with the credential that it names, or later.
//   - A second request after an unknown outcome is sent at most once for an activation
//     (the probe, see [ProbeOnce] and [Hold]) and once for an invitation, after the
//     quiet period.
//   - No e-mail is sent while an activation of the shop has its response and not its
//     end. With an address cool-down an account sends at most one e-mail to an address
//     in that time; BeginAttempt checks it.
//   - Accounts do not wait for each other: each has slots of its own, and half of all
//     slots are shared. Within an account activations go before invitations, which get
//     every tenth claim while both wait.
//   - The engine claims only as many operations as there are permits and free slots: at
//     most three in flight for each call in flight. Waiting work holds no goroutine.
//   - A closed account fails no operation, however long it is closed: that time does
//     not count towards the maximum age, over restarts too.
//   - When Run's context ends nothing more is sent. Calls in flight are awaited for the
//     drain time, their outcome is written, and claimed operations are released.
//   - An operator action is executed or refused once: its end, its effect and its audit
//     entry are one commit.
//   - A fault that refuses every token announces fewer than [RefusedInRow] shops of an
//     account.
//
// # Limits
//
// Credentials that were never current are not verified again. The order of a shop's
// events is the consumer's. Consecutive refusals of codes are counted in memory: a
// restart counts from zero. Leases are measured from before the claim, by the monotonic
// clock: an operation whose lease is too short for send-by, call and write is released.
//
// # Failures
//
//	journal refuses a write      repeated until the lease nears its end; a response without end
//	journal unreachable, full    no call begins; outcomes and responses are written when it is back
//	crash in claimed             planned again when the lease ends
//	crash in sending             unknown: the two cases cannot be told apart
//	crash in received, stored    resumed from the saved response
//	Invoicebox unreachable, 5xx  the account backs off, for growing times; one trial ends it
//	429, or no request left      the account waits as told (15 min at most), then one trial
//	401, 403, wrong address      the account is paused; see the runbook
//	credential store not ready   activations wait, invitations continue
//	keyset lacks a key           the operation waits (key_missing), for a minute; after that the
//	                             value counts as edited
//	sealed value moved, edited   attention; an operator action is refused, an event is not published
//	panic                        ends the process; everything durable is resumed
//
// docs/operations.md tells what to do in each case, docs/guarantees.md what the service
// as a whole promises, and docs/verification.md how the simulation of this package and
// its planted bugs are run.
package onboarding
