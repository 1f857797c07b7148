// Package vals contains a test only: helmfile's vals resolves the references of real
// events.
//
// A worker activates shops with odd names for three accounts, whose secrets are in the
// journal, and in a real OpenBao server under the names openbao and vault. vals resolves
// each reference as it stands in the event, and gets the token that the sandbox issued.
// vals has no provider for sealed references: it runs a program (its provider exec), which
// is `invoicebox-worker resolve` or curl at the worker's endpoint.
//
//	INVOICEBOX_TEST_REQUIRE=openbao INVOICEBOX_TEST_OPENBAO=PROGRAM go test -tags custom_providers,openbao,vault .
//
// The tags leave out the other providers of vals, which take minutes to compile.
//
// The package is a module of its own, so that the libraries of vals do not become
// dependencies of the service.
package vals
