package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

// A DryRecord is what a worker would do with a record.
type DryRecord struct {
	Topic     string
	Partition int
	Offset    int64 // -1 for a deselection, whose record is one of the batch
	Shop      journal.ShopKey
	EventID   string
	Where     string // of a dead letter
	onboarding.Rehearsed
}

// A DrySummary counts the records of a dry run.
type DrySummary struct {
	Steps   map[onboarding.RehearsedStep]int
	Ignored map[schemas.IgnoreReason]int
	// NotRemembered are the records that were not remembered, because there are too many.
	NotRemembered int
}

// A noInbox replaces a journal that does not exist, or that must not change.
type noInbox struct{}

var errDryRun = errors.New("a dry run stores nothing")

func (noInbox) Identity() uuid.UUID { return uuid.Nil }

func (noInbox) Positions(context.Context) ([]journal.Position, error) { return nil, nil }

func (noInbox) InitPositions(context.Context, []journal.Position) error { return errDryRun }

func (noInbox) Ingest(context.Context, journal.Batch) (journal.Ingested, error) {
	return journal.Ingested{}, errDryRun
}

// DryRun reads the input topics from the group's committed offsets to their present ends.
// It calls f with what a worker would do with each record that is not ignored. It opens
// the journal to read it, if there is one. It joins no group, commits, sends, publishes
// and writes nothing.
func DryRun(ctx context.Context, o Options, f func(DryRecord) error) (sum DrySummary, err error) {
	sum = DrySummary{Steps: map[onboarding.RehearsedStep]int{}, Ignored: map[schemas.IgnoreReason]int{}}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := o.check(); err != nil {
		return sum, err
	}
	closing := &teardown{log: log}
	defer func() { err = errors.Join(err, closing.close()) }()
	view := func(context.Context, journal.Event) (journal.Preview, error) { return journal.Preview{}, nil }
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return sum, err
	}
	j, err := at.open(ctx, openOptions{logger: log, readOnly: true})
	switch {
	case errors.Is(err, fs.ErrNotExist) && !at.exists(ctx):
		log.Warn("the journal does not exist yet; every record counts as new", "journal", at.url)
	case err != nil:
		return sum, at.explain(err)
	default:
		closing.add("journal", j.Close)
		if o.Keyset, err = KeysetFits(ctx, j, o.Keyset); err != nil {
			return sum, err
		}
		view = j.Preview
	}
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		return sum, err
	}
	intake, err := newPreview(&o, conn, log)
	if err != nil {
		return sum, err
	}
	planner := onboarding.NewPlanner(onboarding.PlannerOptions{CoolDown: o.CoolDown, Source: source, Format: o.EventFormat, Now: time.Now})
	r := &dryRun{Rehearsal: onboarding.NewRehearsal(planner, time.Now), view: view, report: f, sum: sum}
	err = intake.Preview(ctx, func(b consumer.PreviewBatch) error { return r.batch(ctx, b) })
	return r.sum, err
}

// newPreview creates a consumer that only previews.
func newPreview(o *Options, conn *kafka.Cluster, log *slog.Logger) (*consumer.Consumer, error) {
	c, err := consumerConfig(o, conn, log)
	if err != nil {
		return nil, err
	}
	c.Inbox, c.Metrics = noInbox{}, consumer.NewMetrics(prometheus.NewRegistry())
	return consumer.New(c)
}

// A dryRun is one call of DryRun.
type dryRun struct {
	*onboarding.Rehearsal
	view   func(context.Context, journal.Event) (journal.Preview, error)
	report func(DryRecord) error
	sum    DrySummary
}

func (r *dryRun) batch(ctx context.Context, b consumer.PreviewBatch) error {
	for reason, n := range b.Ignored {
		r.sum.Ignored[reason] += n
	}
	var records []DryRecord
	for _, e := range b.Events {
		p, err := r.view(ctx, e)
		if err != nil {
			return err
		}
		records = append(records, DryRecord{Offset: e.Offset, Shop: e.Shop, EventID: e.ID, Rehearsed: r.Event(e, p)})
	}
	for _, l := range b.DeadLetters {
		records = append(records, DryRecord{Offset: l.Offset, Shop: l.Shop, EventID: l.EventID, Where: l.Where,
			Rehearsed: onboarding.Rehearsed{Step: onboarding.RehearsedDeadLetter, Reason: l.Reason, Publishes: []string{schemas.TypeDeadLetter}}})
	}
	slices.SortStableFunc(records, func(a, b DryRecord) int { return int(a.Offset - b.Offset) })
	for _, shop := range b.Deselected {
		p, err := r.view(ctx, journal.Event{Shop: shop, Kind: journal.Invite})
		if err != nil {
			return err
		}
		if out := r.Deselect(shop, p); out.Cancels > 0 {
			records = append(records, DryRecord{Offset: -1, Shop: shop, Rehearsed: out})
		}
	}
	for _, record := range records {
		record.Topic, record.Partition = b.Topic, b.Partition
		r.sum.Steps[record.Step]++
		if record.NotRemembered {
			r.sum.NotRemembered++
		}
		if err := r.report(record); err != nil {
			return err
		}
	}
	return nil
}

// Words describes what would be done with the record.
func (r DryRecord) Words() string {
	var words string
	switch r.Step {
	case onboarding.RehearsedInvite:
		words = "would invite " + r.who()
	case onboarding.RehearsedActivate:
		words = "would activate " + r.who()
	case onboarding.RehearsedJoin:
		words = "would join operation " + r.Operation.String() + " of " + r.who()
	case onboarding.RehearsedAttention:
		words = "would send nothing for " + r.who() + ", and ask an operator: " + r.Reason
	case onboarding.RehearsedRepeat:
		return "repeat: was accepted before, for " + r.who()
	case onboarding.RehearsedDeadLetter:
		words = "dead letter: " + r.Reason
		if r.Where != "" {
			words += " at " + r.Where
		}
		return words
	case onboarding.RehearsedDeselect:
		words = "another provider for " + r.who()
	case onboarding.RehearsedPublish:
		words = "would send nothing for " + r.who()
	default:
		words = "would keep the event of " + r.who()
	}
	if r.Cancels > 0 {
		words += "; would cancel an invitation that was not sent"
	}
	if r.NotRemembered {
		words += "; not remembered for later records"
	}
	if len(r.Publishes) > 0 {
		words += "; would publish " + strings.Join(r.Publishes, ", ")
	}
	return words
}

func (r DryRecord) who() string { return r.Shop.Shop + " of " + r.Shop.Account }

// Words describes the counts.
func (s DrySummary) Words() string {
	var parts []string
	for _, step := range slices.Sorted(maps.Keys(s.Steps)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.Steps[step], step))
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Ignored)) {
		parts = append(parts, fmt.Sprintf("%d ignored (%s)", s.Ignored[reason], reason))
	}
	if len(parts) == 0 {
		return "no record is unread; nothing was sent, committed, published or written"
	}
	if s.NotRemembered > 0 {
		parts = append(parts, fmt.Sprintf("of which %d exceed the limit of remembered events: later records of the same shops were planned without them", s.NotRemembered))
	}
	return strings.Join(parts, ", ") + "; nothing was sent, committed, published or written"
}
