package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/tracing"
)

const (
	// traceFlushTimeout bounds the export of the last spans, when everything else has stopped.
	traceFlushTimeout = 2 * time.Second
	// probeTracesWithin bounds the request of check.
	probeTracesWithin = 10 * time.Second
)

// startTraces starts the export of spans. Without --otlp-endpoint the tracer is nil.
func startTraces(o *Options, registry prometheus.Registerer, log *slog.Logger, closing *teardown) (*tracing.Tracer, error) {
	metrics := tracing.NewMetrics(registry)
	if o.OTLPEndpoint == "" {
		return nil, nil //nolint:nilnil // a nil tracer starts no spans
	}
	exporter, err := tracing.Start(tracing.Options{Endpoint: o.OTLPEndpoint, Version: o.Version, Instance: owner(), Logger: log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	if tracesUnencrypted(o) {
		log.Warn("spans are sent without TLS", "endpoint", o.OTLPEndpoint, "risk", unencryptedTraces)
	}
	closing.add("traces", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), traceFlushTimeout)
		defer cancel()
		exporter.Shutdown(ctx)
		return nil
	})
	return exporter.Tracer(), nil
}

const unencryptedTraces = "shop ids, and the headers of OTEL_EXPORTER_OTLP_HEADERS, can be read on the network"

func tracesUnencrypted(o *Options) bool {
	return config.Unencrypted(o.OTLPEndpoint)
}

// checkTraces checks that the collector accepts spans. The worker works without it.
func checkTraces(ctx context.Context, o *Options) []CheckResult {
	const name = "traces"
	if o.OTLPEndpoint == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTracesWithin)
	defer cancel()
	where := tracing.URL(o.OTLPEndpoint)
	err := tracing.Probe(ctx, o.OTLPEndpoint)
	if errors.Is(err, tracing.ErrSettings) {
		return []CheckResult{{name, CheckFailed, err.Error() + "; run refuses to start"}}
	}
	if err != nil {
		return []CheckResult{{name, CheckWarning, "no spans can be exported to " + where + ": " + err.Error() + "; check --otlp-endpoint. Events are processed without traces"}}
	}
	if tracesUnencrypted(o) {
		return []CheckResult{{name, CheckWarning, where + " accepts spans, without TLS: " + unencryptedTraces}}
	}
	return []CheckResult{{name, CheckOK, where + " accepts spans"}}
}
