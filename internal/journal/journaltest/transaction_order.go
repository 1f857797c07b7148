package journaltest

import (
	"context"
	"time"

	"invoicebox-worker/internal/journal"
)

// transactionOrder: the requests of one transaction see each other as if each had its own.
var transactionOrder = []part{
	// A claim comes behind the other requests of its transaction.
	{"ClaimBehindOtherRequests", func(f *fixture) { testClaimLast(f, false) }},
	// A claim comes behind the others when one of them fails after it wrote.
	{"ClaimBehindFailedRequest", func(f *fixture) { testClaimLast(f, true) }},
	// The planner sees who got the lane from a request before.
	{"PlannerSeesLane", func(f *fixture) {
		first, id := f.sending(f.code("s", "e1", "1"))
		f.ingest(f.code("s", "e2", "2"))
		var seen []journal.State
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			for _, o := range v.Open {
				seen = append(seen, o.State)
			}
			return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, 0)}, Behind: v.Open[0].ID}
		}
		for _, err := range f.together(
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200)})
			},
			func(ctx context.Context) error {
				_, err := f.j.Ingest(ctx, f.batch(f.code("s", "e3", "3")))
				return err
			},
		) {
			f.ok(err)
		}
		diff(f.T, []journal.State{journal.Planned}, seen)
		if o := f.claimed(journal.Activate, journal.Call); o.EventID != "e3" {
			f.Fatalf("claimed %s, want e3", o.EventID)
		}
	}},
	// A transition sees who got the lane from a request before.
	{"TransitionSeesLane", func(f *fixture) {
		first, id := f.sending(f.code("s", "e1", "1"))
		f.ingest(f.code("s", "e2", "2"))
		queued := f.state(operationID(f.code("s", "e2", "2"), 0))
		errs := f.together(
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200)})
			},
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: journal.ClaimRef{Operation: queued.ID}, From: journal.Queued, To: journal.Superseded, Reason: "person"})
			},
		)
		f.ok(errs[0])
		want(f.T, errs[1], journal.ErrStale)
		f.wantState(queued.UUID, journal.Planned)
	}},
	// An operation that waits behind the others gets a lane that was released before a new run.
	{"ReleasedLane", func(f *fixture) {
		// The second transition would overtake the operation behind if it saw the lane as
		// held: operations behind get the lane after those that are queued.
		first, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: first.Ref, From: journal.Sending, To: journal.Attention, Reason: "request_rejected", Attempt: id, End: f.answered(403)})
		f.ingest(f.address("s", "e2", "a@x.test"))
		behind := f.claimed(journal.Invite, journal.Call)
		f.ingest(f.code("s", "e3", "3"))
		f.apply(journal.Transition{Ref: behind.Ref, From: journal.Claimed, To: journal.Planned, Behind: true, Due: f.clock.now().Add(5 * time.Second)})
		holder := f.claimed(journal.Activate, journal.Call)
		for _, err := range f.together(
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: holder.Ref, From: journal.Claimed, To: journal.Superseded, Reason: "person"})
			},
			func(ctx context.Context) error {
				return f.j.Apply(ctx, journal.Transition{Ref: first.Ref, From: journal.Attention, To: journal.Planned, NewRun: true})
			},
		) {
			f.ok(err)
		}
		f.wantState(behind.UUID, journal.Planned)
		f.wantState(first.UUID, journal.Queued)
	}},
}

// testClaimLast claims in a transaction in which an event puts the planned operation
// behind. With conflict another request fails when its rows are written, so that each
// runs apart.
func testClaimLast(f *fixture, conflict bool) {
	var stores []journal.Transition
	for _, shop := range []string{"s1", "s2"} {
		o, id := f.sending(f.code(shop, shop, shop))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		merchant := "m-" + shop
		if conflict {
			merchant = "m"
		}
		stores = append(stores, journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, merchant), Due: f.clock.now().Add(time.Hour)})
	}
	f.ingest(f.code("s", "e1", "1"))
	f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
		return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, 0)}, Behind: v.Open[0].ID}
	}
	var got []journal.ClaimedOperation
	errs := f.together(
		func(ctx context.Context) (err error) {
			got, err = f.j.Claim(ctx, journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Call, Limit: 10, Lease: time.Minute, Owner: "test"})
			return err
		},
		func(ctx context.Context) error { return f.j.Apply(ctx, stores[0]) },
		func(ctx context.Context) error { return f.j.Apply(ctx, stores[1]) },
		func(ctx context.Context) error {
			_, err := f.j.Ingest(ctx, f.batch(f.code("s", "e2", "2")))
			return err
		},
	)
	f.ok(errs[0])
	f.ok(errs[1])
	if conflict {
		want(f.T, errs[2], journal.ErrMerchantConflict)
	} else {
		f.ok(errs[2])
	}
	f.ok(errs[3])
	if len(got) != 1 || got[0].EventID != "e2" {
		f.Fatalf("claimed %+v, want the operation of e2 alone", got)
	}
}
