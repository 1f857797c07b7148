package journaltest

import (
	"time"

	"invoicebox-worker/internal/journal"
)

const day = 24 * time.Hour

// inactiveTime tests the time for which an account's circuit breaker was not active.
var inactiveTime = []part{
	// A claim returns for how long the circuit breaker was not active.
	{"TimeNotActive", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@example.com"))
		f.clock.advance(time.Hour)
		f.circuit(journal.CircuitThrottled)
		f.clock.advance(time.Hour)
		f.circuit(journal.CircuitPaused) // as not active
		f.ingest(f.address("s2", "e2", "b@example.com"))
		f.clock.advance(20 * day)
		f.openFor("s1", 20*day+time.Hour)
		f.openFor("s2", 20*day)
		f.circuit(journal.CircuitActive)
		f.ingest(f.address("s3", "e3", "c@example.com"))
		f.clock.advance(3 * day)
		f.circuit(journal.CircuitActive)
		f.openFor("s1", 20*day+time.Hour)
		f.openFor("s3", 0)
		f.circuit(journal.CircuitBackingOff)
		f.clock.advance(time.Minute)
		f.circuit(journal.CircuitActive)
		f.openFor("s3", time.Minute)
	}},
	// The time is counted while no process runs, too.
	{"CountsWithoutProcess", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@example.com"))
		f.circuit(journal.CircuitPaused)
		f.clock.advance(day)
		f.crash()
		f.clock.advance(day)
		f.openFor("s1", 2*day)
		f.circuit(journal.CircuitActive)
		f.crash()
		f.clock.advance(day)
		f.openFor("s1", 2*day)
	}},
	// A clock that is set back does not reduce it.
	{"ClockSetBack", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@example.com"))
		f.circuit(journal.CircuitPaused)
		f.clock.advance(2 * day)
		f.circuit(journal.CircuitPaused)
		f.clock.advance(-day)
		f.crash()
		f.openFor("s1", 2*day)
		f.clock.advance(time.Hour)
		f.openFor("s1", 2*day+time.Hour)
	}},
	// A new run begins again.
	{"NewRun", func(f *fixture) {
		f.ingest(f.address("s1", "e1", "a@example.com"))
		f.circuit(journal.CircuitPaused)
		f.clock.advance(day)
		o := f.claimOne("s1")
		f.ok(f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Reason: "expired"}))
		f.clock.advance(day)
		f.ingest(f.address("s1", "e2", "a@example.com"))
		f.clock.advance(time.Hour)
		f.openFor("s1", time.Hour)
	}},
	// An account that is not active does not affect others.
	{"OtherAccounts", func(f *fixture) {
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		f.ok(f.j.SetCircuit(f.ctx, "second", journal.Circuit{State: journal.CircuitPaused, Since: f.clock.now()}, nil))
		f.ingest(f.address("s1", "e1", "a@example.com"))
		f.clock.advance(day)
		f.openFor("s1", 0)
	}},
}

func (f *fixture) circuit(s journal.CircuitState) {
	f.Helper()
	f.ok(f.j.SetCircuit(f.ctx, account, journal.Circuit{State: s, Since: f.clock.now()}, nil))
}

// claimOne claims everything and releases all but the shop's operation.
func (f *fixture) claimOne(shop string) (found journal.ClaimedOperation) {
	f.Helper()
	got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Invite, Stage: journal.Call, Limit: 100, Lease: time.Minute})
	f.ok(err)
	for _, o := range got {
		if o.Shop.Shop == shop {
			found = o
			continue
		}
		f.ok(f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned}))
	}
	if found.Ref.Operation == 0 {
		f.Fatalf("no operation of %s can be claimed", shop)
	}
	return found
}

// openFor claims the shop's operation, compares the time and releases the operation.
func (f *fixture) openFor(shop string, want time.Duration) {
	f.Helper()
	o := f.claimOne(shop)
	if o.CircuitOpen != want {
		f.Errorf("%s: open for %v, want %v", shop, o.CircuitOpen, want)
	}
	f.ok(f.j.Apply(f.ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned}))
}
