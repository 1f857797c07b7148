package consumer

import (
	"context"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/tracing"
)

// traceIngested makes a span for each event that was ingested: from the decoding of its
// batch to the end of the transaction. It returns the first that is exported, if there is
// one. The attributes are those of OpenTelemetry's conventions for Kafka.
//
// known holds the indexes, ascending, of the events that were already in the inbox. Their
// spans are not first spans: without a traceparent, the first span of an event has an id
// that is derived from the event.
func (c *Config) traceIngested(topic string, partition int, events []journal.Event, known []int, began time.Time) (first trace.SpanContext) {
	if !c.Tracer.Enabled() {
		return first
	}
	for i := range events {
		e := &events[i]
		options := []trace.SpanStartOption{trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("messaging.system", "kafka"), attribute.String("messaging.operation.name", "process"), attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", topic), attribute.String("messaging.destination.partition.id", strconv.Itoa(partition)),
			attribute.Int64("messaging.kafka.offset", e.Offset), attribute.String("messaging.consumer.group.name", c.Group),
			attribute.String("invoicebox.account", e.Shop.Account), attribute.String("invoicebox.shop", e.Shop.Shop),
		)}
		cause := tracing.Event{TraceParent: e.TraceParent, Shop: e.Shop.Shop, ID: e.ID}
		var span trace.Span
		if _, repeated := slices.BinarySearch(known, i); repeated {
			_, span = c.Tracer.Start(context.Background(), cause, "process "+topic, append(options, trace.WithAttributes(attribute.Bool("invoicebox.repeated", true)))...)
		} else {
			span = c.Tracer.StartFirst(cause, "process "+topic, options...)
		}
		span.End()
		if s := span.SpanContext(); s.IsSampled() && !first.IsValid() {
			first = s
		}
	}
	return first
}
