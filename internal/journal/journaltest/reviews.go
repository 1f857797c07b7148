package journaltest

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var reviews = []part{
	// One begins with an activation, and is claimed when due, once.
	{"ClaimedOnceWhenDue", func(f *fixture) {
		pending, o := reviewed(f, "s", time.Hour, false)
		if got := f.reviews(true, 10); len(got.Reviews) != 0 || !got.Next.Equal(f.clock.now().Add(time.Hour)) || got.Consecutive != 0 {
			f.Fatalf("claimed %+v", got)
		}
		f.clock.advance(time.Hour)
		got := f.reviews(false, 10)
		if len(got.Reviews) != 1 || !got.Next.Equal(f.clock.now().Add(time.Minute)) {
			f.Fatalf("claimed %+v", got)
		}
		v := got.Reviews[0]
		want := journal.Review{
			Ref: v.Ref, Credential: *pending, State: journal.CredentialPending, Operation: o.UUID, Run: 1,
			EventID: "e-s", TraceParent: "00-trace-e-s", TraceState: "state",
		}
		want.Credential.At = v.Credential.At
		diff(f.T, want, v)
		if got := f.reviews(true, 10); len(got.Reviews) != 0 {
			f.Fatalf("claimed twice: %+v", got)
		}
		// Its worker is gone: another one claims it, and the first is too late.
		f.clock.advance(time.Minute)
		again := f.reviews(false, 10).Reviews
		if len(again) != 1 {
			f.Fatalf("claimed %+v", again)
		}
		end := journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified, Publish: []journal.Draft{f.reviewEvent(v, 1)}}
		wantErr(f, end)
		end.Ref = again[0].Ref
		f.ok(f.j.EndReview(f.ctx, end))
		wantErr(f, end)
		if d := f.state(o.UUID); len(d.Output) != 2 || d.Output[1].Sequence != 2 {
			f.Fatalf("output is %+v", d.Output)
		}
	}},
	// What is open goes before the routine, and alone where that is asked for.
	{"OpenBeforeRoutine", func(f *fixture) {
		reviewed(f, "a", 0, true)
		f.clock.advance(time.Minute)
		reviewed(f, "b", 0, false)
		if got := f.reviews(false, 10).Reviews; len(got) != 1 || got[0].Credential.Shop.Shop != "b" {
			f.Fatalf("claimed %+v", got)
		}
		reviewed(f, "c", 0, false)
		for i, shop := range []string{"c", "a"} {
			if got := f.reviews(true, 1).Reviews; len(got) != 1 || got[0].Credential.Shop.Shop != shop {
				f.Fatalf("%d. claimed %+v", i, got)
			}
		}
		other, err := f.j.ClaimReviews(f.ctx, journal.ReviewRequest{Account: account, Limit: 0, Lease: time.Minute})
		if err != nil || len(other.Reviews) != 0 {
			f.Fatal(other, err)
		}
		if _, err := f.j.ClaimReviews(f.ctx, journal.ReviewRequest{Account: "stranger", Limit: 1, Lease: time.Minute}); err == nil {
			f.Fatal("an account that nobody knows has reviews")
		}
	}},
	// What was published of them since a copy is counted after its recovery.
	{"CountedAfterRecovery", func(f *fixture) {
		c, o := reviewed(f, "s", 0, true)
		f.recover(restorer)
		// Another store may have another number of the credentials; another operation
		// had others.
		for i, typ := range []string{schemas.TypeCredentialsInvalid, schemas.TypeCredentialsVerified, schemas.TypeCredentialsInvalid} {
			operation := []uuid.UUID{o.UUID, o.UUID, uuid.New()}[i]
			f.takeOver(journal.PublishedEvent{
				Event: uuid.New(), Type: typ, Shop: c.Shop, Operation: operation, Sequence: int64(5 + i), Version: int64(1 + i), At: f.clock.now(),
				Message: schemas.Message{Offset: int64(i), Value: []byte("published")},
			})
		}
		f.endRecovery()
		if v := f.review(); v.Events != 2 {
			f.Fatalf("claimed %+v", v)
		}
	}},
	// The longest due come first, and each once.
	{"LongestDueFirst", func(f *fixture) {
		for i, shop := range []string{"a", "b", "c"} {
			reviewed(f, shop, time.Duration(3-i)*time.Second, true)
		}
		f.clock.advance(3 * time.Second)
		// The lease ends beyond the horizon.
		got, err := f.j.ClaimReviews(f.ctx, journal.ReviewRequest{Account: account, Limit: 10, Lease: time.Hour, Routine: true, Horizon: time.Minute})
		f.ok(err)
		var order []string
		for _, v := range got.Reviews {
			order = append(order, v.Credential.Shop.Shop)
			f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewAccepted, State: journal.CredentialVerified})
		}
		diff(f.T, []string{"c", "b", "a"}, order)
	}},
	// A routine one beyond the horizon is due.
	{"BeyondHorizon", func(f *fixture) {
		reviewed(f, "s", 365*24*time.Hour, true)
		r := journal.ReviewRequest{Account: account, Limit: 10, Lease: time.Minute, Routine: true, Horizon: 366 * 24 * time.Hour}
		if got, err := f.j.ClaimReviews(f.ctx, r); err != nil || len(got.Reviews) != 0 {
			f.Fatal(got, err)
		}
		r.Horizon = 24 * time.Hour
		if got, err := f.j.ClaimReviews(f.ctx, r); err != nil || len(got.Reviews) != 1 {
			f.Fatal(got, err)
		}
	}},
	// Answers are remembered, also by the account.
	{"Results", testReviewAnswers},
	// Its end moves the activation, unless somebody has moved it.
	{"MovesActivation", testReviewMoves},
	// Newer credentials replace it, whoever holds it.
	{"NewerCredentials", testReviewReplaced},
	// It survives a restart, whatever the clock does.
	{"Restart", func(f *fixture) {
		reviewed(f, "s", 0, false)
		f.endReview(f.review(), journal.ReviewEnd{Answer: journal.ReviewRefused, State: journal.CredentialPending, Due: f.clock.now().Add(time.Hour)})
		f.clock.advance(-48 * time.Hour)
		f.crash()
		v := f.review()
		if !v.Refused.Equal(f.clock.now()) || v.Tries != 1 || v.State != journal.CredentialPending {
			f.Fatalf("claimed %+v", v)
		}
		f.clock.advance(72 * time.Hour)
		f.crash()
		if v := f.review(); !v.Refused.Equal(f.clock.now()) {
			f.Fatalf("claimed %+v", v)
		}
		if got := f.reviews(true, 1); got.Consecutive != 1 {
			f.Fatalf("the row was pruned: %+v", got)
		}
	}},
	// Its end is what the receipts were kept for.
	{"ErasesResponses", func(f *fixture) {
		_, o := reviewed(f, "s", 0, false)
		erase := func() int {
			f.clock.advance(time.Minute)
			return f.pruneAll(journal.PruneResponses, 0, 10)
		}
		if erase() != 0 {
			f.Fatal("erased before anybody knows")
		}
		f.endReview(f.review(), journal.ReviewEnd{Answer: journal.ReviewAccepted, State: journal.CredentialVerified})
		if erase() != 1 || f.state(o.UUID).Tries[0].HasReceipt {
			f.Fatal("it is kept for ever")
		}
	}},
}

func testReviewAnswers(f *fixture) {
	reviewed(f, "a", 0, true)
	reviewed(f, "b", 0, true)
	look := func(shop string, answer journal.ReviewAnswer) {
		f.Helper()
		for _, v := range f.reviews(true, 10).Reviews {
			end := journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewSilent, State: v.State, Routine: true}
			if v.Credential.Shop.Shop == shop {
				end.Answer = answer
			}
			f.ok(f.j.EndReview(f.ctx, end))
		}
	}
	check := func(inRow int, refused map[string]bool, tries int) {
		f.Helper()
		got := f.reviews(true, 10)
		if got.Consecutive != inRow || len(got.Reviews) != 2 {
			f.Fatalf("got %+v, want %d in a row", got, inRow)
		}
		for _, v := range got.Reviews {
			if v.Refused.IsZero() == refused[v.Credential.Shop.Shop] {
				f.Fatalf("refused: %+v", v)
			}
			if v.Credential.Shop.Shop == "a" && v.Tries != tries {
				f.Fatalf("%d tries, want %d", v.Tries, tries)
			}
			f.ok(f.j.EndReview(f.ctx, journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewSilent, State: v.State, Routine: true}))
		}
	}
	check(0, nil, 0)
	look("a", journal.ReviewRefused)
	since := f.clock.now()
	f.clock.advance(time.Minute)
	look("a", journal.ReviewRefused) // the same shop is no other one
	check(1, map[string]bool{"a": true}, 3)
	for _, v := range f.reviews(true, 10).Reviews {
		if v.Credential.Shop.Shop == "a" && !v.Refused.Equal(since) {
			f.Fatalf("refused since %v, want %v", v.Refused, since)
		}
		f.ok(f.j.EndReview(f.ctx, journal.ReviewEnd{Ref: v.Ref, State: v.State, Routine: true}))
	}
	look("b", journal.ReviewRefused)
	check(2, map[string]bool{"a": true, "b": true}, 6)
	look("a", journal.ReviewAccepted)
	check(0, map[string]bool{"b": true}, 0)
	look("a", journal.ReviewRefused)
	check(1, map[string]bool{"a": true, "b": true}, 2)
	// A new activation with working credentials has the same effect.
	reviewed(f, "c", time.Hour, true)
	check(0, map[string]bool{"a": true, "b": true}, 3)
}

func testReviewMoves(f *fixture) {
	_, o := reviewed(f, "s", 0, false)
	v := f.review()
	attention := &journal.ActivationMove{From: journal.Done, To: journal.Attention, Reason: "credentials_invalid"}
	f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewRefused, State: journal.CredentialInvalid, Move: attention, Publish: []journal.Draft{f.reviewEvent(v, 1)},
		Audit: &journal.AuditEntry{Actor: "worker", Act: "refused", Subject: "s"}})
	if d := f.state(o.UUID); d.State != journal.Attention || d.Reason != "credentials_invalid" || stats(f).Attention["credentials_invalid"] != 1 {
		f.Fatalf("the operation is %+v", d)
	}
	entries, err := f.j.Audit(f.ctx, 0, 10)
	f.ok(err)
	if len(entries) != 1 {
		f.Fatalf("audit is %+v", entries)
	}
	v = f.review()
	if v.State != journal.CredentialInvalid || v.Events != 1 {
		f.Fatalf("claimed %+v", v)
	}
	back := &journal.ActivationMove{From: journal.Attention, To: journal.Done, Was: "credentials_invalid", Reason: "activated"}
	f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewAccepted, State: journal.CredentialVerified, Move: back, Publish: []journal.Draft{f.reviewEvent(v, 2)}})
	f.wantState(o.UUID, journal.Done)
	// In attention for another reason, and not ended: unchanged.
	v = f.review()
	f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewRefused, State: journal.CredentialInvalid, Move: &journal.ActivationMove{From: journal.Done, To: journal.Attention, Reason: "second_token"}})
	f.endReview(f.review(), journal.ReviewEnd{Answer: journal.ReviewAccepted, State: journal.CredentialVerified, Move: back})
	if d := f.state(o.UUID); d.State != journal.Attention || d.Reason != "second_token" {
		f.Fatalf("the operation is %+v", d)
	}
	v = f.review()
	if err := f.j.EndReview(f.ctx, journal.ReviewEnd{Ref: v.Ref, State: v.State, Move: &journal.ActivationMove{From: journal.Done, To: journal.Planned}}); err == nil {
		f.Fatal("a review sent something")
	}
}

func testReviewReplaced(f *fixture) {
	_, first := reviewed(f, "s", 0, false)
	v := f.review()
	f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewRefused, State: journal.CredentialInvalid,
		Move: &journal.ActivationMove{From: journal.Done, To: journal.Attention, Reason: "credentials_invalid"}, Publish: []journal.Draft{f.reviewEvent(v, 1)}})
	held := f.review()
	o, id := f.sending(f.code("s", "e-newer", "newer"))
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
	f.ok(err)
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, 2, "m-s"), Verified: true,
		Active: &journal.ActiveUpdate{
			At: f.clock.now(), Review: f.clock.now().Add(time.Hour),
			Replaced: &journal.ActivationMove{From: journal.Attention, To: journal.Superseded, Was: "credentials_invalid", Reason: "newer_code"},
		},
	})
	if d := f.state(first.UUID); d.State != journal.Superseded || d.Reason != "newer_code" {
		f.Fatalf("the older one is %+v", d)
	}
	wantErr(f, journal.ReviewEnd{Ref: held.Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified, Publish: []journal.Draft{f.reviewEvent(held, 2)}})
	f.clock.advance(time.Hour)
	next := f.review()
	if next.Credential.Version != 2 || next.Operation != o.UUID || next.State != journal.CredentialVerified || next.Events != 0 || !next.Refused.IsZero() {
		f.Fatalf("claimed %+v", next)
	}
	// The responses of the older one are not needed any more.
	f.clock.advance(time.Minute)
	if n := f.pruneAll(journal.PruneResponses, 0, 10); n != 2 {
		f.Fatal(n)
	}
}

// reviewed brings a new shop to its activation, whose review is then due.
func reviewed(f *fixture, shop string, due time.Duration, works bool) (*journal.Credential, journal.ClaimedOperation) {
	f.Helper()
	o, id := f.sending(f.code(shop, "e-"+shop, shop))
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
	f.ok(err)
	event := f.draft(o, schemas.TypeActivated)
	c := f.credential(o, 1, "m-"+shop)
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Reason: "activated", Credential: c, Verified: works, Publish: []journal.Draft{event},
		Active: &journal.ActiveUpdate{At: f.clock.now(), Event: event.ID, Review: f.clock.now().Add(due)},
	})
	return c, o
}

func (f *fixture) reviews(routine bool, limit int) journal.ClaimedReviews {
	f.Helper()
	got, err := f.j.ClaimReviews(f.ctx, journal.ReviewRequest{Account: account, Limit: limit, Lease: time.Minute, Routine: routine})
	f.ok(err)
	return got
}

// review claims exactly one review.
func (f *fixture) review() journal.Review {
	f.Helper()
	got := f.reviews(true, 10).Reviews
	if len(got) != 1 {
		f.Fatalf("claimed %d reviews, want 1", len(got))
	}
	return got[0]
}

func (f *fixture) endReview(v journal.Review, e journal.ReviewEnd) {
	f.Helper()
	e.Ref = v.Ref
	f.ok(f.j.EndReview(f.ctx, e))
}

func (f *fixture) reviewEvent(v journal.Review, n int) journal.Draft {
	return MakeDraft(uuid.NewSHA1(v.Operation, fmt.Append(nil, n)), schemas.TypeCredentialsVerified, v.Credential.Shop)
}

func wantErr(f *fixture, e journal.ReviewEnd) {
	f.Helper()
	want(f.T, f.j.EndReview(f.ctx, e), journal.ErrStale)
}
