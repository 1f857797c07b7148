package postgres

import (
	"time"

	"invoicebox-worker/internal/journal"
)

// A circuit breaker that nobody changes stays the same for who reads it, also where the
// database's clock is known better, or has drifted: else its reader takes it for
// another's and forgets the trial that is under way.
func testCircuitStays(b *bed) {
	one, two := b.open(), b.open()
	g := journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: time.Now().Add(time.Minute).UTC(), Count: 2, Since: time.Now().UTC()}
	b.ok(one.SetCircuit(b.Context(), "default", g, nil))
	read := func(j *Journal) journal.Circuit {
		b.Helper()
		as, err := j.Accounts(b.Context())
		b.ok(err)
		return as[0].Circuit
	}
	for _, j := range []*Journal{one, two} {
		want := g
		if j == two {
			if want = read(two); want.Until.Sub(g.Until).Abs() > 10*time.Second {
				b.Errorf("the other replica reads %v, not %v", want.Until, g.Until)
			}
		}
		now := j.clock.now()
		j.clock.learn(now, now, j.clock.Stamp(now)+20_000)
		if got := read(j); got != want {
			b.Errorf("%+v, then %+v", want, got)
		}
	}
	changed := g
	changed.Until = changed.Until.Add(time.Second)
	b.ok(two.SetCircuit(b.Context(), "default", changed, nil))
	if got := read(one); got.Until.Sub(g.Until) < 900*time.Millisecond {
		b.Errorf("a change is not seen: %v after %v", got.Until, g.Until)
	}
}
