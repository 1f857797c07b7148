package engine

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"invoicebox-worker/invoicebox"
)

// simInvoicebox is the model of Invoicebox: what it does with requests, when it
// counts them, and what comes back. It also is the witness: it sees every
// request and every effect.
type simInvoicebox struct {
	s        *sim
	last     int
	requests []*simRequest
	open     []*simRequest // not arrived, or not answered yet
	counted  map[string][]time.Time
	codes    map[string]*simCode // by account and code
	tokens   map[string]*simToken
	sends    map[string]int // e-mails by account and address
	mood     string         // what most answers are while it lasts, "" for the usual
	moodTo   time.Time
	revoked  map[string]bool // accounts whose own token is refused
	// Windows are counted from here on: the clock was set forward while no
	// process ran, and the ledgers took what was before for long ago.
	forgotten time.Time
}

// A simCode is an activation code, as Invoicebox knows it.
type simCode struct {
	account, value, merchant string
	kind                     string // once, same (reusable, the same token), fresh (reusable, a new token), bad
	requests, effects        int
	token                    string
}

type simToken struct {
	code  *simCode
	from  time.Time // good from then on
	never bool
	good  bool // somebody saw that it is good
}

// A simRequest is a request that was written.
type simRequest struct {
	id             int
	op             invoicebox.Operation
	account, value string
	w              *simWorker
	attempt        *simAttempt
	wrote          time.Time
	limit          time.Time // the client gives up then
	arrives        time.Time // Invoicebox counts and executes it
	arrived        bool
	answers        time.Time // its answer is there; zero: never
	lost           time.Time // the connection ends without one; zero: it does not
	reply          simReply
	effect         bool
	token          string
	ended          time.Time // for the client: answered, or the connection was closed
	delivered      bool      // the answer came to the client
}

// A simReply is what goes over the wire.
type simReply struct {
	name   string
	status int
	body   string
	header http.Header
	cut    bool
	large  bool
}

// simReplies are the answers that do not depend on the request. Fate is what
// they prove about it.
var simReplies = []struct {
	reply simReply
	fate  simFate
}{
	{simReply{name: "429", status: 429}, fateNot},
	{simReply{name: "429 retry", status: 429, header: http.Header{"Retry-After": {"7"}}}, fateNot},
	{simReply{name: "425", status: 425}, fateNot},
	{simReply{name: "408", status: 408}, fateDoubt},
	{simReply{name: "503", status: 503, header: http.Header{"Retry-After": {"20"}}}, fateDoubt},
	{simReply{name: "503 bare", status: 503}, fateDoubt},
	{simReply{name: "500", status: 500}, fateUnknown},
	{simReply{name: "502 page", status: 502, body: "<html>bad gateway</html>"}, fateUnknown},
	{simReply{name: "403", status: 403, body: `{"error":{"code":"forbidden","message":"no"}}`}, fateFinal},
	{simReply{name: "404 page", status: 404, body: "<html>no such page</html>"}, fateFinal},
	{simReply{name: "422 partner", status: 422, body: `{"error":{"code":"validation","fields":[{"name":"partnerId","code":"wrong_value"}]}}`}, fateFinal},
}

func newSimInvoicebox(s *sim) *simInvoicebox {
	return &simInvoicebox{
		s: s, counted: map[string][]time.Time{}, codes: map[string]*simCode{}, tokens: map[string]*simToken{},
		sends: map[string]int{}, revoked: map[string]bool{},
	}
}

// next is when something happens by itself.
func (b *simInvoicebox) next() (next time.Time) {
	now := time.Now()
	for _, r := range b.open {
		for _, at := range []time.Time{r.arrives, r.answers, r.lost} {
			if at.After(now) {
				next = minTime(next, at)
			}
		}
	}
	return next
}

// advance lets requests arrive, in the order of their instants.
func (b *simInvoicebox) advance(now time.Time) {
	for {
		var first *simRequest
		for _, r := range b.open {
			if !r.arrived && !now.Before(r.arrives) && (first == nil || r.arrives.Before(first.arrives)) {
				first = r
			}
		}
		if first == nil {
			break
		}
		b.arrive(first)
	}
	b.open = slices.DeleteFunc(b.open, func(r *simRequest) bool { return r.arrived && !r.ended.IsZero() })
}

// write takes a request on its way.
func (b *simInvoicebox) write(r *simRequest) {
	s, now := b.s, time.Now()
	b.last++
	r.id, r.wrote = b.last, now
	delay := time.Duration(s.rng.Int64N(int64(400 * time.Millisecond)))
	if s.faults.on {
		switch s.rng.IntN(14) {
		case 0: // lingers, maybe after we gave up
			delay = time.Duration(s.rng.Int64N(int64(r.limit.Sub(now) + s.setup.config.Slack)))
		case 1:
			r.lost = now.Add(s.within(5 * time.Second))
		}
	}
	r.arrives = now.Add(delay)
	b.requests, b.open = append(b.requests, r), append(b.open, r)
	s.note("writes request %d: %v %s", r.id, r.op, simName(r.value))
	s.counts["request "+r.op.String()]++
	if r.op == invoicebox.Invite || r.op == invoicebox.Activate {
		s.model.written(r)
	}
}

// close ends a request for the client. What is on its way arrives within the
// slack, or never mattered.
func (b *simInvoicebox) close(r *simRequest) {
	if !r.ended.IsZero() {
		return
	}
	r.ended = time.Now()
	slack := b.s.setup.config.Slack
	if !r.arrived && !r.arrives.Before(r.ended.Add(slack)) {
		r.arrives = r.ended.Add(time.Duration(b.s.rng.Int64N(int64(slack))))
	}
}

// hangUp ends the requests of a process that died.
func (b *simInvoicebox) hangUp(w *simWorker) {
	for _, r := range b.open {
		if r.w == w {
			b.close(r)
		}
	}
}

// count notes a request in its windows, and looks whether they are too full.
func (b *simInvoicebox) count(r *simRequest) {
	if r.wrote.Before(b.forgotten) {
		return
	}
	limit := func(ledger string, n int, window time.Duration) {
		b.counted[ledger] = append(b.counted[ledger], r.arrives)
		seen := b.counted[ledger]
		for !seen[0].After(r.arrives.Add(-window)) {
			seen = seen[1:]
		}
		b.counted[ledger] = seen
		if len(seen) > n {
			b.s.wrong("%d requests in a window of %s, which permits %d", len(seen), ledger, n)
		}
	}
	limit("egress", b.s.setup.config.EgressRequests, b.s.setup.config.EgressWindow)
	if r.op != invoicebox.Check {
		limit("account "+r.account, b.s.setup.requests, b.s.setup.window)
	}
}

// arrive executes a request and decides what comes back.
func (b *simInvoicebox) arrive(r *simRequest) {
	s := b.s
	r.arrived = true
	b.count(r)
	after := time.Duration(s.rng.Int64N(int64(300 * time.Millisecond)))
	if s.faults.on && s.rng.IntN(12) == 0 {
		after = s.within(45 * time.Second)
	}
	r.answers = r.arrives.Add(after)
	draw := 100
	if s.faults.on {
		draw = s.rng.IntN(100)
	}
	execute := true
	switch {
	case b.revoked[r.account] && r.op != invoicebox.Check:
		r.reply, execute = simReply{name: "401", status: 401, body: `{"error":{"code":"unauthorized"}}`}, false
	case s.faults.on && b.mood != "" && b.mood != "unreachable" && draw < 70:
		r.reply = b.standard(b.mood)
		execute = b.mayExecute(r.reply)
	case draw < 22:
		r.reply = simReplies[s.rng.IntN(len(simReplies))].reply
		execute = b.mayExecute(r.reply)
	case draw < 26:
		r.answers, execute = time.Time{}, s.rng.IntN(2) == 0
	case draw < 30:
		r.answers, r.lost, execute = time.Time{}, r.answers, s.rng.IntN(2) == 0
	}
	if execute {
		good := b.execute(r)
		if r.reply.name == "" {
			r.reply = good
		}
	}
	if r.reply.name == "good" && s.faults.on && r.op != invoicebox.Check && r.op != invoicebox.CheckOwn {
		switch s.rng.IntN(40) {
		case 0:
			r.reply.body, r.reply.cut, r.reply.name = r.reply.body[:len(r.reply.body)/2], true, "half"
		case 1:
			r.reply.body, r.reply.name = "<html>fine</html>", "page"
		case 2:
			r.reply.body, r.reply.large, r.reply.cut, r.reply.name = "", true, true, "large"
		}
	}
	s.note("request %d (%v) arrived: effect %v, answer %q in %v", r.id, r.op, r.effect, r.reply.name, after)
	s.counts["answer "+r.reply.name]++
	if !r.ended.IsZero() {
		r.answers, r.lost = time.Time{}, time.Time{}
	}
}

func (b *simInvoicebox) standard(name string) simReply {
	for _, x := range simReplies {
		if x.reply.name == name {
			return x.reply
		}
	}
	return simReply{}
}

// mayExecute draws whether a request that gets such an answer has its effect all
// the same; where the answer proves that it has none it never has.
func (b *simInvoicebox) mayExecute(r simReply) bool {
	f := fateOf(r.name)
	return (f == fateDoubt || f == fateUnknown || r.name == "") && b.s.rng.IntN(2) == 0
}

// execute does what is asked for.
func (b *simInvoicebox) execute(r *simRequest) simReply {
	s := b.s
	reply := func(status int, body string, args ...any) simReply {
		name := "good"
		if status != http.StatusOK {
			name = "refused"
		}
		return simReply{name: name, status: status, body: fmt.Sprintf(body, args...)}
	}
	refused := func() simReply {
		return reply([]int{400, 404, 409, 422}[s.rng.IntN(4)], `{"error":{"code":"wrong_value","message":"no"}}`)
	}
	switch r.op {
	case invoicebox.Invite:
		if s.inputs.badAddress(r.value) {
			return refused()
		}
		r.effect = true
		b.sends[r.account+" "+r.value]++
		return reply(200, `{"data":{"id":"invitation-%d"}}`, r.id)
	case invoicebox.Activate:
		c := b.codes[r.account+" "+r.value]
		c.requests++
		if c.kind == "bad" || c.kind == "once" && c.effects > 0 {
			return refused()
		}
		c.effects++
		r.effect = true
		if c.token == "" || c.kind == "fresh" {
			c.token = fmt.Sprintf("token-%s-%s-%d", r.account, r.value, c.effects)
			t := &simToken{code: c}
			if s.faults.on {
				switch s.rng.IntN(12) {
				case 0:
					t.from = r.arrives.Add(s.within(3 * time.Minute))
				case 1:
					t.never = true
				}
			}
			b.tokens[c.token] = t
		}
		r.token = c.token
		return reply(200, `{"data":{"merchantId":"%s","token":"%s"}}`, c.merchant, c.token)
	case invoicebox.Check:
		t := b.tokens[r.value]
		if t == nil {
			s.wrong("a token is checked that nobody issued")
			return reply(401, "{}")
		}
		if t.never || r.arrives.Before(t.from) {
			return reply(401, `{"error":{"code":"unauthorized"}}`)
		}
		r.effect = true
	}
	return reply(200, `{"data":{"userId":"u-1"}}`)
}
