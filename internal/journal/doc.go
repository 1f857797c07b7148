// Package journal is the contract of the durable store: positions, inbox,
// operations, receipts, rate limits (ledgers), outbox, accounts and audit. Kafka only
// transports events. After a restart the worker continues with what is due in the
// journal.
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
//   - A method that changes rows returns after the commit, or with an error and
//     without the change. If a context ended or the database went away during a
//     commit, the outcome is unknown. Each step compares position, claim, state,
//     attempt number or version, so that it can be repeated safely.
//   - A batch of records and the position after it are committed together. The
//     position never passes a record that is neither in the inbox nor a dead letter
//     nor skipped by the consumer.
//   - One worker at a time holds an operation. One operation at a time holds the lane
//     of its shop, in the order in which their runs began, by events or by operator
//     actions.
//   - An attempt is committed, together with its permits, before its request is sent.
//     No sliding window of a ledger contains more requests than the limit, also after
//     a restart.
//   - A receipt is saved in any state of its operation.
//   - An outgoing event is encoded in the transaction that causes it. Its sequence
//     increases within the shop, the outbox has the order of the commits, and a
//     repeated event has the same bytes.
//   - One of the processes that share the journal has the relay lease ([RelayLeases])
//     and publishes. Another can acquire a lease that was not renewed for a few
//     seconds; after that the first cannot mark events.
//   - An operator action ([Intent]) is executed or refused once. Its end, its effect
//     and its audit entry are one commit. The worker that executes it needs no lease:
//     the claim number of the operation fences it.
//   - Every sealed value and every keyed digest names its key.
//   - An active shop has one review of its current credentials: the time and the
//     result of their verification. A review is claimed like an operation. Newer
//     credentials replace it, even while it is claimed.
//
// # What it does not
//
// It makes no decisions: the [Planner] decides what an event leads to, and the
// caller of Apply decides what an outcome leads to. It decrypts nothing: addresses,
// codes, responses and tokens are sealed, and it never logs a value. It deletes rows
// only on request: see [Journal.Prune] and [Journal.EraseReceipts].
//
// # What is forgotten
//
// Rows are deleted when they are old and not needed any more. Rows of work that is
// open or waits for an operator are retained at any age. The caller of Prune decides
// the retention times. The newest row of a table may be retained because ids continue
// from it.
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
// An event whose inbox row was pruned counts as a new one, so the caller retains the
// inbox for longer than the input topics retain records. The result is still right:
// addresses, codes, runs, generations and the cool-down are not pruned. Only an event
// that was answered at once, without an operation, is answered again under the same id
// with other bytes. A late response is always saved, because an attempt without an end
// is not pruned.
//
// Retained for ever, for each shop: its row, its review, the versions of its
// credentials, an operation for each code and each address, the event that began the
// latest run, the current activation and the last event; and the audit. On SQLite that
// is 1 KB for a shop that was activated once, without the bytes of its events and the
// sealed credentials (BenchmarkForgetting of package sqlite).
//
// Ages are counted by a time that advances by at most [PruneSpeed] times the uptime of
// the workers. If the clock is set forward by a month, it takes more than a day of
// uptime until the month counts. If the clock is set back, the time is set back as
// well. Rows that were written under a clock that was ahead are retained until that
// time, and do not block others.
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
//	            ┌──── lease expired, or a restart ──┐
//	            ▼                                   │
//	Queued ─▶ Planned ──Claim──▶ Claimed ──BeginAttempt──▶ Sending ──SaveResponse──▶ Received
//	  ▲         ▲  Waiting ─┘       │                        │  └─lease expired, restart─▶ Unknown
//	  │         │     ▲             └────────── Apply ───────┴──▶ any of Planned, Waiting, Received,
//	  │         └─────┴── Apply ──────────────────────            Stored, Unknown, Attention, Done, Superseded
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
//	                       answer is kept by SaveResponse
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
//	                       every step but SaveResponse is ErrCopy, for all workers, until a recovery
//	disk almost full       no call can begin; what is in flight has room to end
//	restored from a copy   nothing runs with it before its recovery has ended
//	one step is wrong      it fails alone, what was committed with it is there
package journal
