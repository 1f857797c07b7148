// Package journal is the contract of the durable memory: positions, inbox,
// operations, receipts, the ledgers of requests, outbox, accounts and audit.
// Kafka is the transport, the journal is the memory: every recovery is a look
// into it for what is due.
//
// # Packages
//
// Package steps makes every change of the journal once for both databases: it
// loads rows, decides in Go, and hands back the changed rows. Package rows
// describes the rows as Go structs, and package schema creates the tables. Packages
// sqlite and postgres open the database, run transactions, read and write rows, and
// count permits. Package journaltest is the conformance suite of both, and package
// twin compares them under the same random calls. Package move copies a journal
// from SQLite to PostgreSQL.
//
// # What it guarantees
//
//   - A method that changes something returns after the change is on disk, or
//     with an error after which it is not there. Where a context ended or the
//     database went away during a commit nobody knows; the comparison that each
//     step makes (position, claim, state, attempt number, version) makes a
//     second try safe.
//   - A batch of records is taken whole, with the position behind it, once: the
//     position never passes a record that is neither in the inbox nor a dead
//     letter nor left out by the consumer.
//   - An operation is claimed by one worker at a time, and a shop has one
//     operation in its lane at a time, in the order in which their runs began,
//     by events or by acts of people.
//   - Nothing is sent before the attempt is durable, and its permits are taken
//     with it: no sliding window of a ledger holds more than the limit, over
//     restarts too.
//   - A receipt is kept in whatever state its operation is by then.
//   - An outgoing event is frozen in the transaction that caused it; its
//     sequence rises within the shop; the outbox has the order of the commits;
//     a repeat has the same bytes.
//   - One process at a time has the relay lease ([RelayLeases]) and publishes, over
//     all that share the journal. Another can acquire a lease that was not renewed
//     a few seconds later; then the first can mark nothing more.
//   - What a person asks for ([Intent]) is performed or refused once: its end,
//     its effect and its audit entry are one commit. Whoever performs it holds
//     nothing: the operation's claim number fences it.
//   - Every sealed value names its key, and so does every keyed digest.
//   - An active shop has one review, of its current credentials: when they are
//     looked at again, and what came of it. It is claimed as operations are, and
//     newer credentials replace it, whoever holds it.
//
// # What it does not
//
// It decides nothing: what an event leads to says the [Planner], what an
// outcome leads to says the caller of Apply. It opens nothing: addresses,
// codes, answers and tokens pass through it sealed, and it never logs a value.
// It forgets nothing by itself: see [Journal.Prune] and [Journal.EraseReceipts].
//
// # What is forgotten
//
// Everything that the work leaves behind is forgotten when it is old and nothing
// needs it any more; what is open, or waits for a person, stays however old it
// is. How long things are kept says the caller of Prune. The newest row of
// a table may stay where ids go on from it.
//
//	table             forgotten with  what goes                                            what stays
//	account           -               -                                                    all
//	announced         -               at the end of a recovery                             nothing
//	attempt           attempts        of ended operations, and checks                      without an end, or with a receipt; the newest
//	audit             -               -                                                    all: it is append-only
//	credential        -               -                                                    all: published references resolve
//	dead_letter       dead_letters    when its event was published                         the newest
//	event             events          all others                                           one that began the latest run of an operation; the newest
//	inbox             events          all                                                  nothing
//	intent            intents         that have ended                                      that wait; the newest
//	key_use           -               -                                                    all: a row for each key
//	ledger            -               -                                                    all
//	meta              -               -                                                    all
//	operation         operations      ended invitations that were sent again later         all others: keys, runs, and for activations their codes
//	operation_body    operations      with its operation                                   as its operation
//	outbox            results         published, of ended operations                       a shop's current activation and its last event; the newest
//	outbox_pending    -               when it is published                                 nothing
//	outbox_published  results         with its event                                       as its event
//	permit            -               when a later one is taken and its window has passed  nothing
//	position          -               -                                                    all
//	published_end     -               -                                                    all: where a recovery begins to read
//	pulse             -               a while after its process has ended                  nothing
//	receipt           -               by EraseReceipts, when its credentials work          what a person may need
//	relay_lease       -               -                                                    its one row
//	replica           -               when it is gone                                      nothing
//	republish         republished     that are published                                   the newest
//	review            -               -                                                    all: one for each active shop
//	schema_version    -               -                                                    all
//	shop              -               -                                                    all: sequence, versions, merchant
//	topic             -               -                                                    all
//
// An event that comes again after the inbox has forgotten it is a new one: the
// caller keeps the inbox for longer than the inputs can come again. What it leads
// to is right all the same, as of any new event: addresses, codes, runs,
// generations and the cool-down are not forgotten. Only an event that was answered
// at once, without an operation, is answered by the same id with other bytes. A late answer is taken whatever was forgotten: the
// request that it answers has no end yet, and stays.
//
// What stays for ever, for each shop: its row, its reviews, versions of its
// credentials, an operation for each code and each address, the event that began
// its latest run, its current activation and its last event; and the audit. On
// SQLite that is 1 KB for a shop that was activated once, its events' bytes and the
// sealed credentials not counted (BenchmarkForgetting of its package).
//
// Ages are counted by a time that goes on by [PruneSpeed] times the time at work at
// most, whatever the clock says. A clock that is set forward by a month, at once or while no
// process runs, takes more than a day at work to have an effect, and one that
// goes back takes the time back. What was written under a clock that is ahead is
// left alone until that time has come, and holds up nothing.
//
// # Copies and recovery
//
// A journal that was restored from a copy does not know what was done since. A
// recovery ([Journal.Recover] to [Journal.EndRecovery]) brings it to where the
// result topics and the inputs say that it was, as far as they do; what comes of
// each operation says a [Restorer]. Every step can be made again after a crash,
// and counts once. Published events are kept with their bytes, so a repeat is
// the same; sequences go on above them; no version of credentials that an event
// named is used again. The journal has another identity afterwards.
//
// Where it is not known what was sent just now (after a recovery, in a file that
// was copied, in a new journal whose caller knows that others ran before) every
// ledger is used up until one slack and one window have passed.
//
// # States
//
//	            ┌──── lease expired, or a restart ─────┐
//	            ▼                                      │
//	Queued ─▶ Planned ──Claim──▶ Claimed ──Send──▶ Sending ──Receive──▶ Received
//	  ▲         ▲  Waiting ─┘       │                │  └─lease expired, restart─▶ Unknown
//	  │         │     ▲             └────── Apply ───┴──▶ any of Planned, Waiting, Received,
//	  │         └─────┴── Apply ──────────────────────    Stored, Unknown, Attention, Done, Superseded
//	  └─ the lane is taken
//
// Planned and Waiting are claimed in stage Call and become Claimed; Received,
// Stored and Unknown are claimed in stage Settle and keep their state. A claim
// raises the operation's claim number; every later step names it. Which edges
// Apply is used for is business, in package onboarding.
//
// After Apply the operation is its caller's until somebody claims it, so a Due
// that lies ahead is time to go on in. An operation that Apply brings back from
// beside the lane (out of Stored, Attention or an end) to Planned or Waiting is
// Queued if the lane is taken by then; one that steps Behind is Queued until
// all that was queued has left the lane. A late receipt makes an operation
// that has no answer yet Received at once, from any state and also beside another
// in the lane: nothing is left to send. To one that has, it is kept beside; such
// an operation is claimed in stage Settle once it has ended, to be compared, and
// keeps its state.
//
// # Failures
//
//	process killed         what was acknowledged is there; leases end at the next opening:
//	                       Claimed is Planned, Sending is Unknown with doubt, what was being
//	                       settled is due; what waits its time goes on waiting
//	holder stalled         its lease ends, another claims, its late step is ErrStale; its late
//	                       answer is kept by Receive
//	answer written twice   the second changes nothing
//	clock stepped          nothing while the process runs; at the next opening an operation that
//	                       waits is due by the new clock, and no later than its whole wait after
//	                       the opening; a ledger counts what is behind it
//	                       from the opening at the latest, and where the clock is seen to have been
//	                       set forward while no process ran, its ledgers wait as after a recovery;
//	                       of reviews what is open is due at the opening,
//	                       and since when credentials are refused counts from it
//	intent and answer race one of them is ErrStale, and whoever performs the intent looks again
//	database full or gone  the steps that were asked for fail (ErrFull, ErrDisk, ErrUnreachable: see
//	                       [Waits]), in bounded time; later ones are tried anew
//	late standby, old copy found by whoever had more acknowledged, where the database can tell; then
//	                       every step but Receive is ErrCopy, for all workers, until a recovery
//	disk almost full       no call can begin; what is in flight has room to end
//	restored from a copy   nothing runs with it before its recovery has ended
//	one step is wrong      it fails alone, what was committed with it is there
package journal
