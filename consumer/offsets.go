package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"invoicebox-worker/internal/kafka"
)

const (
	firstOffset = -2 // the times that stand for a partition's start and end
	endOffset   = -1

	readUncommitted = int8(kafkago.ReadUncommitted)
	readCommitted   = int8(kafkago.ReadCommitted)

	oldestOffsets, newestOffsets = 1, 5
)

// offsets asks the leaders for the first offset of a time or later in each partition.
// It sends one request to each broker; the library would send one for each partition,
// each over its own connection. An offset of -1 means none.
func (f *fetcher) offsets(ctx context.Context, partitions []topicPartition, at int64, isolation int8) (map[topicPartition]int64, error) {
	led := map[*broker][]topicPartition{}
	for _, p := range partitions {
		b, err := f.leaderOf(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", p, err)
		}
		led[b] = append(led[b], p)
	}
	var mu sync.Mutex
	found := make(map[topicPartition]int64, len(partitions))
	var errs []error
	var work sync.WaitGroup
	for b, list := range led {
		work.Go(func() {
			some, err := b.offsets(ctx, list, at, isolation)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			maps.Copy(found, some)
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, p := range partitions {
		if _, ok := found[p]; !ok {
			return nil, fmt.Errorf("partition %s: %w", p, kafkago.OffsetNotAvailable)
		}
	}
	return found, nil
}

// offsets asks this broker, over a connection for such requests.
func (b *broker) offsets(ctx context.Context, partitions []topicPartition, at int64, isolation int8) (map[topicPartition]int64, error) {
	q := &listoffsets.Request{ReplicaID: -1, IsolationLevel: isolation}
	byTopic := map[string]int{}
	for _, p := range partitions {
		i, ok := byTopic[p.topic]
		if !ok {
			i = len(q.Topics)
			byTopic[p.topic] = i
			q.Topics = append(q.Topics, listoffsets.RequestTopic{Topic: p.topic})
		}
		q.Topics[i].Partitions = append(q.Topics[i].Partitions, listoffsets.RequestPartition{
			Partition: int32(p.partition), CurrentLeaderEpoch: -1, Timestamp: at, // #nosec G115 -- partitions are 32 bits
		})
	}
	answer, err := b.offsetSession.roundTrip(ctx, b, q)
	if err != nil {
		for _, p := range partitions {
			b.f.forgetLeader(p, b, err)
		}
		return nil, &brokerError{b.addr(), err}
	}
	found := map[topicPartition]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			at := topicPartition{t.Topic, int(p.Partition)}
			if p.ErrorCode != 0 {
				err := kafkago.Error(p.ErrorCode)
				b.f.forgetLeader(at, b, err)
				return nil, fmt.Errorf("partition %s: %w", at, err)
			}
			found[at] = p.Offset
		}
	}
	return found, nil
}

// An offsetSession is a connection for short requests, one at a time.
type offsetSession struct {
	stale   atomic.Bool // the session must be replaced
	mu      sync.Mutex
	session *kafka.Session
}

// roundTrip sends a request. If the connection was closed meanwhile, it repeats the
// request over a new one.
func (q *offsetSession) roundTrip(ctx context.Context, b *broker, request *listoffsets.Request) (*listoffsets.Response, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		kept := !q.stale.Swap(false) && q.session != nil && !b.f.sessionExpiring(q.session)
		if !kept {
			q.close()
			s, err := b.f.kafka.Open(ctx, b.addr(), b.f.conns.WrapDial)
			if err != nil {
				return nil, err
			}
			q.session = s
		}
		answer, err := q.session.RoundTrip(ctx, request, oldestOffsets, newestOffsets)
		if err == nil {
			if r, ok := answer.(*listoffsets.Response); ok {
				return r, nil
			}
			err = errors.New("consumer: not a ListOffsets response")
		}
		q.close()
		if !kept || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (q *offsetSession) close() {
	if q.session != nil {
		_ = q.session.Close()
		q.session = nil
	}
}
