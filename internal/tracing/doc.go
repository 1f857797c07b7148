// Package tracing exports OpenTelemetry traces of the work that an event causes.
//
// A trace begins with the traceparent of the event. The consumer, the engine and the relay
// start spans in it. None of them passes a span to the next: each reads the traceparent that
// the journal stores beside the event. Without a traceparent, the ids of the trace are
// derived from the shop and the event's id, so that the spans are in one trace all the same.
//
// A nil [Tracer] starts no spans and costs nothing.
//
// Work never waits for the collector. A bounded number of spans waits for export; further
// ones are dropped and counted. No span contains an e-mail address, an activation code or a
// token.
package tracing
