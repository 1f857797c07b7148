// Package otlp contains a test only: the receiver of the OpenTelemetry Collector accepts the
// spans of a worker, over TLS and compressed.
//
//	go test .
//
// The package is a module of its own, so that the libraries of the Collector do not become
// dependencies of the service.
package otlp
