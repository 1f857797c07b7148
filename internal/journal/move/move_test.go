package move_test

import (
	"database/sql"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/keyset"
)

// All tests share a server, and a journal of which each moves an image.
func TestMove(t *testing.T) {
	s, database := server(t)
	f := newFilled(t, 1, 22)
	for name, test := range map[string]func(*testing.T, *filled, func(*testing.T) string){
		"the same through the contract": sameThroughTheContract,
		"deaths on the way":             deaths, "deaths at the end": deathsAtTheEnd, "the source went on": sourceWentOn, "killed": killed,
		"a clock was set": clockWasSet, "doubt": doubt, "every column of the target is filled": everyColumnOfTheTarget,
		"refusals":    func(t *testing.T, f *filled, database func(*testing.T) string) { refusals(t, f, s, database) },
		"differences": func(t *testing.T, f *filled, database func(*testing.T) string) { differences(t, f, s, database) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, f.own(), database)
		})
	}
}

// A moved journal is the same, seen through every read of the contract, as the
// source would have been if a worker had opened it; and work goes on with it.
func sameThroughTheContract(t *testing.T, f *filled, database func(*testing.T) string) {
	path, address := f.image(t), database(t)
	db := lite(t, path)
	for _, table := range move.Tables() {
		n := 0
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table.Name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Errorf("the journal has no rows in %s: nothing is shown of them", table.Name)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var reported []move.Progress
	r, err := f.run(t.Context(), path, address, sides{}, func(p move.Progress) { reported = append(reported, p) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Resumed || r.Restarted || r.Waits || len(r.Tables) != len(move.Tables()) || len(reported) != 2*len(r.Tables) {
		t.Errorf("the report is %+v", r)
	}
	for _, table := range r.Tables {
		if table.Rows == 0 || table.Rows != table.Copied {
			t.Errorf("%+v", table)
		}
	}

	numbersGoOn(t, address)
	was, err := f.openSource(t.Context(), f.image(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = was.Close() }()
	is, err := f.openTarget(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = is.Close() }()
	same(t, was, is, 1)
	f.clock.advance(10 * time.Minute)
	for _, j := range []journal.Journal{was, is} {
		f.goOn(t, j)
	}
	// New ids may have gaps there, and what is sealed again never is the same.
	same(t, was, is, 1, cmpopts.IgnoreFields(journal.DeadLetter{}, "Sealed"), cmpopts.IgnoreFields(journal.OperationRecord{}, "ID"), cmpopts.IgnoreFields(journal.DeadLetterRecord{}, "ID"))

	if _, err := f.openSource(t.Context(), path); !errors.Is(err, journal.ErrMoved) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a worker gets %v", err)
	}
	if _, err := f.run(t.Context(), path, address, sides{}, nil); !errors.Is(err, journal.ErrMoved) {
		t.Errorf("moved again: %v", err)
	}
	recoverMoved(t, f, path)
}

// numbersGoOn makes sure that no sequence begins at 1 behind rows that are there:
// one that was added to the schema and is not set by a move.
func numbersGoOn(t *testing.T, address string) {
	t.Helper()
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT sequencename, last_value IS NOT NULL FROM pg_sequences WHERE schemaname = current_schema() AND sequencename NOT LIKE 'goose%'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		var name string
		var set bool
		if err := rows.Scan(&name, &set); err != nil {
			t.Fatal(err)
		}
		if n++; !set {
			t.Errorf("sequence %s begins again", name)
		}
	}
	if err := rows.Err(); err != nil || n < 10 {
		t.Errorf("%d sequences: %v", n, err)
	}
}

// Where the other database is lost, the source is a copy that can be recovered.
func recoverMoved(t *testing.T, f *filled, path string) {
	t.Helper()
	j, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Planner: journaltest.Plain, Now: f.clock.now, Mark: sameFile, Recover: true})
	if err != nil {
		t.Fatal(err)
	}
	if due, err := j.RecoveryDue(t.Context()); err != nil || !due {
		t.Errorf("a recovery is due: %v %v", due, err)
	}
	if _, err := j.Recover(t.Context(), func(journal.RestoredOperation) journal.Restoration { return journal.Restoration{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := j.EndRecovery(t.Context(), journal.RecoveryEnd{Identity: uuid.New(), Check: []byte("check")}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := f.opened(t)(f.openSource(t.Context(), path))
	if due, err := again.RecoveryDue(t.Context()); err != nil || due {
		t.Errorf("a recovery is due again: %v %v", due, err)
	}
}

// goOn works with a moved journal: the secret opens, what waited is sent.
func (f *filled) goOn(t *testing.T, j journal.Journal) {
	t.Helper()
	for shop, version := range f.secret {
		c, err := j.Credential(t.Context(), shop, version)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := f.keys.Open(c.Sealed, keyset.AssociatedData("credential", shop.Account, shop.Shop, "1")); version == 1 && (err != nil || string(text) != "token") {
			t.Fatalf("the secret does not open: %v", err)
		}
	}
	g := *f.filler
	g.T, g.j, g.random = t, j, rand.New(rand.NewPCG(7, 7))
	g.ok(j.SetCircuit(t.Context(), account, journal.Circuit{State: journal.CircuitActive}, nil))
	g.ingest(3)
	for _, kind := range []journal.Kind{journal.Invite, journal.Activate} {
		os := g.claim(kind, journal.Call, 5)
		if len(os) == 0 {
			t.Fatalf("no %v can be claimed", kind)
		}
		for _, o := range os {
			id := g.send(o)
			if kind == journal.Activate {
				g.receive(o, id)
			}
		}
	}
}

// same compares two journals by what they say; audits is how many entries only the
// second one has at the end of the move.
func same(t *testing.T, was, is journal.Journal, audits int, ignored ...cmp.Option) {
	t.Helper()
	if was.Identity() != is.Identity() {
		t.Errorf("the identity is %v, was %v", is.Identity(), was.Identity())
	}
	a, b := picture(t, was), picture(t, is)
	moved := 0
	b.Audit = deleteFunc(b.Audit, func(e journal.AuditEntry) bool {
		if e.Act == "journal_copy" {
			moved++
		}
		return e.Act == "journal_copy"
	})
	if moved != audits {
		t.Errorf("the audit has %d entries of the move", moved)
	}
	// The databases do not agree on Newer of an operation that an intent is about.
	ignored = append(ignored,
		cmpopts.EquateEmpty(), cmpopts.IgnoreFields(journal.Stats{}, "Bytes"), cmpopts.IgnoreFields(journal.AuditEntry{}, "ID"),
		cmpopts.IgnoreFields(journal.Draft{}, "Freeze"), cmpopts.IgnoreFields(journal.ClaimedOperation{}, "Newer"),
	)
	if diff := cmp.Diff(a, b, ignored...); diff != "" {
		t.Errorf("the copy differs:\n%s", diff)
	}
}

func deleteFunc[E any](list []E, f func(E) bool) (kept []E) {
	for _, e := range list {
		if !f(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// A view is what a journal says through the contract.
type view struct {
	Check     []byte
	Accounts  []journal.Account
	Positions []journal.Position
	Due       []journal.Due
	Stats     journal.Stats
	Pending   []journal.OutboxRow
	Shops     []journal.ShopHistory
	Details   []journal.OperationDetail
	Letters   []journal.DeadLetterRecord
	Intents   []journal.Intent
	Waiting   []journal.PendingIntent
	Audit     []journal.AuditEntry
	Free      []int
	Back      []time.Time
	Published []journal.Position
}

func picture(t *testing.T, j journal.Journal) (v view) {
	t.Helper()
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	v.Check, err = j.KeysetCheck(ctx)
	ok(err)
	v.Accounts, err = j.Accounts(ctx)
	ok(err)
	v.Positions, err = j.Positions(ctx)
	ok(err)
	v.Due, err = j.Due(ctx)
	ok(err)
	v.Stats, err = j.Stats(ctx)
	ok(err)
	v.Pending, err = j.Pending(ctx, 0, 10_000, 1<<30)
	ok(err)
	os, err := j.Operations(ctx, journal.OperationFilter{Limit: 1000})
	ok(err)
	seen := map[journal.ShopKey]bool{}
	for _, o := range os {
		d, err := j.Operation(ctx, o.UUID)
		ok(err)
		v.Details = append(v.Details, d)
		if !seen[o.Shop] {
			seen[o.Shop] = true
			h, err := j.Shop(ctx, o.Shop)
			ok(err)
			v.Shops = append(v.Shops, h)
		}
	}
	v.Letters, err = j.DeadLetters(ctx, journal.DeadLetterFilter{Limit: 1000})
	ok(err)
	v.Intents, err = j.Intents(ctx, journal.IntentFilter{Limit: 1000})
	ok(err)
	v.Waiting, err = j.PendingIntents(ctx, 1000, nil)
	ok(err)
	v.Audit, err = j.Audit(ctx, 0, 1000)
	ok(err)
	v.Published, err = j.PublishedOffsets(ctx)
	ok(err)
	for _, p := range append(ledgers(), journal.Permit{RateLimit: "egress", Limit: 3, Window: longWindow, Slack: time.Minute}) {
		n, at, err := j.AvailablePermits(ctx, p)
		ok(err)
		v.Free, v.Back = append(v.Free, n), append(v.Back, at)
	}
	return v
}

// longWindow is the longest that a moved journal knows the history of.
const longWindow = postgres.LongestWindow
