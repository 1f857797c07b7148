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
//	a person, of one in attention:  probe, retry ─▶ planned, as a new run
//	                                retry of a refused token ─▶ stored
//	                                close, enter ─▶ done
//
// The edges are data ([Edges]), and so are the outcomes of calls and what follows
// an unknown one (outcomes.go), the moves of an account's gate (gate.go), the
// meaning of each reason of attention ([AttentionRows]) and what acts of people
// lead to (acts.go).
//
// # What it guarantees
//
//   - Nothing is sent that is not durable as `sending`, with its permits taken
//     and the gate open. The journal's BeginAttempt and the call are two steps: when
//     no place for the call comes free by the send-by instant, or the worker
//     stops between them, nothing is sent and the attempt says so.
//   - A code is not spent before the credential store said that it is ready for
//     the shop, and the address or code opened with the keyset.
//   - An activation's 2xx answer is sealed and durable before a byte of it is
//     parsed. Writing it is tried until it succeeds, also while stopping; only
//     a closed journal ends that.
//   - An `activated` event is committed together with the credential that it
//     names, or after it.
//   - No e-mail goes out while an activation of the shop has its answer and not
//     its end: an invitation that comes to the head of the lane then waits for
//     that end, behind codes that are queued.
//   - With an address cool-down, an account sends at most one e-mail to an address
//     in that time, whichever shops ask. BeginAttempt checks it, in the transaction that
//     makes the attempt durable: a plan comes too early, because e-mails of one
//     batch are not sent yet, and an account may be closed for days. The other
//     invitations wait for the end of the cool-down and publish nothing: no
//     result of the contract would be true, since the shop was not invited and
//     nothing has failed. One that waits for the maximum age ends as expired.
//     Codes of its shop go first. Its own attempts, and those that certainly sent
//     no e-mail, do not count.
//   - No account waits for another: each has places of its own for calls in
//     flight, and half of all places are shared: of those that wait for one the
//     account gets it that holds the fewest. Within an account activations
//     go before invitations, which get every tenth claim while both wait.
//   - Never more is claimed than the ledgers have permits and the pool has room
//     for. Work that waits holds no goroutine and no place; operations in flight
//     are at most three for each call in flight.
//   - A closed gate fails no operation, however long it is closed: that time is
//     not counted towards the maximum age, over restarts too.
//   - When Run's context ends nothing more is sent; what is in flight is awaited
//     for the drain time and its outcome written. Claimed operations are given
//     back, so that nobody waits for a lease.
//
// # Outcomes
//
// Where an answer leads; its class is of the client's table. The first row that
// fits decides.
//
//	kind      class                  only where      from      to         reason                 event
//	invite    done                   -               sending   done       sent                   invited: sent
//	invite    unreadable             -               sending   done       sent                   invited: sent
//	invite    refused                409             sending   done       already_invited        invited: already_invited
//	invite    refused                -               sending   done       address_rejected       failed: address_rejected
//	invite    not_executed           send_by_passed  sending   planned    not_sent               -
//	invite    not_executed           canceled        sending   planned    drained                -
//	invite    not_executed           -               sending   waiting    not_executed           -
//	invite    limited                -               sending   waiting    limited                -
//	invite    probably_not_executed  -               sending   waiting    probably_not_executed  -
//	invite    unauthorized           -               sending   planned    unauthorized           -
//	invite    our_fault              -               sending   attention  request_rejected       failed: request_rejected
//	invite    unknown                -               sending   unknown    no_proof               -
//	activate  done                   -               received  stored     token_unanswered       -
//	activate  unreadable             -               received  attention  answer_unreadable      failed: answer_unreadable
//	activate  refused                no doubt        sending   done       code_rejected          failed: code_rejected
//	activate  refused                in doubt        sending   attention  outcome_lost           failed: outcome_lost
//	activate  not_executed           send_by_passed  sending   planned    not_sent               -
//	activate  not_executed           canceled        sending   planned    drained                -
//	activate  not_executed           -               sending   waiting    not_executed           -
//	activate  limited                -               sending   waiting    limited                -
//	activate  probably_not_executed  -               sending   waiting    probably_not_executed  -
//	activate  unauthorized           -               sending   planned    unauthorized           -
//	activate  our_fault              -               sending   attention  request_rejected       failed: request_rejected
//	activate  unknown                -               sending   unknown    no_proof               -
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
//     BeginAttempt like any call, and is used up by an answer, a refusal or silence.
//   - An invitation is sent once more, and goes on as any other; the second
//     time that it is unknown it goes to a person.
//   - Nothing is published before it ends, or a person has to look.
//   - A newer code of the shop, or address for an invitation, runs instead of the
//     probe: as long as that was not sent the older operation steps behind all
//     that is queued in the lane. As soon as the newer one's secret is stored, or
//     its e-mail sent, older ones in doubt, also those for a 408 or 503, that
//     stepped behind or wait for a person without an answer, for a reason that
//     needs none then (the table below), are superseded. When it ends otherwise the older
//     one goes on: its probe comes when the lane is free, after all newer ones.
//     A held one does not step behind: it leaves the lane for attention, with its
//     event, and is superseded from there.
//
// What a probe brings:
//
//	2xx                          received, stored, done
//	refused                      the code is spent, or never was good: attention outcome_lost
//	unknown again, also a crash  another quiet period, then attention outcome_unknown
//	our fault                    attention request_rejected
//	not sent, 425, 429, 401,     it was not used up: made later, flagged as a probe again
//	408, 503
//
// # Late answers
//
// An answer may come when its worker has lost the operation: a frozen process
// that goes on, a lease that ended too early. It is kept whatever the operation
// is by then. Before it has any answer the operation goes on as received, also
// out of attention: an `activated` may follow a failure that is not final.
// Whoever holds it at that moment is fenced off, so that no probe is sent any
// more; one that is on its way already ends as a late answer itself, and until it
// has ended (or, where nobody says so, may no more be on its way) the answer is
// not gone on with and the lane is held. After an answer late ones are compared
// with the tokens in use when the operation has ended, as receipts and as the
// credential store has them: the same token, or none, is a note in the audit;
// another, or one that does not open, is attention second_token. A failure that may be the second one of a run has an
// id of its own, of operation, run, type and reason.
//
// A receipt is erased [ReceiptsKept] after the credentials that it brought were
// found to work, or to be replaced by newer ones. Those of activations that wait
// for a person, or were announced as pending and nothing is known since, are kept.
//
// # What is old
//
// A [Pruner] runs beside the pool and forgets what nothing needs any more, from ten
// minutes after the start on and then every six hours; what goes says the journal's
// table. The inbox is kept for [PrunerConfig].Keep, and for longer where the input
// topics can give a record again for longer; while nobody can tell, or for
// topics that keep records for ever, nothing of it is forgotten. A pass that fails
// goes on at the next one; nothing waits for it.
//
// # Verification
//
// A new token is checked before `activated` is published, for the verification
// time. Refused for all of it: attention credentials_invalid. No answer in it:
// published as pending. From then on the shop's current credentials have a
// review in the journal, which newer credentials replace with all that is said of
// the older ones; review.go and the table in reviewrules.go:
//
//	pending  ─works─▶ verified, credentials_verified;  ─refused, confirmed─▶ invalid, credentials_invalid
//	         ─no answer─▶ looked at again after 15 s, growing to 1 h
//	verified ─works─▶ looked at on schedule;  ─refused, confirmed─▶ invalid, credentials_invalid
//	invalid  ─works─▶ verified, credentials_verified;  ─refused─▶ looked at on schedule
//
// Credentials that became invalid are attention credentials_invalid of the
// activation that brought them, which ends when they work again, or by itself
// when newer ones are current. A refusal is a 401, a 403 of Invoicebox's own or a
// null user; it counts when it was repeated, with nothing good between, for the
// verification time: the first such answer is looked at again within that time.
// Anything else proves nothing. On schedule ([Config.VerifyEvery], drawn anew
// from its second half for each look) all are looked at, also those that are
// invalid; without a schedule only what is pending or refused.
//
// Reviews hold no lane and no place of a call, and an account has one under way
// at a time. They take at most a tenth of the egress ledger, and those of the
// schedule only while half of it is free: with more shops than that serves, the
// schedule stretches. They rest while the account's gate is resting or limited,
// and pause longer and longer while nothing answers.
//
// When [RefusedInRow] different shops of an account are refused in a row, with no
// token that works between, that speaks against the check and not against the
// shops: no further one is announced, the log and the metric
// credentials_refused_in_row say so, and they are looked at as before. One token
// that works, a new activation's too, ends it; who is still refused then is
// announced. So such a fault announces nine shops of an account at most. The
// journal counts, so that a restart forgets nothing.
//
// # Acts of people
//
// A person's command is an intent in the journal; the pool looks for intents
// twice a second and performs or refuses each once. Its end, its effect and its
// audit entry, with who asked, are one commit, so neither a crash nor a second
// worker repeats it. What is about the same operation or account is performed
// in the order in which it was asked for. When the operation has moved on since
// (an answer came late, a newer code superseded it) the act is refused, with
// where the operation is.
//
// Which commands are safe says the attention's row, and another list of it for
// an operation in doubt:
//
//	probe   a new run whose every request is flagged as a probe
//	retry   a new run; of credentials_invalid the stored token is checked again
//	        for the verification time, and no code is sent
//	close   done. Every failure that attention published said `final: false`, so the
//	        platform is owed an end: the failure `closed`, final. Of an activation
//	        of an active shop it is the shop's current activation once more, as a
//	        new event, because that stands and a later failure would take the shop
//	        back; of another shop's code nothing, its failure was final.
//	        A code that was or may have been executed is not sent again when it is
//	        entered again; the platform gets `closed` again
//	reread  the kept answer is read by the present parser, and goes on as one that was
//	        entered. One that works opens an account that is paused for such answers
//	enter   merchant id and token from Invoicebox's support. The token is checked
//	        first, for the verification time at most; one that is refused, or that
//	        nobody answers for, or the partner's own, or a merchant that conflicts,
//	        leaves everything as it was. Then credential, activation, `activated`, the
//	        intent's end and a receipt are one commit, and what is older and in doubt is
//	        superseded.
//	        The receipt is an answer of the usual form for which no byte was
//	        written; answers that come late are compared with it
//	pause   closes an account's gate, for the reason `operator`; it stays so over
//	        restarts. Tokens are still checked: those calls change nothing
//	resume  lets one call try, whatever the account was paused for, but not for its
//	        token or address: those open by a check of the token
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
// # Reasons of attention
//
// What is certain and what is not says [AttentionRows]. Event is the failure that
// is published when it comes to this; commands are those that are safe. The last
// column is of one in doubt and without an answer, when a newer code of the shop,
// or address, succeeds; for code_of_other_shop any code of the shop's own.
//
//	reason                kinds             event                commands              in doubt             a newer one works
//	outcome_unknown       invite, activate  outcome_unknown      probe, enter, close   the same             superseded
//	outcome_lost          activate          outcome_lost         enter, close          the same             superseded
//	request_rejected      invite, activate  request_rejected     retry, close          probe, enter, close  superseded
//	answer_unreadable     activate          answer_unreadable    reread, enter, close  the same             stays
//	merchant_conflict     activate          merchant_conflict    reread, enter, close  the same             stays
//	credentials_invalid   activate          credentials_invalid  retry, enter, close   the same             stays
//	second_token          activate          second_token         enter, close          the same             stays
//	code_of_other_shop    activate          code_of_other_shop   close                 the same             superseded
//	subject_unreadable    invite, activate  -                    retry, close          probe, enter, close  superseded
//	answer_not_authentic  activate          answer_unreadable    enter, close          the same             stays
//	credentials_lost      activate          credentials_lost     enter, close          the same             stays
//
// # The gate
//
// What an answer, a check of the account's own token or a person does to the
// gate. Rows of a trial are about the one call that a limited or resting gate
// lets through when its time is over. A pair that is not here changes nothing.
// Replicas share the gate, and one of them makes the trial: it puts the gate's end
// off in the journal first, by the time that a call usually takes, so that another
// makes it when that one dies. Faults in a row each replica counts by itself, so that a few
// times as many calls may fail before all of them rest.
//
//	gate     for            signal        of         then
//	open     any            answered      any        open
//	open     any            limited       any        limited, as told
//	open     any            drained       any        limited, as told
//	open     any            fault         any        one more; resting at 5
//	open     any            unauthorized  any        paused
//	open     any            rights        any        one more; paused at 3
//	open     any            address       any        one more; paused at 3
//	open     any            partner       any        one more; paused at 3
//	open     any            request       any        one more; paused at 3
//	open     any            refused       any        one more shop; paused at 20
//	open     any            unusable      any        one more shop; paused at 3
//	limited  any            answered      the trial  open
//	limited  any            limited       any        limited, as told
//	limited  any            drained       any        limited, as told
//	limited  any            fault         the trial  resting, longer
//	limited  any            unauthorized  any        paused
//	limited  any            rights        the trial  one more; paused at 3
//	limited  any            address       the trial  one more; paused at 3
//	limited  any            partner       the trial  one more; paused at 3
//	limited  any            request       the trial  one more; paused at 3
//	limited  any            refused       the trial  one more shop; paused at 20
//	limited  any            unusable      the trial  one more shop; paused at 3
//	resting  rights         rights        the trial  paused
//	resting  address        address       the trial  paused
//	resting  partner_id     partner       the trial  paused
//	resting  request        request       the trial  paused
//	resting  refusals       refused       the trial  paused
//	resting  answers        unusable      the trial  paused
//	resting  answers        usable        the trial  open
//	resting  answers        answered      the trial  stays
//	resting  answers        refused       the trial  stays
//	resting  any            answered      the trial  open
//	resting  any            limited       any        limited, as told
//	resting  any            drained       the trial  limited, as told
//	resting  any            fault         the trial  resting, longer
//	resting  any            unauthorized  any        paused
//	resting  any            rights        the trial  one more; paused at 3
//	resting  any            address       the trial  one more; paused at 3
//	resting  any            partner       the trial  one more; paused at 3
//	resting  any            request       the trial  one more; paused at 3
//	resting  any            refused       the trial  one more shop; paused at 20
//	resting  any            unusable      the trial  one more shop; paused at 3
//	resting  server_faults  token good    any        its trial may be made
//	resting  server_faults  token odd     any        its trial may be made
//	resting  server_faults  token bad     any        resting, longer
//	paused   token          token good    any        open
//	paused   address        token good    any        one trial
//	open     any            pause         any        paused
//	limited  any            pause         any        paused
//	resting  any            pause         any        paused
//	paused   any            pause         any        paused
//	paused   token          resume        any        stays
//	paused   address        resume        any        stays
//	paused   any            resume        any        one trial
//	paused   rights         changed       any        one trial
//	paused   partner_id     changed       any        one trial
//	paused   request        changed       any        one trial
//	paused   refusals       changed       any        one trial
//	paused   answers        changed       any        one trial
//	paused   refusals       answered      any        open
//	paused   answers        usable        any        open
//
// Replicas share the gate. In addition each replica blocks an account by itself: if a
// check of the token shows that the replica's own settings are wrong (the server is
// not the API, or the API rejects the partner id), the replica sends nothing for the
// account until a later check succeeds. This includes the check before the start.
// The check does not contain the partner id. So until a response has shown that an
// account's settings are right, the replica makes one call at a time, and the first
// rejection of the address or partner id pauses the account.
//
// # What it does not
//
// Credentials that were never current (attention credentials_invalid before they
// were announced) are not looked at again. The order in which
// events of one shop arrive is the consumer's matter. How many shops were
// refused in a row is not written down: a restart begins to count anew.
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
//	BeginAttempt without an answernothing is sent; the attempt is taken back from whichever state it is in
//	journal closed               Run drains and returns its error
//	crash in claimed             planned again when the lease ends
//	crash in sending             unknown: the two cases cannot be told apart
//	crash in received, stored    taken up again from the receipt
//	Invoicebox unreachable, 5xx  five in a row rest the account, longer each time; one trial ends a rest
//	429, or no request left      the account is limited as told (15 min at most), then one trial
//	401                          the account is paused until its token passes a check: at once when the token
//	                             file changes, else every 30 s, growing to 5 min
//	403, wrong address, request  attention for the operation; three in a row pause the account. A wrong address
//	                             ends with a good token check and one trial, the others with a trial after
//	                             a person's resume, a changed token file or a restart
//	many shops refused           twenty different ones in a row without a success pause the account; ends as the
//	                             pauses for rights and request do
//	answers of no use            three activations of different shops in a row whose success cannot be read, or
//	                             brings a merchant that conflicts, pause the account: each spends a code. Only an
//	                             activation that is stored ends the row. Ends by a person's resume or a changed
//	                             token file and one trial, or by a reread that works
//	                             Slow start: until an activation was stored, each worker has three of an account
//	                             in flight at most, and one fewer after each answer of no use, so that three
//	                             codes are spent. Each activation that is stored doubles the bound, up to the
//	                             concurrency; an answer of no use sets it back. Calls that are in flight by then
//	                             end as they end: up to the concurrency of codes may be spent where answers were
//	                             of use before. Invitations have no such bound: they keep their tenth, and after
//	                             a second have all that the activations cannot use
//	paused by a person           a person resumes it
//	intent and journal fail      the intent waits and is performed at the next look; a gate is changed in the
//	                             journal first
//	credential store not ready   activations wait, invitations go on; late answers are compared later
//	stored credentials unreadable  their review proves nothing; an error in the log each time, once an hour
//	keyset lacks a key           refused at the start, and within seconds by a replica that runs; what it meets
//	                             before that waits (key_missing), for a minute: a key that is unknown for longer
//	                             is no worker's, and the value counts as edited
//	stored value moved or edited attention: subject_unreadable before a call, answer_not_authentic after it; an act
//	                             of a person is refused (not_authentic), an event stays in the outbox
//	journal's database gone      no call begins; claims, receipts and what waits are tried without end, every few
//	                             seconds at most, and said once when it begins and once when it has ended; what a
//	                             request came to is tried as long, beyond its lease, and leases are looked at
//	                             after that; what waits later is taken up again from what is durable
//	journal's disk full          no call begins; receipts are tried without end, and there is room kept for them
//	a panic                      ends the process: it is a bug, and everything durable is taken up again
//
// # Simulation
//
// TestSimulation runs pools over the real journal one step at a time, in virtual
// time. One number, the seed, decides all: inputs, which task goes on after
// each call, what the model of Invoicebox does and answers, when the journal
// fails before or after a commit, who is killed, frozen or told to stop, and how
// the clock is stepped while no process runs; the same seed repeats the same
// run. After every step the requests, leases, windows, events and secrets that
// really were are compared with what is promised above, and when the faults stop
// all has to be done in a bounded time. go test runs what fits into eight seconds.
//
//	go test ./internal/onboarding -run 'TestSimulation$' -sim.seeds=10000 -timeout=2h
//	go test ./internal/onboarding -run 'TestSimulation$' -sim.seed=SEED -sim.seeds=1 -sim.trace -v
//	go test ./internal/onboarding -run 'TestSimulationMutants' -sim.mutants=2000 -timeout=2h -v
//
// The last plants the bugs of testdata/mutants one after the other and requires that
// each is found; -sim.mutant chooses some by name. What the model does not have:
// Kafka, the wire (the client's own tests), the loss of what was not synced, and
// two processes on one SQLite file (replicas share one open journal).
//
// # Longer tests
//
// INVOICEBOX_LEDGER_SEEDS=N tries N seeds of random traffic against the limits,
// where one is tried otherwise; a seed takes some seconds.
package onboarding
