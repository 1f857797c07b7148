package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// An instant with a monotonic reading is placed by it, whatever the wall clock
// has done since.
func TestClockIgnoresSteps(t *testing.T) {
	c := newClock(time.Now)
	for _, d := range []time.Duration{-time.Hour, 0, time.Millisecond, 48 * time.Hour} {
		at := c.start.Add(d)
		if got := c.Stamp(at); got != c.base+d.Microseconds() {
			t.Errorf("%v after the start is stored as %d after it", d, got-c.base)
		}
		if got := c.Instant(c.base + d.Microseconds()); got.Sub(c.start) != d {
			t.Errorf("%v after the start comes back as %v after it", d, got.Sub(c.start))
		}
		// One without, as read from a header, by the wall clock.
		if got := c.Stamp(at.Round(0).UTC()); got != c.base+d.Microseconds() {
			t.Errorf("%v after the start by the wall is stored as %d after it", d, got-c.base)
		}
	}
	if c.Stamp(time.Time{}) != 0 {
		t.Error("the zero time is not none")
	}
	far := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := c.Stamp(far); got != far.UnixMicro() {
		t.Errorf("the far future is %d", got)
	}
	if got := c.Instant(math.MaxInt64); got.Year() < 9999 {
		t.Errorf("the end of time is %v", got)
	}
}

// growing are the tables that grow with the work, and the letters that stand
// for them in joins: no statement may walk through one.
var growing = regexp.MustCompile(`^SCAN (shop|event|operation|attempt|credential|outbox|dead_letter|audit|[bceiloprstvx])( |$)`)

// TestNoScans walks through what the writer and the readers prepare in the
// life of an operation and asks how it would be carried out.
func TestNoScans(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	live(t, j, keys)
	var queries []string
	if err := j.inWriter(ctx, func(t *tx) error {
		for q := range t.stmts {
			queries = append(queries, q)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for q := range j.reads.stmts {
		queries = append(queries, q)
	}
	explained := 0
	for _, q := range queries {
		if strings.HasPrefix(q, "PRAGMA") || strings.HasPrefix(q, "BEGIN") || strings.Contains(q, "FROM ledger") || strings.Contains(q, "ORDER BY o.id DESC LIMIT") || strings.Contains(q, "$1") {
			continue // settings; lists for people, which walk from the newest; and those of package steps, which explains them itself
		}
		n := strings.Count(q, "?")
		for k := 1; strings.Contains(q, fmt.Sprintf("$%d", k)); k++ {
			n = k
		}
		rows, err := j.readers.QueryContext(ctx, "EXPLAIN QUERY PLAN "+q, make([]any, n)...)
		if err != nil {
			t.Fatal(q, err)
		}
		explained++
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if growing.MatchString(detail) && !strings.Contains(detail, "operation_lane") && !strings.Contains(detail, "operation_due") && !strings.Contains(detail, "operation_attention") &&
				!strings.Contains(detail, "operation_doubt") && !strings.Contains(detail, "outbox_waiting") && !strings.Contains(detail, "shop_refused") {
				t.Errorf("%q in\n%s", detail, q)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // in a loop
			t.Fatal(err)
		}
	}
	if explained < 40 {
		t.Fatalf("only %d statements were explained", explained)
	}
}

// live brings one invitation and one activation from first to last.
func live(t *testing.T, j *Journal, keys *keyset.Set) {
	t.Helper()
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(j.EnsureAccount(ctx, benchAccount, "p"))
	ok(j.InitPositions(ctx, []journal.Position{{Topic: benchTopic}}))
	shop := journal.ShopKey{Account: benchAccount, Shop: "s"}
	next := int64(0)
	ingest := func(es ...journal.Event) {
		_, err := j.Ingest(ctx, journal.Batch{Topic: benchTopic, From: next, Next: next + 1, Events: es, Deselected: []journal.ShopKey{{Account: benchAccount, Shop: "x"}}})
		ok(err)
		next++
	}
	for i, kind := range []journal.Kind{journal.Invite, journal.Activate} {
		for range 2 { // the second time as a repeat
			ingest(journaltest.MakeEvent(t, keys, kind, shop, fmt.Sprint("e", i), "subject", time.Now()))
		}
		got, err := j.Claim(ctx, journal.ClaimRequest{Account: benchAccount, Kind: kind, Stage: journal.Call, Limit: 1, Lease: time.Minute})
		ok(err)
		o := got[0]
		p := journal.Permit{RateLimit: "l", Limit: 10, Window: time.Second}
		_, _, err = j.AvailablePermits(ctx, p)
		ok(err)
		id, err := j.BeginAttempt(ctx, journal.AttemptStart{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second, Permits: []journal.Permit{p},
			Address: &journal.AddressRule{MAC: o.SubjectMAC, MACs: [][]byte{o.SubjectMAC}, CoolDown: time.Hour}})
		ok(err)
		sealed, err := keys.Seal([]byte("x"), "row")
		ok(err)
		end := journal.AttemptEnd{Answered: true, Status: 200}
		_, _, err = j.SaveResponse(ctx, journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: end})
		ok(err)
		ok(j.Apply(ctx, journal.Transition{
			Ref: o.Ref, From: journal.Received, To: journal.Stored,
			Credential: &journal.Credential{Shop: shop, Version: int64(i + 1), MerchantID: "m", Reference: "r", Sealed: sealed},
		}))
		got, err = j.Claim(ctx, journal.ClaimRequest{Account: benchAccount, Kind: kind, Stage: journal.Settle, Limit: 1, Lease: time.Minute})
		ok(err)
		ok(j.Apply(ctx, journal.Transition{
			Ref: got[0].Ref, From: journal.Stored, To: journal.Done, Invited: &journal.InvitedUpdate{At: time.Now()}, Active: &journal.ActiveUpdate{At: time.Now()},
			Publish: []journal.Draft{journaltest.MakeDraft(schemas.EventID(o.UUID, 1, "x"), "x", shop)},
		}))
		_, err = j.Operation(ctx, o.UUID)
		ok(err)
	}
	lateResponse(t, j, keys, shop, next)
	reviews, err := j.ClaimReviews(ctx, journal.ReviewRequest{Account: benchAccount, Limit: 10, Lease: time.Minute, Routine: true, Horizon: time.Hour})
	ok(err)
	ok(j.EndReview(ctx, journal.ReviewEnd{Ref: reviews.Reviews[0].Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified,
		Move: &journal.ActivationMove{From: journal.Attention, To: journal.Done, Was: "x"}}))
	_, _, err = j.ReleaseExpiredLeases(ctx)
	ok(err)
	_, err = j.Due(ctx)
	ok(err)
	rows, err := j.Pending(ctx, 0, 10, 1000)
	ok(err)
	ok(j.MarkPublished(ctx, []journal.Published{{Row: rows[0].Row}}))
	for _, what := range journal.PruneTargets() {
		_, err = j.Prune(ctx, journal.Prune{What: what, Keep: time.Hour, Limit: 10, Uptime: time.Second})
		ok(err)
	}
	_, err = j.Shop(ctx, shop)
	ok(err)
	_, err = j.Credential(ctx, shop, 0)
	ok(err)
	_, err = j.Stats(ctx)
	ok(err)
}

// lateResponse brings the response of an operation that has ended, in the record at
// offset next, and has it compared.
func lateResponse(t *testing.T, j *Journal, keys *keyset.Set, shop journal.ShopKey, next int64) {
	t.Helper()
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := j.Ingest(ctx, journal.Batch{Topic: benchTopic, From: next, Next: next + 1,
		Events: []journal.Event{journaltest.MakeEvent(t, keys, journal.Activate, shop, "late", "late", time.Now())}})
	ok(err)
	claim := func(stage journal.Stage) journal.ClaimedOperation {
		t.Helper()
		got, err := j.Claim(ctx, journal.ClaimRequest{Account: benchAccount, Kind: journal.Activate, Stage: stage, Limit: 1, Lease: time.Minute})
		if ok(err); len(got) != 1 {
			t.Fatalf("claimed %+v", got)
		}
		return got[0]
	}
	o := claim(journal.Call)
	id, err := j.BeginAttempt(ctx, journal.AttemptStart{Ref: o.Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second})
	ok(err)
	ok(j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done}))
	sealed, err := keys.Seal([]byte("x"), "row")
	ok(err)
	_, _, err = j.SaveResponse(ctx, journal.Receipt{Ref: o.Ref, Attempt: id, Sealed: sealed, End: journal.AttemptEnd{Answered: true, Status: 200}})
	ok(err)
	if o = claim(journal.Settle); len(o.Late) != 1 {
		t.Fatalf("claimed %+v", o)
	}
	ok(j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Done, To: journal.Done, Compared: true}))
}

// Every sealed value names its key in a column, every digest by its first bytes.
func TestKeysAreNamed(t *testing.T) {
	j := mustOpen(t, options(filepath.Join(t.TempDir(), "j.db")))
	keys, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	live(t, j, keys)
	sealing, lookup := keys.PrimaryKeys()
	mac := []byte{byte(lookup >> 24), byte(lookup >> 16), byte(lookup >> 8), byte(lookup)}
	check := func(query string, want any) {
		t.Helper()
		n := 0
		err := j.read(context.Background(), query, func(scan scanner) error {
			n++
			switch want := want.(type) {
			case []byte:
				var got []byte
				if err := scan(&got); err != nil {
					return err
				}
				if !bytes.HasPrefix(got, want) {
					t.Errorf("%s gives %x, want %x…", query, got, want)
				}
			case int64:
				var got int64
				if err := scan(&got); err != nil {
					return err
				}
				if got != want {
					t.Errorf("%s gives %d, want %d", query, got, want)
				}
			}
			return nil
		})
		if err != nil || n == 0 {
			t.Fatal(query, n, err)
		}
	}
	for _, q := range []string{"SELECT subject_key FROM event WHERE subject_key IS NOT NULL", "SELECT answer_key FROM attempt WHERE answer_key IS NOT NULL", "SELECT secret_key FROM credential"} {
		check(q, int64(sealing))
	}
	for _, q := range []string{"SELECT mac FROM event WHERE mac IS NOT NULL", "SELECT digest FROM event", "SELECT invited_mac FROM shop"} {
		check(q, mac)
	}
}
