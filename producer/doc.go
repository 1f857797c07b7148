// Package producer relays the outbox to Kafka, and makes the topics of the
// contract.
//
// # What it guarantees
//
//   - At least once, with the same id and bytes every time: rows are frozen in
//     the outbox, and marked only after all in-sync replicas have them.
//   - Rows of one shop reach a topic in the order of the outbox. They are placed
//     by key as Java's clients do (Murmur2); each partition is a lane with one
//     batch under way, and a batch that failed is tried again, unchanged, before
//     anything behind it.
//   - A lane in trouble holds back its own rows only. Other partitions and other
//     topics go on, also when it has more rows than fit in memory: those stay in
//     the outbox and are read again later.
//   - A batch that was written although the broker said otherwise (or nothing)
//     is recognised when it comes again, and is there once.
//   - Nothing is dropped, whatever a broker says.
//   - Memory is bounded: 1,000 rows or 1 MiB a lane, 16,000 rows or 32 MiB in all.
//
// # What it does not
//
// Order over topics: a shop's rows of two topics are published independently,
// and a topic that stands still does not stop the others. The sequence in every
// event tells consumers which is newer. When a topic is given more partitions
// its keys move, as with any producer. What a topic held when it was deleted is
// gone; what waits is placed anew in the one that takes its place, whatever its
// number of partitions.
//
// # One relay at a time
//
// Of all that share a journal one relay has the relay lease
// ([journal.RelayLeases]); only that one reads the outbox. It renews the lease
// after a third of its time. Another tries to acquire it once a second, and at
// once when the lease is released; it holds nothing, and is ready: "another
// replica publishes".
//
//	          ┌────────── acquired by another, or a step refused ─────────┐
//	          ▼                                                           │
//	stands by ─AcquireLease─▶ publishes ─lease expires─▶ begins nothing ──┤
//	                              ▲                       (not ready)     │
//	                              └──────────── renewed ──────────────────┘
//
// A relay that lost the lease discards all that it holds; when it acquires the
// lease again it starts from the journal. So a takeover publishes again what was
// not marked, and nothing else, with the same bytes. Where the journal was away
// and nobody else had the lease, it goes on with what it holds.
//
// A batch is written only while the lease is valid, by the monotonic clock and the
// wall's: that is looked at when the request is put together, on its connection,
// after all waiting. A relay that was frozen therefore sends nothing, when it
// wakes, that it had not begun to send. What was on the wire by then may reach
// the broker after what the next relay has published: it is a repeat with the
// same bytes and the same sequence, and consumers that keep the highest are not
// taken back.
//
// One that is told to stop publishes what is left, for FlushTime at most, closes
// its connections and releases the lease. Where it is killed, frozen or cut off
// the next one begins when the lease has expired: a few seconds, which the
// database defines.
//
// # One batch
//
//	queue ─cut─▶ batch ─▶ acknowledged ─▶ marked
//	               ▲ │
//	               │ ├─ a passing fault, or no answer ─▶ waits, then the same again (50 ms to 5 s)
//	               │ ├─ the broker forgot the numbers ─▶ the same under a new producer id
//	               │ ├─ its time is refused ─▶ the same with the present time, at once
//	               │ ├─ too large ─▶ halves, down to a single row
//	               └─┴─ refused for good ─▶ its topic is stopped: error log, metric, Ready; tried again every StoppedRetry
//
// Refused for good are: no right to the topic, a record or topic name that is
// invalid, a policy, a single row over the limit, and a topic that is missing
// for longer than TopicWait. Ready reports a stopped topic at once, and any
// partition whose results have waited for a minute.
//
// Every attempt carries the time at which its request is put together, under the
// sequence of the first attempt. A topic may bound the age of records, and
// deletes records by their time: a batch that waited must not be refused or
// deleted for it. A broker recognises a repeat by producer id and sequence,
// whatever its time is, so a batch whose first answer was lost is there once. A
// new producer id would write it twice. A topic that refuses the present time,
// too, is stopped: one of the clocks is wrong.
//
// # Why raw batches
//
// kafka.Writer has no idempotence: a time-out after the append made three
// records of one. Its retries end before a dead broker is fenced, and a write
// that was cancelled may still happen later, behind newer ones. So batches are
// encoded here (record batch version 2) and sent with Client.RawProduce under a
// producer id and a sequence of the lane's own. A lane has its own id so that
// nothing that happens to one lane disturbs the numbers of another. It keeps a
// batch, with its sequence, until it is settled. Clusters that do not offer the
// API InitProducerId, or refuse it to the user, are produced to without producer
// ids. That is logged once, and `check` reports it. Then a lost answer can mean a
// second record, with the same id and bytes.
package producer
