package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
)

var emails = []part{
	// An address gets one e-mail within its cool-down.
	{"OneEmailPerCoolDown", func(f *fixture) {
		f.ingest(f.address("a", "e1", "same@x.test"), f.address("b", "e2", "same@x.test"), f.address("c", "e3", "other@x.test"))
		ops := f.claim(journal.Invite, journal.Call, 10)
		began := f.clock.now()
		id, err := f.mail(ops[0])
		f.ok(err)
		f.wantCooling(ops[1], began, true)
		f.wantState(ops[1].UUID, journal.Claimed)
		if _, err := f.mail(ops[2]); err != nil {
			f.Fatalf("another address: %v", err)
		}
		f.apply(journal.Transition{Ref: ops[0].Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200)})
		f.wantCooling(ops[1], began, false)
		f.crash()
		f.clock.advance(coolDown - time.Microsecond)
		ops[1] = f.claimed(journal.Invite, journal.Call)
		f.wantCooling(ops[1], began, false)
		f.clock.advance(time.Microsecond)
		if _, err := f.mail(ops[1]); err != nil {
			f.Fatalf("after the cool-down: %v", err)
		}
	}},
	// What certainly sent no e-mail begins no cool-down.
	{"NothingSentNoCoolDown", func(f *fixture) {
		for name, end := range map[string]*journal.AttemptEnd{
			"not sent": {NotSent: true, Outcome: "not_executed"}, "refused": {Answered: true, Status: 422, Outcome: "refused"}, "limited": {Answered: true, Status: 429, Outcome: "limited"},
		} {
			f.ingest(f.address("a"+name, "1"+name, name+"@x.test"), f.address("b"+name, "2"+name, name+"@x.test"))
			ops := f.claim(journal.Invite, journal.Call, 10)
			id, err := f.mail(ops[0])
			f.ok(err)
			end.At = f.clock.now()
			f.apply(journal.Transition{Ref: ops[0].Ref, From: journal.Sending, To: journal.Waiting, Due: f.clock.now().Add(time.Hour), Attempt: id, End: end})
			if _, err := f.mail(ops[1]); err != nil {
				f.Fatalf("%s: %v", name, err)
			}
		}
	}},
	// An unknown outcome begins a cool-down, but not for its own operation.
	{"UnknownOutcomeBeginsCoolDown", func(f *fixture) {
		f.ingest(f.address("a", "e1", "same@x.test"), f.address("b", "e2", "same@x.test"))
		ops := f.claim(journal.Invite, journal.Call, 10)
		began := f.clock.now()
		id, err := f.mail(ops[0])
		f.ok(err)
		f.apply(journal.Transition{Ref: ops[0].Ref, From: journal.Sending, To: journal.Waiting, Attempt: id, End: &journal.AttemptEnd{At: f.clock.now(), Outcome: "probably_not_executed"}})
		f.wantCooling(ops[1], began, false)
		if _, err := f.mail(f.claimed(journal.Invite, journal.Call)); err != nil {
			f.Fatalf("the same operation once more: %v", err)
		}
		// An attempt without an end is not open for ever.
		f.clock.advance(time.Minute - time.Second)
		f.wantCooling(ops[1], began, false)
	}},
	// An address is found under every look-up key, within its account.
	{"EveryLookupKey", func(f *fixture) {
		f.ok(f.j.EnsureAccount(f.ctx, "second", "partner-2"))
		f.ingest(f.address("a", "e1", "same@x.test"), f.address("b", "e2", "same@x.test"),
			MakeEvent(f.T, f.keys, journal.Invite, journal.ShopKey{Account: "second", Shop: "c"}, "e3", "same@x.test", f.clock.now()))
		ops := f.claim(journal.Invite, journal.Call, 10)
		began := f.clock.now()
		_, err := f.mail(ops[0])
		f.ok(err)
		rotated := f.rule(ops[1])
		rotated.MACs = append([][]byte{[]byte("under the new key")}, rotated.MACs...)
		s := sendOf(ops[1], wide())
		s.Address = rotated
		_, err = f.j.BeginAttempt(f.ctx, s)
		if cool, ok := errors.AsType[*journal.AddressCoolDownError](err); !ok || !cool.At.Equal(began) {
			f.Fatalf("after a rotation: %v", err)
		}
		got, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: "second", Kind: journal.Invite, Stage: journal.Call, Limit: 1, Lease: time.Minute, Owner: "test"})
		f.ok(err)
		s = sendOf(got[0], wide())
		s.Address = f.rule(ops[0]) // the same bytes, in another account
		if _, err := f.j.BeginAttempt(f.ctx, s); err != nil {
			f.Fatalf("another account: %v", err)
		}
	}},
	// Attempts without a rule keep no address and are not refused.
	{"NoRule", func(f *fixture) {
		f.ingest(f.address("a", "e1", "same@x.test"), f.address("b", "e2", "same@x.test"), f.address("c", "e3", "same@x.test"))
		ops := f.claim(journal.Invite, journal.Call, 10)
		f.send(ops[0])
		if _, err := f.mail(ops[1]); err != nil {
			f.Fatalf("the first with a rule: %v", err)
		}
		f.send(ops[2])
	}},
	// Of those that are sent at the same moment one is let through.
	{"ConcurrentSends", func(f *fixture) {
		// Several addresses: requests that arrive during the first write are committed
		// together.
		const addresses, shops = 6, 6
		var es []journal.Event
		for i := range addresses * shops {
			es = append(es, f.address(fmt.Sprint("s", i), fmt.Sprint("e", i), fmt.Sprint(i%addresses, "@x.test")))
		}
		f.ingest(es...)
		var wg sync.WaitGroup
		var mu sync.Mutex
		sent := map[string]int{}
		for _, o := range f.claim(journal.Invite, journal.Call, len(es)) {
			wg.Go(func() {
				_, err := f.mail(o)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					sent[string(o.SubjectMAC)]++
				} else if _, ok := errors.AsType[*journal.AddressCoolDownError](err); !ok {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		for _, n := range sent {
			if n != 1 {
				f.Errorf("of %d invitations to one address %d were let through", shops, n)
			}
		}
		if len(sent) != addresses {
			f.Errorf("%d of %d addresses got an e-mail", len(sent), addresses)
		}
	}},
	// A plan puts a planned operation behind its own.
	{"PlanBehindItsOwn", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned, Behind: true, Due: f.clock.now().Add(time.Hour), Reason: "address_cool_down"})
		f.plan = func(e journal.Event, v journal.ShopView) journal.Plan {
			if len(v.Open) != 1 || v.Open[0].Reason != "address_cool_down" || v.Open[0].State != journal.Planned {
				f.Errorf("the planner saw %+v", v.Open)
			}
			return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, 0)}, Behind: v.Open[0].ID}
		}
		f.ingest(f.code("s", "e2", "1"))
		f.wantState(o.UUID, journal.Queued)
		f.idle(journal.Invite, journal.Call)
		f.finish(f.claimed(journal.Activate, journal.Call))
		if again := f.claimed(journal.Invite, journal.Call); again.UUID != o.UUID {
			f.Fatalf("claimed %+v", again)
		}
	}},
}

const coolDown = 24 * time.Hour

// rule is the rule of an operation's address.
func (f *fixture) rule(o journal.ClaimedOperation) *journal.AddressRule {
	return &journal.AddressRule{MAC: o.SubjectMAC, MACs: [][]byte{o.SubjectMAC}, CoolDown: coolDown, Without: []string{"refused", "limited", "not_executed"}}
}

// mail sends an invitation under the rule.
func (f *fixture) mail(o journal.ClaimedOperation) (journal.AttemptID, error) {
	s := sendOf(o, wide())
	s.Address = f.rule(o)
	return f.j.BeginAttempt(f.ctx, s)
}

func (f *fixture) wantCooling(o journal.ClaimedOperation, at time.Time, open bool) {
	f.Helper()
	_, err := f.mail(o)
	cool, ok := errors.AsType[*journal.AddressCoolDownError](err)
	if !ok || !cool.At.Equal(at) || cool.Open != open {
		f.Fatalf("the attempt ended with %#v, want a cool-down from %v, open %v", err, at, open)
	}
}
