// Package consumer brings the records of the input topics into the journal's
// inbox, and lets the consumer group's offsets follow.
//
// # The way of a record
//
//	fetch (committed records only) ─▶ decode ─┬─ good ─────────▶ event ─────┐
//	                                          ├─ unreadable ───▶ dead letter ├─▶ one inbox transaction ─▶ counted ─▶ offset committed
//	                                          └─ not for us ───▶ ignored ───┘    (compares and moves the position)
//
// One goroutine for each partition fetches, decodes and ingests, in order. A
// batch is what a fetch gave, up to [Config.BatchEvents] events and dead
// letters; nothing lingers for more. Ignored records keep nothing but the
// position and do not count towards the bound.
//
// # What it guarantees
//
//   - Every record ends in exactly one place: accepted, repeated, ignored with a
//     reason, or dead letter with a reason. The table is in records_test.go. The
//     position never passes a record that is in none of them: it moves in the
//     transaction that takes the records in.
//   - A record that cannot be used never holds up the one behind it; a journal
//     that cannot write holds up everything and skips nothing.
//   - An event never overtakes another one of its partition. A shop that turns
//     to another provider and back inside one fetch is split over two batches,
//     because the journal cancels after it has taken the events in.
//   - Events of a shop are ordered by the event's time, else the record's. A time
//     ahead of this machine's clock is held to the record's time, else to the
//     clock; a time before 2000 counts as none. An event without a time is older
//     than no other. Such events are counted.
//   - An offset identifies no record. The journal keeps with each position the
//     leader epoch, last offset and checksum of the batch before it. When a
//     generation begins, and before anything of another leader epoch is taken in,
//     they are compared with the log: one that lost its end (a power cut, an
//     unclean leader election) or was made anew, and was filled beyond the
//     position, is refused (ErrTopicAnew), and `journal recover` reads it again.
//     Compaction changes checksums, and batches that lack records are compared by
//     offset and epoch. What retention deleted is not compared.
//   - What is kept is sealed: addresses, codes, dead records up to 64 KiB. Of a
//     larger one there is a keyed digest and its size.
//   - The journal knows where to begin, never the group. Offsets are committed
//     after the journal's transaction, coalesced, and only inside a living
//     generation, so a worker that was replaced cannot move them.
//   - The group's protocol is named after the journal ([ProtocolName]): a worker
//     with another journal, or any other client, is refused by the broker. The
//     assignments hold user data, so that the broker also refuses clients of the
//     new consumer protocol (KIP-848) and does not turn the group into theirs.
//   - Partitions of all topics are dealt together and evenly, and a rebalance
//     moves as few as that allows; see below.
//   - Records of aborted transactions are left out, and the markers of
//     transactions and what compaction took away are stepped over.
//
// # Members come and go
//
// Whoever leads the group deals the partitions. Every member says in its user
// data what it holds and since which generation, so that the leader leaves it
// what it can. Of two that say they hold the same, the one that got it later is
// right: the other was cut off and does not know. What came last is passed on
// first, so that a worker that comes back gets what the others only held for it:
// of N workers under one restart, the partitions of the others stay where they
// are. What members say is a hint. Nothing of it, false, foreign or broken, can
// leave a partition out, deal it twice or make the shares uneven; a member that
// was cut off for long, and comes back when the one that took its place goes,
// can cost some moves more than needed. User data is 64 KiB at most: what does
// not fit (some ten thousand partitions of one member) is not claimed.
//
// Workers of versions that send no user data, or other user data, can be in the
// group: the protocol is the same, whoever leads. While they are, more moves.
//
// A worker that stops leaves the group as soon as its batch in hand is done. The
// others learn of it with their next heartbeat, 250 ms at most, and its partitions
// stand still for about that long. All partitions stand still while the group
// rebalances, some tens of milliseconds, because the client library knows no
// other protocol; the batch in hand can stretch that to two seconds. It is then
// given up, and read again by whoever is next. A worker that is killed or frozen
// is missed after SessionTimeout.
//
// # Recovery
//
// [Consumer.Alone] is for a journal that is restored: it joins the group under a
// protocol of its own, so that the broker keeps every worker out meanwhile, also
// one that still has the lost journal, and reads again and scans what it is told
// to. Offsets are committed in the end, where the journal then stands.
//
// # What it does not
//
// Batches of the message formats 0 and 1, which brokers before 4.0 may still hold
// from before 0.11, are not read: ErrStuck names the first.
//
// The client library does not know topic ids. A topic that is deleted, made anew
// and filled beyond the position while it is read, between two looks at the
// topics, is taken for the old one. Records of plain JSON without an id are
// identified by place, time and a keyed digest, so the look-up key is part of
// their identity. Where the database goes away during a commit that succeeded,
// the records of that one batch are not counted in the metrics.
//
// # States
//
//	starting ─▶ waiting for the input topics ─▶ joining the consumer group ─▶ consuming ─┐
//	                    ▲                               ▲                               │
//	                    └──────── a topic is gone ──────┴──── a generation ends ◀────────┘
//
// While a topic is gone the others are read, and Ready says so within about
// three seconds: a reader that is told so has the topics looked at.
//
// # Fetching
//
// Each broker has one connection over which all its partitions are fetched, and
// one for questions about offsets; the group, metadata and commits use up to five
// more for a worker. A request asks for all partitions that wait, those first
// that were served longest ago. A session that the broker ends unless it
// authenticates again is replaced before.
//
// [Config.FetchMemory] bounds what is held, over all partitions: a quarter of it
// is for batches as they came, the rest for what is unpacked at a time. Batches
// are unpacked as a stream (internal/recordbatch). A partition is asked for less
// the more its records unpack to. What exceeds a bound becomes dead letters
// too_large, and what has the right checksum and cannot be read, malformed: one
// for each record, or one for all where there are more than a thousand. The
// position moves on.
//
// A broker that throttles (KIP-219) is not asked for as long as it says. That is
// no silence: neither it nor waiting behind other partitions counts for ErrStuck.
//
// An open transaction that holds records back is a gauge (unstable_records) and
// after a minute a line in the log. A damaged batch (its checksum is wrong) is
// fetched again, because another copy may be good; when it stays so, ErrStuck
// names it and what can be done.
//
// # Failures
//
//	at the start, for a bounded time, then Run ends:
//	  no broker answers                 ErrUnreachable (ReachWait); when some do and others do not, three times that
//	  a topic is missing                ErrMissingTopic (TopicWait)
//	  user, password, TLS or an ACL     ErrDenied (TopicWait)
//	  topics hold records, no Start     ErrStartRequired, nothing is begun
//	  the group has committed offsets of topics that the journal has never read     ErrJournalLost, whatever Start is, nothing is begun; see Forget
//	at any time, Run ends:
//	  the group committed, or a reader has taken in, more than the journal knows     ErrGroupAhead
//	  the position lies behind the partition's end, or other records lie before it     ErrTopicAnew (confirmed for TopicWait: a new leader may lag)
//	  others are in the group                             ErrGroupInUse (StrangerWait: one may just be leaving)
//	  a partition is silent, see below                    ErrStuck
//	waited out for ever, logged when it changes, counted by class:
//	  brokers, leaders, coordinators away or moving; an ACL or topic taken away later; the journal failing
//	held back for as long as it lasts, by itself:
//	  no room for more ([Config.Room])  nothing is fetched, the lag stays in Kafka; Ready says why, fetching_stopped is 1
//	reported and gone past:
//	  records deleted before they were read               records_lost_total, error log
//
// Others in the group show as error [23] or [-1] at the join; a passing fault
// never does, so the time for which they last tells them apart.
//
// A silent partition is one that has records and gives none, without an error:
// the client library has had such faults. After StuckAfter its connections are
// made anew, then the generation is ended, then Run. A partition whose end
// cannot be asked for, or whose broker says what is wrong, is not silent.
//
// # Why so
//
// kafka.Reader with a group commits across generations and is not used.
// Client.Fetch and the library's transport are not used to fetch either: they
// unpack whole responses without a bound, take a connection for each partition,
// and hide aborted transactions, the broker's time and the leader epoch. The
// library's watcher of partitions rejoins a hundred times a second
// while a topic is missing, so watching is done here.
package consumer
