package journaltest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// The names that all tests use.
const (
	account = "default"
	topic   = schemas.TypeProviderSelected
)

// A clock is set by the test. The journal's time follows its changes.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A fixture is a journal with the helpers of a test.
type fixture struct {
	*testing.T
	ctx    context.Context
	j      journal.Journal
	reopen func() journal.Journal
	clock  *clock
	keys   *keyset.Set
	plan   journal.Planner // nil: plain
	next   int64           // offset of partition 0
}

func newFixture(t *testing.T, open Opener, keys *keyset.Set) *fixture {
	t.Helper()
	f := &fixture{T: t, ctx: t.Context(), keys: keys, clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	f.j, f.reopen = open(t, func(e journal.Event, v journal.ShopView) journal.Plan {
		if f.plan != nil {
			return f.plan(e, v)
		}
		return Plain(e, v)
	}, f.clock.now)
	f.ok(f.j.EnsureAccount(f.ctx, account, "partner-1"))
	f.ok(f.j.InitPositions(f.ctx, []journal.Position{{Topic: topic, Partition: 0, Next: 0}}))
	return f
}

// crash opens the journal again as after the death of its process.
func (f *fixture) crash() {
	f.Helper()
	f.j = f.reopen()
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// Plain is a planner with few rules: an event joins an open operation, begins the next run
// of an ended one, and otherwise begins a new one.
func Plain(e journal.Event, v journal.ShopView) journal.Plan {
	switch {
	case v.Same == nil:
		return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, 0)}}
	case v.Same.State.Open():
		return journal.Plan{Join: v.Same.ID}
	}
	return journal.Plan{Rerun: v.Same.ID}
}

func operationID(e journal.Event, generation int) uuid.UUID {
	shop := e.Shop.Shop
	if e.Kind == journal.Activate {
		shop = ""
	}
	return schemas.OperationID(e.Kind.String(), e.Shop.Account, shop, e.SubjectMACs[0], generation)
}

func shopKey(shop string) journal.ShopKey { return journal.ShopKey{Account: account, Shop: shop} }

// address and code return events; two with one id are the same event.
func (f *fixture) address(shop, id, email string) journal.Event {
	return MakeEvent(f.T, f.keys, journal.Invite, shopKey(shop), id, email, f.clock.now())
}

func (f *fixture) code(shop, id, code string) journal.Event {
	return MakeEvent(f.T, f.keys, journal.Activate, shopKey(shop), id, code, f.clock.now())
}

// MakeEvent returns an event as a consumer makes it.
func MakeEvent(t testing.TB, keys *keyset.Set, kind journal.Kind, shop journal.ShopKey, id, subject string, at time.Time) journal.Event {
	t.Helper()
	domain, typ := keyset.DomainAddress, schemas.TypeProviderSelected
	if kind == journal.Activate {
		domain, typ = keyset.DomainCode, schemas.TypeCodeEntered
	}
	must := func(b [][]byte, err error) [][]byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	macs := must(keys.MACs(domain, []byte(shop.Account+"\x00"+subject)))
	sealed, err := keys.Seal([]byte(subject), keyset.SubjectAAD(kind.String(), shop.Account, shop.Shop, macs[0]))
	if err != nil {
		t.Fatal(err)
	}
	e := journal.Event{
		Identity: schemas.Identity(topic, "/platform", id),
		Digests:  must(keys.MACs(keyset.DomainContent, []byte(shop.Shop+"\x00"+subject))),
		Type:     typ, Source: "/platform", ID: id, Time: at, TraceParent: "00-trace-" + id, TraceState: "state",
		Shop: shop, Kind: kind, SubjectMACs: macs, Sealed: sealed,
	}
	e.ReusedLetter = func() (journal.DeadLetter, error) {
		return journal.DeadLetter{
			Offset: e.Offset, EventID: id, Reason: "id_reused", Where: "id", Time: at, Size: 42, Digest: e.Digests[0], Sealed: sealed,
			Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, []byte("letter"+id)), schemas.TypeDeadLetter, journal.ShopKey{}),
		}, nil
	}
	return e
}

// MakeDraft returns an outgoing event whose value contains its id and sequence.
func MakeDraft(id uuid.UUID, typ string, shop journal.ShopKey) journal.Draft {
	return journal.Draft{ID: id, Type: typ, Freeze: func(sequence int64) (schemas.Message, error) {
		return schemas.Message{
			Key: []byte(shop.Shop), Value: fmt.Appendf(nil, "%s %d", id, sequence),
			Headers: []schemas.Header{{Key: "ce_id", Value: []byte(id.String())}, {Key: "ce_empty", Value: []byte{}}},
		}, nil
	}}
}

// batch puts events at the next offsets of partition 0.
func (f *fixture) batch(es ...journal.Event) journal.Batch {
	b := journal.Batch{Topic: topic, From: f.next, Next: f.next + int64(len(es)), Events: es}
	for i := range es {
		es[i].Offset = f.next + int64(i)
	}
	f.next = b.Next
	return b
}

func (f *fixture) ingest(es ...journal.Event) journal.Ingested {
	f.Helper()
	got, err := f.j.Ingest(f.ctx, f.batch(es...))
	f.ok(err)
	return got
}

func (f *fixture) claim(kind journal.Kind, stage journal.Stage, limit int) []journal.ClaimedOperation {
	f.Helper()
	got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: kind, Stage: stage, Limit: limit, Lease: time.Minute, Owner: "test"})
	f.ok(err)
	return got
}

// claimed claims exactly one operation.
func (f *fixture) claimed(kind journal.Kind, stage journal.Stage) journal.ClaimedOperation {
	f.Helper()
	got := f.claim(kind, stage, 10)
	if len(got) != 1 {
		f.Fatalf("claimed %d operations, want 1", len(got))
	}
	return got[0]
}

// idle checks that nothing can be claimed.
func (f *fixture) idle(kind journal.Kind, stage journal.Stage) {
	f.Helper()
	if got := f.claim(kind, stage, 10); len(got) != 0 {
		f.Fatalf("claimed %d operations, want none", len(got))
	}
}

// wide is a permit that no test uses up.
func wide() journal.Permit {
	return journal.Permit{RateLimit: "account/" + account, Limit: 1_000_000, Window: 30 * time.Second, Slack: time.Minute}
}

func (f *fixture) send(o journal.ClaimedOperation) journal.AttemptID {
	f.Helper()
	id, err := f.j.BeginAttempt(f.ctx, sendOf(o, wide()))
	f.ok(err)
	return id
}

func sendOf(o journal.ClaimedOperation, ps ...journal.Permit) journal.AttemptStart {
	return journal.AttemptStart{Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: 5 * time.Second, Deadline: 30 * time.Second, Permits: ps}
}

// sending moves the shop's new invitation or activation to state sending.
func (f *fixture) sending(e journal.Event) (journal.ClaimedOperation, journal.AttemptID) {
	f.Helper()
	f.ingest(e)
	o := f.claimed(e.Kind, journal.Call)
	return o, f.send(o)
}

func (f *fixture) answered(status int) *journal.AttemptEnd {
	return &journal.AttemptEnd{Answered: true, At: f.clock.now(), Status: status, Outcome: "done", RequestID: "req-1"}
}

func (f *fixture) receipt(o journal.ClaimedOperation, id journal.AttemptID, text string) journal.Receipt {
	f.Helper()
	sealedFor := keyset.AttemptSource(int64(id))
	sealed, err := f.keys.Seal([]byte(text), keyset.ResponseAAD(o.Shop.Account, o.Shop.Shop, o.UUID.String(), sealedFor))
	f.ok(err)
	return journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, SealedFor: sealedFor, End: *f.answered(200)}
}

func (f *fixture) credential(o journal.ClaimedOperation, version int64, merchant string) *journal.Credential {
	f.Helper()
	sealed, err := f.keys.Seal([]byte("token"), keyset.CredentialAAD(o.Shop.Account, o.Shop.Shop, version))
	f.ok(err)
	return &journal.Credential{
		Shop: o.Shop, Version: version, Reference: fmt.Sprintf("ref+sealed://invoicebox/%s?version=%d", o.Shop.Shop, version), MerchantID: merchant, Sealed: sealed,
	}
}

func (f *fixture) apply(tr journal.Transition) {
	f.Helper()
	f.ok(f.j.Apply(f.ctx, tr))
}

// finish sends an operation and ends it as done.
func (f *fixture) finish(o journal.ClaimedOperation, publish ...journal.Draft) {
	f.Helper()
	id := f.send(o)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Publish: publish})
}

// state returns an operation.
func (f *fixture) state(id uuid.UUID) journal.OperationDetail {
	f.Helper()
	d, err := f.j.Operation(f.ctx, id)
	f.ok(err)
	return d
}

func (f *fixture) wantState(id uuid.UUID, want journal.State) {
	f.Helper()
	if got := f.state(id).State; got != want {
		f.Fatalf("operation is %v, want %v", got, want)
	}
}

func (f *fixture) draft(o journal.ClaimedOperation, typ string) journal.Draft {
	return MakeDraft(schemas.EventID(o.UUID, o.Run, typ), typ, o.Shop)
}

// A Queueing context reports that a request waits for the writer. Journals call its Done
// method only then.
type Queueing struct {
	context.Context
	once   sync.Once
	queued chan struct{}
}

// NewQueueing returns one over ctx.
func NewQueueing(ctx context.Context) *Queueing {
	return &Queueing{Context: ctx, queued: make(chan struct{})}
}

// Done returns the channel of the wrapped context.
func (q *Queueing) Done() <-chan struct{} {
	q.once.Do(func() { close(q.queued) })
	return q.Context.Done()
}

// Queued is closed once the request waits.
func (q *Queueing) Queued() <-chan struct{} { return q.queued }

// together runs requests in one transaction, in their order: the planner blocks the
// writer until all of them wait. It returns their errors.
func (f *fixture) together(calls ...func(context.Context) error) []error {
	f.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	plan := f.plan
	holding := f.address("holding", fmt.Sprint("holding-", f.next), "a@example.org")
	f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
		if e.ID != holding.ID {
			return plan(e, v)
		}
		close(held)
		<-release
		return journal.Plan{}
	}
	var made sync.WaitGroup
	b := f.batch(holding)
	made.Go(func() {
		if _, err := f.j.Ingest(f.ctx, b); err != nil {
			f.Error(err)
		}
	})
	<-held
	errs := make([]error, len(calls))
	for i, call := range calls {
		ctx, done := NewQueueing(f.ctx), make(chan struct{})
		made.Go(func() {
			defer close(done)
			errs[i] = call(ctx)
		})
		select {
		case <-ctx.Queued():
		case <-done:
		}
	}
	close(release)
	made.Wait()
	f.plan = plan
	return errs
}

// signalled takes a signal if there is one.
func signalled(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
