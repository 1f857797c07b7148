// Package producer relays the outbox to Kafka.
//
// # Guarantees
//
//   - At least once, with the same id and bytes every time: rows are encoded in the
//     outbox, and marked only after all in-sync replicas have them.
//   - Rows of one shop reach a topic in the order of the outbox. Keys are
//     assigned to partitions like Java's clients do (Murmur2). Each partition has a queue
//     with one batch in flight; a batch that failed is repeated before any later one.
//   - A partition that cannot be written delays only its own rows, also if it has more
//     than fit in memory: those stay in the outbox and are read again later.
//   - A batch that was written although the broker reported an error is recognized by
//     producer id and sequence when it is repeated.
//   - Nothing is dropped, whatever a broker answers.
//   - Memory is bounded: 1,000 rows or 1 MiB a partition, 16,000 rows or 32 MiB in all.
//   - One relay of all that share a journal has the relay lease ([journal.RelayLeases])
//     and reads the outbox. It writes a batch only while the lease is valid by the
//     monotonic and the wall clock, checked when the request is built.
//   - A relay that stops publishes the rest, for FlushTimeout at most, and releases the
//     lease.
//
// # The relay lease
//
//	          ┌────── acquired by another, or a step refused ──────┐
//	          ▼                                                    │
//	stands by ─AcquireLease─▶ publishes ─lease expires─▶ starts nothing
//	                              ▲                       (not ready)
//	                              └────────── renewed ────────┘
//
// A relay that lost the lease discards the rows in its memory. The next one reads them
// from the journal, so a takeover repeats only rows that were not marked, with the same
// bytes.
//
// # Failures
//
//	queue ─▶ batch ─▶ acknowledged ─▶ marked
//	           │
//	           ├─ temporary error, or no response ─▶ the same again, after 50 ms to 5 s
//	           ├─ producer id unknown to the broker ─▶ the same under a new producer id
//	           ├─ time stamp refused ─▶ the same with the present time, at once
//	           ├─ too large ─▶ halves, down to a single row
//	           └─ rejected permanently ─▶ its topic is blocked; retried every BlockedRetry
//
// Rejected permanently are: no right to the topic, an invalid record or topic name, a policy, a
// single row above the limit, and a topic that is missing for longer than TopicTimeout.
// Ready reports a blocked topic at once, and a partition whose results have waited for a
// minute.
//
// # Limits
//
// There is no order over topics. When a topic gets more partitions its keys move. The
// records of a deleted topic are lost; waiting rows are written to the topic that replaces
// it. docs/kafka.md explains why batches are encoded here and not by kafka.Writer.
package producer
