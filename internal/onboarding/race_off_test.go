//go:build !race

package onboarding_test

// lean is for the race detector; see the other file.
const lean = false
