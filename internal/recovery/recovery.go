package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

const (
	operationsPage = 200 // in one transaction
	eventsPage     = 200 // in one transaction
)

// Options configure a recovery. Fields without a default are required.
type Options struct {
	Journal journal.Journal
	// Topic returns the topic of an event type.
	Topic func(eventType string) string
	// Results are the types of the results whose topics exist.
	Results []string
	// SealCheck seals the text by which a later start recognizes the keyset, for a
	// journal with this identity.
	SealCheck      func(identity uuid.UUID) ([]byte, error)
	RemindAfter    []time.Duration
	UnknownOutcome string // see onboarding.RestorerOptions
	Source         string // of the published events
	Format         schemas.Format
	DestroyAfter   time.Duration // see onboarding.RestorerOptions
	Logger         *slog.Logger
	Actor          string // for the audit trail
	// QuietFor is how long the rate limits count as used up afterwards.
	QuietFor time.Duration
	// AcceptLoss continues although topics no longer hold all records.
	AcceptLoss bool
	// Force recovers although nothing shows that the journal was restored.
	Force bool
}

// ErrNothingToRecover says that nothing shows that the journal was restored. Recovering
// it would mark everything open as in doubt.
var ErrNothingToRecover = errors.New("nothing shows that the journal was restored: it is no copy that `journal backup` made, its last recovery has ended, and the group is not ahead of it; `run` continues with it. " +
	"If an older file was put in its place by other means, use --force: everything open is then treated as in doubt")

// A Report describes what a recovery did.
type Report struct {
	journal.Recovery
	Identity       uuid.UUID              // the journal's new identity
	Inputs         []consumer.ReplayRange // that were replayed
	Lost           []consumer.OffsetRange // records that no topic holds any more
	Results        int                    // published events that were read
	Imported       int                    // of them, those that the journal did not know
	ForeignRecords int                    // records of the result topics that are not this service's
	Outcomes       map[string]int         // operations by outcome
	UnknownShops   []journal.UnknownShop
	QuietFor       time.Duration // no request is sent for so long
}

// Run makes a restored journal usable by a worker. It is the only member of the
// consumer group meanwhile. It can be interrupted and run again: each step can be
// repeated.
//
//  1. Import the events of the result topics that the journal does not know, with
//     their bytes and sequences.
//  2. Bring the operations of the copy to what was published of them.
//  3. Read the inputs again, up to what the topics hold now, and bring each run
//     that begins to what was published of it.
//  4. Mark what is still open as in doubt; see onboarding.RestoreRows.
//  5. Commit the group's offsets, give the journal another identity, and count the
//     rate limits as used up.
func Run(ctx context.Context, intake *consumer.Consumer, o Options) (r Report, err error) {
	var results []string
	for _, t := range o.Results {
		results = append(results, o.Topic(t))
	}
	rec := &recoverer{o: &o, j: o.Journal, log: o.Logger, report: &r}
	return r, intake.RunExclusive(ctx, results, rec.work)
}

// A recoverer is one call of Run.
type recoverer struct {
	o      *Options
	j      journal.Journal
	log    *slog.Logger
	report *Report
}

func (r *recoverer) work(ctx context.Context, in *consumer.ExclusiveSession) error {
	// Change nothing before it is known what would be lost.
	ranges, lost, err := in.InputRanges(ctx)
	if err != nil {
		return err
	}
	if err := r.checkLoss(lost); err != nil {
		return err
	}
	due, err := r.j.RecoveryDue(ctx)
	if err != nil {
		return err
	}
	if !due && !r.o.Force && !slices.ContainsFunc(ranges, func(s consumer.ReplayRange) bool { return s.CommittedAhead || s.TopicRecreated }) {
		return ErrNothingToRecover
	}
	if r.report.Recovery, err = r.j.Recover(ctx, onboarding.NewRestorer(onboarding.RestorerOptions{
		UnknownOutcome: r.o.UnknownOutcome, RemindAfter: r.o.RemindAfter, Source: r.o.Source, Format: r.o.Format, Now: time.Now, DestroyAfter: r.o.DestroyAfter,
	})); err != nil {
		return err
	}
	r.report.Outcomes = map[string]int{}
	if err := r.importPublished(ctx, in); err != nil {
		return err
	}
	if err := r.restore(ctx, false); err != nil {
		return err
	}
	if err := r.replayInputs(ctx, in, ranges); err != nil {
		return err
	}
	if err := r.restore(ctx, true); err != nil {
		return err
	}
	return r.finish(ctx)
}

// checkLoss refuses the loss of records unless it was accepted.
func (r *recoverer) checkLoss(lost []consumer.OffsetRange) error {
	if len(lost) == 0 {
		return nil
	}
	r.report.Lost = append(r.report.Lost, lost...)
	var places []string
	for _, s := range lost {
		places = append(places, fmt.Sprintf("%s/%d from %d to %d", s.Topic, s.Partition, s.From, s.To))
	}
	if !r.o.AcceptLoss {
		return fmt.Errorf("%w: %s; their content since the copy is lost; use a newer copy, or --accept-loss to continue without them",
			consumer.ErrRecordsLost, strings.Join(places, ", "))
	}
	r.log.Error("continuing without records that were deleted", "records", strings.Join(places, ", "))
	return nil
}

// importPublished reads the result topics from the offsets that the journal knows.
func (r *recoverer) importPublished(ctx context.Context, in *consumer.ExclusiveSession) error {
	known, err := r.j.PublishedOffsets(ctx)
	if err != nil {
		return err
	}
	accounts, err := r.j.Accounts(ctx)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		if err := r.raiseFloor(ctx, in); err != nil {
			return err
		}
	}
	var lost []consumer.OffsetRange
	for _, typ := range r.o.Results {
		from := map[int]int64{}
		for _, p := range known {
			if p.Topic == typ {
				from[p.Partition] = p.Next
			}
		}
		gone, err := in.Scan(ctx, r.o.Topic(typ), from, func(ms []schemas.Message) error {
			for part := range slices.Chunk(ms, eventsPage) {
				var list []journal.PublishedEvent
				for _, m := range part {
					a, ok := decodePublished(m, typ, r.o.Source, accounts)
					if !ok {
						r.report.ForeignRecords++
						continue
					}
					list = append(list, a)
				}
				got, err := r.j.ImportPublished(ctx, list)
				if err != nil {
					return err
				}
				r.report.Results += len(list)
				r.report.Imported += got.Imported
			}
			return nil
		})
		if err != nil {
			return err
		}
		lost = append(lost, gone...)
	}
	return r.checkLoss(lost)
}

// raiseFloor makes the sequences and versions of a journal without published events
// begin above all earlier ones, if the result topics do not hold all events any more.
func (r *recoverer) raiseFloor(ctx context.Context, in *consumer.ExclusiveSession) error {
	for _, typ := range r.o.Results {
		truncated, err := in.Truncated(ctx, r.o.Topic(typ))
		if err != nil {
			return err
		}
		if truncated {
			floor := time.Now().UnixMilli()
			r.log.Warn("earlier events were deleted from a result topic; sequences and versions begin above the floor", "topic", r.o.Topic(typ), "floor", floor)
			return r.j.RaiseFloor(ctx, floor)
		}
	}
	return nil
}

// decodePublished decodes a published event; false for one that is not this service's.
func decodePublished(m schemas.Message, typ, source string, accounts []journal.Account) (journal.PublishedEvent, bool) {
	e, err := schemas.DecodeOutput(m)
	id, idErr := uuid.Parse(e.ID)
	if err != nil || idErr != nil || e.Type != typ || e.Source != source {
		return journal.PublishedEvent{}, false
	}
	a := journal.PublishedEvent{Event: id, Type: typ, Causation: e.CausationID, Sequence: e.Sequence, At: e.Time, Message: m}
	a.Operation, _ = uuid.Parse(e.OperationID)
	if e.Type == schemas.TypeDeadLetter {
		return a, true
	}
	a.Shop.Account, a.Shop.Shop = e.Data.Shop()
	if d, ok := e.Data.(schemas.CredentialsData); ok {
		a.Version, a.Reference = d.Reference().Version, d.Reference().Ref
	}
	return a, slices.ContainsFunc(accounts, func(k journal.Account) bool { return k.Name == a.Shop.Account })
}

func (r *recoverer) restore(ctx context.Context, last bool) error {
	for after := int64(0); ; {
		next, outcomes, err := r.j.Restore(ctx, last, after, operationsPage)
		if err != nil {
			return err
		}
		for word, n := range outcomes {
			r.report.Outcomes[word] += n
		}
		if next == 0 {
			return nil
		}
		after = next
	}
}

func (r *recoverer) replayInputs(ctx context.Context, in *consumer.ExclusiveSession, ranges []consumer.ReplayRange) error {
	var recreated []journal.Position
	for _, s := range ranges {
		if s.TopicRecreated {
			recreated = append(recreated, journal.Position{Topic: s.Topic, Partition: s.Partition, Next: s.From})
		}
	}
	if err := r.j.ResetPositions(ctx, recreated); err != nil {
		return err
	}
	r.report.Inputs = ranges
	return in.Replay(ctx, ranges)
}

// finish gives the journal another identity, so that the broker refuses a worker that
// still has the lost one.
func (r *recoverer) finish(ctx context.Context) error {
	identity := uuid.New()
	check, err := r.o.SealCheck(identity)
	if err != nil {
		return err
	}
	read := int64(0)
	for _, s := range r.report.Inputs {
		read += s.To - s.From
	}
	var outcomes []string
	for word, n := range r.report.Outcomes {
		outcomes = append(outcomes, fmt.Sprintf("%d %s", n, word))
	}
	slices.Sort(outcomes)
	r.report.UnknownShops, err = r.j.EndRecovery(ctx, journal.RecoveryEnd{Identity: identity, Check: check, Asked: onboarding.EndRestored(time.Now()), Audit: journal.AuditEntry{
		At: time.Now(), Actor: r.o.Actor, Act: "journal_recover", Subject: identity.String(),
		Detail: fmt.Sprintf("recovery %d of journal %s: %d input records read again, %d published events taken over, %d operations looked at: %s",
			r.report.Number, r.j.Identity(), read, r.report.Imported, total(r.report.Outcomes), strings.Join(outcomes, "; ")),
	}})
	if err != nil {
		return err
	}
	r.report.Identity = identity
	r.report.QuietFor = r.o.QuietFor
	r.log.Info("recovered the journal", "identity", identity.String(), "imported", r.report.Imported, "replayed", read)
	return nil
}

func total(outcomes map[string]int) (n int) {
	for _, m := range outcomes {
		n += m
	}
	return n
}

// A ReplayClock lets the planner plan a replayed event at the event's own time, so that
// it decides as it did then: a cool-down that has ended by now had not ended then.
type ReplayClock struct {
	mu sync.Mutex
	at time.Time
}

// Now returns the time for the planner.
func (c *ReplayClock) Now() time.Time { return c.at }

// Planner wraps a planner so that Now is the time of the event.
func (c *ReplayClock) Planner(plan journal.Planner) journal.Planner {
	return func(e journal.Event, v journal.ShopView) journal.Plan {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at = time.Now()
		if !e.Time.IsZero() && e.Time.Before(c.at) {
			c.at = e.Time
		}
		return plan(e, v)
	}
}
