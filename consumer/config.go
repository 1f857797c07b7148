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
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/schemas"
)

// An Inbox is the part of [journal.Journal] that the consumer uses.
type Inbox interface {
	Identity() uuid.UUID
	Positions(ctx context.Context) ([]journal.Position, error)
	InitPositions(ctx context.Context, ps []journal.Position) error
	Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error)
}

// A Decoder decodes records. Its errors are those of [schemas.Decoder].
type Decoder interface {
	Decode(schemas.Message) (schemas.Input, error)
}

// The errors that end Run. Callers use errors.Is.
var (
	// ErrMissingTopic: an input topic does not exist, or the user may not describe it.
	ErrMissingTopic = errors.New("consumer: an input topic does not exist")
	// ErrUnreachable: no broker has answered since the start.
	ErrUnreachable = errors.New("consumer: Kafka cannot be reached")
	// ErrDenied: Kafka denies the user, or its access to a topic or the group.
	ErrDenied = errors.New("consumer: Kafka denies access")
	// ErrStartRequired: the first run over topics that already hold records.
	ErrStartRequired = errors.New("consumer: the topics already hold records and this journal has never read them: set --start to earliest, latest or a time")
	// ErrOffsetsAhead: the group has committed an offset above the journal's position.
	ErrOffsetsAhead = errors.New("consumer: the group's committed offset is ahead of the journal: the journal was restored, lost or replaced; run `journal recover`")
	// ErrJournalLost: the group has committed offsets of a topic that the journal has
	// never read.
	ErrJournalLost = errors.New("consumer: the consumer group has committed offsets, and this journal has never read its topics: the journal was lost or replaced. " +
		"Put a copy of the journal in its place, or continue without one; both end with `journal recover` (without a copy: `journal recover --start earliest`)")
	// ErrRecoverStart: a recovery without a copy lacks the offset to read from.
	ErrRecoverStart = errors.New("consumer: this journal has never read the input topics: --start earliest, or a time before the loss, sets where the recovery begins to read; " +
		"latest would skip every event that had not been processed")
	// ErrTopicRecreated: the partition ends before the journal's position, or holds
	// other records there than those that were read.
	ErrTopicRecreated = errors.New("consumer: the partition does not hold what the journal has read of it: the topic was deleted and created again, or lost records; run `journal recover`")
	// ErrGroupInUse: other clients are in the group.
	ErrGroupInUse = errors.New("consumer: the group id is in use by another client or by a worker with another journal")
	// ErrPartitionStalled: fetches return none of a partition's records, also after the
	// group was rejoined.
	ErrPartitionStalled = errors.New("consumer: a partition has records and none can be fetched")
)

// Config configures a consumer. Fields without a default are required.
type Config struct {
	Kafka   *kafka.Cluster
	Group   string
	Topics  []string // names at the broker
	Inbox   Inbox
	Decoder Decoder
	Keys    *keyset.Set
	Start   Start // for topics with records that were never read
	Logger  *slog.Logger
	Metrics *Metrics
	Tracer  *tracing.Tracer // nil: no spans

	// OnJournalLost is called before a new journal starts in a group with committed
	// offsets; the lost journal's data is then abandoned. The group's offsets are reset
	// first. Nil: Run returns ErrJournalLost.
	OnJournalLost func(context.Context) error
	// OnFirstRun is called before a journal starts that has never read a topic, in a
	// group without committed offsets. It may be called again after a failure. Nil:
	// nothing.
	OnFirstRun func(context.Context) error
	// LostHint is appended to ErrJournalLost.
	LostHint string

	// Source and Format are those of the dead letters' events. Defaults:
	// /invoicebox-worker, binary.
	Source string
	Format schemas.Format

	// TopicTimeout bounds the wait for missing topics and rights at the start,
	// ConnectTimeout the wait for a broker's first response. Defaults: 5 s, 10 s.
	TopicTimeout, ConnectTimeout time.Duration
	// ForeignMemberTimeout is how long other clients may be in the group before Run
	// returns; a worker with another journal that is just leaving may finish. Default:
	// 6 s.
	ForeignMemberTimeout time.Duration
	// SessionTimeout is after how long the group removes a member that died. Default:
	// 10 s.
	SessionTimeout time.Duration
	// ShutdownTimeout bounds how long the present batch may take when the consumer
	// stops. During a rebalance, for which all members wait, it is at most 2 s.
	// Default: 5 s; less than the rebalance time-out of 30 s.
	ShutdownTimeout time.Duration
	// CommitInterval is the minimum time between two commits. Default: 200 ms.
	CommitInterval time.Duration
	// StallTimeout is how long fetches may return none of a partition's records before
	// its connection is replaced, then the generation ends, then Run. Default: 20 s.
	StallTimeout time.Duration
	// WatchInterval is how often the worker looks for new partitions. Default: 10 s.
	WatchInterval time.Duration
	// FetchMemory bounds the bytes of fetched records over all partitions: batches as
	// they arrived, decompressors, and the records that are processed. A batch larger
	// than half of it, or that decompresses to more than all of it, is not read.
	// Default: 32 MiB, at least 24 MiB.
	FetchMemory int
	// BatchEvents bounds the events and dead letters of one transaction. Default: 100.
	BatchEvents int
	// CanFetch reports whether more may be fetched, and if not, why, in words for
	// people. It is called before every fetch, by several goroutines, and must be
	// quick. Records that were fetched before are still ingested. Default: always.
	CanFetch func() (ok bool, why string)
	// DeadLetters bounds the dead letters that store their record. Default: none.
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
	maxBatchBytes  = 1 << 20                // of the records of one transaction
	requestTimeout = 15 * time.Second
	retryInterval  = 250 * time.Millisecond // between attempts of a step that everything depends on
	// heartbeatEvery is how soon a member learns that another joined or left. The
	// partitions of a member that left are not read for that time.
	heartbeatEvery = 250 * time.Millisecond
	// rebalanceTimeout is how long the present batch may delay a rebalance of the
	// group. A batch that is abandoned is read again by the partition's next owner.
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
		c.BatchEvents = 100
	}
	if c.BatchEvents < 0 {
		return errors.New("consumer: BatchEvents is negative")
	}
	if c.FetchMemory < MinFetchMemory || c.FetchMemory > MaxFetchMemory {
		return fmt.Errorf("consumer: FetchMemory is %d bytes; it must be %d to %d", c.FetchMemory, MinFetchMemory, MaxFetchMemory)
	}
	return nil
}

// A StartMode is where to begin with topics that were never read.
type StartMode uint8

// The modes. The zero value is refused where topics hold records.
const (
	StartUnset    StartMode = iota
	StartEarliest           // at the first record that still exists
	StartLatest             // at the present end
	StartTime               // at the first record of that time or later
)

// A Start is where to begin with topics that hold records and were never read.
type Start struct {
	Mode StartMode
	Time time.Time // of StartTime
}

// ParseStart parses the setting: empty, earliest, latest, or a time in RFC 3339.
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
		return Start{}, errors.New("consumer: a start must be earliest, latest or a time such as 2026-01-31T12:00:00Z")
	}
	return Start{Mode: StartTime, Time: at}, nil
}
