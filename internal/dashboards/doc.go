// Package dashboards builds the Grafana dashboards of deploy/grafana/dashboards from code.
//
//	go test . -update
//
// writes them. The test compares them with the code, and each query with the metrics and
// labels of docs/metrics.md, which a test of internal/app compares with what the worker
// registers.
//
// The package is a module of its own, so that Grafana's types and the parser of PromQL do
// not become dependencies of the service.
package dashboards
