// Package onboarding is the business: which event leads to which operation
// ([NewPlanner]), and how an operation is carried out ([Pool]).
//
// # States
//
//	planned ─claim─▶ claimed ─permit, gates─▶ sending ─answer─▶ received ─▶ stored ─▶ done
//	  ▲  ▲              │                       │  │               └─ unreadable, conflict, bad token ─▶ attention
//	  │  └─given back───┘                       │  └─refused─▶ done (failure event)
//	  └────────── waiting ◀──not executed───────┤
//	                                            └─no proof either way─▶ unknown ─quiet period─▶ planned, as a probe
//	                                                                       └─ unknown before, or to be held ─▶ attention
//
//	an answer that comes late:  any state before received, attention ─▶ received
//	                            received, stored ─▶ kept; done, superseded ─the same token─▶ noted
//	                                                                └─another token─▶ attention
//
// The edges are data ([Edges]), and so are the outcomes of calls and what follows
// an unknown one (outcomes.go), the moves of an account's gate (gate.go) and the
// meaning of each reason of attention ([AttentionRows]).
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
// # Unknown outcomes
//
// Where no answer proves what became of a request, the shop's lane is held for
// the quiet period. It counts from the later of lease end and connection close;
// where nobody said when the connection was closed, from the moment when the
// lease was ended; and where only the wall clock of an earlier process could
// tell, from the opening of the journal. Then:
//
//   - An activation is asked once more, flagged, in an operation's whole life,
//     or goes to a person at once ([Hold]). This probe passes gate, permit and
//     Send like any call, and is used up by whatever may have been executed.
//   - An invitation is sent once more, and goes on as any other; the second
//     time that it is unknown it goes to a person.
//   - Nothing is published before it ends, or a person has to look.
//   - A newer code of the shop, or address for an invitation, runs instead of the
//     probe: as long as that was not sent the older operation steps behind all
//     that is queued in the lane. As soon as the newer one's secret is stored, or
//     its e-mail sent, older ones in doubt that stepped behind or wait for a
//     person without an answer are superseded. When it ends otherwise the older
//     one goes on: its probe comes when the lane is free, after all newer ones.
//     A held one does not step behind: it leaves the lane for attention, with its
//     event, and is superseded from there.
//
// What a probe brings:
//
//	2xx                          received, stored, done
//	refused                      the code is spent, or never was good: attention outcome_lost
//	408, 503                     attention outcome_unknown
//	unknown again, also a crash  another quiet period, then attention outcome_unknown
//	our fault                    attention request_rejected
//	not sent, 425, 429, 401      it was not used up: made later
//
// # Late answers
//
// An answer may come when its worker has lost the operation: a frozen process
// that goes on, a lease that ended too early. It is kept whatever the operation
// is by then. Before it has any answer the operation goes on as received, also
// out of attention: an `activated` may follow a failure that is not final.
// Whoever holds it at that moment is fenced off, so that no probe is sent any
// more; one that is on its way already ends as a late answer itself (only then
// can the shop's next request begin before it has ended). After an answer late
// ones are compared with the tokens in use when the operation has ended: the same
// token, or none, is a note in the audit; another, or one that does not open, is
// attention second_token. A failure that may be the second one of a run has an
// id of its own, of operation, run, type and reason.
//
// A receipt is erased [ReceiptsKept] after the credentials that it brought were
// found to work. Those of activations that wait for a person, or were announced
// as pending, are kept.
//
// # Restored journals
//
// An operation of a restored journal goes on as the last word says that was
// published of its run, and where there is none as one of which nobody knows
// whether it was sent ([RestoreRows]; the first row that fits decides):
//
//	in the copy        published since            what comes
//	answer is there    nothing, activated, kept   goes on from its answer: the same version, the same bytes
//	any                invited, failed for good   done
//	any                failed, for a person       attention, the same reason
//	any                activated, resolves        done, active
//	any                activated, secret gone     attention credentials_lost and its event: a new code is needed
//	any                failed, answer was kept    the same: the answer was kept in the lost file
//	to be called       nothing                    unknown: quiet period, then as any other: one probe, one more e-mail
//	queued             nothing                    stays, in doubt: flagged when its turn comes
//	either             nothing, unknown before    attention outcome_unknown and its event; with hold any activation
//	attention          nothing                    stays, in doubt
//
// Secret gone: its store is the journal itself, and the copy has not that
// version. A reference that was announced may then not resolve; nothing can bring
// the token back, so it is said aloud. Inputs that are read again are planned as
// of their own time, and each run that begins meets what was published of it at
// once; all others are in doubt, also those that came after the loss, because
// nobody knows when the lost journal stopped. A code can so be sent twice over a
// restore, first by the lost journal and then flagged as a probe; a third time
// only where the lost journal had made its probe already and not told.
//
// # What it does not
//
// A token that could not be checked within the verification time is
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
//	crash in sending             unknown: the two cases cannot be told apart
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
