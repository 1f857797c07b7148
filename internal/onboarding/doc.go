// Package onboarding is the business: which event leads to which operation
// ([NewPlanner]), and how an operation is carried out ([Pool]).
//
// # States
//
//	planned ─claim─▶ claimed ─permit, gates─▶ sending ─answer─▶ received ─▶ stored ─▶ done
//	  ▲  ▲              │                       │  │               └─ unreadable, conflict, bad token ─▶ attention
//	  │  └─given back───┘                       │  └─refused─▶ done (failure event)
//	  └────────── waiting ◀──not executed───────┤
//	                                            └─no proof either way─▶ unknown ─▶ attention
//
// The edges are data ([Edges]), and so are the outcomes of calls (outcomes.go),
// the moves of an account's gate (gate.go) and the meaning of each reason of
// attention ([AttentionRows]).
//
// # What it guarantees
//
//   - Nothing is sent that is not durable as `sending`, with its permits taken
//     and the gate open. The journal's Send and the call are two steps: when
//     no place for the call comes free by the send-by instant, or the worker
//     stops between them, nothing is sent and the attempt says so.
//   - A code is not spent before the credential store said that it is ready for
//     the shop, and the address or code opened with the keyset.
//   - An activation's 2xx answer is sealed and durable before a byte of it is
//     parsed. Writing it is tried until it succeeds, also while stopping; only
//     a closed journal ends that.
//   - An `activated` event is committed together with the credential that it
//     names, or after it.
//   - No account waits for another: each has places of its own for calls in
//     flight, and half of all places are shared. Within an account activations
//     go before invitations, which get every tenth claim while both wait.
//   - Never more is claimed than the ledgers have permits and the pool has room
//     for. Work that waits holds no goroutine and no place; operations in flight
//     are at most three for each call in flight.
//   - A closed gate fails no operation.
//   - When Run's context ends nothing more is sent; what is in flight is awaited
//     for the drain time and its outcome written. Claimed operations are given
//     back, so that nobody waits for a lease.
//
// # What it does not
//
// An unknown outcome goes straight to attention: there is no quiet period and
// no probe. A token that could not be checked within the verification time is
// announced as `pending`, and nobody checks it after that. The time that an
// account is closed counts towards the maximum age. Requests that were refused
// because of many shops in a row do not close the gate. The order in which
// events of one shop arrive is the consumer's matter.
//
// # Time
//
// Leases are measured from before the claim was asked for, by the monotonic
// clock: an operation whose lease is too short for send-by, call and write
// starts no call and is given back.
//
// # Failures
//
//	journal slow                 places for calls are given back before its writes are awaited; rates fall, nothing breaks
//	journal refuses a write      tried again until the lease nears its end, then left to it; an answer's receipt without end
//	Send without an answer       nothing is sent; the attempt is taken back from whichever state it is in
//	journal closed               Run drains and returns its error
//	crash in claimed             planned again when the lease ends
//	crash in sending             unknown, then attention: the two cases cannot be told apart
//	crash in received, stored    taken up again from the receipt
//	Invoicebox unreachable, 5xx  five in a row rest the account, longer each time; one trial ends a rest
//	429, or no request left      the account is limited as told (15 min at most), then one trial
//	401                          the account is paused until its token passes a check: at once when the token
//	                             file changes, else every 30 s, growing to 5 min
//	403, wrong address, request  attention for the operation; three in a row pause the account. A wrong address
//	                             ends with a good token check and one trial, the others with a person
//	credential store not ready   activations wait, invitations go on
//	keyset lost a key            attention: subject_unreadable before a call, answer_unreadable after it
//	a panic                      ends the process: it is a bug, and everything durable is taken up again
package onboarding
