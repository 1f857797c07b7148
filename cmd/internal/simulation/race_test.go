//go:build race

package simulation

// seedsInCI is how many seeds are tried under the race detector, which makes
// each of them slower.
const seedsInCI = 8
