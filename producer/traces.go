package producer

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/schemas"
)

// tracePublished makes a span for each event of the queue's batch, which was acknowledged:
// from the first attempt to the acknowledgement. It returns the first that is exported, if
// there is one. The attributes are those of OpenTelemetry's conventions for Kafka.
//
// The span is in the trace of the event that caused the published one, which is not changed:
// its bytes were decided when it was written to the outbox.
func (r *Relay) tracePublished(l *partitionQueue, base int64) (first trace.SpanContext) {
	if !r.config.Tracer.Enabled() {
		return first
	}
	for i := range l.batch {
		cause, ok := causeOf(&l.batch[i])
		if !ok {
			continue
		}
		attributes := []attribute.KeyValue{
			attribute.String("messaging.system", "kafka"), attribute.String("messaging.operation.name", "send"), attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", l.topic), attribute.String("messaging.destination.partition.id", strconv.Itoa(l.partition)),
			attribute.String("messaging.message.id", l.batch[i].Event.String()), attribute.String("invoicebox.shop", cause.Shop),
		}
		if base >= 0 {
			attributes = append(attributes, attribute.Int64("messaging.kafka.offset", base+int64(i)))
		}
		if l.failures > 0 {
			attributes = append(attributes, attribute.Int("invoicebox.failed_attempts", l.failures))
		}
		_, span := r.config.Tracer.Start(context.Background(), cause, "send "+l.topic,
			trace.WithTimestamp(l.since), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
		span.End(trace.WithTimestamp(time.Now()))
		if s := span.SpanContext(); s.IsSampled() && !first.IsValid() {
			first = s
		}
	}
	return first
}

// causeOf returns the event that caused a published one. A dead letter has none without a
// traceparent: no event of the inbox began a trace.
func causeOf(row *journal.OutboxRow) (tracing.Event, bool) {
	e, err := schemas.DecodeOutput(row.Message)
	if err != nil || e.TraceParent == "" && (e.CausationID == "" || e.Type == schemas.TypeDeadLetter) {
		return tracing.Event{}, false
	}
	return tracing.Event{TraceParent: e.TraceParent, Shop: e.Subject, ID: e.CausationID}, true
}
