package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
)

const topic = "shop.payment_provider_selected"

// A bed is a database with replicas on it, all by the database's own clock.
type bed struct {
	testing.TB
	server *pgtest.Server
	url    string
	keys   *keyset.Set
	next   int64
	tracer pgx.QueryTracer
}

// TestReplicas runs on one server. Those that change it for others come last.
func TestReplicas(t *testing.T) {
	t.Parallel()
	server, asked := pgtest.Start(t), &statements{}
	traced := func(t *testing.T) *bed {
		b := newBed(t, server)
		b.tracer = asked
		return b
	}
	type part struct {
		name string
		test func(*bed)
	}
	t.Run("beside each other", func(t *testing.T) {
		for _, x := range []part{
			{"they share the work", testShared}, {"one is seen with its lock", testSeenWithItsLock}, {"one begins in spite of a deadlock", testBeginsAgain}, {"no window holds more than the limit", testWindows}, {"one that comes back does no harm", testFrozen},
			{"a dead one's leases end at once", testDead}, {"all are notified of intents and circuit breakers", testNotify}, {"one that recovers is alone", testRecovering}, {"those that begin together follow a clock", testTogether},
			{"one at a time reminds", testReminders}, {"one at a time publishes", testRelayLease}, {"a relay lease that was lost is nobody's", testRelayLeaseLost}, {"a full disk is told as such", testFull}, {"sessions that are ended cost nothing", testKilled}, {"a commit that comes late is no loss", testLateCommit}, {"a circuit breaker that nobody changes stays the same", testCircuitStays}, {"a parameter that the server does not take is named", testParameters}, {"they need the same keys", testKeys}, {"one at a time seals again", testReseal},
		} {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				x.test(traced(t))
			})
		}
	})
	for _, x := range []part{
		{"a database that moved makes the ledgers wait", testMoved}, {"a server that is not durable is refused", testDurable}, {"the server restarts", testRestarted},
	} {
		t.Run(x.name, func(t *testing.T) { x.test(traced(t)) })
	}
	b := newBed(t, server)
	b.open()
	asked.checkWide(t, b.url)
}

func newBed(t *testing.T, server *pgtest.Server) *bed {
	t.Helper()
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	return &bed{TB: t, server: server, url: server.Database(t, ""), keys: keys}
}

func (b *bed) open() *Journal {
	b.Helper()
	j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain, tracer: b.tracer})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	b.ok(j.EnsureAccount(b.Context(), "default", "partner-1"))
	b.ok(j.InitPositions(b.Context(), []journal.Position{{Topic: topic, Partition: 0}}))
	return j
}

func (b *bed) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// codes brings n codes of n shops into the journal.
func (b *bed) codes(j *Journal, n int) {
	b.Helper()
	batch := b.batch(n)
	b.next = batch.Next
	_, err := j.Ingest(b.Context(), batch)
	b.ok(err)
}

func (b *bed) claim(j *Journal, stage journal.Stage, limit int, lease time.Duration) []journal.ClaimedOperation {
	b.Helper()
	got, err := j.Claim(b.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: stage, Limit: limit, Lease: lease, Owner: "test"})
	b.ok(err)
	return got
}

// sealed is an operation's answer.
func (b *bed) sealed(o journal.ClaimedOperation) []byte {
	b.Helper()
	sealed, err := b.keys.Seal([]byte("answer"), keyset.AssociatedData("receipt", o.UUID.String()))
	b.ok(err)
	return sealed
}

func permit(limit int, window time.Duration) journal.Permit {
	return journal.Permit{RateLimit: "account/default", Limit: limit, Window: window, Slack: 20 * time.Millisecond}
}

func send(j *Journal, o journal.ClaimedOperation, p journal.Permit) (journal.AttemptID, error) {
	return j.BeginAttempt(context.Background(), journal.AttemptStart{
		Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: 100 * time.Millisecond, Deadline: 200 * time.Millisecond, Permits: []journal.Permit{p},
	})
}

// eventually waits for something that another process or goroutine does.
func (b *bed) eventually(what string, f func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal(what)
		}
	}
}

func testShared(b *bed) {
	one, two, three := b.open(), b.open(), b.open()
	if one.Identity() != two.Identity() {
		b.Fatal("two replicas of one journal have two identities")
	}
	const n = 300
	for drained := false; !drained; {
		select {
		case <-two.Changed():
		default:
			drained = true
		}
	}
	b.codes(one, n)
	select {
	case <-two.Changed():
	case <-time.After(10 * time.Second):
		b.Fatal("the other replica was not told of new work")
	}
	var mu sync.Mutex
	seen := make(map[int64]int)
	var wg sync.WaitGroup
	for _, j := range []*Journal{one, two, three, one, two, three} {
		wg.Go(func() {
			for {
				got, err := j.Claim(context.Background(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 7, Lease: time.Minute})
				if err != nil {
					b.Error(err)
					return
				}
				if len(got) == 0 {
					return
				}
				mu.Lock()
				for _, o := range got {
					seen[o.Ref.Operation]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// What was locked by another at a claim's moment was skipped, and is there now.
	for _, o := range b.claim(one, journal.Call, n, time.Minute) {
		seen[o.Ref.Operation]++
	}
	if len(seen) != n {
		b.Fatalf("%d operations were claimed, want %d", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			b.Errorf("operation %d was claimed %d times", id, times)
		}
	}
}

// A server counts a request at any time from its start to its answer, and one
// without an answer until its slack is over. Whatever the replicas do, no window
// holds more than the limit.
func testWindows(b *bed) {
	const limit, window = 20, time.Second
	p := permit(limit, window)
	type span struct{ from, to time.Time }
	var mu sync.Mutex
	var spans []span
	var wg sync.WaitGroup
	until := time.Now().Add(6 * window)
	enough := func() bool { // a loaded machine takes longer for as many requests
		mu.Lock()
		defer mu.Unlock()
		return time.Since(until) > 0 && len(spans) >= 3*limit || time.Since(until) > time.Minute
	}
	for i, j := range []*Journal{b.open(), b.open(), b.open()} {
		for k := range 4 {
			r := rand.New(rand.NewPCG(uint64(i), uint64(k))) // #nosec G404 -- moments of a test
			wg.Go(func() {
				for !enough() {
					called := time.Now()
					id, err := j.BeginCheck(context.Background(), journal.Check{Account: "default", SendBy: 100 * time.Millisecond, Deadline: 200 * time.Millisecond, Permits: []journal.Permit{p}})
					if _, none := errors.AsType[*journal.NoPermitError](err); none {
						<-time.After(time.Duration(r.IntN(20)) * time.Millisecond)
						continue
					}
					if err != nil {
						b.Error(err)
						return
					}
					// It is sent after the call; its deadline counts from the call.
					from, to := time.Now(), called.Add(200*time.Millisecond+p.Slack)
					if kind := r.IntN(3); kind > 0 {
						end := journal.AttemptEnd{Answered: kind == 1, At: time.Now()}
						if to = end.At; !end.Answered {
							to = to.Add(p.Slack)
						}
						if err := j.EndAttempt(context.Background(), id, end); err != nil {
							b.Error(err)
						}
					}
					mu.Lock()
					spans = append(spans, span{from, to})
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if len(spans) < 3*limit {
		b.Fatalf("only %d requests were made", len(spans))
	}
	most := 0
	for _, last := range spans {
		n := 0
		for _, s := range spans {
			// The worst placement: late in its span before, early in it after.
			if !s.from.After(last.from) && s.to.After(last.from.Add(-window)) {
				n++
			}
		}
		most = max(most, n)
	}
	b.Logf("%d requests, at most %d of %d in a window", len(spans), most, limit)
	if most > limit {
		b.Errorf("%d requests can lie in one window", most)
	}
}

func testFrozen(b *bed) {
	frozen, other := b.open(), b.open()
	b.codes(frozen, 2)
	lease := 300 * time.Millisecond
	os := b.claim(frozen, journal.Call, 2, lease)
	id, err := send(frozen, os[0], permit(100, time.Second))
	b.ok(err)
	// It sleeps beyond its leases, and another goes on with its work.
	var planned, unknown int
	b.eventually("the leases did not end", func() bool {
		p, u, err := other.ReleaseExpiredLeases(b.Context())
		b.ok(err)
		planned, unknown = planned+p, unknown+u
		return planned == 1 && unknown == 1
	})
	if got := b.claim(other, journal.Call, 2, time.Minute); len(got) != 1 || got[0].UUID != os[1].UUID {
		b.Fatalf("claimed %+v", got)
	}
	if _, err := send(frozen, os[1], permit(100, time.Second)); !errors.Is(err, journal.ErrStale) {
		b.Fatalf("a request of an operation that is another's: %v", err)
	}
	if err := frozen.Apply(b.Context(), journal.Transition{Ref: os[1].Ref, From: journal.Claimed, To: journal.Done}); !errors.Is(err, journal.ErrStale) {
		b.Fatalf("the end of an operation that is another's: %v", err)
	}
	s, mine, err := frozen.SaveResponse(b.Context(), journal.Receipt{Ref: os[0].Ref, Attempt: id, Sealed: b.sealed(os[0]), End: journal.AttemptEnd{Answered: true, At: time.Now(), Status: 200}})
	if err != nil || mine || s != journal.Received {
		b.Fatalf("the late answer: %v, mine %v, %v", s, mine, err)
	}
	if got := b.claim(other, journal.Settle, 2, time.Minute); len(got) != 1 || got[0].Receipt == nil {
		b.Fatalf("the late answer is not there to go on with: %+v", got)
	}
}

func testDead(b *bed) {
	dying, other := b.open(), b.open()
	b.codes(dying, 2)
	os := b.claim(dying, journal.Call, 2, time.Hour)
	_, err := dying.BeginAttempt(b.Context(), journal.AttemptStart{Ref: os[0].Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Hour})
	b.ok(err)
	if p, u, err := other.ReleaseExpiredLeases(b.Context()); p+u > 0 || err != nil {
		b.Fatalf("leases of a living replica ended: %d, %d, %v", p, u, err)
	}
	dying.session.leave()
	b.eventually("its work is not free", func() bool {
		_, _, err := other.ReleaseExpiredLeases(b.Context())
		b.ok(err)
		d, err := other.Operation(b.Context(), os[1].UUID)
		b.ok(err)
		return d.State == journal.Planned
	})
	d, err := other.Operation(b.Context(), os[0].UUID)
	if err != nil || d.State != journal.Unknown || !d.Doubt {
		b.Fatalf("what was being sent is %+v, %v", d.OperationRecord, err)
	}
	// It may live, and send until the deadline: the quiet period does not begin before.
	got := b.claim(other, journal.Settle, 1, time.Minute)
	if len(got) != 1 || time.Until(got[0].ConnectionClosed) < 50*time.Minute {
		b.Fatalf("claimed %+v", got)
	}
}

func testDurable(b *bed) {
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		b.server.Exec(b, "postgres", "ALTER SYSTEM SET "+setting+" = off")
		b.server.Exec(b, "postgres", "SELECT pg_reload_conf()")
		b.eventually(setting+" is off, and nobody minds", func() bool {
			j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain, tracer: b.tracer})
			if err == nil {
				b.ok(j.Close())
			}
			return errors.Is(err, journal.ErrNotDurable)
		})
		b.server.Exec(b, "postgres", "ALTER SYSTEM RESET "+setting)
		b.server.Exec(b, "postgres", "SELECT pg_reload_conf()")
		b.eventually(setting+" is on, and it does not open", func() bool {
			j, err := Open(b.Context(), Options{URL: b.url, Planner: journaltest.Plain, tracer: b.tracer})
			if err == nil {
				b.ok(j.Close())
			}
			return err == nil
		})
	}
}

// The database goes and comes back: steps fail meanwhile, and nothing is lost
// or done twice.
func testRestarted(b *bed) {
	j := b.open()
	b.codes(j, 50)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		b.server.Down(signal)
		if _, err := j.Claim(b.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Hour}); err == nil {
			b.Fatal("a claim succeeded without a database")
		}
		if _, err := j.Stats(b.Context()); err == nil {
			b.Fatal("a read succeeded without a database")
		}
		b.server.Up(b)
		b.eventually("it does not go on", func() bool {
			_, err := j.Claim(b.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Call, Limit: 5, Lease: time.Hour})
			return err == nil
		})
		b.codes(j, 5)
	}
	var events int64
	b.ok(j.read(b.Context(), "SELECT count(*) FROM event", func(r row) error {
		events = r.int(0)
		return nil
	}))
	if events != 60 {
		b.Fatalf("%d events", events)
	}
}
