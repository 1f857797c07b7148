package journaltest

import (
	"fmt"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var claims = []part{
	// A claim returns all that the work needs.
	{"Content", func(f *fixture) {
		e := f.code("s", "e1", "123")
		e.Time = f.clock.now().Add(-time.Minute)
		f.ingest(e)
		planned := f.clock.now()
		f.clock.advance(time.Second)
		o := f.claimed(journal.Activate, journal.Call)
		diff(f.T, journal.ClaimedOperation{
			Ref: o.Ref, UUID: operationID(e, 0), Kind: journal.Activate, State: journal.Claimed, Shop: shopKey("s"), Run: 1,
			SubjectMAC: e.SubjectMACs[0], Sealed: e.Sealed, Planned: planned, EventID: "e1", EventTime: e.Time,
			TraceParent: e.TraceParent, TraceState: e.TraceState, NextVersion: 1,
		}, o)
		if d := f.state(o.UUID); d.Owner != "test" || d.State != journal.Claimed {
			f.Fatalf("the journal says %+v", d)
		}
	}},
	// A claim returns the event of the shop's last invitation.
	{"LastInvitation", func(f *fixture) {
		f.ingest(f.code("new", "e0", "122"))
		f.invited("s", "e1", time.Hour)
		f.ingest(f.code("s", "e2", "123"))
		for _, want := range []*journal.Cause{nil, {EventID: "e1", TraceParent: "00-trace-e1"}} {
			got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Minute, Owner: "test", Invitations: true})
			if err != nil || len(got) != 1 {
				f.Fatalf("claimed %+v, %v", got, err)
			}
			diff(f.T, want, got[0].Invitation)
		}
	}},
	// The longest due come first.
	{"LongestDueFirst", func(f *fixture) {
		for i := range 6 {
			f.ingest(f.address(fmt.Sprint("s", i), fmt.Sprint("e", i), "a@x.test"))
		}
		got := f.claim(journal.Invite, journal.Call, 6)
		// Those of even number become due later, in reverse order.
		for i, o := range got {
			if i%2 == 0 {
				f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Waiting, Due: f.clock.now().Add(time.Duration(10-i) * time.Second)})
			} else {
				f.finish(o)
			}
		}
		f.idle(journal.Invite, journal.Call)
		f.clock.advance(6 * time.Second)
		if o := f.claimed(journal.Invite, journal.Call); o.EventID != "e4" || o.State != journal.Claimed || o.Waits != 1 {
			f.Fatalf("claimed %+v", o)
		}
		f.clock.advance(10 * time.Second)
		if got := f.claim(journal.Invite, journal.Call, 1); len(got) != 1 || got[0].EventID != "e2" {
			f.Fatalf("claimed %+v", got)
		}
		if o := f.claimed(journal.Invite, journal.Call); o.EventID != "e0" {
			f.Fatalf("claimed %+v", o)
		}
	}},
	// One claim has them in the order in which they were due.
	{"DueOrderInOneClaim", func(f *fixture) {
		for i := range 3 {
			f.ingest(f.address(fmt.Sprint("s", i), fmt.Sprint("e", i), "a@x.test"))
			f.clock.advance(time.Second)
		}
		for i, o := range f.claim(journal.Invite, journal.Call, 3) {
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Waiting, Due: f.clock.now().Add(time.Duration(10-i) * time.Second)})
		}
		f.clock.advance(10 * time.Second)
		var order []string
		for _, o := range f.claim(journal.Invite, journal.Call, 3) {
			order = append(order, o.EventID)
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Unknown, Due: f.clock.now().Add(time.Duration(10-len(order)) * time.Second)})
		}
		f.clock.advance(10 * time.Second)
		for _, o := range f.claim(journal.Invite, journal.Settle, 3) {
			order = append(order, o.EventID)
		}
		diff(f.T, []string{"e2", "e1", "e0", "e0", "e1", "e2"}, order)
	}},
	// Kinds and stages are apart.
	{"KindsAndStages", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@x.test"), f.code("s2", "e2", "1"))
		f.idle(journal.Invite, journal.Settle)
		f.idle(journal.Activate, journal.Settle)
		f.claimed(journal.Invite, journal.Call)
		f.claimed(journal.Activate, journal.Call)
		if got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Invite, Stage: journal.Call, Limit: 0, Lease: time.Minute}); err != nil || len(got) != 0 {
			f.Fatal(got, err)
		}
		_, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: "nobody", Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Minute})
		want(f.T, err, journal.ErrNotFound)
		for _, r := range []journal.ClaimRequest{
			{Account: account, Stage: journal.Call, Limit: 1, Lease: time.Minute},
			{Account: account, Kind: journal.Invite, Limit: 1, Lease: time.Minute},
			{Account: account, Kind: journal.Invite, Stage: journal.Call, Limit: 1},
		} {
			if _, err := f.j.Claim(f.ctx, r); err == nil {
				f.Errorf("claim %+v was taken", r)
			}
		}
	}},
	// Nothing is claimed twice.
	{"NoneTwice", testConcurrentClaims},
	// Due returns the kinds of work that are due.
	{"DueSignalled", func(f *fixture) {
		due := func() []journal.Due {
			got, err := f.j.Due(f.ctx)
			f.ok(err)
			return got
		}
		diff(f.T, []journal.Due(nil), due())
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		start := f.clock.now()
		signalled(f.j.Changed())
		f.ingest(f.address("s1", "e1", "a@x.test"))
		if !signalled(f.j.Changed()) {
			f.Fatal("no signal for a new operation")
		}
		f.clock.advance(time.Second)
		f.ingest(f.address("s2", "e2", "b@x.test"), f.code("s3", "e3", "1"))
		f.ingest(f.code("s3", "e4", "2")) // queued: not due
		diff(f.T, []journal.Due{
			{Account: account, Kind: journal.Invite, Stage: journal.Call, At: start},
			{Account: account, Kind: journal.Activate, Stage: journal.Call, At: start.Add(time.Second)},
		}, due())
		f.claim(journal.Invite, journal.Call, 10)
		o := f.claimed(journal.Activate, journal.Call)
		diff(f.T, []journal.Due(nil), due())
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Unknown, Due: start.Add(time.Hour)})
		diff(f.T, []journal.Due{{Account: account, Kind: journal.Activate, Stage: journal.Settle, At: start.Add(time.Hour)}}, due())
	}},
	// A claim that ended fences its holder off.
	{"EndedClaimIsFenced", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		old := f.claimed(journal.Activate, journal.Call)
		f.clock.advance(2 * time.Minute)
		if p, u, err := f.j.ReleaseExpiredLeases(f.ctx); err != nil || p != 1 || u != 0 {
			f.Fatal(p, u, err)
		}
		_, err := f.j.BeginAttempt(f.ctx, sendOf(old, wide()))
		want(f.T, err, journal.ErrStale)
		now := f.claimed(journal.Activate, journal.Call)
		if now.Ref.Operation != old.Ref.Operation || now.Ref.Claim == old.Ref.Claim {
			f.Fatalf("claims are %+v and %+v", old.Ref, now.Ref)
		}
		_, err = f.j.BeginAttempt(f.ctx, sendOf(old, wide()))
		want(f.T, err, journal.ErrStale)
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: old.Ref, From: journal.Claimed, To: journal.Done, Publish: []journal.Draft{f.draft(old, schemas.TypeActivated)}}), journal.ErrStale)
		f.send(now)
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: now.Ref, From: journal.Claimed, To: journal.Done}), journal.ErrStale)
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: journal.ClaimRef{Operation: 999, Claim: 1}, From: journal.Claimed, To: journal.Done}), journal.ErrStale)
		if out := pending(f); len(out) != 0 {
			f.Fatal("a stale step published")
		}
	}},
	// Leases end by time.
	{"LeaseExpires", testExpire},
	// A settle claim ends by itself.
	{"SettleClaimEnds", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Attempt: id, End: f.answered(500)})
		first := f.claimed(journal.Activate, journal.Settle)
		if first.State != journal.Unknown || first.OpenAttempt != 0 {
			f.Fatalf("claimed %+v", first)
		}
		f.idle(journal.Activate, journal.Settle)
		f.clock.advance(2 * time.Minute)
		second := f.claimed(journal.Activate, journal.Settle)
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: first.Ref, From: journal.Unknown, To: journal.Attention}), journal.ErrStale)
		f.apply(journal.Transition{Ref: second.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		f.idle(journal.Activate, journal.Settle)
	}},
}

func testConcurrentClaims(f *fixture) {
	const n, workers = 300, 16
	var es []journal.Event
	for i := range n {
		es = append(es, f.code(fmt.Sprint("s", i), fmt.Sprint("e", i), fmt.Sprint(i)))
	}
	f.ingest(es...)
	var mu sync.Mutex
	seen := make(map[int64]int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Call, Limit: 7, Lease: time.Minute})
				if err != nil {
					f.Error(err)
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
	if len(seen) != n {
		f.Fatalf("%d operations claimed, want %d", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			f.Errorf("operation %d was claimed %d times", id, times)
		}
	}
}

func testExpire(f *fixture) {
	f.ingest(f.code("s1", "e1", "1"), f.code("s2", "e2", "2"), f.code("s3", "e3", "3"))
	os := f.claim(journal.Activate, journal.Call, 3)
	f.clock.advance(50 * time.Second)
	f.send(os[0]) // goes on for 30 s and the time to write the answer
	expire := func(planned, unknown int) {
		f.Helper()
		if p, u, err := f.j.ReleaseExpiredLeases(f.ctx); err != nil || p != planned || u != unknown {
			f.Fatalf("%d planned, %d unknown, %v; want %d, %d", p, u, err, planned, unknown)
		}
	}
	expire(0, 0)
	f.apply(journal.Transition{Ref: os[1].Ref, From: journal.Claimed, To: journal.Done})
	f.clock.advance(15 * time.Second)
	signalled(f.j.Changed())
	expire(1, 0) // the claim of a minute is over, the sending one's has been prolonged
	if !signalled(f.j.Changed()) {
		f.Error("no signal")
	}
	f.wantState(os[2].UUID, journal.Planned)
	f.wantState(os[0].UUID, journal.Sending)
	f.clock.advance(21 * time.Second)
	expire(0, 1)
	u := f.claimed(journal.Activate, journal.Settle)
	if u.UUID != os[0].UUID || u.State != journal.Unknown || !u.Doubt || u.OpenAttempt != 1 || u.Attempts != 1 {
		f.Fatalf("claimed %+v", u)
	}
	expire(0, 0)
}
