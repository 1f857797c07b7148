package main

import (
	"context"
	"slices"
	"sync"

	"invoicebox-worker/internal/journal"
)

// A point is a place between two steps; see the package's documentation.
type point string

const (
	intake    point = "intake"
	inbox     point = "inbox"
	claimed   point = "claimed"
	sending   point = "sending"
	answered  point = "answered"
	received  point = "received"
	storing   point = "storing"
	stored    point = "stored"
	completed point = "completed"
	published point = "published"
	erased    point = "erased"
	detailed  point = "detailed"
	scrubbed  point = "scrubbed"
	nowhere   point = "" // all are on their way together, and none is parked
)

func (x point) known() bool {
	return slices.Contains([]point{
		intake, inbox, claimed, sending, answered, received, storing, stored, completed, published, erased, detailed, scrubbed, nowhere,
	}, x)
}

// between puts the point between the service and its journal.
func (x point) between(p *park) func(journal.Journal) journal.Journal {
	return func(j journal.Journal) journal.Journal {
		return &stopping{Journal: j, park: p, point: x, keys: map[int64]string{}}
	}
}

// stopping is a journal at whose steps operations are parked.
type stopping struct {
	journal.Journal
	park  *park
	point point

	publishing sync.Once

	mu   sync.Mutex
	keys map[int64]string // of claimed operations
}

func (s *stopping) at(x point, keys ...string) {
	if s.point == x {
		s.park.stop(keys...)
	}
}

func (s *stopping) keyOf(operation int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[operation]
}

// Ingest parks whole batches: those of one partition come one after the other.
func (s *stopping) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	var keys []string
	for _, e := range b.Events {
		keys = append(keys, keyOf(e.Kind, e.Shop))
	}
	s.at(intake, keys...)
	done, err := s.Journal.Ingest(ctx, b)
	if err == nil {
		// What is parked here is not there yet for the pool, which would send it.
		s.at(inbox, keys...)
		s.park.arrived(keys)
	}
	return done, err
}

// Due gives out nothing before everything is there.
func (s *stopping) Due(ctx context.Context) ([]journal.Due, error) {
	select {
	case <-s.park.all:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Journal.Due(ctx)
}

// Claim learns which operation is whose.
func (s *stopping) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	ops, err := s.Journal.Claim(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		key := keyOf(op.Kind, op.Shop)
		s.keys[op.Ref.Operation] = key
		s.park.say("claimed " + key)
	}
	return ops, err
}

func (s *stopping) BeginAttempt(ctx context.Context, r journal.AttemptStart) (journal.AttemptID, error) {
	key := s.keyOf(r.Ref.Operation)
	s.at(claimed, key)
	id, err := s.Journal.BeginAttempt(ctx, r)
	if err == nil {
		s.at(sending, key)
	}
	return id, err
}

func (s *stopping) SaveResponse(ctx context.Context, r journal.Receipt) (journal.State, bool, error) {
	key := s.keyOf(r.Ref.Operation)
	s.at(answered, key)
	state, mine, err := s.Journal.SaveResponse(ctx, r)
	if err == nil {
		s.at(received, key)
	}
	return state, mine, err
}

func (s *stopping) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (journal.State, bool, journal.AttemptID, error) {
	key := s.keyOf(r.Ref.Operation)
	s.at(answered, key)
	state, mine, check, err := s.Journal.SaveResponseAndBeginCheck(ctx, r, c)
	if err == nil {
		s.at(received, key)
	}
	return state, mine, check, err
}

func (s *stopping) Apply(ctx context.Context, t journal.Transition) error {
	key := s.keyOf(t.Ref.Operation)
	// An attempt that found no place for its call is taken back, and comes again.
	outcome := t.End != nil && (!t.End.NotSent || t.To == journal.Waiting)
	switch {
	case t.From == journal.Sending && outcome:
		s.at(answered, key)
	case t.From == journal.Received && t.To != journal.Received:
		s.at(storing, key)
	}
	err := s.Journal.Apply(ctx, t)
	switch {
	case err != nil:
	case t.From == journal.Received && t.To == journal.Stored:
		s.at(stored, key)
	case t.From == journal.Sending && outcome, t.From == journal.Received && t.To != journal.Received, t.From == journal.Stored && t.To != journal.Stored:
		s.at(completed, key)
	}
	return err
}

// Pending gives the relay nothing as long as completed operations are parked.
func (s *stopping) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error) {
	if s.point == completed {
		s.park.wait(ctx)
	}
	return s.Journal.Pending(ctx, after, limit, maxBytes)
}

// parkErasure parks an erasure behind one of its steps.
func (s *stopping) parkErasure(ctx context.Context, x point, err error) {
	if s.point == x && err == nil {
		s.park.say("parked erasure")
		s.park.wait(ctx)
	}
}

func (s *stopping) ActOnShop(ctx context.Context, a journal.ShopAction) error {
	err := s.Journal.ActOnShop(ctx, a)
	s.parkErasure(ctx, erased, err)
	return err
}

func (s *stopping) EraseAuditDetails(ctx context.Context, shop int64, kept []string, audit journal.AuditEntry) (int, error) {
	n, err := s.Journal.EraseAuditDetails(ctx, shop, kept, audit)
	s.parkErasure(ctx, detailed, err)
	return n, err
}

func (s *stopping) Scrub(ctx context.Context) (bool, error) {
	done, err := s.Journal.Scrub(ctx)
	s.parkErasure(ctx, scrubbed, err)
	return done, err
}

func (s *stopping) MarkPublished(ctx context.Context, rows []journal.Published) error {
	if s.point == published {
		s.publishing.Do(func() { s.park.say("publishing") })
		s.park.wait(ctx)
	}
	return s.Journal.MarkPublished(ctx, rows)
}
