package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"golang.org/x/sync/semaphore"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/recordbatch"
)

// The parts of FetchMemory. Batches are held until they were ingested; the rest is for
// decompressing.
const (
	wireShare           = 4 // one quarter is for batches as they arrive
	minPartitionBytes   = 16 << 10
	maxPartitionBytes   = 1 << 20
	recordMemory        = 2 << 20 // a record and the present transaction
	targetDecompressed  = 4 << 20 // what one fetch of a partition should decompress to
	maxRecord           = 1<<20 + 64<<10
	maxHeaders          = 16 << 10
	maxRecords          = 1 << 16
	metadataPause       = 100 * time.Millisecond
	throttleLogInterval = 10 * time.Minute
	sessionReserve      = 10 // a session is replaced when a tenth of its time is left
)

// A fetcher reads partitions over one connection to each broker. Readers wait in
// [fetcher.fetch]. One request asks a broker for all partitions that wait for it, the
// least recently served first.
type fetcher struct {
	kafka            *kafka.Cluster
	client           *kafkago.Client // for metadata
	topics           []string
	conns            kafka.ConnTracker
	log              *slog.Logger
	metrics          *Metrics
	decompressor     *recordbatch.Decompressor
	maxBatch         int   // of a batch, in bytes
	wireSize         int64 // of all batches, in bytes
	wireMemory       *semaphore.Weighted
	decompressMemory *semaphore.Weighted

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	metadataMu sync.Mutex // held during a request for metadata

	mu          sync.Mutex
	leaders     map[topicPartition]*broker
	notLeader   map[topicPartition]*broker // answered that they do not lead the partition
	refreshedAt time.Time                  // when the leaders were last requested
	brokers     map[int]*broker
	readers     map[topicPartition]*reader
	served      int64
}

// A reader reads one partition. Its fields are the fetcher's.
type reader struct {
	topicPartition
	stall      stallTimer
	served     int64 // rises; when it last got records
	ratio      int64 // of decompressed bytes to bytes as they arrived, at least 1
	headerOnly bool  // needs only the header of a batch
}

func (c *Consumer) newFetcher(client *kafkago.Client, topics []string) *fetcher {
	memory := int64(c.config.FetchMemory)
	wire := memory / wireShare
	rest := memory - wire
	f := &fetcher{
		kafka: c.config.Kafka, client: client, topics: topics, log: c.log, metrics: c.metrics,
		maxBatch: int(memory / 2), wireSize: wire, wireMemory: semaphore.NewWeighted(wire), decompressMemory: semaphore.NewWeighted(rest),
		decompressor: recordbatch.NewDecompressor(recordbatch.Limits{
			Decompressed: memory, Buffer: rest - 2*recordMemory, Records: maxRecords, Record: maxRecord, Headers: maxHeaders,
		}),
		leaders: map[topicPartition]*broker{}, notLeader: map[topicPartition]*broker{}, brokers: map[int]*broker{}, readers: map[topicPartition]*reader{},
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// close closes all connections. No reader may be in fetch any more.
func (f *fetcher) close() {
	f.stop()
	f.conns.CloseAll()
	f.work.Wait()
}

// fetch asks the partition's leader for committed records at offset. It returns when
// there are some, after about a second if there are none, and when the broker reports
// an error.
func (f *fetcher) fetch(ctx context.Context, r *reader, offset int64) (fetchResult, error) {
	nothing := fetchResult{release: func() {}}
	b, err := f.leader(ctx, r)
	if err != nil {
		return nothing, err
	}
	t := &pendingFetch{reader: r, offset: offset, since: time.Now(), answer: make(chan fetchAnswer, 1)}
	r.stall.start()
	b.add(t)
	select {
	case a := <-t.answer:
		if a.err != nil {
			f.forgetLeader(r.topicPartition, b, a.err)
		}
		return a.fetchResult, a.err
	case <-ctx.Done():
		if !b.remove(t) {
			a := <-t.answer
			a.release()
		}
		return nothing, context.Cause(ctx)
	}
}

// errNoBatch says that a partition holds no batch at or above an offset.
var errNoBatch = errors.New("consumer: the partition holds no batch at this offset")

// batchAt reads the header of the batch that holds an offset, or of the next one if
// compaction removed it. The partition may not be read meanwhile.
func (f *fetcher) batchAt(ctx context.Context, p topicPartition, offset int64) (batchMark, error) {
	r := &reader{topicPartition: p, headerOnly: true}
	defer f.removeReader(p)
	for {
		got, err := f.fetch(ctx, r, offset)
		if err != nil {
			return batchMark{}, err
		}
		got.release()
		if got.records != nil {
			for _, b := range got.records.batches {
				if b.LastOffset() >= offset {
					return batchMarkOf(&b.Header), nil
				}
			}
		}
		if got.lastStable <= offset {
			return batchMark{}, errNoBatch
		}
	}
}

// removeReader notes that a partition is not read any more.
func (f *fetcher) removeReader(p topicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, p)
}

// leader registers a reader and returns the broker that leads its partition.
func (f *fetcher) leader(ctx context.Context, r *reader) (*broker, error) {
	f.mu.Lock()
	f.readers[r.topicPartition] = r
	f.mu.Unlock()
	return f.leaderOf(ctx, r.topicPartition)
}

// leaderOf returns the broker that leads a partition.
func (f *fetcher) leaderOf(ctx context.Context, p topicPartition) (*broker, error) {
	f.mu.Lock()
	b, asked := f.leaders[p], f.refreshedAt
	f.mu.Unlock()
	if b != nil {
		return b, nil
	}
	f.metadataMu.Lock()
	defer f.metadataMu.Unlock()
	f.mu.Lock()
	b, again := f.leaders[p], f.refreshedAt
	f.mu.Unlock()
	if b != nil {
		return b, nil
	}
	if asked == again || time.Since(again) > metadataPause { // no other reader has refreshed the leaders meanwhile
		if err := f.refreshMetadata(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.leaders[p]; b != nil {
		return b, nil
	}
	return nil, protocol.NewErrNoLeader(p.topic, int32(p.partition)) // #nosec G115 -- partitions are 32 bits
}

// refreshMetadata asks which broker leads which partition.
func (f *fetcher) refreshMetadata(ctx context.Context) error {
	metadata, err := kafka.DescribeTopics(ctx, f.client, f.topics...)
	if err != nil {
		return err
	}
	f.updateLeaders(metadata)
	return nil
}

// updateLeaders adopts the leaders of the metadata. A partition that is not in it keeps
// its leader: a broker refuses partitions that it does not lead.
func (f *fetcher) updateLeaders(metadata *kafka.Metadata) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshedAt = time.Now()
	for name, t := range metadata.Topics {
		for _, p := range t.Partitions {
			if p.LeaderAddress == "" {
				continue
			}
			at := topicPartition{name, p.ID}
			b := f.brokerAt(p.LeaderID, p.LeaderAddress)
			// The connection may lead to a process that is no longer this broker.
			if f.notLeader[at] == b {
				b.reconnectLimited()
			}
			delete(f.notLeader, at)
			if f.leaders[at] != b {
				if old := f.leaders[at]; old != nil {
					old.leaderMoved(at)
				}
				f.leaders[at] = b
			}
		}
	}
}

// brokerAt returns the broker with an id, whose address may have changed.
func (f *fetcher) brokerAt(id int, address string) *broker {
	b := f.brokers[id]
	if b == nil {
		b = &broker{f: f, id: id, address: address, wake: make(chan struct{}, 1)}
		f.brokers[id] = b
		f.work.Go(b.run)
		return b
	}
	if b.addr() != address {
		b.mu.Lock()
		b.address = address
		b.mu.Unlock()
		b.reconnect()
	}
	return b
}

// forgetLeader forgets the leader of a partition after an error that may mean that
// another broker leads it.
func (f *fetcher) forgetLeader(p topicPartition, b *broker, err error) {
	switch kafka.ClassOf(err) {
	case kafka.Leader, kafka.MissingTopic, kafka.Unreachable, kafka.Timeout, kafka.Other:
	default:
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaders[p] == b {
		delete(f.leaders, p)
	}
	if errors.Is(err, kafkago.NotLeaderForPartition) {
		f.notLeader[p] = b
	}
}

// countReaders counts the readers of a broker's partitions, and the brokers that have
// readers.
func (f *fetcher) countReaders(b *broker) (readers, brokers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	busy := map[*broker]bool{}
	for p := range f.readers {
		leader := f.leaders[p]
		busy[leader] = leader != nil
		if leader == b {
			readers++
		}
	}
	delete(busy, nil)
	return readers, max(len(busy), 1)
}

// partitionBytes is how many bytes of a partition to request: the fewer, the more they
// decompress to. A read of a header requests the minimum, because under a quota more
// bytes cost time.
func (f *fetcher) partitionBytes(r *reader, readers, brokers int) int64 {
	if r.headerOnly {
		return minPartitionBytes
	}
	share := min(f.wireSize/int64(max(readers, 1))/int64(brokers), maxPartitionBytes)
	f.mu.Lock()
	ratio := max(r.ratio, 1)
	f.mu.Unlock()
	return max(min(share, targetDecompressed/ratio), minPartitionBytes)
}

// observeRatio updates a partition's compression ratio.
func (f *fetcher) observeRatio(r *reader, wire, decompressed int64) {
	if wire <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ratio = max(decompressed/wire, (r.ratio+decompressed/wire)/2, 1)
}

// sessionExpiring reports whether the broker ends a session soon unless it
// authenticates again. The session is replaced before.
func (f *fetcher) sessionExpiring(s *kafka.Session) bool {
	return !s.Expires.IsZero() && time.Until(s.Expires) <= s.Lifetime/sessionReserve
}

// reconnect replaces the connection to a partition's leader.
func (f *fetcher) reconnect(p topicPartition) {
	f.mu.Lock()
	b := f.leaders[p]
	delete(f.leaders, p)
	f.mu.Unlock()
	if b != nil {
		b.reconnect()
	}
}

// sortByLastServed sorts pending fetches by when their readers last got records.
func (f *fetcher) sortByLastServed(pending []*pendingFetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(pending, func(x, y *pendingFetch) int {
		switch {
		case x.reader.served < y.reader.served:
			return -1
		case x.reader.served > y.reader.served:
			return 1
		}
		return x.reader.compare(y.reader.topicPartition)
	})
}

// markServed notes that a reader gets records.
func (f *fetcher) markServed(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.served++
	r.served = f.served
}

// A brokerError is why no partition of a broker can be read. It was logged once for all
// of them.
type brokerError struct {
	address string
	err     error
}

func (e *brokerError) Error() string {
	return fmt.Sprintf("consumer: fetching from broker %s: %v", e.address, e.err)
}

func (e *brokerError) Unwrap() error { return e.err }

// isBrokerError reports whether an error concerns a whole broker.
func isBrokerError(err error) bool {
	_, ok := errors.AsType[*brokerError](err)
	return ok
}
