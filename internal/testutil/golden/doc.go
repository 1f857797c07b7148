// Package golden compares generated tables and sections of Markdown documents
// with the data that they show. It is for tests only.
//
// Run the tests with -update to write what differs, for example
//
//	go test ./internal/onboarding -run TestDocuments -update
package golden
