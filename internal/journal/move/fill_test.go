package move_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

const account = "default"

// A clock is set by the test; it is that of both databases.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

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

// A filler works with a journal as a worker would, at random.
type filler struct {
	*testing.T
	j      journal.Journal
	clock  *clock
	keys   *keyset.Set
	random *rand.Rand
	next   int64
	events int
	calls  int
	secret map[journal.ShopKey]int64 // versions
}

func (f *filler) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// ledgers are the permits of every request.
func ledgers() []journal.Permit {
	return []journal.Permit{
		{RateLimit: "account/" + account, Limit: 40, Window: 30 * time.Second, Slack: time.Minute},
		{RateLimit: "egress", Limit: 200, Window: 30 * time.Second, Slack: time.Minute},
	}
}

// fill leaves rows of every kind, some of them in the middle of things.
func fill(t *testing.T, j journal.Journal, c *clock, keys *keyset.Set, seed uint64, rounds int) *filler {
	f := &filler{T: t, j: j, clock: c, keys: keys, random: rand.New(rand.NewPCG(seed, 1)), secret: map[journal.ShopKey]int64{}}
	ctx := t.Context()
	f.ok(j.SetKeysetCheck(ctx, []byte("check")))
	f.ok(j.ReportWorker(ctx, journal.WorkerReport{Worker: uuid.New(), Owner: "killed", Facts: []byte("{}")}))
	f.ok(j.RegisterKeys(ctx, []journal.Key{{Purpose: journal.KeySealing, ID: 1}, {Purpose: journal.KeyLookup, ID: 2}}, nil))
	f.ok(j.EnsureAccount(ctx, account, "partner-1"))
	f.ok(j.EnsureAccount(ctx, "second", "partner-2"))
	f.ok(j.InitPositions(ctx, []journal.Position{{Topic: schemas.TypeProviderSelected, Partition: 0}, {Topic: schemas.TypeCodeEntered, Partition: 2, Next: 7}}))
	for range rounds {
		f.ingest(6)
		f.work()
		f.settle()
		f.review()
		f.publish()
		f.clock.advance(time.Duration(f.random.IntN(8_000_000)) * time.Microsecond)
	}
	f.ok(j.SetCircuit(ctx, "second", journal.Circuit{State: journal.CircuitThrottled, Reason: "429", Until: c.now().Add(time.Minute), Count: 2, Since: c.now()}, nil))
	f.ok(j.AppendAudit(ctx, journal.AuditEntry{Actor: "anna", Act: "pause", Subject: "second"}))
	f.people()
	// In the middle of things: claimed, sending, a check under way, an answer that is not settled.
	f.clock.advance(time.Hour)
	f.ingest(12)
	var held []journal.ClaimedOperation
	for _, kind := range []journal.Kind{journal.Invite, journal.Activate} {
		held = append(held, f.claim(kind, journal.Call, 10)...)
	}
	for i, o := range held {
		if i%3 != 0 {
			id := f.send(o)
			if o.Kind == journal.Activate && i%2 == 0 {
				f.receive(o, id)
			}
		}
	}
	_, err := j.BeginCheck(ctx, journal.Check{Account: account, SendBy: time.Second, Deadline: 20 * time.Second, Permits: ledgers()[1:]})
	f.ok(err)
	return f
}

func (f *filler) ingest(n int) {
	f.Helper()
	b := journal.Batch{Topic: schemas.TypeProviderSelected, From: f.next, Next: f.next + int64(n) + 1}
	for i := range n {
		f.events++
		shop := journal.ShopKey{Account: account, Shop: fmt.Sprintf("shop-%d", f.random.IntN(30))}
		kind := journal.Invite + journal.Kind(f.random.IntN(2))
		e := journaltest.MakeEvent(f.T, f.keys, kind, shop, fmt.Sprint("e", f.events), fmt.Sprintf("subject-%s-%d", shop.Shop, f.random.IntN(5)), f.clock.now())
		e.Offset = f.next + int64(i)
		b.Events = append(b.Events, e)
	}
	sealed, err := f.keys.Seal([]byte("record"), keyset.AssociatedData("letter", fmt.Sprint(b.Next)))
	f.ok(err)
	l := journal.DeadLetter{
		Offset: b.Next - 1, EventID: "bad", Reason: "not_json", Where: "data", Time: f.clock.now(), Size: 3, Digest: []byte("digest"), Sealed: sealed,
		Announce: journaltest.MakeDraft(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, b.Next)), schemas.TypeDeadLetter, journal.ShopKey{}),
	}
	if f.random.IntN(2) == 0 {
		l.Sealed, l.Digest, l.EventID = nil, nil, ""
	}
	b.DeadLetters = append(b.DeadLetters, l)
	f.next = b.Next
	_, err = f.j.Ingest(f.Context(), b)
	f.ok(err)
}

func (f *filler) claim(kind journal.Kind, stage journal.Stage, limit int) []journal.ClaimedOperation {
	f.Helper()
	os, err := f.j.Claim(f.Context(), journal.ClaimRequest{Account: account, Kind: kind, Stage: stage, Limit: limit, Lease: time.Minute, Owner: "worker-1"})
	f.ok(err)
	return os
}

func (f *filler) send(o journal.ClaimedOperation) journal.AttemptID {
	f.Helper()
	id, err := f.j.BeginAttempt(f.Context(), journal.AttemptStart{Ref: o.Ref, Attempt: o.Attempts + 1, Flagged: o.Doubt, Probe: o.Unknowns > 0, SendBy: 5 * time.Second, Deadline: 30 * time.Second, Permits: ledgers()})
	f.ok(err)
	return id
}

func (f *filler) receive(o journal.ClaimedOperation, id journal.AttemptID) {
	f.Helper()
	sealed, err := f.keys.Seal([]byte("answer"), keyset.AssociatedData("receipt", o.UUID.String()))
	f.ok(err)
	_, _, err = f.j.SaveResponse(f.Context(), journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: *f.end(200)})
	f.ok(err)
}

func (f *filler) end(status int) *journal.AttemptEnd {
	return &journal.AttemptEnd{Answered: true, At: f.clock.now(), Status: status, Outcome: "done", Code: "code", RequestID: "req"}
}

func (f *filler) draft(o journal.ClaimedOperation, typ string) journal.Draft {
	return journaltest.MakeDraft(schemas.EventID(o.UUID, o.Run, typ), typ, o.Shop)
}

// work calls what is due, with every outcome.
func (f *filler) work() {
	f.Helper()
	for _, kind := range []journal.Kind{journal.Invite, journal.Activate} {
		for _, o := range f.claim(kind, journal.Call, 2) {
			id := f.send(o)
			f.clock.advance(time.Duration(f.random.IntN(2_000_000)) * time.Microsecond)
			t := journal.Transition{Ref: o.Ref, From: journal.Sending, Attempt: id}
			f.calls++
			switch n := f.calls % 10; {
			case n == 0:
				t.To, t.Due, t.End = journal.Waiting, f.clock.now().Add(time.Hour), &journal.AttemptEnd{NotSent: true, At: f.clock.now(), Outcome: "not_sent"}
			case n == 1:
				t.To, t.Doubt, t.Due, t.End = journal.Unknown, true, f.clock.now().Add(2*time.Minute), &journal.AttemptEnd{At: f.clock.now(), Outcome: "unknown"}
			case n == 2:
				t.To, t.Reason, t.End, t.Audit = journal.Attention, "rights", f.end(403), &journal.AuditEntry{Actor: "worker", Act: "note", Subject: o.UUID.String(), Detail: "текст"}
			case kind == journal.Activate:
				f.receive(o, id)
				f.activate(o, journal.Received, n)
				continue
			default:
				d := f.draft(o, schemas.TypeInvited)
				t.To, t.Reason, t.End, t.Publish = journal.Done, "sent", f.end(200), []journal.Draft{d, d} // the second publishes it again
				t.Invited = &journal.InvitedUpdate{At: f.clock.now(), InvitationID: "inv", Remind: f.clock.now().Add(time.Hour)}
			}
			f.ok(f.j.Apply(f.Context(), t))
		}
	}
}

// activate stores the credentials of an answer.
func (f *filler) activate(o journal.ClaimedOperation, from journal.State, n int) {
	f.Helper()
	f.secret[o.Shop]++
	version := f.secret[o.Shop]
	sealed, err := f.keys.Seal([]byte("token"), keyset.AssociatedData("credential", o.Shop.Account, o.Shop.Shop, fmt.Sprint(version)))
	f.ok(err)
	event := f.draft(o, schemas.TypeActivated)
	t := journal.Transition{
		Ref: o.Ref, From: from, To: journal.Done, Reason: "activated", Verified: n%2 == 0, Publish: []journal.Draft{event},
		Credential: &journal.Credential{Shop: o.Shop, Version: version, Reference: fmt.Sprintf("ref+sealed://invoicebox/%s?version=%d", o.Shop.Shop, version), MerchantID: "m-" + o.Shop.Shop, Sealed: sealed},
		Active:     &journal.ActiveUpdate{At: f.clock.now(), Event: event.ID, Review: f.clock.now().Add(time.Duration(n) * time.Second)},
	}
	f.ok(f.j.Apply(f.Context(), t))
}

// settle ends some of the unknown ones.
func (f *filler) settle() {
	f.Helper()
	for _, o := range f.claim(journal.Invite, journal.Settle, 1) {
		f.ok(f.j.Apply(f.Context(), journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown", Publish: []journal.Draft{f.draft(o, schemas.TypeInvitationFailed)}}))
	}
}

func (f *filler) review() {
	f.Helper()
	got, err := f.j.ClaimReviews(f.Context(), journal.ReviewRequest{Account: account, Limit: 2, Lease: time.Minute, Routine: true})
	f.ok(err)
	for i, v := range got.Reviews {
		e := journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified, Routine: true, Due: f.clock.now().Add(time.Hour)}
		if i == 0 && f.random.IntN(2) == 0 {
			e = journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewRefused, State: journal.CredentialPending, Due: f.clock.now().Add(time.Minute)}
		}
		f.ok(f.j.EndReview(f.Context(), e))
	}
}

// publish marks the first of what waits.
func (f *filler) publish() {
	f.Helper()
	out, err := f.j.Pending(f.Context(), 0, 3, 1<<20)
	f.ok(err)
	var done []journal.Published
	for _, o := range out {
		done = append(done, journal.Published{Row: o.Row, Partition: 1, Offset: o.Row * 2})
	}
	f.ok(f.j.MarkPublished(f.Context(), done))
}

// people ask for acts; one of them is performed.
func (f *filler) people() {
	f.Helper()
	ctx := f.Context()
	os, err := f.j.Operations(ctx, journal.OperationFilter{State: journal.Attention, Limit: 3})
	f.ok(err)
	if len(os) == 0 {
		f.Fatal("nothing is in attention")
	}
	for _, o := range os {
		i := journal.Intent{UUID: uuid.NewSHA1(uuid.Nil, o.UUID[:]), At: f.clock.now(), Actor: "anna", Act: "enter", Operation: o.UUID, Note: "ticket 7", MerchantID: "m"}
		i.Sealed, err = f.keys.Seal([]byte("token"), keyset.AssociatedData("intent", i.UUID.String()))
		f.ok(err)
		f.ok(f.j.AppendIntent(ctx, i, journal.AuditEntry{Actor: "anna", Act: "enter.asked", Subject: o.UUID.String()}))
	}
	i := journal.Intent{UUID: uuid.NewSHA1(uuid.Nil, []byte("circuit")), At: f.clock.now(), Actor: "anna", Act: "pause", Account: account}
	f.ok(f.j.AppendIntent(ctx, i, journal.AuditEntry{Actor: "anna", Act: "pause.asked"}))
	waiting, err := f.j.PendingIntents(ctx, 10, nil)
	f.ok(err)
	last := waiting[len(waiting)-1]
	f.ok(f.j.EndIntent(ctx, journal.IntentEnd{
		ID: last.ID, State: journal.IntentPerformed, Result: "done", Detail: "it was", Audit: journal.AuditEntry{Actor: "anna", Act: "pause.performed"},
		Circuit: &journal.Circuit{State: journal.CircuitPaused, Reason: "person", Since: f.clock.now()},
	}))
}
