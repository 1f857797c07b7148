// Package chart tests the Helm chart of deploy/helm: it renders the chart with Helm's
// engine for several sets of values, and validates the objects. It also loads the compose
// files of deploy/compose with the library of Compose, and starts the programs with the
// settings of their services.
//
//	INVOICEBOX_TEST_KUBERNETES=kubernetes_validate-1.37.0-py3-none-any.whl go test .
//
// The variable names the PyPI package kubernetes-validate, which contains the JSON Schemas
// of Kubernetes. Without it the objects are rendered, and not compared with the schemas,
// unless INVOICEBOX_TEST_REQUIRE contains the word kubernetes.
//
// The package is a module of its own, so that Helm, Compose and the types of Kubernetes do not become
// dependencies of the service.
package chart
