package journaltest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// disconnecting requests that the shop "s" be disconnected, and returns the waiting
// intent.
func (f *fixture) disconnecting() journal.PendingIntent {
	f.Helper()
	const shop = "s"
	i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "disconnect", Account: account, Shop: shop, Note: "ticket 7"}
	f.ok(f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Actor: i.Actor, Act: "disconnect.asked", Subject: account + "/" + shop}))
	got := f.pendingIntent()
	if got.Shop != shop || got.Account != account || got.Target != nil || got.ShopID == 0 || got.Operation != uuid.Nil {
		f.Fatalf("the intent is %+v", got)
	}
	return got
}

// disconnect executes an intent, and returns the shop as the decision saw it.
func (f *fixture) disconnect(i journal.PendingIntent, d *journal.Disconnect) (seen journal.ShopSituation, err error) {
	f.Helper()
	err = f.j.ActOnShop(f.ctx, journal.ShopAction{Shop: i.ShopID, Decide: func(x journal.ShopSituation) journal.ShopChange {
		seen = x
		return journal.ShopChange{Intent: *performed(i), Disconnect: d}
	}})
	return seen, err
}

func (f *fixture) destructions(limit int) []journal.Destruction {
	f.Helper()
	list, err := f.j.ClaimDestructions(f.ctx, limit, time.Minute)
	f.ok(err)
	return list
}

var destroyed = journal.AuditEntry{Actor: "worker", Act: "credentials.destroyed"}

// disconnectedSince is the event of a disconnect, as the topic has it.
func disconnectedSince(e journal.Event, sequence int64, at, destroyAfter time.Time) journal.PublishedEvent {
	operation := operationID(e, 0)
	id := schemas.EventID(operation, 1, schemas.TypeDisconnected)
	m, err := schemas.Encode(schemas.Event{
		ID: id.String(), Source: "/test", Type: schemas.TypeDisconnected, Subject: e.Shop.Shop, Sequence: sequence, Time: at, CausationID: e.ID, OperationID: operation.String(),
		Data: schemas.Disconnected{ShopID: e.Shop.Shop, PartnerAccount: e.Shop.Account, DisconnectedAt: at, DestroyAfter: destroyAfter},
	}, schemas.FormatBinary)
	if err != nil {
		panic(err) // the test's own mistake
	}
	m.Partition, m.Offset = 4, sequence
	return journal.PublishedEvent{Event: id, Type: schemas.TypeDisconnected, Shop: e.Shop, Operation: operation, Causation: e.ID, Sequence: sequence, At: at, Message: m}
}

var shopActions = []part{
	// A process that has not met the account names it.
	{"UnknownAccount", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		i := f.disconnecting()
		f.crash()
		seen, err := f.disconnect(i, nil)
		f.ok(err)
		diff(f.T, shopKey("s"), seen.Shop)
	}},
	// A disconnected shop is not active, and all that it had is to be destroyed.
	{"Disconnect", func(f *fixture) {
		c, o := reviewed(f, "s", 0, true)
		i := f.disconnecting()
		at, destroyAt := f.clock.now(), f.clock.now().Add(time.Hour)
		draft := MakeDraft(uuid.New(), schemas.TypeDisconnected, shopKey("s"))
		seen, err := f.disconnect(i, &journal.Disconnect{At: at, DestroyAt: destroyAt, Reason: "disconnected", Publish: []journal.Draft{draft}})
		f.ok(err)
		diff(f.T, journal.ShopSituation{
			Shop: shopKey("s"), Active: &journal.ActiveView{At: at, MerchantID: "m-s", Version: 1, Operation: o.UUID, Event: schemas.EventID(o.UUID, 1, schemas.TypeActivated)},
			Run: 1, EventID: "e-s", TraceParent: "00-trace-e-s", TraceState: "state",
		}, seen)
		f.crash()
		_, err = f.j.PublishedCredential(f.ctx, shopKey("s"))
		want(f.T, err, journal.ErrDisconnected)
		if h, err := f.j.Shop(f.ctx, shopKey("s")); err != nil || h.Active != nil {
			f.Fatalf("the shop is %+v, %v", h.Active, err)
		}
		if got := f.reviews(true, 10); len(got.Reviews) != 0 || !got.Next.IsZero() {
			f.Fatalf("its credentials are still checked: %+v", got)
		}
		out := f.state(o.UUID).Output
		if len(out) != 2 || out[1].Event != draft.ID || out[1].Sequence != 2 {
			f.Fatalf("output is %+v", out)
		}
		if a := acts(f); a[0] != "disconnect.performed" {
			f.Fatalf("the audit is %v", a)
		}
		// The responses of the activation are not needed any more.
		f.clock.advance(time.Minute)
		if n := f.pruneAll(journal.PruneResponses, 0, 10); n != 1 {
			f.Fatal(n)
		}
		if list := f.destructions(10); len(list) != 0 {
			f.Fatalf("destroyed too early: %+v", list)
		}
		f.clock.advance(time.Hour)
		if list := f.destructions(10); len(list) != 0 {
			f.Fatalf("destroyed before the event is published: %+v", list)
		}
		f.publishAll()
		list := f.destructions(10)
		if len(list) != 1 || list[0].ShopID != i.ShopID {
			f.Fatalf("claimed %+v", list)
		}
		c.At = list[0].Credential.At
		diff(f.T, *c, list[0].Credential)
		if again := f.destructions(10); len(again) != 0 {
			f.Fatalf("claimed twice: %+v", again)
		}
		// Its holder is gone: another claims it.
		f.clock.advance(time.Minute)
		if again := f.destructions(10); len(again) != 1 {
			f.Fatalf("claimed %+v", again)
		}
		f.ok(f.j.EndDestruction(f.ctx, list[0], destroyed))
		want(f.T, f.j.EndDestruction(f.ctx, list[0], destroyed), journal.ErrStale)
		f.crash()
		kept, err := f.j.Credential(f.ctx, shopKey("s"), 1)
		f.ok(err)
		if kept.Sealed != nil || kept.Reference != c.Reference {
			f.Fatalf("the row is %+v", kept)
		}
		f.clock.advance(time.Hour)
		if list := f.destructions(10); len(list) != 0 || acts(f)[0] != "credentials.destroyed" || len(acts(f)) != 3 {
			f.Fatalf("claimed %+v, the audit is %v", list, acts(f))
		}
	}},
	// An action on a shop that changes nothing only ends.
	{"NoChange", func(f *fixture) {
		reviewed(f, "s", 0, true)
		i := f.disconnecting()
		_, err := f.disconnect(i, nil)
		f.ok(err)
		if _, err := f.j.PublishedCredential(f.ctx, shopKey("s")); err != nil {
			f.Fatal(err)
		}
		_, err = f.disconnect(i, &journal.Disconnect{At: f.clock.now()})
		want(f.T, err, journal.ErrStale)
		if _, err := f.j.PublishedCredential(f.ctx, shopKey("s")); err != nil {
			f.Fatalf("an action that has ended had an effect: %v", err)
		}
		list, err := f.j.Intents(f.ctx, journal.IntentFilter{Shop: shopKey("s"), Limit: 5})
		f.ok(err)
		if len(list) != 1 || list[0].UUID != i.UUID || list[0].Shop != "s" || list[0].State != journal.IntentPerformed {
			f.Fatalf("the intents are %+v", list)
		}
		if list, err := f.j.Intents(f.ctx, journal.IntentFilter{Account: account, Limit: 5}); err != nil || len(list) != 0 {
			f.Fatalf("the intents of the account are %+v, %v", list, err)
		}
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "disconnect", Account: account, Shop: "nobody"}, journal.AuditEntry{Act: "never"}), journal.ErrNotFound)
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "disconnect", Account: "nobody", Shop: "s"}, journal.AuditEntry{Act: "never"}), journal.ErrNotFound)
		want(f.T, f.j.ActOnShop(f.ctx, journal.ShopAction{Shop: 1 << 40}), journal.ErrNotFound)
	}},
	// What waits is canceled, what is in attention can end, and what is under way is no operation to cancel.
	{"CancelsWaiting", func(f *fixture) {
		reviewed(f, "s", 0, true)
		inAttention(f, "1") // of the same shop
		f.ingest(f.code("s", "e2", "2"), f.code("s", "e3", "3"))
		i := f.disconnecting()
		var ops []journal.ShopOperation
		refused := func(list func(journal.ShopOperation) bool, end bool) {
			f.Helper()
			err := f.j.ActOnShop(f.ctx, journal.ShopAction{Shop: i.ShopID, Decide: func(x journal.ShopSituation) journal.ShopChange {
				ops = x.Operations
				d := &journal.Disconnect{At: f.clock.now(), Reason: "disconnected"}
				for _, o := range ops {
					if list(o) && end {
						d.End = append(d.End, o.ID)
					} else if list(o) {
						d.Cancel = append(d.Cancel, o.ID)
					}
				}
				return journal.ShopChange{Intent: *performed(i), Disconnect: d}
			}})
			if err == nil {
				f.Fatal("an operation ended that must not")
			}
			f.pendingIntent()
		}
		refused(func(o journal.ShopOperation) bool { return o.State == journal.Attention }, false)
		refused(func(o journal.ShopOperation) bool { return o.State == journal.Planned }, true)
		if len(ops) != 3 || ops[0].State != journal.Attention || !ops[0].Doubt || ops[1].State != journal.Planned || ops[2].State != journal.Queued || ops[2].UUID == uuid.Nil || ops[2].Kind != journal.Activate {
			f.Fatalf("the operations are %+v", ops)
		}
		held := f.claimed(journal.Activate, journal.Call)
		refused(func(o journal.ShopOperation) bool { return o.State == journal.Claimed }, false)
		f.apply(journal.Transition{Ref: held.Ref, From: journal.Claimed, To: journal.Planned})
		_, err := f.disconnect(i, &journal.Disconnect{At: f.clock.now(), Cancel: []int64{ops[1].ID, ops[2].ID}, End: []int64{ops[0].ID}, Reason: "disconnected"})
		f.ok(err)
		for k, s := range []journal.State{journal.Done, journal.Superseded, journal.Superseded} {
			if d := f.state(ops[k].UUID); d.State != s || d.Reason != "disconnected" {
				f.Fatalf("operation %d is %v (%s)", k, d.State, d.Reason)
			}
		}
		f.idle(journal.Activate, journal.Call)
		// The lane is free.
		f.ingest(f.code("s", "e4", "4"))
		f.claimed(journal.Activate, journal.Call)
	}},
	// A new activation connects the shop again, with any merchant.
	{"ConnectedAgain", func(f *fixture) {
		_, first := reviewed(f, "s", 0, true)
		held := f.review()
		i := f.disconnecting()
		_, err := f.disconnect(i, &journal.Disconnect{At: f.clock.now(), DestroyAt: f.clock.now().Add(time.Hour), Reason: "disconnected"})
		f.ok(err)
		wantErr(f, journal.ReviewEnd{Ref: held.Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified})
		var seen journal.ShopView
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			seen = v
			return Plain(e, v)
		}
		o, id := f.sending(f.code("s", "e2", "2"))
		if seen.Active != nil || !seen.Disconnected.Equal(f.clock.now()) {
			f.Fatalf("the planner saw %+v", seen)
		}
		// The merchant is free: another shop may have it.
		reviewed(f, "m-s", 0, true)
		_, _, err = f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		if o.NextVersion != 2 {
			f.Fatalf("the next version is %d", o.NextVersion)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, 2, "another"), Verified: true, Active: &journal.ActiveUpdate{At: f.clock.now()}})
		if c, err := f.j.PublishedCredential(f.ctx, shopKey("s")); err != nil || c.Version != 2 {
			f.Fatal(c, err)
		}
		f.ingest(f.code("s", "e3", "3"))
		if !seen.Disconnected.IsZero() || seen.Active == nil {
			f.Fatalf("the planner saw %+v", seen)
		}
		f.publishAll()
		f.clock.advance(time.Hour)
		if list := f.destructions(10); len(list) != 1 || list[0].Credential.Version != 1 {
			f.Fatalf("claimed %+v", list)
		}
		if d := f.state(first.UUID); d.State != journal.Done {
			f.Fatalf("the first activation is %+v", d)
		}
	}},
	// A newer version has the older ones destroyed, and never itself.
	{"OlderVersionsDestroyed", func(f *fixture) {
		reviewed(f, "s", time.Hour, true)
		rotated := func(version int64, at time.Time) {
			f.Helper()
			o, id := f.sending(f.code("s", uuid.NewString(), uuid.NewString()))
			_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
			f.ok(err)
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, version, "m-s"), Verified: true,
				Active: &journal.ActiveUpdate{At: f.clock.now(), DestroyAt: at}})
		}
		versions := func(limit int) (list []int64) {
			f.Helper()
			for _, d := range f.destructions(limit) {
				list = append(list, d.Credential.Version)
			}
			return list
		}
		rotated(2, time.Time{}) // never
		f.clock.advance(24 * time.Hour)
		if got := versions(10); len(got) != 0 {
			f.Fatalf("destroyed %v", got)
		}
		rotated(3, f.clock.now().Add(2*time.Hour))
		// An earlier time of destruction does not change.
		rotated(4, f.clock.now().Add(3*time.Hour))
		f.publishAll()
		f.clock.advance(2 * time.Hour)
		f.crash()
		if got := append(versions(1), versions(1)...); !slices.Equal(got, []int64{1, 2}) {
			f.Fatalf("destroyed %v", got)
		}
		f.clock.advance(time.Hour)
		if got := versions(10); !slices.Equal(got, []int64{1, 2, 3}) {
			f.Fatalf("destroyed %v", got)
		}
		current := journal.Destruction{ShopID: f.destructionShop(), Credential: journal.Credential{Version: 4}}
		want(f.T, f.j.EndDestruction(f.ctx, current, destroyed), journal.ErrStale)
		if c, err := f.j.PublishedCredential(f.ctx, shopKey("s")); err != nil || c.Version != 4 || c.Sealed == nil {
			f.Fatal(c, err)
		}
	}},
	// A disconnect that was published since a copy holds after its recovery.
	{"DisconnectSinceCopy", func(f *fixture) {
		_, o := reviewed(f, "s", 0, true)
		other, _ := reviewed(f, "t", 0, true)
		e := f.code("s", "e-s", "s")
		f.recover(restorer)
		f.takeOver(disconnectedSince(e, 5, f.clock.now(), f.clock.now().Add(time.Hour)))
		// The shop was connected again.
		again := f.code("t", "e-t", "t")
		f.takeOver(disconnectedSince(again, 6, f.clock.now(), f.clock.now()), announcedIn(f.code("t", "e-t2", "t2"), 7, 4))
		f.endRecovery()
		_, err := f.j.PublishedCredential(f.ctx, shopKey("s"))
		want(f.T, err, journal.ErrDisconnected)
		if c, err := f.j.PublishedCredential(f.ctx, shopKey("t")); err != nil || c.Reference != other.Reference {
			f.Fatal(c, err)
		}
		f.publishAll()
		if list := f.destructions(10); len(list) != 0 {
			f.Fatalf("claimed %+v", list)
		}
		f.clock.advance(time.Hour)
		list := f.destructions(10)
		if len(list) != 1 || !cmp.Equal(list[0].Credential.Shop, o.Shop) {
			f.Fatalf("claimed %+v", list)
		}
	}},
}

// destructionShop finds the id of the shop "s".
func (f *fixture) destructionShop() int64 {
	f.Helper()
	list, err := f.j.Shops(f.ctx, journal.ShopFilter{Account: account, Limit: 10})
	f.ok(err)
	for _, s := range list {
		if s.Shop == shopKey("s") {
			return s.ID
		}
	}
	f.Fatal("there is no such shop")
	return 0
}
