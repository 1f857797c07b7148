package consumer

import (
	"bufio"
	"context"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/kafka"
)

const (
	// minWait is how long the broker may delay an empty response while one of its
	// readers is not in the request. The wait doubles up to maxWait while no reader
	// returns.
	minWait = 20 * time.Millisecond
	// emptyFetchTimeout is how long a reader waits for records before fetch returns
	// none.
	emptyFetchTimeout = time.Second
	// gatherWindow is how long readers have to return before the next request.
	gatherWindow         = time.Millisecond
	readBuffer           = 64 << 10
	minReconnectInterval = time.Second
)

// A broker is a broker of the cluster. One goroutine sends it requests, over one
// connection.
type broker struct {
	f             *fetcher
	id            int
	wake          chan struct{}
	offsetSession offsetSession

	mu            sync.Mutex
	address       string
	waiting       []*pendingFetch
	session       *kafka.Session
	reconnected   bool      // the connection was closed in order to reconnect
	reconnectedAt time.Time // by reconnectLimited

	// Of the broker's goroutine.
	in               *bufio.Reader
	answered         bool // the session has had a response
	throttledUntil   time.Time
	throttleLoggedAt time.Time // when throttling was last logged
	lastLogged       string
	wait             time.Duration
	lastReaders      int // in the last request
}

func (b *broker) add(t *pendingFetch) {
	b.mu.Lock()
	b.waiting = append(b.waiting, t)
	b.mu.Unlock()
	b.wakeUp()
}

func (b *broker) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// remove removes a pending fetch. It returns false if it was answered.
func (b *broker) remove(t *pendingFetch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, t)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return true
}

// reply answers a pending fetch, unless its reader has left.
func (b *broker) reply(t *pendingFetch, a fetchAnswer) {
	if a.release == nil {
		a.release = func() {}
	}
	if !b.remove(t) {
		a.release()
		return
	}
	t.answer <- a
}

// leaderMoved answers the readers of a partition that another broker leads now.
func (b *broker) leaderMoved(p topicPartition) {
	b.mu.Lock()
	var gone []*pendingFetch
	for _, t := range b.waiting {
		if t.reader.topicPartition == p {
			gone = append(gone, t)
		}
	}
	b.mu.Unlock()
	for _, t := range gone {
		b.reply(t, fetchAnswer{err: kafkago.NotLeaderForPartition})
	}
}

// reconnectLimited reconnects at most once in minReconnectInterval: during an election the metadata can
// lag behind the broker.
func (b *broker) reconnectLimited() {
	b.mu.Lock()
	due := time.Since(b.reconnectedAt) >= minReconnectInterval
	if due {
		b.reconnectedAt = time.Now()
	}
	b.mu.Unlock()
	if due {
		b.reconnect()
	}
}

// reconnect closes the connections; the next requests open new ones.
func (b *broker) reconnect() {
	b.offsetSession.stale.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		b.reconnected = true
		_ = b.session.Close()
	}
}

// run sends requests until the fetcher ends.
func (b *broker) run() {
	defer b.closeSession()
	for {
		pending := b.waitForReaders()
		if b.f.ctx.Err() != nil {
			return
		}
		if len(pending) == 0 {
			continue
		}
		err := b.exchange(pending)
		if err == nil || b.f.ctx.Err() != nil {
			b.lastLogged = ""
			continue
		}
		again := b.answered || b.takeReconnected()
		b.closeSession()
		// A connection that has worked may have been closed because it was idle, or
		// because its session ended.
		if again {
			backoff.Sleep(b.f.ctx, minWait)
			continue
		}
		b.fail(pending, err)
	}
}

func (b *broker) takeReconnected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	renewed := b.reconnected
	b.reconnected = false
	return renewed
}

// fail answers the readers with the error, and logs it once.
func (b *broker) fail(pending []*pendingFetch, err error) {
	fault := &brokerError{b.addr(), err}
	if text := fault.Error(); text != b.lastLogged {
		b.lastLogged = text
		b.f.log.Warn("fetching from a broker failed; retrying", "broker", fault.address, "partitions", len(pending), "err", kafka.Wrap(err))
	}
	for _, t := range pending {
		b.reply(t, fetchAnswer{err: fault})
	}
}

func (b *broker) addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}

// waitForReaders returns the pending fetches, when there are some and the broker's
// throttle time is over.
func (b *broker) waitForReaders() []*pendingFetch {
	select {
	case <-b.f.ctx.Done():
		return nil
	case <-b.wake:
	}
	if rest := time.Until(b.throttledUntil); rest > 0 {
		b.waitThrottle(rest)
	}
	b.mu.Lock()
	pending := slices.Clone(b.waiting)
	b.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	readers, _ := b.f.countReaders(b)
	if len(pending) < readers {
		backoff.Sleep(b.f.ctx, gatherWindow)
		b.mu.Lock()
		pending = slices.Clone(b.waiting)
		b.mu.Unlock()
	}
	// A reader that is missing is processing records, and will return during the
	// request.
	switch {
	case len(pending) >= readers:
		b.wait = maxWait
	case len(pending) != b.lastReaders:
		b.wait = minWait
	default:
		b.wait = min(2*b.wait, maxWait)
	}
	b.lastReaders = len(pending)
	b.f.sortByLastServed(pending)
	return pending
}

// waitThrottle waits out the broker's throttle time. The watchdog does not count it.
func (b *broker) waitThrottle(d time.Duration) {
	for end := time.Now().Add(d); ; {
		b.deferStalls()
		left := time.Until(end)
		if left <= 0 || b.f.ctx.Err() != nil {
			return
		}
		backoff.Sleep(b.f.ctx, min(left, 100*time.Millisecond))
	}
}

// deferStalls notes that the pending readers wait for something other than the broker.
func (b *broker) deferStalls() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.waiting {
		t.reader.stall.markDeferred()
	}
}

// exchange sends one request for all pending fetches and delivers the response.
func (b *broker) exchange(pending []*pendingFetch) error {
	defer func() {
		b.mu.Lock()
		left := len(b.waiting)
		b.mu.Unlock()
		if left > 0 {
			b.wakeUp()
		}
	}()
	reserved, err := b.reserveMemory(pending)
	if err != nil {
		return err
	}
	defer func() { b.f.wireMemory.Release(reserved) }()
	for _, t := range pending {
		t.reader.stall.start()
	}
	session, err := b.connect()
	if err != nil {
		return err
	}
	version, ok := session.Version(protocol.Fetch, oldestFetch, newestFetch)
	if !ok {
		return kafkago.UnsupportedVersion
	}
	if err := session.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	correlation, err := session.Send(version, fetchRequest(pending, reserved, b.wait))
	if err != nil {
		return err
	}
	taken := false // a reader got records
	known := map[topicPartition]*pendingFetch{}
	for _, t := range pending {
		t.answered, known[t.reader.topicPartition] = false, t
	}
	in := &responseReader{in: b.in, version: version, maxBatch: b.f.maxBatch}
	response, err := in.read(correlation, func(p partResponse) {
		t := known[p.topicPartition]
		if t == nil || t.answered {
			return
		}
		t.answered = true
		// The memory is released when the records were ingested, not with this request.
		part := min(int64(p.bytes), reserved)
		reserved -= part
		taken = b.deliver(t, p, part, taken) || taken
	})
	if err != nil {
		return err
	}
	b.answered = true
	b.finish(pending, response, taken, version >= clientThrottles)
	return nil
}

// finish handles the part of the response that concerns all partitions. Brokers may
// leave out partitions for which the request's bytes were not enough. wait says that
// the throttle time has not been waited out yet.
func (b *broker) finish(pending []*pendingFetch, response fetchResponse, taken, wait bool) {
	if response.throttle > 0 {
		b.throttle(response.throttle, wait)
	}
	for _, t := range pending {
		switch {
		case t.answered:
		case response.errorCode != 0:
			t.reader.stall.stop()
			b.reply(t, fetchAnswer{err: kafkago.Error(response.errorCode)})
		case response.throttle > 0, taken: // the next request names it again
			t.reader.stall.markDeferred()
		default:
			b.reply(t, fetchAnswer{err: protocol.NewErrNoPartition(t.reader.topic, int32(t.reader.partition))}) // #nosec G115 -- partitions are 32 bits
		}
	}
}

// throttle notes the broker's throttle time. A broker that throttles a fetch answers at
// once without records (KIP-219); older brokers delay the response instead.
func (b *broker) throttle(d time.Duration, wait bool) {
	if wait {
		b.throttledUntil = time.Now().Add(d)
	}
	b.f.metrics.throttled.Add(d.Seconds())
	if time.Since(b.throttleLoggedAt) >= throttleLogInterval {
		b.throttleLoggedAt = time.Now()
		b.f.log.Info("the broker throttles this client: a quota is reached", "broker", b.addr(), "wait", d.String())
	}
}

// deliver gives a reader its part of the response, and reports whether it has records.
// A reader without records does not count as stalled if others used the request's
// bytes, or if there are none to read.
func (b *broker) deliver(t *pendingFetch, p partResponse, held int64, others bool) bool {
	f, err := b.f.newFetchResult(p, t.offset)
	release := sync.OnceFunc(func() { b.f.wireMemory.Release(held) })
	f.release = release
	switch {
	case err != nil:
		t.reader.stall.stop()
	case f.records != nil:
		b.f.markServed(t.reader)
	case f.lastStable <= t.offset:
		t.reader.stall.stop()
	case others:
		t.reader.stall.markDeferred()
	}
	if err == nil && f.records == nil && time.Since(t.since) < emptyFetchTimeout {
		release()
		return false
	}
	b.reply(t, fetchAnswer{f, err})
	return f.records != nil
}

// reserveMemory waits for the memory of a response.
func (b *broker) reserveMemory(pending []*pendingFetch) (int64, error) {
	readers, brokers := b.f.countReaders(b)
	most := max(b.f.wireSize/int64(brokers), minPartitionBytes)
	var sum int64
	for _, t := range pending {
		t.share = b.f.partitionBytes(t.reader, max(readers, len(pending)), brokers)
		sum += t.share
	}
	sum = min(sum, most)
	for {
		// The memory is held by readers that process records: no broker is stalled
		// meanwhile.
		ctx, cancel := context.WithTimeout(b.f.ctx, 100*time.Millisecond)
		err := b.f.wireMemory.Acquire(ctx, sum)
		cancel()
		if err == nil || b.f.ctx.Err() != nil {
			return sum, err
		}
		b.deferStalls()
	}
}

// connect returns the connection to the broker. It opens a new one if there is none or
// its session ends soon.
func (b *broker) connect() (*kafka.Session, error) {
	if b.session != nil {
		if !b.f.sessionExpiring(b.session) {
			return b.session, nil
		}
		b.closeSession()
	}
	s, err := b.f.kafka.Open(b.f.ctx, b.addr(), b.f.conns.WrapDial)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.session, b.reconnected = s, false
	b.mu.Unlock()
	b.in, b.answered = bufio.NewReaderSize(idleTimeoutReader{s}, readBuffer), false
	return s, nil
}

func (b *broker) closeSession() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		_ = b.session.Close()
		b.session = nil
	}
	b.answered = false
}

// A pendingFetch is a reader that waits for its partition.
type pendingFetch struct {
	reader *reader
	offset int64
	since  time.Time
	answer chan fetchAnswer // buffers one

	share    int64
	answered bool // the response has named the partition
}

type fetchAnswer struct {
	fetchResult
	err error
}

// fetchRequest asks for the partitions of all pending fetches, committed records only.
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
		// The order counts, so a topic can occur more than once; brokers and other
		// clients allow that.
		if n := len(q.Topics); n > 0 && q.Topics[n-1].Topic == t.reader.topic {
			q.Topics[n-1].Partitions = append(q.Topics[n-1].Partitions, p)
			continue
		}
		q.Topics = append(q.Topics, fetchapi.RequestTopic{Topic: t.reader.topic, Partitions: []fetchapi.RequestPartition{p}})
	}
	return q
}

// An idleTimeoutReader reads a response as long as bytes arrive, however slow the
// connection is.
type idleTimeoutReader struct{ session *kafka.Session }

func (p idleTimeoutReader) Read(b []byte) (int, error) {
	if err := p.session.SetReadDeadline(time.Now().Add(maxWait + requestTimeout)); err != nil {
		return 0, err
	}
	return p.session.Read(b)
}
