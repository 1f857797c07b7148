package consumer

import (
	"bufio"
	"context"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"invoicebox-worker/internal/kafka"
)

const (
	// leastWait is how long the broker may hold an empty answer while a reader is
	// about to come back: none of its partition is in the request. It doubles up to
	// maxWait while none comes.
	leastWait = 20 * time.Millisecond
	// turnTime is how long a reader waits for records before it is told that there
	// are none.
	turnTime = time.Second
	// gatherTime is how long readers have to come back before the next request.
	gatherTime = time.Millisecond
	readBuffer = 64 << 10
	renewEvery = time.Second
)

// A broker is asked by one goroutine, over one connection.
type broker struct {
	f        *fetcher
	id       int
	wake     chan struct{}
	question question

	mu        sync.Mutex
	address   string
	waiting   []*turn
	session   *kafka.Session
	renewed   bool      // the connection was closed to be opened again
	renewedAt time.Time // by renew

	// The goroutine's own.
	in        *bufio.Reader
	used      bool // the session has answered
	until     time.Time
	announced time.Time // when throttling was last said
	said      string
	wait      time.Duration
	present   int // readers in the last request
}

func (b *broker) add(t *turn) {
	b.mu.Lock()
	b.waiting = append(b.waiting, t)
	b.mu.Unlock()
	b.stir()
}

func (b *broker) stir() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// remove takes a turn back; false when it is answered.
func (b *broker) remove(t *turn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, t)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return true
}

// give answers a turn, unless its reader has gone.
func (b *broker) give(t *turn, a answer) {
	if a.release == nil {
		a.release = func() {}
	}
	if !b.remove(t) {
		a.release()
		return
	}
	t.answer <- a
}

// moved answers the readers of a partition that another broker leads now.
func (b *broker) moved(p place) {
	b.mu.Lock()
	var gone []*turn
	for _, t := range b.waiting {
		if t.reader.place == p {
			gone = append(gone, t)
		}
	}
	b.mu.Unlock()
	for _, t := range gone {
		b.give(t, answer{err: kafkago.NotLeaderForPartition})
	}
}

// renew reconnects at most once in renewEvery: during an election the metadata can
// lag behind the broker.
func (b *broker) renew() {
	b.mu.Lock()
	due := time.Since(b.renewedAt) >= renewEvery
	if due {
		b.renewedAt = time.Now()
	}
	b.mu.Unlock()
	if due {
		b.reconnect()
	}
}

// reconnect closes the connections, so that they are opened again.
func (b *broker) reconnect() {
	b.question.stale.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		b.renewed = true
		_ = b.session.Close()
	}
}

// run asks the broker until the fetcher ends.
func (b *broker) run() {
	defer b.hangUp()
	for {
		turns := b.next()
		if b.f.life.Err() != nil {
			return
		}
		if len(turns) == 0 {
			continue
		}
		err := b.exchange(turns)
		if err == nil || b.f.life.Err() != nil {
			b.said = ""
			continue
		}
		again := b.used || b.wasRenewed()
		b.hangUp()
		// A connection that has worked may just have been closed: brokers close those
		// that are idle, and those whose session has ended.
		if again {
			pause(b.f.life, leastWait)
			continue
		}
		b.fail(turns, err)
	}
}

func (b *broker) wasRenewed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	renewed := b.renewed
	b.renewed = false
	return renewed
}

// fail answers the readers with the error, and logs it once.
func (b *broker) fail(turns []*turn, err error) {
	fault := &brokerFault{b.at(), err}
	if text := fault.Error(); text != b.said {
		b.said = text
		b.f.log.Warn("fetching from a broker failed; retrying", "broker", fault.address, "partitions", len(turns), "err", kafka.Explain(err))
	}
	for _, t := range turns {
		b.give(t, answer{err: fault})
	}
}

func (b *broker) at() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}

// next waits for readers, and as long as the broker said.
func (b *broker) next() []*turn {
	select {
	case <-b.f.life.Done():
		return nil
	case <-b.wake:
	}
	if rest := time.Until(b.until); rest > 0 {
		b.rest(rest)
	}
	b.mu.Lock()
	turns := slices.Clone(b.waiting)
	b.mu.Unlock()
	if len(turns) == 0 {
		return nil
	}
	readers, _ := b.f.expected(b)
	if len(turns) < readers {
		pause(b.f.life, gatherTime)
		b.mu.Lock()
		turns = slices.Clone(b.waiting)
		b.mu.Unlock()
	}
	// Whoever is not here is at work, and will come back during the request.
	switch {
	case len(turns) >= readers:
		b.wait = maxWait
	case len(turns) != b.present:
		b.wait = leastWait
	default:
		b.wait = min(2*b.wait, maxWait)
	}
	b.present = len(turns)
	b.f.order(turns)
	return turns
}

// rest waits as long as the broker said. Whoever waits for it is not in the
// presence of a silent broker.
func (b *broker) rest(d time.Duration) {
	for end := time.Now().Add(d); ; {
		b.excuse()
		left := time.Until(end)
		if left <= 0 || b.f.life.Err() != nil {
			return
		}
		pause(b.f.life, min(left, 100*time.Millisecond))
	}
}

// excuse ends the silence of all that wait.
func (b *broker) excuse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.waiting {
		t.reader.silence.excuse()
	}
}

// exchange sends one request for all turns and hands out what comes back.
func (b *broker) exchange(turns []*turn) error {
	defer func() {
		b.mu.Lock()
		left := len(b.waiting)
		b.mu.Unlock()
		if left > 0 {
			b.stir()
		}
	}()
	reserved, err := b.reserve(turns)
	if err != nil {
		return err
	}
	defer func() { b.f.wire.Release(reserved) }()
	for _, t := range turns {
		t.reader.silence.begin()
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
	correlation, err := session.Send(version, request(turns, reserved, b.wait))
	if err != nil {
		return err
	}
	taken := false // someone was given records
	known := map[place]*turn{}
	for _, t := range turns {
		t.given, known[t.reader.place] = false, t
	}
	in := &responseReader{in: b.in, version: version, largest: b.f.largest}
	response, err := in.read(correlation, func(p partResponse) {
		t := known[p.place]
		if t == nil || t.given {
			return
		}
		t.given = true
		// What is held is released when it was taken in, not with this request.
		part := min(int64(p.bytes), reserved)
		reserved -= part
		taken = b.hand(t, p, part, taken) || taken
	})
	if err != nil {
		return err
	}
	b.used = true
	b.conclude(turns, response, taken, version >= clientThrottles)
	return nil
}

// conclude looks at what the response says of all partitions. Brokers may leave
// out those for which the request's bytes were not enough. Wait says that the
// time of a throttled response is still to pass.
func (b *broker) conclude(turns []*turn, response fetchResponse, taken, wait bool) {
	if response.throttle > 0 {
		b.throttled(response.throttle, wait)
	}
	for _, t := range turns {
		switch {
		case t.given:
		case response.code != 0:
			t.reader.silence.end()
			b.give(t, answer{err: kafkago.Error(response.code)})
		case response.throttle > 0, taken: // it is asked for again in time
			t.reader.silence.excuse()
		default:
			b.give(t, answer{err: protocol.NewErrNoPartition(t.reader.topic, int32(t.reader.partition))}) // #nosec G115 -- partitions are 32 bits
		}
	}
}

// throttled notes that the broker is not to be asked for a while. A broker that
// throttles a fetch answers at once and with nothing (KIP-219). Older ones have
// waited themselves before they answered.
func (b *broker) throttled(d time.Duration, wait bool) {
	if wait {
		b.until = time.Now().Add(d)
	}
	b.f.metrics.throttled.Add(d.Seconds())
	if time.Since(b.announced) >= announceEvery {
		b.announced = time.Now()
		b.f.log.Info("the broker throttles this client: a quota is reached", "broker", b.at(), "wait", d.String())
	}
}

// hand gives a reader what the response says of its partition, and reports whether
// that is records. One that gets nothing because others before it took the
// request's bytes, or because there is nothing, has not met a silent broker.
func (b *broker) hand(t *turn, p partResponse, held int64, others bool) bool {
	f, err := b.f.newFetched(p, t.offset)
	release := sync.OnceFunc(func() { b.f.wire.Release(held) })
	f.release = release
	switch {
	case err != nil:
		t.reader.silence.end()
	case f.stream != nil:
		b.f.serve(t.reader)
	case f.end <= t.offset:
		t.reader.silence.end()
	case others:
		t.reader.silence.excuse()
	}
	if err == nil && f.stream == nil && time.Since(t.since) < turnTime {
		release()
		return false
	}
	b.give(t, answer{f, err})
	return f.stream != nil
}

// reserve waits for memory for a response.
func (b *broker) reserve(turns []*turn) (int64, error) {
	readers, brokers := b.f.expected(b)
	most := max(b.f.wireSize/int64(brokers), leastShare)
	var sum int64
	for _, t := range turns {
		t.share = b.f.share(t.reader, max(readers, len(turns)), brokers)
		sum += t.share
	}
	sum = min(sum, most)
	for {
		// Whoever holds the memory is at work; no broker is silent meanwhile.
		ctx, cancel := context.WithTimeout(b.f.life, 100*time.Millisecond)
		err := b.f.wire.Acquire(ctx, sum)
		cancel()
		if err == nil || b.f.life.Err() != nil {
			return sum, err
		}
		b.excuse()
	}
}

// connect returns the connection to the broker, a new one when there is none or
// its session ends soon.
func (b *broker) connect() (*kafka.Session, error) {
	if b.session != nil {
		if !b.f.expired(b.session) {
			return b.session, nil
		}
		b.hangUp()
	}
	s, err := b.f.kafka.Open(b.f.life, b.at(), b.f.lines.Through)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.session, b.renewed = s, false
	b.mu.Unlock()
	b.in, b.used = bufio.NewReaderSize(patient{s}, readBuffer), false
	return s, nil
}

func (b *broker) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		_ = b.session.Close()
		b.session = nil
	}
	b.used = false
}
