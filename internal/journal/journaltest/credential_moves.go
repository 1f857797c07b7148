package journaltest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var credentialMoves = []part{
	// New credentials become current, with their event, and the earlier ones stay.
	{"NewBecomeCurrent", func(f *fixture) {
		first, o := reviewed(f, "s", time.Hour, true)
		c := f.current()
		if c.Credential.Reference != first.Reference || c.State != journal.CredentialVerified || c.Newest != 1 || c.NextVersion != 2 || c.Operation != o.UUID || c.EventID != "e-s" ||
			!c.ActivatedAt.Equal(f.clock.now()) {
			f.Fatalf("current is %+v", c)
		}
		m := f.moveOf(c, "m-s")
		f.ok(f.j.MoveCredential(f.ctx, m))
		wantMoveErr(f, m, journal.ErrStale)
		got := f.current()
		if got.Credential.Reference != m.Credential.Reference || got.Credential.Sealed != nil || got.Credential.Version != 2 || got.State != journal.CredentialVerified || got.Operation != o.UUID ||
			!got.ActivatedAt.Equal(c.ActivatedAt) {
			f.Fatalf("current is %+v", got)
		}
		if old, err := f.j.Credential(f.ctx, shopKey("s"), 1); err != nil || old.Sealed == nil {
			f.Fatalf("the earlier credentials are %+v: %v", old, err)
		}
		for ref, want := range map[string]int64{first.Reference: 1, m.Credential.Reference: 2, "ref+openbao://elsewhere": 0} {
			version, err := f.j.CredentialVersion(f.ctx, shopKey("s"), ref)
			if version != want || (want == 0) != errors.Is(err, journal.ErrNotFound) {
				f.Fatalf("%s has version %d, want %d: %v", ref, version, want, err)
			}
		}
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		if err != nil || h.Active.Version != 2 || h.Active.Event != m.Publish[0].ID || len(h.Output) != 2 || h.Output[1].Sequence != 2 {
			f.Fatalf("the shop is %+v: %v", h, err)
		}
		if list, err := f.j.Audit(f.ctx, 0, 1); err != nil || len(list) != 1 || list[0].Act != "credentials.moved" {
			f.Fatalf("the audit is %+v: %v", list, err)
		}
		f.crash()
		if got := f.current(); got.Credential.Version != 2 || got.NextVersion != 3 {
			f.Fatalf("after a crash: %+v", got)
		}
	}},
	// A move keeps the state of the verification. A check that is in progress then ends with ErrStale.
	{"CheckContinues", func(f *fixture) {
		_, _ = reviewed(f, "s", 0, false)
		v := f.review()
		f.endReview(v, journal.ReviewEnd{Answer: journal.ReviewRefused, State: journal.CredentialInvalid, Publish: []journal.Draft{f.reviewEvent(v, 1)}})
		v = f.review()
		c := f.current()
		if c.Events != 1 || c.State != journal.CredentialInvalid || c.Refused.IsZero() {
			f.Fatalf("current is %+v", c)
		}
		m := f.moveOf(c, "m-s")
		m.Publish, m.ReviewEvents = append(m.Publish, f.reviewEvent(v, 2)), 1
		f.ok(f.j.MoveCredential(f.ctx, m))
		if err := f.j.EndReview(f.ctx, journal.ReviewEnd{Ref: v.Ref, Answer: journal.ReviewAccepted, State: journal.CredentialVerified}); !errors.Is(err, journal.ErrStale) {
			f.Fatalf("the check of the earlier place ended: %v", err)
		}
		f.clock.advance(time.Minute)
		again := f.review()
		if again.Events != 2 || again.State != journal.CredentialInvalid || !again.Refused.Equal(c.Refused) || again.Credential.Reference != m.Credential.Reference {
			f.Fatalf("the check goes on with %+v", again)
		}
	}},
	// The earlier ones are destroyed at their time, but not before the event is published.
	{"EarlierDestroyedAfterPublishing", func(f *fixture) {
		first, o := reviewed(f, "s", time.Hour, true)
		f.publishAll()
		m := f.moveOf(f.current(), "m-s")
		m.DestroyAt = f.clock.now().Add(time.Hour)
		f.ok(f.j.MoveCredential(f.ctx, m))
		f.clock.advance(2 * time.Hour)
		if list := f.destructions(10); len(list) != 0 {
			f.Fatalf("destroyed %+v", list)
		}
		f.publishAll()
		list := f.destructions(10)
		if len(list) != 1 || list[0].Credential.Reference != first.Reference {
			f.Fatalf("destroyed %+v", list)
		}
		if kept, err := f.j.Responses(f.ctx, o.UUID); err != nil || len(kept) != 1 {
			f.Fatalf("the response is not kept before: %v, %v", kept, err)
		}
		f.ok(f.j.EndDestruction(f.ctx, list[0], destroyed))
		if kept, err := f.j.Responses(f.ctx, o.UUID); err != nil || len(kept) != 0 {
			f.Fatalf("the response is kept: %v, %v", kept, err)
		}
	}},
	// A process that has not met the account moves its credentials.
	{"UnknownAccount", func(f *fixture) {
		_, _ = reviewed(f, "s", 0, true)
		f.crash()
		f.ok(f.j.MoveCredential(f.ctx, f.moveOf(f.current(), "m-s")))
	}},
	// A move of what has changed is refused.
	{"ChangedMeanwhile", func(f *fixture) {
		_, _ = reviewed(f, "s", 0, true)
		_, _ = reviewed(f, "t", 0, true)
		c := f.current()
		low, other, merchant := f.moveOf(c, "m-s"), f.moveOf(c, "m-s"), f.moveOf(c, "m-other")
		low.Credential.Version = 1
		wantMoveErr(f, low, journal.ErrVersionTaken)
		other.Ref.Shop += 1000
		wantMoveErr(f, other, journal.ErrStale)
		wantMoveErr(f, merchant, journal.ErrMerchantConflict)
		foreign := f.moveOf(c, "m-s")
		foreign.Credential.Shop.Shop = "t"
		if err := f.j.MoveCredential(f.ctx, foreign); err == nil {
			f.Fatal("another shop's credentials became current")
		}
		// Newer credentials that are stored and not announced are visible.
		o, id := f.sending(f.code("s", "e-newer", "newer"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Stored, Attempt: id, End: f.answered(200), Credential: f.credential(o, 2, "m-s"), Due: f.clock.now().Add(time.Hour)})
		if c := f.current(); c.Newest != 2 || c.Credential.Version != 1 || c.NextVersion != 3 {
			f.Fatalf("current is %+v", c)
		}
		wantMoveErr(f, f.moveOf(c, "m-s"), journal.ErrVersionTaken)
		if c := f.current(); c.Credential.Version != 1 {
			f.Fatalf("current is %+v", c)
		}
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		if err != nil || len(h.Output) != 1 {
			f.Fatalf("the shop is %+v: %v", h, err)
		}
	}},
	// A shop without credentials has none to move.
	{"NoCredentials", func(f *fixture) {
		f.ingest(f.code("s", "e-s", "s"))
		for _, k := range []journal.ShopKey{shopKey("s"), shopKey("nobody"), {Account: "stranger", Shop: "s"}} {
			if _, err := f.j.CurrentCredential(f.ctx, k); !errors.Is(err, journal.ErrNotFound) {
				f.Fatalf("%+v: %v", k, err)
			}
		}
	}},
}

// current returns the current credentials of the shop "s".
func (f *fixture) current() journal.CurrentCredential {
	f.Helper()
	c, err := f.j.CurrentCredential(f.ctx, shopKey("s"))
	f.ok(err)
	return c
}

// moveOf moves credentials to another store.
func (f *fixture) moveOf(c journal.CurrentCredential, merchant string) journal.CredentialMove {
	ref := fmt.Sprintf("ref+openbao://secret/invoicebox/%s/%s?version=1", account, c.Credential.Shop.Shop)
	return journal.CredentialMove{
		Ref:        c.Ref,
		Credential: journal.Credential{Shop: c.Credential.Shop, Version: c.NextVersion, Reference: ref, MerchantID: merchant},
		Publish:    []journal.Draft{MakeDraft(uuid.NewSHA1(c.Operation, []byte(ref)), schemas.TypeActivated, c.Credential.Shop)},
		Audit:      journal.AuditEntry{Actor: "ann", Act: "credentials.moved", Subject: account + "/" + c.Credential.Shop.Shop},
	}
}

func wantMoveErr(f *fixture, m journal.CredentialMove, want error) {
	f.Helper()
	if err := f.j.MoveCredential(f.ctx, m); !errors.Is(err, want) {
		f.Fatalf("the move ended with %v, want %v", err, want)
	}
}
