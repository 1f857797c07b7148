package twin

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// A cluster is a database with replicas, and a session that does to it what another
// replica could do at that moment.
type cluster struct {
	*testing.T
	url   string
	keys  *keyset.Set
	other *sql.DB
	next  int64
}

// TestPostgresReplicas tests what only replicas can break. Each part is one that a
// planted bug needs; see TestPostgresMutants.
func TestPostgresReplicas(t *testing.T) {
	server := pgtest.Start(t)
	for name, test := range map[string]func(*cluster){
		"RowsAreLoadedWithTheirLocks":     testRowLocks,
		"ClaimsSkipLockedRows":            testClaimsSkip,
		"LeasesOfTheDeadEndOnce":          testLeasesEndOnce,
		"PermitsAreCountedTogether":       testPermitsTogether,
		"PermitsThatOthersTakeAreSeen":    testLedgerTaken,
		"OneReplicaHoldsTheRelayLease":    testRelayLease,
		"OutboxNumbersFollowTheCommits":   testOutboxNumbers,
		"AuditIsInTheOrderOfTheDecisions": testAuditOrder,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := keyset.New()
			if err != nil {
				t.Fatal(err)
			}
			c := &cluster{T: t, url: server.Database(t, ""), keys: keys}
			c.open() // makes the tables
			if c.other, err = sql.Open("pgx", c.url); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.other.Close() })
			test(c)
		})
	}
}

// open opens one more replica.
func (c *cluster) open() *postgres.Journal {
	c.Helper()
	j, err := postgres.Open(c.Context(), postgres.Options{URL: c.url, Planner: journaltest.Plain})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = j.Close() })
	c.ok(j.EnsureAccount(c.Context(), accounts[0], "partner-1"))
	c.ok(j.InitPositions(c.Context(), []journal.Position{{Topic: holding}}))
	return j
}

func (c *cluster) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// codes brings codes of n new shops into the journal.
func (c *cluster) codes(j journal.Journal, n int) {
	c.Helper()
	b := journal.Batch{Topic: holding, From: c.next, Next: c.next + int64(n)}
	for ; c.next < b.Next; c.next++ {
		e := journaltest.MakeEvent(c.T, c.keys, journal.Activate, journal.ShopKey{Account: accounts[0], Shop: fmt.Sprint("shop-", c.next)}, fmt.Sprint("event-", c.next), fmt.Sprint("code-", c.next), time.Now())
		e.Offset = c.next
		b.Events = append(b.Events, e)
	}
	_, err := j.Ingest(c.Context(), b)
	c.ok(err)
}

func (c *cluster) claim(j journal.Journal, stage journal.Stage, limit int) []journal.ClaimedOperation {
	c.Helper()
	got, err := j.Claim(c.Context(), journal.ClaimRequest{Account: accounts[0], Kind: journal.Activate, Stage: stage, Limit: limit, Lease: time.Hour, Owner: "test"})
	c.ok(err)
	return got
}

// count counts the rows of a table.
func (c *cluster) count(table string) (n int) {
	c.Helper()
	c.ok(c.other.QueryRowContext(c.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func (c *cluster) begin() *sql.Tx {
	c.Helper()
	tx, err := c.other.BeginTx(c.Context(), nil)
	c.ok(err)
	c.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func (c *cluster) exec(tx *sql.Tx, sql string, args ...any) {
	c.Helper()
	_, err := tx.ExecContext(c.Context(), sql, args...)
	c.ok(err)
}

// waits reports whether n sessions wait for locks, or something was received from done
// before.
func (c *cluster) waits(tx *sql.Tx, n int, done <-chan error) (waiting bool, err error) {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		select {
		case err := <-done:
			return false, err
		case <-time.After(10 * time.Millisecond):
		}
		var now int
		c.ok(tx.QueryRowContext(c.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&now))
		if now >= n {
			return true, nil
		}
		if time.Now().After(deadline) {
			c.Fatal("the call neither ends nor waits for a lock")
		}
	}
}

// beside makes a call while the transaction of another replica is open. It commits that
// when the call waits for it, and returns the call's error. Waited is false if the call
// ended before.
func (c *cluster) beside(tx *sql.Tx, call func() error) (waited bool, err error) {
	c.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	if waited, err = c.waits(tx, 1, done); waited {
		c.ok(tx.Commit())
		err = <-done
	}
	return waited, err
}

// Another replica claims an operation between the load of a step and its save.
func testRowLocks(c *cluster) {
	j := c.open()
	c.codes(j, 1)
	o := c.claim(j, journal.Call, 1)[0]
	tx := c.begin()
	c.exec(tx, "UPDATE operation SET claim = claim + 1 WHERE id = $1", o.Ref.Operation)
	waited, err := c.beside(tx, func() error {
		return j.Apply(c.Context(), journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done})
	})
	if !waited || !errors.Is(err, journal.ErrStale) {
		c.Errorf("waited for the lock: %v; error %v, want %v", waited, err, journal.ErrStale)
	}
}

// A claim takes what no other replica has locked, and does not wait for the rest.
func testClaimsSkip(c *cluster) {
	j := c.open()
	c.codes(j, 3)
	tx := c.begin()
	c.exec(tx, "SELECT id FROM operation WHERE id = (SELECT min(id) FROM operation) FOR NO KEY UPDATE")
	var got []journal.ClaimedOperation
	waited, err := c.beside(tx, func() (err error) {
		got, err = j.Claim(c.Context(), journal.ClaimRequest{Account: accounts[0], Kind: journal.Activate, Stage: journal.Call, Limit: 10, Lease: time.Hour})
		return err
	})
	if waited || err != nil || len(got) != 2 {
		c.Errorf("waited for the lock: %v; %d claimed, want 2; error %v", waited, len(got), err)
	}
}

// Replicas that notice at the same time that another one is gone end its leases once.
func testLeasesEndOnce(c *cluster) {
	dying, first, second := c.open(), c.open(), c.open()
	c.codes(dying, 4)
	os := c.claim(dying, journal.Call, 4)
	for _, o := range os[:2] {
		_, err := dying.BeginAttempt(c.Context(), journal.AttemptStart{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second})
		c.ok(err)
	}
	replicas := c.count("replica")
	c.ok(dying.Close())
	// The server notices later that a session has ended.
	more := 3
	for deadline := time.Now().Add(20 * time.Second); more > 0 && time.Now().Before(deadline); {
		if c.count("replica") < replicas {
			more--
		}
		var both sync.WaitGroup
		for _, j := range []journal.Journal{first, second} {
			both.Go(func() {
				if _, _, err := j.ReleaseExpiredLeases(c.Context()); err != nil {
					c.Error(err)
				}
			})
		}
		both.Wait()
	}
	unknown, planned := c.claim(first, journal.Settle, 4), c.claim(second, journal.Call, 4)
	if len(unknown) != 2 || len(planned) != 2 {
		c.Fatalf("%d are unknown and %d are planned, want 2 and 2", len(unknown), len(planned))
	}
	for _, o := range unknown {
		if o.Unknowns != 1 {
			c.Errorf("operation %d: %d unknown outcomes of one request", o.Ref.Operation, o.Unknowns)
		}
	}
	// They are the leases of others now.
	for _, j := range []journal.Journal{first, second} {
		_, _, err := j.ReleaseExpiredLeases(c.Context())
		c.ok(err)
	}
	for _, o := range append(unknown, planned...) {
		if err := first.Apply(c.Context(), journal.Transition{Ref: o.Ref, From: o.State, To: journal.Attention, Reason: "test"}); err != nil {
			c.Errorf("operation %d is not its claimant's any more: %v", o.Ref.Operation, err)
		}
	}
}

func (c *cluster) check(j journal.Journal, limit int) error {
	_, err := j.BeginCheck(c.Context(), journal.Check{Account: accounts[0], SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{{RateLimit: "account/" + accounts[0], Limit: limit, Window: time.Hour}}})
	return err
}

func noPermit(err error) bool {
	_, ok := errors.AsType[*journal.NoPermitError](err)
	return ok
}

// What one replica has taken the others cannot take.
func testPermitsTogether(c *cluster) {
	replicas := []*postgres.Journal{c.open(), c.open(), c.open()}
	const limit = 4
	for i := range limit {
		c.ok(c.check(replicas[i%2], limit))
	}
	for i, j := range replicas {
		if err := c.check(j, limit); !noPermit(err) {
			c.Errorf("replica %d takes permit %d of %d: %v", i, limit+1, limit, err)
		}
	}
}

// Another replica takes the last permits while this one counts.
func testLedgerTaken(c *cluster) {
	j := c.open()
	const limit = 4
	c.ok(c.check(j, limit))
	tx := c.begin()
	c.exec(tx, "UPDATE ledger SET taken = taken + $1", limit-1)
	c.exec(tx, "INSERT INTO permit (ledger, counts_from, many) SELECT id, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint, $1 FROM ledger", limit-1)
	if waited, err := c.beside(tx, func() error { return c.check(j, limit) }); !waited || !noPermit(err) {
		c.Errorf("waited for the lock: %v; error %v, want one that no permit is left", waited, err)
	}
}

// The holder of the relay lease reads and marks the outbox, and nobody else.
func testRelayLease(c *cluster) {
	first, second := c.open(), c.open()
	_, err := first.AcquireLease(c.Context())
	c.ok(err)
	if _, err := second.AcquireLease(c.Context()); !errors.Is(err, journal.ErrLeaseHeld) {
		c.Errorf("a second replica acquires the lease: %v", err)
	}
	_, err = c.other.ExecContext(c.Context(), "UPDATE relay_lease SET expires = 1") // it was not renewed in time
	c.ok(err)
	_, err = second.AcquireLease(c.Context())
	c.ok(err)
	if _, err := first.Pending(c.Context(), 0, 10, 1000); !errors.Is(err, journal.ErrStale) {
		c.Errorf("the lease is lost, and the outbox is read: %v", err)
	}
	if err := first.MarkPublished(c.Context(), []journal.Published{{Row: 1}}); !errors.Is(err, journal.ErrStale) {
		c.Errorf("the lease is lost, and the outbox is marked: %v", err)
	}
}

// A replica that numbers an event waits for the commit of those that numbered theirs
// before: the relay reads by rising numbers, and would miss one that is committed late.
func testOutboxNumbers(c *cluster) {
	first, second := c.open(), c.open()
	c.codes(first, 2)
	os := c.claim(first, journal.Call, 2)
	event := uuid.New()
	publish := func(j journal.Journal, o journal.ClaimedOperation, event uuid.UUID) error {
		return j.Apply(c.Context(), journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Publish: []journal.Draft{{
			ID: event, Type: schemas.TypeActivated, Freeze: func(int64) (schemas.Message, error) { return schemas.Message{Value: []byte("{}")}, nil },
		}}})
	}
	// The first has its number and waits for this row.
	tx := c.begin()
	c.exec(tx, `INSERT INTO outbox (id, shop, sequence, created, event, type, value, headers, part, record_offset) SELECT -1, shop, 0, 0, $2, '', '', '', 0, -1 FROM operation WHERE id = $1`, os[0].Ref.Operation, event[:])
	early, late := make(chan error, 1), make(chan error, 1)
	go func() { early <- publish(first, os[0], event) }()
	if waits, err := c.waits(tx, 1, early); !waits {
		c.Fatalf("the first does not wait: %v", err)
	}
	go func() { late <- publish(second, os[1], uuid.New()) }()
	if waits, err := c.waits(tx, 2, late); !waits {
		c.Errorf("the second is committed before the first: %v", err)
		late <- err
	}
	c.ok(tx.Rollback())
	c.ok(<-early)
	c.ok(<-late)
}

// Requests of one transaction are decided one after the other. Rows whose ids the
// database assigns keep that order.
func testAuditOrder(c *cluster) {
	j := c.open()
	c.codes(j, 40)
	os := c.claim(j, journal.Call, 40)
	// The transaction of the first waits for its shop, the others gather behind it.
	tx := c.begin()
	c.exec(tx, "SELECT id FROM shop ORDER BY id LIMIT 1 FOR NO KEY UPDATE")
	var all sync.WaitGroup
	waited, err := c.beside(tx, func() error {
		for i, o := range os {
			ctx, done := journaltest.NewQueueing(c.Context()), make(chan struct{})
			all.Go(func() {
				defer close(done)
				if err := j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Audit: &journal.AuditEntry{Actor: "test", Act: "done", Detail: fmt.Sprint(i)}}); err != nil {
					c.Error(err)
				}
			})
			select {
			case <-ctx.Queued():
			case <-done:
			}
		}
		all.Wait()
		return nil
	})
	if !waited || err != nil {
		c.Fatalf("waited for the lock: %v; error %v", waited, err)
	}
	list, err := j.Audit(c.Context(), 0, 100)
	c.ok(err)
	for i, e := range list {
		if want := fmt.Sprint(len(os) - 1 - i); e.Detail != want {
			c.Fatalf("entry %d from the end is of request %s, want %s", i, e.Detail, want)
		}
	}
}
