package consumer

import (
	"time"

	kafkago "github.com/segmentio/kafka-go"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"invoicebox-worker/internal/kafka"
)

// A pendingFetch is a reader that waits for its partition.
type pendingFetch struct {
	reader *reader
	offset int64
	since  time.Time
	answer chan fetchAnswer // takes one

	share    int64
	answered bool // the response has said something of it
}

type fetchAnswer struct {
	fetchResult
	err error
}

// fetchRequest asks for the partitions of all turns, committed records only.
func fetchRequest(pending []*pendingFetch, most int64, wait time.Duration) *fetchapi.Request {
	q := &fetchapi.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: int32(most), // #nosec G115 -- a part of FetchMemory
		IsolationLevel: int8(kafkago.ReadCommitted), SessionID: -1, SessionEpoch: -1,
	}
	for _, t := range pending {
		p := fetchapi.RequestPartition{
			Partition: int32(t.reader.partition), CurrentLeaderEpoch: -1, FetchOffset: t.offset, LogStartOffset: -1, // #nosec G115 -- partitions are 32 bits
			PartitionMaxBytes: int32(t.share), // #nosec G115 -- at most maxPartitionBytes
		}
		// The order of turns counts, so a topic can stand there more than once in a row
		// of others; brokers and clients do the same.
		if n := len(q.Topics); n > 0 && q.Topics[n-1].Topic == t.reader.topic {
			q.Topics[n-1].Partitions = append(q.Topics[n-1].Partitions, p)
			continue
		}
		q.Topics = append(q.Topics, fetchapi.RequestTopic{Topic: t.reader.topic, Partitions: []fetchapi.RequestPartition{p}})
	}
	return q
}

// idleTimeoutReader reads a response for as long as something comes, however slow the line.
type idleTimeoutReader struct{ session *kafka.Session }

func (p idleTimeoutReader) Read(b []byte) (int, error) {
	if err := p.session.SetReadDeadline(time.Now().Add(maxWait + requestTimeout)); err != nil {
		return 0, err
	}
	return p.session.Read(b)
}
