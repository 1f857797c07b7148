package engine

import (
	"context"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

// simModel keeps what was really done, beside the journal, and looks at every
// step whether it was permitted.
type simModel struct {
	s        *sim
	ops      map[int64]*simOp
	attempts map[journal.AttemptID]*simAttempt
	order    map[journal.ShopKey][]*simRequest // by shop, as they were written
	rejected []simRejected                     // said to be wrong, or never used
	spoil    bool                              // the batch at hand meets an error in its middle
}

// simRejected is a run of an operation whose code was said to be of no use.
type simRejected struct {
	op  *simOp
	run int
}

// A simOp is an operation as the claims showed it.
type simOp struct {
	journal.ClaimedOperation
	value    string
	attempts []*simAttempt
	until    time.Time // end of the lease; zero: nobody's
	late     bool      // an answer came late
}

// A simAttempt is one that is durable.
type simAttempt struct {
	id             journal.AttemptID
	op             *simOp
	number, run    int
	flagged, probe bool
	sendBy         time.Time
	request        *simRequest // nil: nothing was written
	recorded       bool        // its end is durable
	receipt        bool        // its answer is
	fenced         bool        // another answer came first, while it was durable and had no end
}

// A simFate is what is known about an attempt.
type simFate uint8

const (
	fateNot     simFate = iota + 1 // provably not executed
	fateDoubt                      // probably not
	fateUnknown                    // nothing proves it
	fateFinal                      // it has its answer
)

// fateOf is what an answer proves, by its name.
func fateOf(name string) simFate {
	if name == "401" {
		return fateNot
	}
	for _, x := range simReplies {
		if x.reply.name == name {
			return x.fate
		}
	}
	return fateFinal
}

// fate is what the worker may rely on: what is not durable it may have forgotten.
func (a *simAttempt) fate() simFate {
	switch {
	case a.request == nil:
		return fateNot
	case !a.recorded && !a.receipt, !a.request.delivered:
		return fateUnknown
	}
	return fateOf(a.request.reply.name)
}

func newSimModel(s *sim) *simModel {
	return &simModel{s: s, ops: map[int64]*simOp{}, attempts: map[journal.AttemptID]*simAttempt{}, order: map[journal.ShopKey][]*simRequest{}}
}

// planner is the inner one, but for errors in the middle of a transaction.
func (b *simModel) planner(inner journal.Planner) journal.Planner {
	return func(e journal.Event, v journal.ShopView) journal.Plan {
		if b.spoil {
			return journal.Plan{Join: 1 << 40}
		}
		return inner(e, v)
	}
}

// opened: a journal that only one process can hold has ended all leases.
func (b *simModel) opened() {
	for _, o := range b.ops {
		o.until = time.Time{}
	}
}

func (b *simModel) claimed(c *journal.ClaimedOperation, lease time.Duration) {
	o := b.ops[c.Ref.Operation]
	if o == nil {
		o = &simOp{}
		b.ops[c.Ref.Operation] = o
		value, err := b.s.keys.Open(c.Sealed, keyset.SubjectAAD(c.Kind.String(), c.Shop.Account, c.Shop.Shop, c.SubjectMAC))
		if err != nil {
			b.s.wrong("operation %d does not open", c.Ref.Operation)
		}
		o.value = string(value)
	}
	now := time.Now()
	if o.until.Sub(now) > time.Microsecond { // the journal counts whole ones
		b.s.wrong("operation %d is claimed while another holds it for %v more", c.Ref.Operation, o.until.Sub(now))
	}
	o.ClaimedOperation, o.until = *c, now.Add(lease)
	b.s.note("claims operation %d: %v of %s %s, %v, run %d, unknowns %d, newer %v", c.Ref.Operation, c.Kind, c.Shop.Shop, simName(o.value), c.State, c.Run, c.Unknowns, c.Newer)
}

func (b *simModel) sent(id journal.AttemptID, m journal.AttemptStart, asked time.Time) {
	o := b.ops[m.Ref.Operation]
	a := &simAttempt{id: id, op: o, number: m.Attempt, run: o.Run, flagged: m.Flagged, probe: m.Probe, sendBy: asked.Add(m.SendBy)}
	o.attempts = append(o.attempts, a)
	b.attempts[id] = a
	b.s.current.attempt = a
	if end := time.Now().Add(m.Deadline + 5*time.Second); end.After(o.until) {
		o.until = end
	}
	if o.Ref != m.Ref {
		b.s.wrong("operation %d is sent by claim %d, and was claimed again since", m.Ref.Operation, m.Ref.Claim)
	}
}

// written looks whether a request may be made.
func (b *simModel) written(r *simRequest) {
	s, a, now := b.s, r.attempt, time.Now()
	if a == nil || a.request != nil {
		s.wrong("request %d has no durable attempt of its own", r.id)
		return
	}
	a.request = r
	if !now.Before(a.sendBy) {
		s.wrong("request %d is written %v after its send-by instant", r.id, now.Sub(a.sendBy))
	}
	o := a.op
	if o.value != r.value || o.Shop.Account != r.account {
		s.wrong("request %d is not for its operation", r.id)
	}
	if a.fenced {
		// It was made durable before that answer came, and ends as a late one.
		b.order[o.Shop] = append(b.order[o.Shop], r)
		return
	}
	unknowns, probes := 0, 0
	for _, e := range o.attempts {
		if e.number > a.number {
			s.wrong("request %d of attempt %d is written after attempt %d was made", r.id, a.number, e.number)
		}
		if e == a || e.request == nil {
			continue
		}
		fate := e.fate()
		if fate >= fateDoubt && fate <= fateUnknown && !a.flagged {
			s.wrong("request %d is not flagged, and attempt %d may have been executed", r.id, e.number)
		}
		if fate == fateUnknown {
			unknowns++
			if !a.probe {
				s.wrong("request %d is no probe, and nobody knows of attempt %d", r.id, e.number)
			}
		}
		if fate == fateFinal && e.run >= a.run {
			s.wrong("request %d is written after attempt %d of the same run was answered: %q", r.id, e.number, e.request.reply.name)
		}
		if e.probe && fate != fateNot && fate != fateDoubt { // 408 and 503 use no probe up
			probes++
		}
	}
	for _, other := range b.ops {
		if other == o || o.Kind != journal.Activate || other.Kind != o.Kind || other.value != o.value || other.Shop.Account != o.Shop.Account {
			continue
		}
		for _, e := range other.attempts {
			if e.request != nil && e.fate() != fateNot && (e.fate() != fateFinal || e.request.effect) {
				s.wrong("request %d is for a code that operation %d may have spent for shop %s", r.id, other.Ref.Operation, other.Shop.Shop)
			}
		}
	}
	if o.Kind == journal.Activate && (probes > 0 || unknowns > 1 || unknowns > 0 && s.setup.config.UnknownOutcome == onboarding.Hold) {
		s.wrong("request %d asks again after %d probes and %d unknown outcomes", r.id, probes, unknowns)
	}
	if o.Kind == journal.Invite && unknowns > 1 {
		s.wrong("request %d sends an invitation again after %d unknown outcomes", r.id, unknowns)
	}
	b.lane(r, now)
}

// lane looks whether the shop's lane is free for a request.
func (b *simModel) lane(r *simRequest, now time.Time) {
	s, o := b.s, r.attempt.op
	for _, q := range b.order[o.Shop] {
		ended := q.ended
		if ended.IsZero() || q.limit.Before(ended) {
			ended = q.limit
		}
		switch {
		case now.Before(ended):
			s.wrong("request %d is written while request %d of the same shop is under way", r.id, q.id)
		case !q.arrived:
			s.wrong("request %d is written while request %d of the same shop may still arrive", r.id, q.id)
		case q.attempt.fate() == fateUnknown && !q.attempt.op.late && now.Sub(ended) < s.setup.config.QuietPeriod:
			s.wrong("request %d is written %v after request %d, of which nobody knows", r.id, now.Sub(ended), q.id)
		}
	}
	b.order[o.Shop] = append(b.order[o.Shop], r)
	records, err := s.j.Operations(context.Background(), journal.OperationFilter{Account: o.Shop.Account, Shop: o.Shop.Shop, OpenOnly: true, Limit: 1000})
	if err != nil {
		s.wrong("operations: %v", err)
	}
	turn := s.inputs.arrival[o.EventID]
	active := 0
	for _, x := range records {
		switch x.State {
		case journal.Planned, journal.Waiting, journal.Claimed, journal.Sending, journal.Unknown:
			active++
		case journal.Queued:
			// An invitation gives way while an activation has its answer and not its end.
			waits := x.Kind == journal.Invite && x.Reason == string(onboarding.ReasonActivationFirst)
			if x.ID != r.attempt.op.Ref.Operation && !waits && !x.Doubt && s.inputs.arrival[x.Event] < turn && !o.Doubt {
				s.wrong("request %d of operation %d overtakes operation %d", r.id, o.Ref.Operation, x.ID)
			}
		}
	}
	if active > 1 {
		s.wrong("%d operations of shop %s hold its lane", active, o.Shop.Shop)
	}
}

func (b *simModel) received(r journal.Receipt, mine bool) {
	a := b.attempts[r.Attempt]
	a.receipt = true
	if mine {
		return
	}
	b.s.counts["late answer"]++
	a.op.late, a.op.until = true, time.Time{}
	for _, e := range a.op.attempts {
		if e != a && !e.recorded && !e.receipt {
			e.fenced = true
		}
	}
}

func (b *simModel) applied(tr journal.Transition) {
	s, o := b.s, b.ops[tr.Ref.Operation]
	if o.Ref == tr.Ref {
		o.until = time.Time{}
	} else {
		s.wrong("operation %d is moved by claim %d, and was claimed again since", tr.Ref.Operation, tr.Ref.Claim)
	}
	if a := b.attempts[tr.Attempt]; a != nil && tr.End != nil {
		a.recorded = true
	}
	s.counts["to "+tr.To.String()+" "+tr.Reason]++
	if tr.Supersede == string(onboarding.ReasonNewerCode) {
		b.overtakes(o)
	}
	for _, d := range tr.Publish {
		m, err := d.Freeze(1)
		if err != nil {
			s.wrong("an event does not freeze: %v", err)
			return
		}
		e, err := schemas.DecodeOutput(m, schemas.Strict)
		if err != nil {
			s.wrong("an event breaks the contract: %v", err)
			return
		}
		s.note("publishes %s %v", d.Type, d.ID)
		b.announced(o, e)
	}
}

// overtakes looks, where a code has worked, whether a person still has to look at
// what became of an older one of the shop.
func (b *simModel) overtakes(o *simOp) {
	s := b.s
	records, err := s.j.Operations(context.Background(), journal.OperationFilter{
		Account: o.Shop.Account, Shop: o.Shop.Shop, Kind: journal.Activate, State: journal.Attention, Limit: 1000,
	})
	if err != nil {
		s.wrong("operations: %v", err)
	}
	for _, x := range records {
		unsure := x.Reason == string(onboarding.ReasonOutcomeLost) || x.Reason == string(onboarding.ReasonOutcomeUnknown)
		if unsure && s.inputs.arrival[x.Event] < s.inputs.arrival[o.EventID] {
			s.wrong("operation %d waits for a person (%s), and the newer code of operation %d has worked", x.ID, x.Reason, o.Ref.Operation)
		}
	}
}

// announced looks whether an event says what is true when it is committed.
func (b *simModel) announced(o *simOp, e schemas.Event) {
	s := b.s
	switch d := e.Data.(type) {
	case schemas.Activated:
		if !s.resolves(d) {
			s.wrong("shop %s is announced with a reference that does not resolve", d.ShopID)
		}
	case schemas.ActivationFailed:
		if !d.Final || o.Kind != journal.Activate {
			return
		}
		c := s.box.codes[o.Shop.Account+" "+o.value]
		b.rejected = append(b.rejected, simRejected{o, o.Run})
		if c.effects > 0 {
			s.wrong("%s: final for code %s, which was executed", d.Reason, o.value)
		}
	case schemas.InvitationFailed:
		for _, a := range o.attempts {
			if d.Reason == schemas.FailureExpired && a.request != nil && a.request.effect {
				s.wrong("expired, nothing was sent: shop %s got an e-mail", d.ShopID)
			}
		}
	}
}

// resolves tells whether an announced reference leads to a token that
// Invoicebox gave for this shop.
func (s *sim) resolves(d schemas.Activated) bool {
	ref, err := schemas.ParseReference(d.Credentials.Ref)
	if err != nil {
		return false
	}
	k := journal.ShopKey{Account: ref.Account, Shop: ref.Shop}
	c, err := s.j.Credential(context.Background(), k, ref.Version)
	if err != nil {
		return false
	}
	merchant, token, ok := s.secret(c)
	return ok && merchant == d.MerchantID && s.box.tokens[token] != nil && s.box.tokens[token].code.merchant == merchant &&
		(d.Verification != schemas.VerificationVerified || s.box.tokens[token].good)
}

func eventOf(op uuid.UUID, run int, typ string) uuid.UUID { return schemas.EventID(op, run, typ) }
