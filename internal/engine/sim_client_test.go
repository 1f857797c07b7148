package engine

import (
	"context"
	"strings"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// simClient keeps the promises of invoicebox.Client towards the model: nothing
// is written after the send-by instant, the call ends with its deadline, and
// the exchange says what was provably sent.
type simClient struct {
	Client
	s       *sim
	w       *simWorker
	account string
}

func (c *simClient) Invite(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Invite, a, v.Reveal())
}

func (c *simClient) Activate(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Activate, a, v.Reveal())
}

func (c *simClient) CheckToken(ctx context.Context, a invoicebox.CallOptions, v secret.String) invoicebox.Exchange {
	return c.do(ctx, invoicebox.Check, a, v.Reveal())
}

func (c *simClient) CheckOwnToken(ctx context.Context) invoicebox.Exchange {
	return c.do(ctx, invoicebox.CheckOwn, invoicebox.CallOptions{}, "")
}

func (c *simClient) do(ctx context.Context, op invoicebox.Operation, a invoicebox.CallOptions, value string) invoicebox.Exchange {
	s := c.s
	attempt := s.current.attempt
	x := invoicebox.Exchange{Operation: op, Started: time.Now()}
	limit := x.Started.Add(c.w.engine.cfg.RequestDeadline)
	if at, ok := ctx.Deadline(); ok && at.Before(limit) {
		limit = at
	}
	fail := func(why invoicebox.Reason) invoicebox.Exchange {
		s.note("%v ends without an answer: %s", op, why)
		s.counts["failed "+string(why)]++
		x.Finished, x.Err = time.Now(), &invoicebox.Error{Operation: op, Reason: why}
		return x
	}
	s.pause() // connects
	if s.faults.on && s.rng.IntN(25) == 0 {
		s.stall(8 * time.Minute)
	}
	switch {
	case ctx.Err() != nil:
		return fail(invoicebox.ReasonCanceled)
	case !a.SendBy.IsZero() && !time.Now().Before(a.SendBy):
		return fail(invoicebox.ReasonSendBy)
	case !time.Now().Before(limit):
		return fail(invoicebox.ReasonDeadline)
	case s.faults.on && (s.rng.IntN(25) == 0 || s.box.mood == "unreachable"):
		return fail(invoicebox.ReasonConnect)
	}
	r := &simRequest{op: op, account: c.account, value: value, w: c.w, attempt: attempt, limit: limit}
	if op == invoicebox.Check || op == invoicebox.CheckOwn {
		r.attempt = nil
	}
	s.box.write(r)
	x.Written = 100
	at := func(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
	s.block(limit, func() bool { return at(r.answers) || at(r.lost) || ctx.Err() != nil })
	answered := r.arrived && at(r.answers)
	if answered && !time.Now().Before(limit) {
		// It came, and so did the deadline, while this process looked away.
		answered = s.rng.IntN(2) == 0
	}
	s.box.close(r)
	if answered && s.faults.on && s.rng.IntN(6) == 0 {
		s.stall(8 * time.Minute) // with the answer in its hands
	}
	switch {
	case answered:
	case at(r.lost):
		return fail(invoicebox.ReasonLost)
	case ctx.Err() != nil && time.Now().Before(limit):
		return fail(invoicebox.ReasonCanceled)
	default:
		return fail(invoicebox.ReasonDeadline)
	}
	r.delivered = true
	x.Status, x.Header, x.Body, x.Finished = r.reply.status, r.reply.header, []byte(r.reply.body), r.ended
	x.BodyComplete, x.TooLarge = !r.reply.cut, r.reply.large
	if r.reply.cut && !r.reply.large {
		x.Err = &invoicebox.Error{Operation: op, Reason: invoicebox.ReasonBodyCut}
	}
	if r.reply.large {
		x.Err = &invoicebox.Error{Operation: op, Reason: invoicebox.ReasonBodyLarge}
	}
	if op == invoicebox.Check && r.effect && r.reply.name == "good" {
		s.box.tokens[value].good = true
	}
	s.note("request %d is answered: %q", r.id, r.reply.name)
	if op == invoicebox.Activate && x.Success() {
		s.current.came = r
	}
	return x
}

// simName is a value without what would make a trace long.
func simName(value string) string {
	name, _, _ := strings.Cut(value, "@")
	return name
}
