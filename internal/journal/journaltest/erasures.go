package journaltest

import (
	"bytes"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// eraseShop erases the shop of a waiting intent, which does not end.
func (f *fixture) eraseShop(i journal.PendingIntent, d journal.Disconnect) {
	f.Helper()
	f.ok(f.j.ActOnShop(f.ctx, journal.ShopAction{Shop: i.ShopID, Decide: func(journal.ShopSituation) journal.ShopChange {
		return journal.ShopChange{Intent: *performed(i), Disconnect: &d, Erase: true}
	}}))
}

// letterOf ingests a dead letter of a shop, and returns its number.
func (f *fixture) letterOf(shop journal.ShopKey, key string) int64 {
	f.Helper()
	sealed, err := f.keys.Seal([]byte("record"), "letter")
	f.ok(err)
	b := f.batch()
	b.DeadLetters = []journal.DeadLetter{{
		Offset: b.Next, EventID: "bad", Reason: "id_reused", Size: 1, Digest: []byte("digest"), Sealed: sealed, Shop: shop, Key: key,
		Announce: MakeDraft(uuid.New(), schemas.TypeDeadLetter, journal.ShopKey{}),
	}}
	b.Next++
	f.next = b.Next
	_, err = f.j.Ingest(f.ctx, b)
	f.ok(err)
	ls, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 1})
	f.ok(err)
	return ls[0].ID
}

var erasures = []part{
	// An erased shop keeps what recognizes an event, and nothing personal.
	{"ErasedShop", func(f *fixture) {
		invite := f.address("s", "e-invite", "a@x.test")
		f.ingest(invite)
		f.finish(f.claimed(journal.Invite, journal.Call))
		_, o := reviewed(f, "s", 0, true)
		reviewed(f, "t", 0, true)
		f.publishAll()
		letters := []int64{f.letterOf(shopKey("s"), "+7 900"), f.letterOf(journal.ShopKey{}, "s"), f.letterOf(shopKey("t"), "t"), f.letterOf(journal.ShopKey{Account: "other", Shop: "s"}, "s")}
		f.askReplays(letters...)
		f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{Act: "response", Subject: o.UUID.String(), Detail: "Ivan called"}, journal.AuditEntry{Act: "response", Subject: "another", Detail: "stays"},
			journal.AuditEntry{Act: "credentials.read", Subject: account + "/s", Detail: "a reference"}))
		old := f.disconnecting()
		f.ok(f.j.EndIntent(f.ctx, *performed(old)))
		i := f.disconnecting()
		for range 2 { // it can be repeated
			f.eraseShop(i, journal.Disconnect{At: f.clock.now(), DestroyAt: f.clock.now(), Reason: "disconnected"})
			n, err := f.j.EraseAuditDetails(f.ctx, i.ShopID, []string{"credentials.", "disconnect."}, journal.AuditEntry{Act: "disconnect.details", Subject: account + "/s"})
			f.ok(err)
			if n > 1 {
				f.Fatalf("%d details are erased", n)
			}
		}
		f.ok(f.j.EndIntent(f.ctx, *performed(i)))
		f.crash()
		if kept, err := f.j.Responses(f.ctx, o.UUID); err != nil || len(kept) != 0 {
			f.Fatalf("responses are kept: %v, %v", kept, err)
		}
		for k, id := range letters {
			if l := f.letter(id); l.Kept != (k > 1) || l.ReplayDue.IsZero() != (k < 2) || k == 0 && l.Key != "" {
				f.Errorf("dead letter %d is %+v", k, l)
			}
		}
		asked, err := f.j.Intents(f.ctx, journal.IntentFilter{Shop: shopKey("s"), Limit: 5})
		f.ok(err)
		if len(asked) != 2 || asked[1].Note != "" || asked[1].Detail != "" || asked[0].Note != "ticket 7" {
			f.Errorf("the intents are %+v", asked)
		}
		details := map[string]bool{}
		var last journal.AuditEntry
		trail, err := f.j.AuditAfter(f.ctx, 0, 100)
		f.ok(err)
		for _, e := range trail {
			if next := journal.NextAudit(last.ID, last.Hash, e); next.ID != e.ID || !bytes.Equal(next.Hash, e.Hash) {
				f.Fatalf("entry %d does not follow", e.ID)
			}
			details[e.Detail] = true
			if e.Erased() != (e.Subject == o.UUID.String()) {
				f.Errorf("erased: %+v", e)
			}
			last = e
		}
		if details["Ivan called"] || !details["stays"] || !details["a reference"] {
			f.Errorf("the details are %v", details)
		}
		f.clock.advance(time.Second)
		if list := f.destructions(10); len(list) != 1 || list[0].Credential.Shop != shopKey("s") {
			f.Errorf("destroyed %+v", list)
		}
		if c, err := f.j.PublishedCredential(f.ctx, shopKey("t")); err != nil || c.Version != 1 {
			f.Errorf("another shop: %+v, %v", c, err)
		}
		// Earlier events begin no new operation.
		if got := f.ingest(invite, f.code("s", "e-s", "s")); got.Repeated != 2 {
			f.Fatalf("ingested %+v", got)
		}
		f.idle(journal.Invite, journal.Call)
		f.idle(journal.Activate, journal.Call)
	}},
	// An erasure erases rows once, and does not end before its further steps.
	{"RowsErasedOnce", func(f *fixture) {
		f.ingest(f.address("s", "e", "a@x.test"))
		f.finish(f.claimed(journal.Invite, journal.Call))
		i := f.disconnecting()
		f.eraseShop(i, journal.Disconnect{At: f.clock.now()})
		f.crash()
		if got := f.pendingIntent(); got.Result != performed(i).Result {
			f.Fatalf("the intent is %+v", got)
		}
		o, id := f.sending(f.code("s", "e2", "2"))
		want(f.T, f.j.ActOnShop(f.ctx, journal.ShopAction{Shop: i.ShopID, Decide: func(journal.ShopSituation) journal.ShopChange {
			return journal.ShopChange{Intent: *performed(i)} // as one that refuses it
		}}), journal.ErrStale)
		f.eraseShop(i, journal.Disconnect{At: f.clock.now()})
		f.ok(f.j.EndIntent(f.ctx, *performed(i)))
		if _, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer")); err != nil {
			f.Fatal(err)
		}
		if kept, err := f.j.Responses(f.ctx, o.UUID); err != nil || len(kept) != 1 {
			f.Fatalf("the responses are %v, %v", kept, err)
		}
	}},
	// Details about a pruned operation are erased.
	{"PrunedOperation", func(f *fixture) {
		old := f.invitedAgain(2)[0].UUID
		f.publish(f.pending()...)
		f.ok(f.j.AppendAudit(f.ctx, journal.AuditEntry{Act: "close.asked", Subject: old.String(), Detail: "Ivan called"}, journal.AuditEntry{Act: "close.asked", Subject: uuid.NewString(), Detail: "stays"}))
		f.age()
		f.prune()
		f.prune() // what the operations held
		if _, err := f.j.Operation(f.ctx, old); err == nil {
			f.Fatal("the operation is not pruned")
		}
		i := f.disconnecting()
		f.eraseShop(i, journal.Disconnect{At: f.clock.now()})
		n, err := f.j.EraseAuditDetails(f.ctx, i.ShopID, nil, journal.AuditEntry{Act: "erase.details", Subject: account + "/s"})
		f.ok(err)
		trail, err := f.j.AuditAfter(f.ctx, 0, 100)
		f.ok(err)
		var erased []int64
		for _, e := range trail {
			if e.Erased() {
				erased = append(erased, e.ID)
			}
		}
		last := trail[len(trail)-1]
		if n != 1 || len(erased) != 1 || last.Act != "erase.details" || last.Detail != journal.FormatNumbers(erased) {
			f.Fatalf("%d details are erased: %v, and the trail ends with %+v", n, erased, last)
		}
	}},
	// An operation that runs again has the code of its new event.
	{"RunAgainHasNewCode", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "refused", Attempt: id, End: f.answered(400)})
		f.eraseShop(f.disconnecting(), journal.Disconnect{At: f.clock.now()})
		f.crash()
		again := f.code("s", "e2", "1")
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			return journal.Plan{Rerun: v.Same.ID}
		}
		f.ingest(again)
		if got := f.claimed(journal.Activate, journal.Call); got.UUID != o.UUID || !bytes.Equal(got.Sealed, again.Sealed) {
			f.Fatalf("claimed %+v", got)
		}
	}},
	// The bytes of what was erased can be removed.
	{"BytesRemoved", func(f *fixture) {
		f.ingest(f.address("s", "e", strings.Repeat("a", 100)+"@x.test"))
		f.finish(f.claimed(journal.Invite, journal.Call))
		i := f.disconnecting()
		f.eraseShop(i, journal.Disconnect{At: f.clock.now()})
		_, err := f.j.Scrub(f.ctx)
		f.ok(err)
		f.ok(f.j.EndIntent(f.ctx, *performed(i)))
		f.crash()
		if list, err := f.j.Intents(f.ctx, journal.IntentFilter{UUID: i.UUID, Limit: 1}); err != nil || len(list) != 1 || list[0].State != journal.IntentPerformed {
			f.Fatal(list, err)
		}
	}},
}
