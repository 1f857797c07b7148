package journaltest

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var transitions = []part{
	// A transition writes all that belongs to it.
	{"Writes", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		c := f.credential(o, 1, "m-1")
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: c, Due: f.clock.now().Add(time.Second), Reason: "checking"})
		stored := f.clock.now()
		f.clock.advance(time.Second)
		got := f.claimed(journal.Activate, journal.Settle)
		c.At = stored
		diff(f.T, c, got.Credential)
		if got.State != journal.Stored || !got.StoredAt.Equal(stored) || got.NextVersion != 2 || got.Reason != "checking" || got.Active != nil {
			f.Fatalf("claimed %+v", got)
		}
		event := f.draft(got, schemas.TypeActivated)
		f.apply(journal.Transition{
			Ref: got.Ref, From: journal.Stored, To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now(), Event: event.ID},
			Publish: []journal.Draft{event}, Audit: &journal.AuditEntry{Actor: "worker", Act: "activated", Subject: "s"},
		})
		f.crash()
		d := f.state(o.UUID)
		if d.State != journal.Done || len(d.Output) != 1 || d.Output[0].Event != event.ID || d.Output[0].Sequence != 1 {
			f.Fatalf("the journal says %+v", d)
		}
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		diff(f.T, &journal.ActiveView{At: f.clock.now(), MerchantID: "m-1", Version: 1, Operation: o.UUID, Event: event.ID}, h.Active)
		entries, err := f.j.Audit(f.ctx, 0, 10)
		f.ok(err)
		if len(entries) != 1 || entries[0].Act != "activated" {
			f.Fatalf("audit is %+v", entries)
		}
	}},
	// Waits are counted, doubt stays.
	{"WaitsAndDoubt", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		for i, doubt := range []bool{false, true, false} {
			o := f.claimed(journal.Activate, journal.Call)
			if o.Waits != i || o.Doubt != (i == 2) {
				f.Fatalf("before %d: %+v", i, o)
			}
			id := f.send(o)
			f.apply(journal.Transition{
				Ref: o.Ref, From: journal.Sending, To: journal.Waiting, Due: f.clock.now().Add(time.Second), Doubt: doubt, Attempt: id, End: f.answered(503),
			})
			f.idle(journal.Activate, journal.Call)
			f.clock.advance(time.Second)
		}
		if o := f.claimed(journal.Activate, journal.Call); o.Waits != 3 || !o.Doubt {
			f.Fatalf("claimed %+v", o)
		}
	}},
	// A merchant is one shop's.
	{"MerchantOfOneShop", testMerchants},
	// Of two shops that want a merchant at once one gets it.
	{"ConcurrentMerchant", func(f *fixture) {
		var os []journal.ClaimedOperation
		f.ingest(f.code("s1", "e1", "1"), f.code("s2", "e2", "2"), f.code("s3", "e3", "3"))
		for _, o := range f.claim(journal.Activate, journal.Call, 3) {
			id := f.send(o)
			_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
			f.ok(err)
			os = append(os, o)
		}
		errs := make([]error, len(os))
		var wg sync.WaitGroup
		for i, o := range os {
			c := f.credential(o, 1, "m-1")
			wg.Go(func() {
				errs[i] = f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: c})
			})
		}
		wg.Wait()
		stored := 0
		for _, err := range errs {
			if err == nil {
				stored++
				continue
			}
			want(f.T, err, journal.ErrMerchantConflict)
		}
		if stored != 1 {
			f.Fatalf("%d shops have the merchant", stored)
		}
	}},
	// An older version does not become the current one again.
	{"OlderVersionStaysOlder", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, "m-1"), Due: f.clock.now().Add(time.Hour)})
		newer, id := f.sending(f.code("s", "e2", "2"))
		_, _, err = f.j.SaveResponse(f.ctx, f.receipt(newer, id, "answer"))
		f.ok(err)
		active := &journal.ActiveUpdate{At: f.clock.now(), Event: schemas.EventID(newer.UUID, 1, schemas.TypeActivated)}
		f.apply(journal.Transition{Ref: newer.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(newer, 2, "m-1"), Active: active})
		late := journal.Transition{Ref: o.Ref, From: journal.Stored, To: journal.Done, Publish: []journal.Draft{f.draft(o, "x")},
			Active: &journal.ActiveUpdate{At: f.clock.now(), Event: schemas.EventID(o.UUID, 1, schemas.TypeActivated)}}
		want(f.T, f.j.Apply(f.ctx, late), journal.ErrOlderVersion)
		f.wantState(o.UUID, journal.Stored)
		// Nor does a caller that does not know the newer one publish anything about it.
		refused := journal.Transition{Ref: o.Ref, From: journal.Stored, To: journal.Attention, Current: 1, Publish: []journal.Draft{f.draft(o, "y")}}
		want(f.T, f.j.Apply(f.ctx, refused), journal.ErrOlderVersion)
		if d := f.state(o.UUID); d.State != journal.Stored || len(d.Output) != 0 {
			f.Fatalf("the older one is %+v", d)
		}
		refused.Current = 2
		f.apply(refused)
		f.wantState(o.UUID, journal.Attention)
		history, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if history.Active == nil || history.Active.Version != 2 {
			f.Fatalf("the shop's current credentials are %+v", history.Active)
		}
	}},
	// A version exists once.
	{"VersionOnce", func(f *fixture) {
		activate(f, "s", "1", "m-1")
		o, id := f.sending(f.code("s", "e2", "2"))
		if o.NextVersion != 2 || o.Active == nil || o.Active.Version != 1 || o.Active.MerchantID != "m-1" {
			f.Fatalf("claimed %+v", o)
		}
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		tr := journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, "m-1"), Publish: []journal.Draft{f.draft(o, "x")}}
		want(f.T, f.j.Apply(f.ctx, tr), journal.ErrVersionTaken)
		f.wantState(o.UUID, journal.Received)
		tr.Credential = f.credential(o, 2, "m-1")
		f.apply(tr)
		newest, err := f.j.Credential(f.ctx, shopKey("s"), 0)
		f.ok(err)
		if newest.Version != 2 {
			f.Fatalf("the newest is %+v", newest)
		}
		first, err := f.j.Credential(f.ctx, shopKey("s"), 1)
		f.ok(err)
		if first.Version != 1 || len(first.Sealed) == 0 || first.Reference == newest.Reference {
			f.Fatalf("the first is %+v", first)
		}
		_, err = f.j.Credential(f.ctx, shopKey("s"), 3)
		want(f.T, err, journal.ErrNotFound)
	}},
	// A version that is not announced is not published.
	{"UnannouncedVersion", func(f *fixture) {
		current := func(want int64) {
			f.Helper()
			c, err := f.j.PublishedCredential(f.ctx, shopKey("s"))
			if err != nil || c.Version != want || c.Shop != shopKey("s") || len(c.Sealed) == 0 || c.MerchantID != "m-1" || c.Reference == "" {
				f.Fatalf("version %d is %+v: %v", want, c, err)
			}
		}
		activate(f, "s", "1", "m-1")
		current(1)
		o, id := f.sending(f.code("s", "e2", "2"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 2, "m-1")})
		current(1)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Stored, To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now(), Event: uuid.New()}})
		current(2)
		f.ingest(f.address("invited", "e3", "a@x.test"))
		for _, k := range []journal.ShopKey{shopKey("nobody"), shopKey("invited"), {Account: "nobody", Shop: "s"}} {
			_, err = f.j.PublishedCredential(f.ctx, k)
			want(f.T, err, journal.ErrNotFound)
		}
	}},
	// A secret may lie in another store.
	{"SecretInOtherStore", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		c := f.credential(o, 1, "m-1")
		c.Sealed = nil
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Stored, Credential: c, Attempt: id, End: f.answered(200)})
		got, err := f.j.Credential(f.ctx, shopKey("s"), 0)
		f.ok(err)
		if got.Sealed != nil || got.Reference != c.Reference {
			f.Fatalf("the credential is %+v", got)
		}
	}},
	// What makes no sense is refused and leaves nothing.
	{"InvalidTransition", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		open := f.credential(o, 1, "m-1")
		open.Sealed = []byte("in the open")
		other := f.credential(o, 1, "m-1")
		other.Shop.Shop = "other"
		for name, tr := range map[string]journal.Transition{
			"to claimed":                {To: journal.Claimed},
			"to sending":                {To: journal.Sending},
			"to queued":                 {To: journal.Queued},
			"to nowhere":                {},
			"a version of nothing":      {To: journal.Stored, Credential: f.credential(o, 0, "m-1")},
			"no merchant":               {To: journal.Stored, Credential: f.credential(o, 1, "")},
			"another shop's credential": {To: journal.Stored, Credential: other},
			"an open credential":        {To: journal.Stored, Credential: open},
			"active without credential": {To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now()}},
			"an attempt of nobody":      {To: journal.Done, Attempt: id + 100, End: f.answered(200)},
		} {
			tr.Ref, tr.From, tr.Audit = o.Ref, journal.Sending, &journal.AuditEntry{Act: name}
			if f.j.Apply(f.ctx, tr) == nil {
				f.Errorf("%s: taken", name)
			}
		}
		d := f.state(o.UUID)
		entries, err := f.j.Audit(f.ctx, 0, 10)
		f.ok(err)
		if d.State != journal.Sending || d.Tries[0].End != nil || len(entries) != 0 {
			f.Fatalf("refused transitions left %+v and %+v", d, entries)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200)})
	}},
	// A step that fails leaves the others of its batch alone.
	{"FailedStepAlone", func(f *fixture) {
		const n = 60
		var es []journal.Event
		for i := range n {
			s := string(rune('A' + i))
			es = append(es, f.code(s, s, s))
		}
		f.ingest(es...)
		os := f.claim(journal.Activate, journal.Call, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i, o := range os {
			tr := journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Publish: []journal.Draft{f.draft(o, "x")}}
			if i%7 == 0 {
				tr.Active = &journal.ActiveUpdate{At: f.clock.now()} // fails after it has written
			}
			wg.Go(func() { errs[i] = f.j.Apply(f.ctx, tr) })
		}
		wg.Wait()
		done := 0
		for i, o := range os {
			if (errs[i] != nil) != (i%7 == 0) {
				f.Errorf("step %d: %v", i, errs[i])
			}
			if errs[i] == nil {
				f.wantState(o.UUID, journal.Done)
				done++
			} else {
				f.wantState(o.UUID, journal.Claimed)
			}
		}
		if out := pending(f); len(out) != done {
			f.Fatalf("%d events for %d that are done", len(out), done)
		}
	}},
}

func testMerchants(f *fixture) {
	activate(f, "s1", "1", "m-1")
	for _, x := range []struct{ shop, merchant string }{{"s2", "m-1"}, {"s1", "m-2"}} {
		o, id := f.sending(f.code(x.shop, "e"+x.shop, "c"+x.shop))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		before := stats(f)
		tr := journal.Transition{
			Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 9, x.merchant), Publish: []journal.Draft{f.draft(o, "x")},
			Audit: &journal.AuditEntry{Act: "never"},
		}
		want(f.T, f.j.Apply(f.ctx, tr), journal.ErrMerchantConflict)
		diff(f.T, before, stats(f))
		f.wantState(o.UUID, journal.Received)
		// The claim is still the caller's.
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Attention, Reason: "merchant_conflict"})
	}
	// In another account the same id is another merchant.
	f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
	e := MakeEvent(f.T, f.keys, journal.Activate, journal.ShopKey{Account: "second", Shop: "s9"}, "e9", "9", f.clock.now())
	f.ingest(e)
	got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: "second", Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Minute})
	f.ok(err)
	f.send(got[0])
	f.apply(journal.Transition{Ref: got[0].Ref, From: journal.Sending, To: journal.Stored, Credential: f.credential(got[0], 1, "m-1")})
}

// activate brings a shop all the way with a code.
func activate(f *fixture, shop, code, merchant string) journal.ClaimedOperation {
	f.Helper()
	o, id := f.sending(f.code(shop, "event-"+shop+code, code))
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
	f.ok(err)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Credential: f.credential(o, 1, merchant), Due: f.clock.now().Add(time.Hour)})
	event := f.draft(o, schemas.TypeActivated)
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Stored, To: journal.Done, Active: &journal.ActiveUpdate{At: f.clock.now(), Event: event.ID}, Publish: []journal.Draft{event},
	})
	return o
}
