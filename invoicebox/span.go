package invoicebox

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// startSpan starts the span of a call below the span of ctx, if that is exported. Its
// attributes are those of OpenTelemetry's conventions for HTTP clients. The request carries
// no traceparent: the API does not document one, and its logs are the vendor's.
func startSpan(ctx context.Context, op Operation, method string, u *url.URL) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, noop.Span{}
	}
	port := 443
	if u.Scheme == "http" {
		port = 80
	}
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = n
	}
	return parent.TracerProvider().Tracer("invoicebox-worker").Start(ctx, method+" "+u.Path, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("invoicebox.call", op.String()), attribute.String("http.request.method", method),
		attribute.String("url.full", u.String()), attribute.String("server.address", u.Hostname()), attribute.Int("server.port", port),
	))
}

// endSpan ends the span of a call.
func endSpan(span trace.Span, x *Exchange) {
	if !span.IsRecording() {
		return
	}
	if x.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", x.Status))
	}
	if x.Tries > 1 {
		span.SetAttributes(attribute.Int("http.request.resend_count", x.Tries-1))
	}
	switch reason := x.reason(); {
	case reason != ReasonNone:
		span.SetAttributes(attribute.String("error.type", string(reason)))
		span.SetStatus(codes.Error, "")
	case x.Status >= http.StatusBadRequest:
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(x.Status)))
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(x.Finished))
}
