package engine

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
)

// Attributes of spans.
const (
	attrAccount   = attribute.Key("invoicebox.account")
	attrShop      = attribute.Key("invoicebox.shop")
	attrOperation = attribute.Key("invoicebox.operation.id")
	attrRun       = attribute.Key("invoicebox.operation.run")
	attrAttempt   = attribute.Key("invoicebox.attempt")
	attrFrom      = attribute.Key("invoicebox.operation.from") // a state
	attrTo        = attribute.Key("invoicebox.operation.to")   // a state
	attrReason    = attribute.Key("invoicebox.reason")
	attrOutcome   = attribute.Key("invoicebox.outcome")
)

// startSpan starts the span of a claimed operation. It begins with the claim. The phases
// that it returns contain the span, so that each step and each call becomes its child.
func (e *Engine) startSpan(s phases, t *task) (phases, trace.Span) {
	if !e.cfg.Tracer.Enabled() {
		return s, noop.Span{}
	}
	claimed := trace.WithTimestamp(t.leaseEnd.Add(-e.cfg.Lease))
	options := []trace.SpanStartOption{claimed, trace.WithAttributes(
		attrAccount.String(t.Shop.Account), attrShop.String(t.Shop.Shop), attrOperation.String(t.UUID.String()),
		attrRun.Int(t.Run), attrFrom.String(t.State.String()),
	)}
	if i := t.Invitation; i != nil {
		// Days may lie between: each has a trace of its own.
		options = append(options, trace.WithLinks(e.cfg.Tracer.Link(tracing.Event{TraceParent: i.TraceParent, Shop: t.Shop.Shop, ID: i.EventID})))
	}
	var span trace.Span
	s.writes, span = e.cfg.Tracer.Start(s.writes, tracing.Event{TraceParent: t.TraceParent, Shop: t.Shop.Shop, ID: t.EventID}, t.Kind.String(), options...)
	s.calls = trace.ContextWithSpan(s.calls, span)
	_, claim := childSpan(s.writes, "claim", claimed)
	claim.End()
	return s, span
}

// startRoot starts the span of calls that no event causes: a verification, a check of the
// account's token, an operator action. The phases that it returns contain the span. For a
// shop's credentials, it has a link to the trace of the event that brought them.
func (e *Engine) startRoot(s phases, name, account, shop string, of tracing.Event) (phases, trace.Span) {
	if !e.cfg.Tracer.Enabled() {
		return s, noop.Span{}
	}
	options := []trace.SpanStartOption{trace.WithAttributes(attrAccount.String(account))}
	if shop != "" {
		options = append(options, trace.WithAttributes(attrShop.String(shop)))
	}
	if of.ID != "" {
		options = append(options, trace.WithLinks(e.cfg.Tracer.Link(of)))
	}
	var span trace.Span
	s.writes, span = e.cfg.Tracer.StartRoot(s.writes, name, options...)
	s.calls = trace.ContextWithSpan(s.calls, span)
	return s, span
}

// childSpan starts a span below that of ctx, if that is exported.
func childSpan(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, noop.Span{}
	}
	return parent.TracerProvider().Tracer("invoicebox-worker").Start(ctx, name, o...)
}

// endSpan ends a span. The text of an error is not exported.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// traceOutcome notes the outcome of a call in the operation's span.
func traceOutcome(ctx context.Context, t *task, v invoicebox.Classification) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrAttempt.Int(t.Attempts), attrOutcome.String(v.Outcome.String()))
	}
}

// A tracedJournal makes spans of the writes that an operation waits for.
type tracedJournal struct{ Journal }

// BeginAttempt implements [Journal].
func (j tracedJournal) BeginAttempt(ctx context.Context, s journal.AttemptStart) (journal.AttemptID, error) {
	ctx, span := childSpan(ctx, "begin attempt")
	id, err := j.Journal.BeginAttempt(ctx, s)
	endSpan(span, err)
	return id, err
}

// SaveResponse implements [Journal].
func (j tracedJournal) SaveResponse(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	ctx, span := childSpan(ctx, "save response")
	s, mine, err = j.Journal.SaveResponse(ctx, r)
	endSpan(span, err)
	return s, mine, err
}

// SaveResponseAndBeginCheck implements [Journal].
func (j tracedJournal) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (s journal.State, mine bool, check journal.AttemptID, err error) {
	ctx, span := childSpan(ctx, "save response")
	s, mine, check, err = j.Journal.SaveResponseAndBeginCheck(ctx, r, c)
	endSpan(span, err)
	return s, mine, check, err
}

// Apply implements [Journal].
func (j tracedJournal) Apply(ctx context.Context, t journal.Transition) error {
	ctx, span := childSpan(ctx, "save transition")
	err := j.Journal.Apply(ctx, t)
	if span.IsRecording() {
		span.SetAttributes(attrFrom.String(t.From.String()), attrTo.String(t.To.String()), attrReason.String(t.Reason))
	}
	endSpan(span, err)
	return err
}

// A tracedStore makes a span of the write of credentials.
type tracedStore struct{ Store }

// Prepare implements [Store].
func (s tracedStore) Prepare(ctx context.Context, c credentials.Secret) (credentials.Prepared, error) {
	ctx, span := childSpan(ctx, "store credentials")
	p, err := s.Store.Prepare(ctx, c)
	endSpan(span, err)
	return p, err
}
