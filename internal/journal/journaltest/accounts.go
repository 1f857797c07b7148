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
	{"a name keeps its partner id", func(f *fixture) {
		f.ok(f.j.EnsureAccount(f.ctx, account, "partner-1"))
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		want(f.T, f.j.EnsureAccount(f.ctx, account, "partner-2"), journal.ErrPartnerDiffers)
		f.crash()
		want(f.T, f.j.EnsureAccount(f.ctx, "second", "partner-1"), journal.ErrPartnerDiffers)
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		if len(got) != 2 || got[0].Name != account || got[0].PartnerID != "partner-1" || got[0].Gate.State != journal.GateOpen || got[1].Name != "second" {
			f.Fatalf("accounts are %+v", got)
		}
	}},
	{"a gate is replaced", func(f *fixture) {
		g := journal.Gate{State: journal.GateLimited, Reason: "too_many_requests", Until: f.clock.now().Add(time.Minute), Count: 3, Since: f.clock.now()}
		f.ok(f.j.SetGate(f.ctx, account, g, nil))
		want(f.T, f.j.SetGate(f.ctx, "nobody", g, nil), journal.ErrNotFound)
		if err := f.j.SetGate(f.ctx, account, journal.Gate{State: "ajar"}, nil); err == nil {
			f.Fatal("a gate that does not exist was set")
		}
		f.crash()
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, g, got[0].Gate)
		f.ok(f.j.SetGate(f.ctx, account, journal.Gate{State: journal.GateOpen}, nil))
		got, err = f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, journal.Gate{State: journal.GateOpen}, got[0].Gate)
	}},
	{"a gate that somebody else has changed is not replaced", func(f *fixture) {
		open := journal.Gate{State: journal.GateOpen}
		limited := journal.Gate{State: journal.GateLimited, Reason: "limited", Until: f.clock.now().Add(time.Minute), Since: f.clock.now()}
		paused := journal.Gate{State: journal.GatePaused, Reason: "operator", Since: f.clock.now()}
		f.ok(f.j.SetGate(f.ctx, account, limited, &open))
		f.ok(f.j.SetGate(f.ctx, account, paused, nil)) // a person
		for _, was := range []journal.Gate{limited, open, {State: journal.GatePaused, Reason: "token"}} {
			want(f.T, f.j.SetGate(f.ctx, account, open, &was), journal.ErrStale)
		}
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, paused, got[0].Gate)
		paused.Until, paused.Count = f.clock.now(), 7 // neither is compared
		f.ok(f.j.SetGate(f.ctx, account, open, &paused))
		want(f.T, f.j.SetGate(f.ctx, "nobody", open, &open), journal.ErrNotFound)
	}},
	{"a gate is tried by one", func(f *fixture) {
		resting := journal.Gate{State: journal.GateResting, Reason: "server_faults", Until: f.clock.now().Add(10 * time.Second), Count: 2, Since: f.clock.now().Add(-time.Minute)}
		f.ok(f.j.SetGate(f.ctx, account, resting, nil))
		until := f.clock.now().Add(20 * time.Second)
		for _, was := range []journal.Gate{
			{State: journal.GateLimited, Reason: resting.Reason, Until: resting.Until}, {State: resting.State, Reason: "unreachable", Until: resting.Until},
			{State: resting.State, Reason: resting.Reason, Until: until}, {State: resting.State, Reason: resting.Reason},
			{State: resting.State, Reason: resting.Reason, Until: resting.Until.Add(10 * time.Millisecond)},
		} {
			want(f.T, f.j.ReserveTrial(f.ctx, account, was, until), journal.ErrStale)
		}
		signalled(f.j.Changed())
		f.ok(f.j.ReserveTrial(f.ctx, account, resting, until))
		want(f.T, f.j.ReserveTrial(f.ctx, account, resting, until.Add(time.Second)), journal.ErrStale)
		f.crash()
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		resting.Until = until
		diff(f.T, resting, got[0].Gate)
		f.ok(f.j.ReserveTrial(f.ctx, account, got[0].Gate, until.Add(time.Minute)))
		// Who put it off takes that back, and a little off is the same.
		resting.Until = until.Add(time.Minute - 5*time.Millisecond)
		f.ok(f.j.ReserveTrial(f.ctx, account, resting, f.clock.now()))
		// An end that has passed is anybody's.
		resting.Until = until.Add(time.Hour)
		f.ok(f.j.ReserveTrial(f.ctx, account, resting, until))
		want(f.T, f.j.ReserveTrial(f.ctx, account, resting, until), journal.ErrStale)
		want(f.T, f.j.ReserveTrial(f.ctx, "nobody", resting, until), journal.ErrNotFound)
	}},
	{"a trial leaves alone since when the gate is closed", func(f *fixture) {
		was := journal.Gate{State: journal.GateResting, Reason: "5xx", Until: f.clock.now(), Since: f.clock.now()}
		f.ok(f.j.SetGate(f.ctx, account, was, nil))
		f.clock.advance(time.Minute)
		is := was
		is.Since = f.clock.now()
		f.ok(f.j.SetGate(f.ctx, account, is, &was))
		is.Until = f.clock.now().Add(time.Second)
		f.ok(f.j.ReserveTrial(f.ctx, account, was, is.Until))
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, is, got[0].Gate)
	}},
	{"a trial of a gate of which nobody knows since when it is closed leaves it so", func(f *fixture) {
		gate := journal.Gate{State: journal.GateResting, Reason: "5xx", Until: f.clock.now()}
		f.ok(f.j.SetGate(f.ctx, account, gate, nil))
		was := gate
		was.Since = f.clock.now()
		gate.Until = f.clock.now().Add(time.Second)
		f.ok(f.j.ReserveTrial(f.ctx, account, was, gate.Until))
		got, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, gate, got[0].Gate)
	}},
	{"a changed gate is signalled", func(f *fixture) {
		signalled(f.j.Changed())
		f.ok(f.j.SetGate(f.ctx, account, journal.Gate{State: journal.GateOpen}, nil))
		if !signalled(f.j.Changed()) {
			f.Fatal("no signal")
		}
	}},
}

// want fails unless err is target.
func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// diff compares; times are equal when their instants are, to the microsecond.
func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateApproxTime(0), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}
