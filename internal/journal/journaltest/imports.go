package journaltest

import (
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// importing requests an import in the account, and returns the waiting intent.
func (f *fixture) importing() journal.PendingIntent {
	f.Helper()
	sealed, err := f.keys.Seal([]byte("token"), "import")
	f.ok(err)
	f.ok(f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "import", Account: account, MerchantID: "m", Note: "ticket 8", Sealed: sealed}, journal.AuditEntry{Act: "import.asked"}))
	return f.pendingIntent()
}

// importOf makes the import of a shop.
func (f *fixture) importOf(i journal.PendingIntent, shop, merchant string, version int64, publish ...journal.Draft) journal.ShopImport {
	f.Helper()
	e := f.code(shop, "import-"+i.UUID.String(), "import "+i.UUID.String())
	operation := operationID(e, 0)
	return journal.ShopImport{Event: e, Operation: operation, Reason: "imported", Made: journal.Transition{
		To: journal.Done, Intent: performed(i), Verified: true, Publish: publish, Active: &journal.ActiveUpdate{At: f.clock.now()},
		Credential: f.credential(journal.ClaimedOperation{Shop: shopKey(shop)}, version, merchant),
	}}
}

var imports = []part{
	// An imported shop is active. Later events change it like any other shop.
	{"ImportedShopIsActive", func(f *fixture) {
		i := f.importing()
		x := f.importOf(i, "s", "m-s", 1)
		_, err := f.j.ImportShop(f.ctx, x)
		f.ok(err)
		f.crash()
		if c, err := f.j.PublishedCredential(f.ctx, shopKey("s")); err != nil || c.Version != 1 || c.MerchantID != "m-s" {
			f.Fatal(c, err)
		}
		// An erasure of the shop would not find the action.
		if list, err := f.j.Intents(f.ctx, journal.IntentFilter{UUID: i.UUID, Limit: 1}); err != nil || len(list) != 1 || list[0].Note != "" || list[0].MerchantID != "" || list[0].Result == "" {
			f.Fatalf("the intent is %+v, %v", list, err)
		}
		if d := f.state(x.Operation); d.State != journal.Done || d.Reason != "imported" || len(d.Output) != 0 || d.Attempts != 0 {
			f.Fatalf("the operation is %+v", d)
		}
		if h, err := f.j.Shop(f.ctx, shopKey("s")); err != nil || h.Active == nil || h.Active.Event != uuid.Nil || len(h.Events) != 1 {
			f.Fatalf("the shop is %+v, %v", h, err)
		}
		if c := f.current(); c.Operation != x.Operation || c.State != journal.CredentialVerified {
			f.Fatalf("current is %+v", c)
		}
		f.idle(journal.Activate, journal.Call)
		// A newer code follows.
		o, id := f.sending(f.code("s", "e2", "2"))
		if o.NextVersion != 2 || o.Active == nil {
			f.Fatalf("claimed %+v", o)
		}
		_, _, err = f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, 2, "m-s"), Verified: true, Active: &journal.ActiveUpdate{At: f.clock.now()}})
	}},
	// An import is published with the shop's sequence.
	{"Sequence", func(f *fixture) {
		reviewed(f, "s", 0, true)
		d := f.disconnecting()
		_, err := f.disconnect(d, &journal.Disconnect{At: f.clock.now(), Reason: "disconnected"})
		f.ok(err)
		i := f.importing()
		draft := MakeDraft(uuid.New(), schemas.TypeActivated, shopKey("s"))
		next, err := f.j.ImportShop(f.ctx, f.importOf(i, "s", "another", 1, draft))
		want(f.T, err, journal.ErrVersionTaken)
		if next != 2 {
			f.Fatalf("the next version is %d", next)
		}
		x := f.importOf(i, "s", "another", 2, draft)
		_, err = f.j.ImportShop(f.ctx, x)
		f.ok(err)
		out := f.state(x.Operation).Output
		if len(out) != 1 || out[0].Event != draft.ID || out[0].Sequence != 2 {
			f.Fatalf("output is %+v", out)
		}
	}},
	// A store may have numbered an import higher.
	{"HigherVersionInStore", func(f *fixture) {
		i := f.importing()
		_, err := f.j.ImportShop(f.ctx, f.importOf(i, "s", "m-s", 3))
		f.ok(err)
		o, _ := f.sending(f.code("s", "e2", "2"))
		if o.NextVersion != 4 {
			f.Fatalf("the next version is %d", o.NextVersion)
		}
	}},
	// An import that cannot be is nothing.
	{"InvalidImport", func(f *fixture) {
		reviewed(f, "s", 0, true)
		i := f.importing()
		for _, x := range []struct {
			shop, merchant string
			err            error
		}{{"s", "m-s", journal.ErrStale}, {"t", "m-s", journal.ErrMerchantConflict}} {
			_, err := f.j.ImportShop(f.ctx, f.importOf(i, x.shop, x.merchant, 1))
			want(f.T, err, x.err)
		}
		f.pendingIntent()
		_, err := f.j.ImportShop(f.ctx, f.importOf(i, "t", "m-t", 1))
		f.ok(err)
		_, err = f.j.ImportShop(f.ctx, f.importOf(i, "u", "m-u", 1))
		want(f.T, err, journal.ErrStale)
		if h, err := f.j.Shop(f.ctx, shopKey("u")); err == nil && (h.Active != nil || len(h.Events) > 0) {
			f.Fatalf("an action had two effects: %+v", h)
		}
	}},
}
