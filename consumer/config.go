package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// An Inbox is what the consumer needs of the journal; see [journal.Journal] for
// what the methods promise.
type Inbox interface {
	Identity() uuid.UUID
	Positions(ctx context.Context) ([]journal.Position, error)
	InitPositions(ctx context.Context, ps []journal.Position) error
	Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error)
}

// A Decoder reads records; [schemas.Decoder] is one. Its errors are
// *[schemas.Invalid] and *[schemas.Ignored].
type Decoder interface {
	Decode(schemas.Message) (schemas.Input, error)
}

// Why Run refuses to go on. Callers use errors.Is.
var (
	// ErrMissingTopic: an input topic does not exist, or may not be seen.
	ErrMissingTopic = errors.New("consumer: an input topic does not exist")
	// ErrUnreachable: no broker answered since the start.
	ErrUnreachable = errors.New("consumer: Kafka cannot be reached")
	// ErrDenied: Kafka refuses the user, or its right to a topic or the group.
	ErrDenied = errors.New("consumer: Kafka denies access")
	// ErrStartRequired: the first run over topics that already hold records.
	ErrStartRequired = errors.New("consumer: the topics already hold records and this journal has never read them: say where to begin with --start earliest, latest or a time")
	// ErrOffsetsAhead: the group has committed more than the journal knows.
	ErrOffsetsAhead = errors.New("consumer: the group is ahead of the journal: the journal was restored, lost or replaced; `journal recover` goes on from here")
	// ErrJournalLost: the group has committed offsets of a topic that the journal has never read.
	ErrJournalLost = errors.New("consumer: the consumer group has committed offsets, and this journal has never read its topics: the journal was lost or replaced. " +
		"Put a copy of the journal in its place, or continue without one; both end with `journal recover` (without a copy: `journal recover --start earliest`)")
	// ErrRecoverStart: a recovery without a copy, and no place to read from.
	ErrRecoverStart = errors.New("consumer: this journal has never read the input topics: --start earliest, or a time before the loss, sets where the recovery begins to read; " +
		"latest would skip every event that had not been processed")
	// ErrTopicRecreated: the partition ends before the journal's position, or holds other
	// records there than those that were read.
	ErrTopicRecreated = errors.New("consumer: the partition does not hold what the journal has read of it: the topic was deleted and made anew, or lost records; `journal recover` goes on from here")
	// ErrGroupInUse: others are in the group.
	ErrGroupInUse = errors.New("consumer: the group id is in use by another client or by a worker with another journal")
	// ErrPartitionStalled: a partition has records and none can be fetched, also after rejoining the group.
	ErrPartitionStalled = errors.New("consumer: a partition has records and none can be fetched")
)

// Config is what a consumer needs. Fields without a default are required.
type Config struct {
	Kafka   *kafka.Cluster
	Group   string
	Topics  []string // real names
	Inbox   Inbox
	Decoder Decoder
	Keys    *keyset.Set
	Start   Start // for topics that hold records and were never read
	Logger  *slog.Logger
	Metrics *Metrics

	// OnJournalLost is called before a new journal begins for a group that has committed
	// offsets, so that the journal continues without what the lost one held. The
	// group's offsets are set first. Nil refuses with ErrJournalLost.
	OnJournalLost func(context.Context) error
	// OnFirstRun is called before a journal that has never read a topic begins, where
	// the group has committed nothing; it may be called again after a failure. Nil:
	// nothing.
	OnFirstRun func(context.Context) error
	// LostHint is appended to ErrJournalLost.
	LostHint string

	// Source and Format are of the dead letters' events. Defaults:
	// /invoicebox-worker, binary.
	Source string
	Format schemas.Format

	// TopicTimeout bounds the wait for missing topics and rights at the start,
	// ConnectTimeout that for a broker's first answer. Defaults: 5 s, 10 s.
	TopicTimeout, ConnectTimeout time.Duration
	// ForeignMemberTimeout is how long others may be in the group before Run gives up;
	// it lets one with another journal that is just leaving go. Default: 6 s.
	ForeignMemberTimeout time.Duration
	// SessionTimeout is how long the group waits for a member that died.
	// Default: 10 s.
	SessionTimeout time.Duration
	// ShutdownTimeout bounds how long the batch in hand may take when the consumer
	// stops; when the group rebalances it is 2 s at most, because all members
	// wait. Default: 5 s; less than the rebalance time-out of 30 s.
	ShutdownTimeout time.Duration
	// CommitInterval is the least time between two commits. Default: 200 ms.
	CommitInterval time.Duration
	// StallTimeout is how long a partition with records may give none before its
	// connections are made anew, then the generation ended, then Run. Default: 20 s.
	StallTimeout time.Duration
	// WatchInterval is how often new partitions are looked for. Default: 10 s.
	WatchInterval time.Duration
	// FetchMemory bounds the bytes of fetched records that are held at a time, over
	// all partitions: batches as they came, decompressors, and the records in hand.
	// A batch of more than half of it on the wire, or of more than all of it
	// unpacked, is not read. Default: 32 MiB, at least 24 MiB.
	FetchMemory int
	// BatchEvents bounds the events and dead letters of one transaction.
	// Default: 500.
	BatchEvents int
	// CanFetch tells whether there is room for more than what was taken in, and where
	// not says why, for people. It is asked before every fetch, by several
	// goroutines, and must be quick. As long as it says no nothing is fetched; what
	// was fetched is still taken in. Default: always.
	CanFetch func() (ok bool, why string)
	// DeadLetters bounds the dead letters that keep their record. Default: none.
	DeadLetters journal.LetterBounds
}

// The default of [Config.FetchMemory] and its bounds.
const (
	DefaultFetchMemory = 32 << 20
	MinFetchMemory     = 24 << 20
	MaxFetchMemory     = 1 << 30
)

const (
	defaultSource  = "/invoicebox-worker"
	maxWait        = 500 * time.Millisecond // of an empty fetch
	maxBatchBytes  = 1 << 20                // kept bytes of one transaction
	requestTimeout = 15 * time.Second
	retryInterval  = 250 * time.Millisecond // between attempts of what the worker cannot do without
	// heartbeatEvery is how soon a member learns that another came or went. As
	// long do the partitions of one that went stand still.
	heartbeatEvery = 250 * time.Millisecond
	// rebalanceTimeout is how long the batch in hand may hold up all members of a group
	// that rebalances. One that was given up is read again by whoever is next.
	rebalanceTimeout = 2 * time.Second
)

func (c *Config) setDefaults() error {
	switch {
	case c.Kafka == nil, c.Inbox == nil, c.Decoder == nil, c.Keys == nil, c.Logger == nil, c.Metrics == nil:
		return errors.New("consumer: Kafka, Inbox, Decoder, Keys, Logger and Metrics are required")
	case c.Group == "":
		return errors.New("consumer: the group id is empty")
	case len(c.Topics) == 0 || slices.Contains(c.Topics, ""):
		return errors.New("consumer: a topic is missing or has no name")
	}
	c.Topics = slices.Compact(slices.Sorted(slices.Values(c.Topics)))
	if c.Source == "" {
		c.Source = defaultSource
	}
	if c.Format == "" {
		c.Format = schemas.FormatBinary
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{
		{"TopicTimeout", &c.TopicTimeout, 5 * time.Second}, {"ConnectTimeout", &c.ConnectTimeout, 10 * time.Second},
		{"ForeignMemberTimeout", &c.ForeignMemberTimeout, 6 * time.Second}, {"SessionTimeout", &c.SessionTimeout, 10 * time.Second},
		{"ShutdownTimeout", &c.ShutdownTimeout, 5 * time.Second}, {"CommitInterval", &c.CommitInterval, 200 * time.Millisecond},
		{"StallTimeout", &c.StallTimeout, 20 * time.Second}, {"WatchInterval", &c.WatchInterval, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < 0 {
			return fmt.Errorf("consumer: %s is negative", d.name)
		}
	}
	if c.FetchMemory == 0 {
		c.FetchMemory = DefaultFetchMemory
	}
	if c.BatchEvents == 0 {
		c.BatchEvents = 500
	}
	if c.BatchEvents < 0 {
		return errors.New("consumer: BatchEvents is a bound: not negative")
	}
	if c.FetchMemory < MinFetchMemory || c.FetchMemory > MaxFetchMemory {
		return fmt.Errorf("consumer: FetchMemory is %d bytes; it has to be between %d and %d", c.FetchMemory, MinFetchMemory, MaxFetchMemory)
	}
	return nil
}

// A StartMode says where to begin with topics that were never read.
type StartMode uint8

// The modes. The zero value refuses to guess.
const (
	StartUnset    StartMode = iota
	StartEarliest           // with the first record that is still there
	StartLatest             // with what comes from now on
	StartTime               // with the first record of that time or later
)

// A Start is where to begin with topics that hold records and were never read.
type Start struct {
	Mode StartMode
	Time time.Time // of StartTime
}

// ParseStart reads the setting: empty, earliest, latest, or a time in RFC 3339.
func ParseStart(text string) (Start, error) {
	switch text {
	case "":
		return Start{}, nil
	case "earliest":
		return Start{Mode: StartEarliest}, nil
	case "latest":
		return Start{Mode: StartLatest}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.UnixMilli() < 0 {
		return Start{}, errors.New("consumer: a start is earliest, latest or a time such as 2026-01-31T12:00:00Z")
	}
	return Start{Mode: StartTime, Time: at}, nil
}
