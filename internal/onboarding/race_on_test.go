//go:build race

package onboarding_test

// lean makes long runs in virtual time shorter: the race detector makes SQLite
// in Go ten times slower, and looks for something else than figures.
const lean = true
