package journaltest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"invoicebox-worker/internal/journal"
)

var accounts = []part{
	// A name keeps its partner id.
	{"NameKeepsPartnerID", func(f *fixture) {
		f.ok(f.j.EnsureAccount(f.ctx, account, "partner-1"))
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		want(f.T, f.j.EnsureAccount(f.ctx, account, "partner-2"), journal.ErrPartnerDiffers)
		f.crash()
		want(f.T, f.j.EnsureAccount(f.ctx, "second", "partner-1"), journal.ErrPartnerDiffers)
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		if len(got) != 2 || got[0].Name != account || got[0].PartnerID != "partner-1" || got[0].Circuit.State != journal.CircuitActive || got[1].Name != "second" {
			f.Fatalf("accounts are %+v", got)
		}
	}},
	// A circuit breaker is replaced.
	{"CircuitReplaced", func(f *fixture) {
		g := journal.Circuit{State: journal.CircuitThrottled, Reason: "too_many_requests", Until: f.clock.now().Add(time.Minute), Count: 3, Since: f.clock.now()}
		f.ok(f.j.SetCircuit(f.ctx, account, g, nil))
		want(f.T, f.j.SetCircuit(f.ctx, "nobody", g, nil), journal.ErrNotFound)
		if err := f.j.SetCircuit(f.ctx, account, journal.Circuit{State: "ajar"}, nil); err == nil {
			f.Fatal("a circuit breaker that does not exist was set")
		}
		f.crash()
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, g, got[0].Circuit)
		f.ok(f.j.SetCircuit(f.ctx, account, journal.Circuit{State: journal.CircuitActive}, nil))
		got, err = f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, journal.Circuit{State: journal.CircuitActive}, got[0].Circuit)
	}},
	// A circuit breaker that somebody else has changed is not replaced.
	{"CircuitChangedByAnother", func(f *fixture) {
		open := journal.Circuit{State: journal.CircuitActive}
		limited := journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: f.clock.now().Add(time.Minute), Since: f.clock.now()}
		paused := journal.Circuit{State: journal.CircuitPaused, Reason: "operator", Since: f.clock.now()}
		f.ok(f.j.SetCircuit(f.ctx, account, limited, &open))
		f.ok(f.j.SetCircuit(f.ctx, account, paused, nil)) // an operator
		for _, was := range []journal.Circuit{limited, open, {State: journal.CircuitPaused, Reason: "token"}} {
			want(f.T, f.j.SetCircuit(f.ctx, account, open, &was), journal.ErrStale)
		}
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, paused, got[0].Circuit)
		paused.Until, paused.Count = f.clock.now(), 7 // neither is compared
		f.ok(f.j.SetCircuit(f.ctx, account, open, &paused))
		want(f.T, f.j.SetCircuit(f.ctx, "nobody", open, &open), journal.ErrNotFound)
	}},
	// A circuit breaker is tried by one.
	{"CircuitTriedByOne", func(f *fixture) {
		backingOff := journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: f.clock.now().Add(10 * time.Second), Count: 2, Since: f.clock.now().Add(-time.Minute)}
		f.ok(f.j.SetCircuit(f.ctx, account, backingOff, nil))
		until := f.clock.now().Add(20 * time.Second)
		for _, was := range []journal.Circuit{
			{State: journal.CircuitThrottled, Reason: backingOff.Reason, Until: backingOff.Until}, {State: backingOff.State, Reason: "unreachable", Until: backingOff.Until},
			{State: backingOff.State, Reason: backingOff.Reason, Until: until}, {State: backingOff.State, Reason: backingOff.Reason},
			{State: backingOff.State, Reason: backingOff.Reason, Until: backingOff.Until.Add(10 * time.Millisecond)},
		} {
			want(f.T, f.j.ReserveTrial(f.ctx, account, was, until), journal.ErrStale)
		}
		signalled(f.j.Changed())
		f.ok(f.j.ReserveTrial(f.ctx, account, backingOff, until))
		want(f.T, f.j.ReserveTrial(f.ctx, account, backingOff, until.Add(time.Second)), journal.ErrStale)
		f.crash()
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		backingOff.Until = until
		diff(f.T, backingOff, got[0].Circuit)
		f.ok(f.j.ReserveTrial(f.ctx, account, got[0].Circuit, until.Add(time.Minute)))
		// The replica that postponed the end can undo that. A small difference is ignored.
		backingOff.Until = until.Add(time.Minute - 5*time.Millisecond)
		f.ok(f.j.ReserveTrial(f.ctx, account, backingOff, f.clock.now()))
		// An end in the past belongs to no replica.
		backingOff.Until = until.Add(time.Hour)
		f.ok(f.j.ReserveTrial(f.ctx, account, backingOff, until))
		want(f.T, f.j.ReserveTrial(f.ctx, account, backingOff, until), journal.ErrStale)
		want(f.T, f.j.ReserveTrial(f.ctx, "nobody", backingOff, until), journal.ErrNotFound)
	}},
	// A trial does not change since when the circuit breaker is not active.
	{"TrialKeepsSince", func(f *fixture) {
		was := journal.Circuit{State: journal.CircuitBackingOff, Reason: "5xx", Until: f.clock.now(), Since: f.clock.now()}
		f.ok(f.j.SetCircuit(f.ctx, account, was, nil))
		f.clock.advance(time.Minute)
		is := was
		is.Since = f.clock.now()
		f.ok(f.j.SetCircuit(f.ctx, account, is, &was))
		is.Until = f.clock.now().Add(time.Second)
		f.ok(f.j.ReserveTrial(f.ctx, account, was, is.Until))
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, is, got[0].Circuit)
	}},
	// A trial does not set an unknown time since when the circuit breaker is not active.
	{"TrialKeepsUnknownSince", func(f *fixture) {
		circuit := journal.Circuit{State: journal.CircuitBackingOff, Reason: "5xx", Until: f.clock.now()}
		f.ok(f.j.SetCircuit(f.ctx, account, circuit, nil))
		was := circuit
		was.Since = f.clock.now()
		circuit.Until = f.clock.now().Add(time.Second)
		f.ok(f.j.ReserveTrial(f.ctx, account, was, circuit.Until))
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, circuit, got[0].Circuit)
	}},
	// A changed circuit breaker is signalled.
	{"CircuitChangeSignalled", func(f *fixture) {
		signalled(f.j.Changed())
		f.ok(f.j.SetCircuit(f.ctx, account, journal.Circuit{State: journal.CircuitActive}, nil))
		if !signalled(f.j.Changed()) {
			f.Fatal("no signal")
		}
	}},
}

// want fails the test unless err is target.
func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// diff compares two values; times are equal if their instants are, to the microsecond.
func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateApproxTime(0), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}
