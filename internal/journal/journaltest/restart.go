package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

var restart = []part{
	// A reopened journal has the same identity.
	{"Identity", func(f *fixture) {
		id := f.j.Identity()
		check, err := f.j.KeysetCheck(f.ctx)
		if err != nil || check != nil {
			f.Fatal(check, err)
		}
		f.ok(f.j.SetKeysetCheck(f.ctx, []byte("one")))
		f.ok(f.j.SetKeysetCheck(f.ctx, []byte("two")))
		f.crash()
		check, err = f.j.KeysetCheck(f.ctx)
		if err != nil || string(check) != "one" || f.j.Identity() != id {
			f.Fatal(string(check), err, f.j.Identity(), id)
		}
	}},
	// Leases of the process before end.
	{"EarlierLeasesEnd", func(f *fixture) {
		f.ingest(f.code("s1", "e1", "1"), f.code("s2", "e2", "2"))
		os := f.claim(journal.Activate, journal.Call, 2)
		id := f.send(os[0])
		f.crash()
		f.wantState(os[0].UUID, journal.Unknown)
		u := f.claimed(journal.Activate, journal.Settle)
		if u.UUID != os[0].UUID || !u.Doubt || u.OpenAttempt != 1 || u.Receipt != nil {
			f.Fatalf("settling %+v", u)
		}
		p := f.claimed(journal.Activate, journal.Call)
		if p.UUID != os[1].UUID || p.Doubt || p.Attempts != 0 {
			f.Fatalf("claimed %+v", p)
		}
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: os[1].Ref, From: journal.Claimed, To: journal.Done}), journal.ErrStale)
		// The response was saved elsewhere and arrives late: it is not lost.
		if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(os[0], id, "late")); err != nil || s != journal.Received || mine {
			f.Fatal(s, mine, err)
		}
	}},
	// What was being settled can be claimed at once.
	{"SettlingClaimable", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Unknown, Attempt: id, End: f.answered(500)})
		f.claimed(journal.Activate, journal.Settle)
		f.crash()
		f.claimed(journal.Activate, journal.Settle)
	}},
	// What waits its time goes on waiting.
	{"WaitContinues", func(f *fixture) {
		for i, to := range []journal.State{journal.Unknown, journal.Stored, journal.Waiting} {
			shop := string(rune('a' + i))
			o, id := f.sending(f.code(shop, shop, shop))
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: to, Due: f.clock.now().Add(2 * time.Minute), Attempt: id, End: f.answered(500)})
		}
		f.clock.advance(time.Minute)
		f.crash()
		f.idle(journal.Activate, journal.Settle)
		f.idle(journal.Activate, journal.Call)
		f.clock.advance(time.Minute)
		if got := f.claim(journal.Activate, journal.Settle, 10); len(got) != 2 {
			f.Fatalf("claimed %d", len(got))
		}
		f.claimed(journal.Activate, journal.Call)
	}},
	// A clock that is set back frees no permit early, and blocks none for long.
	{"ClockSetBack", func(f *fixture) {
		p := narrow(1)
		id := f.mustCheck(p)
		f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(200)))
		f.clock.advance(-time.Hour)
		f.crash()
		f.free(p, 0, 30*time.Second)
		f.clock.advance(30 * time.Second)
		f.free(p, 1, 0)
	}},
	// A clock that went back puts off no operation for longer than its whole wait.
	{"ClockSetBackDelay", func(f *fixture) {
		const wait = 2 * time.Minute
		f.clock.advance(48 * time.Hour)
		for i, to := range []journal.State{journal.Unknown, journal.Stored, journal.Waiting, journal.Received} {
			shop := string(rune('a' + i))
			o, id := f.sending(f.code(shop, shop, shop))
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: to, Due: f.clock.now().Add(wait), Attempt: id, End: f.answered(500)})
		}
		f.ingest(f.code("planned", "planned", "planned"))
		f.clock.advance(-48 * time.Hour)
		f.crash()
		opened := f.clock.now()
		f.claimed(journal.Activate, journal.Call)
		f.clock.advance(wait - time.Millisecond)
		f.idle(journal.Activate, journal.Call)
		f.idle(journal.Activate, journal.Settle)
		f.clock.advance(time.Millisecond)
		f.claimed(journal.Activate, journal.Call)
		got := f.claim(journal.Activate, journal.Settle, 10)
		if len(got) != 3 {
			f.Fatalf("claimed %d", len(got))
		}
		for _, o := range got {
			if o.State == journal.Stored && !o.StoredAt.Equal(opened) {
				f.Errorf("stored at %v, opened at %v", o.StoredAt, opened)
			}
		}
	}},
	// A journal that was closed answers no more.
	{"Closed", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		f.free(narrow(1), 1, 0)
		_, err := f.j.AcquireLease(f.ctx)
		f.ok(err)
		f.ok(f.j.ReleaseLease(f.ctx))
		f.ok(f.j.Close())
		f.ok(f.j.Close())
		for name, err := range map[string]error{
			"claim":    second(f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Call, Limit: 1, Lease: time.Minute})),
			"ingest":   second(f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: 1, Next: 2})),
			"stats":    second(f.j.Stats(f.ctx)),
			"pending":  second(f.j.Pending(f.ctx, 0, 1, 1)),
			"due":      second(f.j.Due(f.ctx)),
			"accounts": second(f.j.Accounts(f.ctx)),
			"shop":     second(f.j.Shop(f.ctx, shopKey("s"))),
			"audit":    f.j.AppendAudit(f.ctx, journal.AuditEntry{Act: "x"}),
			"mark":     f.j.MarkPublished(f.ctx, []journal.Published{{Row: 1}}),
			"free":     third(f.j.AvailablePermits(f.ctx, narrow(1))),
			"lease":    second(f.j.AcquireLease(f.ctx)),
			"no lease": f.j.ReleaseLease(f.ctx),
		} {
			if name != "" {
				want(f.T, err, journal.ErrClosed)
			}
		}
		f.crash()
		f.claimed(journal.Activate, journal.Call)
	}},
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }
