package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

// What must be enough for everything that is due, once the faults have stopped.
const (
	simSettleTime  = 4 * time.Hour
	simSettleSteps = 60_000
)

// settle ends the faults and waits until nothing is left to do.
func (s *sim) settle() {
	if s.broken != "" {
		return
	}
	s.note("the faults end")
	s.faults = simFaults{}
	s.box.mood = ""
	clear(s.box.revoked)
	began, steps := time.Now(), s.steps
	for s.broken == "" {
		if s.idle && s.quiet() {
			s.finally()
			return
		}
		if time.Since(began) > simSettleTime || s.steps-steps > simSettleSteps {
			stats, _ := s.j.Stats(context.Background())
			s.wrong("after %v and %d steps without a fault there is work left: %v, outbox %d", time.Since(began), s.steps-steps, stats.Operations, stats.Outbox)
		}
		s.step()
	}
}

// within draws a time, as long as the run's times are.
func (s *sim) within(limit time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(limit / s.setup.scale)))
}

// quiet tells whether all is done. A person opens what only a person can open.
func (s *sim) quiet() bool {
	ctx := context.Background()
	if s.j == nil || s.inputs.left > 0 || s.box.flying() {
		return false
	}
	for _, p := range s.procs {
		if p.task {
			return false
		}
	}
	accounts, err := s.j.Accounts(ctx)
	if err != nil {
		s.wrong("accounts: %v", err)
	}
	for _, a := range accounts {
		if g := a.Circuit; g.State == journal.CircuitPaused && g.Reason != string(onboarding.ReasonToken) && g.Reason != string(onboarding.ReasonAddress) {
			s.note("a person opens %s", a.Name)
			if err := s.j.SetCircuit(ctx, a.Name, journal.Circuit{State: journal.CircuitActive, Since: time.Now()}, nil); err != nil {
				s.wrong("open the circuit breaker: %v", err)
			}
		}
	}
	positions, err := s.j.Positions(ctx)
	if err != nil {
		s.wrong("positions: %v", err)
	}
	for _, p := range positions {
		if p.Next < int64(len(s.inputs.log[p.Partition])) {
			return false
		}
	}
	stats, err := s.j.Stats(ctx)
	if err != nil {
		s.wrong("stats: %v", err)
	}
	for k, n := range stats.Operations {
		if n > 0 && k.State.Open() {
			return false
		}
	}
	// Late answers are compared with an operation that has ended.
	due, err := s.j.Due(ctx)
	if err != nil {
		s.wrong("due: %v", err)
	}
	return stats.Outbox == 0 && len(due) == 0
}

func (b *simInvoicebox) flying() bool {
	return slices.ContainsFunc(b.open, func(r *simRequest) bool { return !r.arrived || r.ended.IsZero() })
}

// secret opens a credential's row.
func (s *sim) secret(c journal.Credential) (merchant, token string, ok bool) {
	text, err := s.keys.Open(c.Sealed, simRow(c.Shop, c.Version))
	if err != nil {
		return "", "", false
	}
	m, tok, ok := bytes.Cut(text, []byte{0})
	return string(m), string(tok), ok
}

// finally looks at the whole when all is done.
func (s *sim) finally() {
	ctx := context.Background()
	for _, account := range s.setup.accounts {
		for i := range s.setup.shops {
			k := journal.ShopKey{Account: account, Shop: fmt.Sprint("shop-", i)}
			h, err := s.j.Shop(ctx, k)
			if err != nil {
				continue // it never appeared
			}
			s.finishedShop(k, h)
		}
	}
	for id, r := range s.inputs.taken {
		h, err := s.j.Shop(ctx, r.shop)
		if err != nil || !slices.ContainsFunc(h.Events, func(e journal.EventRecord) bool { return e.ID == id }) {
			s.wrong("record %s is in none of inbox and dead letters", id)
		}
	}
	for part, log := range s.inputs.log {
		for _, r := range log {
			if _, known := s.inputs.taken[r.id]; !known && !r.deselect {
				s.wrong("record %s of partition %d was never taken", r.id, part)
			}
		}
	}
	for _, r := range s.model.rejected {
		for _, a := range r.op.attempts {
			if a.run <= r.run && a.request != nil && a.request.effect {
				s.wrong("code %s was said to be of no use, and was executed", r.op.value)
			}
		}
	}
}

// finishedShop looks at one shop's end.
func (s *sim) finishedShop(k journal.ShopKey, h journal.ShopHistory) {
	published := map[string]bool{}
	for _, e := range s.topic.events {
		published[e.ID] = true
	}
	tokens := map[string]bool{}
	for v := int64(1); ; v++ {
		c, err := s.j.Credential(context.Background(), k, v)
		if err != nil {
			break
		}
		if _, token, ok := s.secret(c); ok {
			tokens[token] = true
		} else if token := s.destroyed[c.Reference]; token != "" {
			tokens[token] = true
		}
	}
	s.finishedDisconnect(k, h)
	for _, op := range h.Operations {
		own := 0
		for _, e := range op.Output {
			if !published[e.Event.String()] {
				s.wrong("event %v of operation %d was never published", e.Event, op.ID)
			}
			own++
		}
		reason := onboarding.Reason(op.Reason)
		switch {
		case op.State == journal.Superseded:
		case op.State == journal.Attention && reason == onboarding.ReasonSubjectUnreadable:
		case op.State != journal.Done && op.State != journal.Attention:
			s.wrong("operation %d ended as %v", op.ID, op.State)
		case own == 0:
			s.wrong("operation %d ended as %v (%s) without an event", op.ID, op.State, reason)
		case op.State == journal.Done && op.Kind == journal.Activate && reason == onboarding.ReasonActivated:
			want := eventOf(op.UUID, op.Run, schemas.TypeActivated).String()
			if !published[want] {
				s.wrong("operation %d is activated, and run %d was not announced", op.ID, op.Run)
			}
		}
		o := s.model.ops[op.ID]
		if o == nil {
			continue
		}
		// The responses of an operation are erased with the secret that one of them brought.
		destroyed := slices.ContainsFunc(o.attempts, func(a *simAttempt) bool {
			return a.request != nil && a.request.token != "" && slices.Contains(slices.Collect(maps.Values(s.destroyed)), a.request.token)
		})
		for _, a := range o.attempts {
			kept := slices.ContainsFunc(op.Tries, func(r journal.AttemptRecord) bool { return r.ID == a.id && r.HasReceipt })
			if a.receipt && !kept && !destroyed && time.Since(s.began) < ResponseRetention {
				s.wrong("the receipt of attempt %d of operation %d is gone", a.number, op.ID)
			}
			if a.receipt && a.request.token != "" && a.request.reply.name == "good" && !tokens[a.request.token] && op.State != journal.Attention {
				s.wrong("the token of attempt %d of operation %d is not stored, and nobody looks: %v (%s)", a.number, op.ID, op.State, reason)
			}
		}
	}
}
