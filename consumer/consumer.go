package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/backoff"
	"invoicebox-worker/internal/kafka"
)

// The states of a consumer, in words for /readyz.
const (
	stateStarting     = "starting"
	stateTopics       = "waiting for the input topics"
	stateJoining      = "joining the consumer group"
	stateConsuming    = "consuming"
	stateTopicMissing = "an input topic does not exist any more; waiting for it"
	stateStopped      = "stopped"
)

// A Consumer reads the input topics into the inbox.
type Consumer struct {
	config      Config
	log         *slog.Logger
	metrics     *Metrics
	deadLetters deadLetterLog
	transport   *kafkago.Transport
	client      *kafkago.Client
	fetcher     *fetcher
	conns       *kafka.ConnTracker // of Prepare, Run or a recovery

	state       atomic.Value // of string
	stateReason atomic.Value // of string: why the state lasts; "" where nothing is known
	joinedOnce  atomic.Bool  // the group was joined at least once
	// prepared: the group's offsets were compared with the journal's positions.
	prepared atomic.Bool
	stalls   stallHistory
	// topicsMissing: a topic did not exist when the partitions were assigned.
	topicsMissing atomic.Bool
	paused        atomic.Bool // CanFetch returned false
	readers       sync.Map    // *partition: those that are read
}

// New checks the settings. It opens no connection.
func New(config Config) (*Consumer, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	c := &Consumer{config: config, log: config.Logger, metrics: config.Metrics}
	c.state.Store(stateStarting)
	for _, t := range config.Topics {
		c.metrics.initTopic(t)
	}
	return c, nil
}

// Ready reports whether the consumer is in its group, knows its positions and may
// fetch, and describes in a few words its state and what prevents it from consuming.
func (c *Consumer) Ready() (bool, string) {
	word, _ := c.state.Load().(string)
	if word == stateConsuming {
		if ok, why := c.canFetch(); !ok {
			return false, "fetching is paused, records wait in Kafka: " + why
		}
	}
	if why, _ := c.stateReason.Load().(string); why != "" && word != stateConsuming && word != stateStopped {
		word += ": " + why
	}
	return word == stateConsuming, word
}

// Idle returns for how long a partition that is being read has made no step, the longest
// of all. Each fetch, and each attempt to ingest, is a step, also one that fails. 0 while
// no partition is read.
//
// A partition that waits for the memory of others counts only if all of them wait.
func (c *Consumer) Idle() (longest time.Duration) {
	working, waiting := false, time.Duration(math.MaxInt64)
	c.readers.Range(func(p, _ any) bool {
		switch p, ok := p.(*partition); {
		case !ok:
		case p.waits.Load():
			waiting = min(waiting, p.idle())
		default:
			working, longest = true, max(longest, p.idle())
		}
		return true
	})
	if !working && waiting < math.MaxInt64 {
		return waiting
	}
	return longest
}

// Run reads until ctx ends and then returns nil: it stops fetching, finishes the
// present batch, commits and leaves the group. Any other result is one of this
// package's errors, which an operator has to resolve. Run is called once.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.state.Store(stateStopped)
	defer c.connect()()
	defer c.prepared.Store(false)
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := c.run(run, stop)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Prepare compares the group's committed offsets with the journal's positions and
// stores the missing positions. Run does the same first; a caller that calls Prepare
// before can refuse to act on a journal that was lost. Its errors are those of Run.
func (c *Consumer) Prepare(ctx context.Context) error {
	defer c.connect()()
	if err := c.prepare(ctx); err != nil {
		return err
	}
	c.prepared.Store(true)
	return nil
}

// connect makes the connections of Prepare, Run or a recovery. The returned function
// closes them.
func (c *Consumer) connect(more ...string) (cut func()) {
	conns := new(kafka.ConnTracker)
	c.conns = conns
	c.transport = conns.Transport(c.config.Kafka, append(slices.Clone(c.config.Topics), more...)...)
	c.client = c.config.Kafka.Client(c.transport)
	c.fetcher = c.newFetcher(c.client, append(slices.Clone(c.config.Topics), more...))
	transport, fetcher := c.transport, c.fetcher
	return func() {
		fetcher.close()
		transport.CloseIdleConnections()
		conns.CloseAll()
	}
}

func (c *Consumer) run(ctx context.Context, fail func(error)) error {
	if !c.prepared.Load() {
		if err := c.prepare(ctx); err != nil {
			return err
		}
	}
	group, leave, err := c.join(assignor{ProtocolName(c.config.Inbox), &c.topicsMissing})
	if err != nil {
		return err
	}
	defer leave()
	return c.consume(ctx, group, fail)
}

// join starts to join the group with the assignor's protocol. The caller must call leave.
func (c *Consumer) join(protocol assignor) (group *kafkago.ConsumerGroup, leave func(), err error) {
	conns := new(kafka.ConnTracker)
	group, err = kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: c.config.Group, Brokers: c.config.Kafka.Brokers(), Topics: c.config.Topics,
		Dialer:         c.groupDialer(conns),
		GroupBalancers: []kafkago.GroupBalancer{protocol},
		SessionTimeout: c.config.SessionTimeout, HeartbeatInterval: min(heartbeatEvery, c.config.SessionTimeout/5),
		RebalanceTimeout: 30 * time.Second, JoinGroupBackoff: 500 * time.Millisecond, StartOffset: kafkago.FirstOffset,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("consumer: %w", err)
	}
	return group, func() {
		// A join can wait for other members for half a minute. Closing its connections
		// ends it.
		cut := time.AfterFunc(c.config.ShutdownTimeout+2*time.Second, conns.CloseAll)
		defer cut.Stop()
		_ = group.Close()
		conns.CloseAll()
	}, nil
}

// brokerRetryFactor times ConnectTimeout is how long a start continues after brokers
// have answered. A dead broker is named as coordinator or leader until the others
// notice (9 s by default), and its successor has to load its data.
const brokerRetryFactor = 3

// prepare waits for the topics and gives every partition a position.
func (c *Consumer) prepare(ctx context.Context) error {
	topics, err := c.awaitTopics(ctx)
	if err != nil {
		return err
	}
	began, elapsed := time.Now(), backoff.NewElapsed(requestTimeout)
	_, err = c.persist(ctx, "find the positions", func() error { return c.initPositions(ctx, topics) }, func(err error) error {
		total := elapsed.Failed()
		class := kafka.ClassOf(err)
		switch {
		case errors.Is(err, ErrStartRequired), errors.Is(err, ErrOffsetsAhead), errors.Is(err, ErrJournalLost), errors.Is(err, ErrGroupInUse):
			return err
		case errors.Is(err, ErrDenied) && time.Since(began) >= c.config.TopicTimeout:
			return err
		case class != kafka.Coordinator && class != kafka.Leader && total >= brokerRetryFactor*c.config.ConnectTimeout:
			return err
		}
		return nil
	})
	return err
}

// consume runs one generation after the other.
func (c *Consumer) consume(ctx context.Context, group *kafkago.ConsumerGroup, fail func(error)) error {
	var joining joinErrors
	began := time.Now()
	for {
		c.state.Store(stateJoining)
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := joining.handle(c, err); err != nil {
				return err
			}
			continue
		}
		joining = joinErrors{}
		c.stateReason.Store("")
		c.joinedOnce.Store(true)
		c.metrics.generations.Inc()
		c.metrics.rebalance.Observe(time.Since(began).Seconds())
		ended := make(chan struct{})
		generation.Start(func(life context.Context) {
			defer close(ended)
			c.generation(ctx, life, generation, fail)
		})
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		began = time.Now()
		// Otherwise a missing topic would end each generation at once, a hundred times
		// a second.
		if _, err := c.awaitTopics(ctx); err != nil {
			return err
		}
	}
}

// joinErrors distinguishes temporary errors of joining from lasting ones.
type joinErrors struct {
	since      map[bool]time.Time // by whether a foreign member caused it
	lastLogged string
}

// handle returns the error that ends Run, or nil to continue.
func (t *joinErrors) handle(c *Consumer, err error) error {
	// A group with members of other protocols refuses a member with error 23, one of
	// another protocol type with 23 or an error without a name.
	foreignMember := errors.Is(err, kafkago.InconsistentGroupProtocol) || errors.Is(err, kafkago.Unknown)
	explained := wrapError(c.config.Kafka.ExplainUnreachable(err))
	if foreignMember {
		explained = fmt.Errorf("%w: %w", ErrGroupInUse, explained)
	}
	c.metrics.faults.WithLabelValues(string(kafka.ClassOf(err))).Inc()
	c.stateReason.Store(explained.Error())
	if text := explained.Error(); text != t.lastLogged {
		t.lastLogged = text
		c.log.Warn("joining the consumer group failed; retrying", "group", c.config.Group, "err", explained)
	}
	if t.since == nil {
		t.since = map[bool]time.Time{}
	}
	if t.since[foreignMember].IsZero() {
		t.since[foreignMember] = time.Now()
	}
	delete(t.since, !foreignMember)
	lasted := time.Since(t.since[foreignMember])
	switch {
	case foreignMember && lasted >= c.config.ForeignMemberTimeout:
		return explained
	case errors.Is(err, kafkago.InvalidSessionTimeout), errors.Is(err, kafkago.InvalidGroupId):
		return fmt.Errorf("consumer: the broker refuses the group's id or session time-out: %w", explained)
	case errors.Is(explained, ErrDenied) && !c.joinedOnce.Load() && lasted >= c.config.TopicTimeout:
		return explained
	}
	return nil
}

// stallHistory remembers over generations which partitions stalled.
type stallHistory struct {
	mu    sync.Mutex
	ended map[topicPartition]int64 // position at which a generation ended because of it
}

// recordStall notes that a generation ends because of p, and reports whether one has
// ended at the same position before.
func (s *stallHistory) recordStall(p topicPartition, position int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.ended[p]; ok && at == position {
		return true
	}
	if s.ended == nil {
		s.ended = map[topicPartition]int64{}
	}
	s.ended[p] = position
	return false
}
