package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// A testJournal is the real journal over a file in memory. The engine's calls can be slow
// or fail, before they are made or after. What a test calls on the journal beneath is
// what another process would do: it neither waits nor fails.
type testJournal struct {
	*sqlite.Journal
	testing.TB
	path    string
	keys    *keyset.Set
	stop    chan struct{} // ends the forwarding of signals; nil while the journal is closed
	changed chan struct{}
	intents chan struct{} // IntentsChanged
	raw     *sql.DB       // beside the journal, nil while nothing is read
	ops     []*operation
	next    int64 // offset of the input

	faults sync.Mutex // held while fault runs
	mu     sync.Mutex
	commit time.Duration // every write takes so long
	// fault is asked before (done false) and after each step; its error is what the
	// caller gets.
	fault func(step string, done bool) error
	mute  bool     // changes are not signalled, as where the network is slow
	steps []string // transitions and attempts, in order
	asks  []journal.ClaimRequest
	dues  int                             // calls of Due
	lists int                             // calls of Accounts
	sent  map[uuid.UUID]journal.OutboxRow // events that were published
	shops map[int64]journal.ShopKey
	views map[journal.ShopKey][]journal.ReviewAnswer // by shop, what its reviews brought
	cache map[string]any                             // of what was read since the last change
}

// An operation is one that a test has planned.
type operation struct {
	id    int64
	UUID  uuid.UUID
	Kind  journal.Kind
	Shop  journal.ShopKey
	value string
}

// newFile is a journal's file without content, made once for all tests.
var newFile = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "journal.db")
	j, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Planner: alwaysNew, Mark: theFile})
	if err != nil {
		return nil, err
	}
	if err := j.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path) // #nosec G304 -- just made
})

func newTestJournal(t testing.TB, keys *keyset.Set) *testJournal {
	t.Helper()
	text, err := newFile()
	if err != nil {
		t.Fatal(err)
	}
	j := &testJournal{
		TB: t, path: filepath.Join(simFolder(t), "journal.db"), keys: keys, changed: make(chan struct{}, 1), intents: make(chan struct{}, 1),
		sent: map[uuid.UUID]journal.OutboxRow{}, shops: map[int64]journal.ShopKey{}, views: map[journal.ShopKey][]journal.ReviewAnswer{},
	}
	if err := os.WriteFile(j.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.close)
	j.open()
	j.account("default")
	j.ok(j.InitPositions(context.Background(), []journal.Position{{Topic: simTopicName}}))
	return j
}

// alwaysNew plans a new operation for every event. What the worker's planner decides has
// tests of its own.
func alwaysNew(e journal.Event, _ journal.ShopView) journal.Plan {
	scope := e.Shop.Shop
	if e.Kind == journal.Activate {
		scope = ""
	}
	return journal.Plan{New: &journal.NewOperation{UUID: schemas.OperationID(e.Kind.String(), e.Shop.Account, scope, e.SubjectMACs[0], 0)}}
}

func (j *testJournal) ok(err error) {
	j.Helper()
	if err != nil {
		j.Fatal(err)
	}
}

// open opens the journal as a new process does: leases of earlier ones end.
func (j *testJournal) open() {
	j.Helper()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: j.path, Planner: alwaysNew, Mark: theFile})
	j.ok(err)
	stop := make(chan struct{})
	j.Journal, j.stop = db, stop
	j.touch()
	go func() {
		for {
			select {
			case <-db.Changed():
				j.touch() // before anybody looks
				j.mu.Lock()
				mute := j.mute
				j.mu.Unlock()
				if !mute {
					j.signal()
				}
			case <-db.IntentsChanged():
				j.touch()
				select {
				case j.intents <- struct{}{}:
				default:
				}
			case <-stop:
				return
			}
		}
	}()
}

func (j *testJournal) close() {
	if j.raw != nil {
		_ = j.raw.Close()
		j.raw = nil
	}
	if j.stop == nil {
		return
	}
	close(j.stop)
	j.stop = nil
	if err := j.Journal.Close(); err != nil {
		j.Errorf("close: %v", err)
	}
}

// edit changes rows while no process has the journal open.
func (j *testJournal) edit(statement string, args ...any) {
	j.Helper()
	open := j.stop != nil
	j.close()
	j.exec(statement, args...)
	j.close()
	if open {
		j.open()
	}
}

// exec changes rows that no process keeps in memory.
func (j *testJournal) exec(statement string, args ...any) {
	j.Helper()
	result, err := j.beside().Exec(statement, args...)
	j.ok(err)
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		j.Fatalf("%s: %d rows, error %v", statement, n, err)
	}
	j.touch()
}

func (j *testJournal) beside() *sql.DB {
	j.Helper()
	if j.raw == nil {
		db, err := sql.Open("sqlite", "file:"+j.path+"?_pragma=busy_timeout(5000)&_pragma=synchronous(0)")
		j.ok(err)
		db.SetMaxOpenConns(1)
		j.raw = db
	}
	return j.raw
}

// signal tells the engine of a change.
func (j *testJournal) signal() {
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

// touch forgets what was read.
func (j *testJournal) touch() {
	j.mu.Lock()
	j.cache = map[string]any{}
	j.mu.Unlock()
}

func (j *testJournal) touchIf(changed bool, err error) {
	if changed || err != nil {
		j.touch()
	}
}

// remembered reads something once between two changes: tests look every few
// milliseconds, and the engine every few seconds of days of virtual time.
func remembered[T any](j *testJournal, key string, read func() (T, error)) (T, error) {
	j.mu.Lock()
	cache := j.cache
	got, ok := cache[key].(T)
	j.mu.Unlock()
	if ok {
		return got, nil
	}
	got, err := read()
	if err == nil {
		j.mu.Lock()
		cache[key] = got // that of before a change that came meanwhile
		j.mu.Unlock()
	}
	return got, err
}

// cached is remembered for tests.
func cached[T any](j *testJournal, key string, read func() (T, error)) T {
	j.Helper()
	got, err := remembered(j, key, read)
	j.ok(err)
	return got
}

// write runs a call that changes something, with the faults around it.
func (j *testJournal) write(ctx context.Context, name string, do func() error) error {
	return j.step(ctx, name, func() error {
		defer j.touch()
		return do()
	})
}

// step runs one call with the faults around it.
func (j *testJournal) step(ctx context.Context, name string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	commit := j.commit
	j.mu.Unlock()
	if commit > 0 {
		time.Sleep(commit)
	}
	if err := j.fails(name, false); err != nil {
		return err
	}
	err := do()
	if err == nil {
		err = j.fails(name, true)
	}
	return err
}

func (j *testJournal) fails(step string, done bool) error {
	j.mu.Lock()
	fault := j.fault
	j.mu.Unlock()
	if fault == nil {
		return nil
	}
	j.faults.Lock()
	defer j.faults.Unlock()
	return fault(step, done)
}

// failing sets the faults from now on.
func (j *testJournal) failing(fault func(step string, done bool) error) {
	j.mu.Lock()
	j.fault = fault
	j.mu.Unlock()
}

// slow sets how long every write takes from now on.
func (j *testJournal) slow(commit time.Duration) {
	j.mu.Lock()
	j.commit = commit
	j.mu.Unlock()
}

// setMute sets whether the engine is told of changes.
func (j *testJournal) setMute(mute bool) {
	j.mu.Lock()
	j.mute = mute
	j.mu.Unlock()
}

func (j *testJournal) note(operation int64, from, to journal.State) {
	j.mu.Lock()
	j.steps = append(j.steps, fmt.Sprintf("%d %v→%v", operation, from, to))
	j.mu.Unlock()
}

func (j *testJournal) Changed() <-chan struct{} { return j.changed }

func (j *testJournal) IntentsChanged() <-chan struct{} { return j.intents }

func (j *testJournal) Accounts(ctx context.Context) ([]journal.Account, error) {
	j.mu.Lock()
	j.lists++
	j.mu.Unlock()
	list, err := remembered(j, "accounts", func() ([]journal.Account, error) { return j.Journal.Accounts(ctx) })
	return slices.Clone(list), err
}

func (j *testJournal) Due(ctx context.Context) ([]journal.Due, error) {
	j.mu.Lock()
	j.dues++
	j.mu.Unlock()
	list, err := remembered(j, "due", func() ([]journal.Due, error) { return j.Journal.Due(ctx) })
	return slices.Clone(list), err
}

func (j *testJournal) AvailablePermits(ctx context.Context, p journal.Permit) (int, time.Time, error) {
	if err := j.fails("AvailablePermits "+p.RateLimit, false); err != nil {
		return 0, time.Time{}, err
	}
	return j.Journal.AvailablePermits(ctx, p)
}

func (j *testJournal) SetCircuit(ctx context.Context, account string, g journal.Circuit, was *journal.Circuit) error {
	return j.write(ctx, "SetCircuit", func() error { return j.Journal.SetCircuit(ctx, account, g, was) })
}

func (j *testJournal) ReserveTrial(ctx context.Context, account string, was journal.Circuit, until time.Time) error {
	return j.write(ctx, "ReserveTrial", func() error { return j.Journal.ReserveTrial(ctx, account, was, until) })
}

func (j *testJournal) Claim(ctx context.Context, r journal.ClaimRequest) (got []journal.ClaimedOperation, err error) {
	err = j.step(ctx, "Claim", func() error {
		j.mu.Lock()
		j.asks = append(j.asks, r)
		j.mu.Unlock()
		got, err = j.Journal.Claim(ctx, r)
		j.touchIf(len(got) > 0, err)
		return err
	})
	return got, err
}

func (j *testJournal) ReleaseExpiredLeases(ctx context.Context) (planned, unknown int, err error) {
	err = j.step(ctx, "ReleaseExpiredLeases", func() error {
		planned, unknown, err = j.Journal.ReleaseExpiredLeases(ctx)
		j.touchIf(planned+unknown > 0, err)
		return err
	})
	return planned, unknown, err
}

func (j *testJournal) BeginAttempt(ctx context.Context, s journal.AttemptStart) (id journal.AttemptID, err error) {
	err = j.write(ctx, "BeginAttempt", func() error {
		if s.Probe && !s.Flagged {
			return errors.New("a probe that is not flagged")
		}
		if id, err = j.Journal.BeginAttempt(ctx, s); err == nil {
			j.note(s.Ref.Operation, journal.Claimed, journal.Sending)
		}
		return err
	})
	return id, err
}

func (j *testJournal) BeginCheck(ctx context.Context, c journal.Check) (id journal.AttemptID, err error) {
	err = j.write(ctx, "BeginCheck", func() error { id, err = j.Journal.BeginCheck(ctx, c); return err })
	return id, err
}

func (j *testJournal) EndAttempt(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	return j.write(ctx, "EndAttempt", func() error { return j.Journal.EndAttempt(ctx, id, end) })
}

func (j *testJournal) SaveResponse(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	err = j.write(ctx, "SaveResponse", func() error {
		s, mine, err = j.Journal.SaveResponse(ctx, r)
		return err
	})
	return s, mine, err
}

func (j *testJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (s journal.State, mine bool, check journal.AttemptID, err error) {
	err = j.write(ctx, "SaveResponse", func() error {
		s, mine, check, err = j.Journal.SaveResponseAndBeginCheck(ctx, r, c)
		return err
	})
	return s, mine, check, err
}

func (j *testJournal) Apply(ctx context.Context, t journal.Transition) error {
	return j.write(ctx, "Apply", func() error {
		err := j.Journal.Apply(ctx, t)
		if err == nil {
			j.note(t.Ref.Operation, t.From, t.To)
		}
		return err
	})
}

func (j *testJournal) PendingIntents(ctx context.Context, limit int, skip []int64) (list []journal.PendingIntent, err error) {
	err = j.step(ctx, "PendingIntents", func() error {
		list, err = remembered(j, "intents", func() ([]journal.PendingIntent, error) { return j.Journal.PendingIntents(ctx, limit, nil) })
		list = slices.DeleteFunc(slices.Clone(list), func(i journal.PendingIntent) bool { return slices.Contains(skip, i.ID) })
		return err
	})
	return list, err
}

func (j *testJournal) EndIntent(ctx context.Context, e journal.IntentEnd) error {
	return j.write(ctx, "EndIntent", func() error { return j.Journal.EndIntent(ctx, e) })
}

func (j *testJournal) ImportShop(ctx context.Context, i journal.ShopImport) (next int64, err error) {
	err = j.write(ctx, "ImportShop", func() (err error) {
		next, err = j.Journal.ImportShop(ctx, i)
		return err
	})
	return next, err
}

func (j *testJournal) ActOnShop(ctx context.Context, a journal.ShopAction) error {
	return j.write(ctx, "ActOnShop", func() error { return j.Journal.ActOnShop(ctx, a) })
}

// ClaimDestructions first publishes what waits, because there is no relay.
func (j *testJournal) ClaimDestructions(ctx context.Context, limit int, lease time.Duration) (list []journal.Destruction, err error) {
	err = j.step(ctx, "ClaimDestructions", func() error {
		rows, err := j.Pending(ctx, 0, 1000, 1<<20)
		if err != nil {
			return err
		}
		var published []journal.Published
		j.mu.Lock()
		for _, r := range rows {
			j.sent[r.Event] = r
			published = append(published, journal.Published{Row: r.Row, Offset: -1})
		}
		j.mu.Unlock()
		if err := j.MarkPublished(ctx, published); err != nil {
			return err
		}
		list, err = j.Journal.ClaimDestructions(ctx, limit, lease)
		j.touchIf(len(list) > 0, err)
		return err
	})
	return list, err
}

func (j *testJournal) EndDestruction(ctx context.Context, d journal.Destruction, audit journal.AuditEntry) error {
	return j.write(ctx, "EndDestruction", func() error { return j.Journal.EndDestruction(ctx, d, audit) })
}

func (j *testJournal) ClaimReviews(ctx context.Context, r journal.ReviewRequest) (got journal.ClaimedReviews, err error) {
	err = j.step(ctx, "ClaimReviews", func() error {
		got, err = j.Journal.ClaimReviews(ctx, r)
		j.touchIf(len(got.Reviews) > 0, err)
		j.mu.Lock()
		for _, v := range got.Reviews {
			j.shops[v.Ref.Shop] = v.Credential.Shop
		}
		j.mu.Unlock()
		return err
	})
	return got, err
}

func (j *testJournal) EndReview(ctx context.Context, e journal.ReviewEnd) error {
	return j.write(ctx, "EndReview", func() error {
		err := j.Journal.EndReview(ctx, e)
		if err == nil {
			j.mu.Lock()
			k := j.shops[e.Ref.Shop]
			j.views[k] = append(j.views[k], e.Answer)
			j.mu.Unlock()
		}
		return err
	})
}

// theFile takes every copy of a journal for the file itself.
func theFile(string) string { return "the file" }
