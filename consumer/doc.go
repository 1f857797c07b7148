// Package consumer reads the records of the input topics into the journal's inbox,
// and lets the consumer group's offsets follow.
//
//	fetch (committed records only) ─▶ decode ─┬─ good ─────────▶ event ─────┐
//	                                          ├─ unreadable ───▶ dead letter ├─▶ one inbox transaction ─▶ counted ─▶ offset committed
//	                                          └─ not for us ───▶ ignored ───┘    (compares and moves the position)
//
// One goroutine for each partition fetches, decodes and ingests, in order. A batch is
// what a fetch returned, up to [Config.BatchEvents] events and dead letters.
//
// # Guarantees
//
//   - Every record has exactly one outcome: accepted, repeated, ignored with a reason,
//     or dead letter with a reason. The position moves in the transaction that stores
//     the records, so it never passes a record without an outcome.
//   - A record that cannot be used never blocks the next one. If the
//     journal cannot write, reading stops and nothing is skipped.
//   - Events of a partition stay in order. If a shop changes the provider and back
//     within one fetch, the events go into two batches, because the journal cancels
//     after it has stored the events of a batch.
//   - Reading begins at the journal's position, never at the group's offset. Offsets are
//     committed after the journal's transaction and only while the generation lasts.
//   - An offset does not identify a record. The leader epoch, last offset and checksum of
//     the batch before the position are compared with the log; if they differ, the
//     partition is refused (ErrTopicRecreated).
//   - The group's protocol is named after the journal, so the broker refuses a worker with
//     another journal and any other client ([ProtocolName]).
//   - Addresses, codes and dead records are sealed before they are stored.
//   - Partitions of all topics are assigned together, round robin: the members' totals
//     differ by at most one.
//   - [Config.FetchMemory] bounds the fetched records in memory, compressed and decompressed.
//
// # States
//
//	starting ─▶ waiting for the input topics ─▶ joining the consumer group ─▶ consuming ─┐
//	                    ▲                               ▲                               │
//	                    └────── a topic is missing ─────┴──── a generation ends ◀────────┘
//
// # Failures
//
//	at the start, for a bounded time, then Run ends:
//	  no broker answers                          ErrUnreachable (ConnectTimeout)
//	  a topic is missing                         ErrMissingTopic (TopicTimeout)
//	  user, password, TLS or an ACL is wrong     ErrDenied (TopicTimeout)
//	  topics hold records, no Start              ErrStartRequired
//	  the group has committed offsets of topics that the journal has never read   ErrJournalLost
//	at any time, Run ends:
//	  the group is ahead of the journal          ErrOffsetsAhead
//	  the partition has other records            ErrTopicRecreated (confirmed for TopicTimeout)
//	  other clients are in the group             ErrGroupInUse (ForeignMemberTimeout)
//	  fetches return none of the records         ErrPartitionStalled, after new connections and a new generation
//	retried without a limit, logged when it changes:
//	  brokers, leaders, coordinators away; an ACL or topic removed later; the journal failing
//	paused while it lasts:
//	  [Config.CanFetch] returns false            nothing is fetched; Ready says why
//	reported and skipped:
//	  records deleted before they were read      records_lost_total, error log
//
// [Consumer.RunExclusive] reads for the recovery of a restored journal, under a protocol of its
// own that keeps every worker out.
//
// docs/kafka.md explains membership, fetching and why kafka.Reader is not used.
// docs/guarantees.md lists what is not promised.
package consumer
