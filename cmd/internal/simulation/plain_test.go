//go:build !race

package simulation

// seedsInCI is how many seeds a plain `go test` tries.
const seedsInCI = 24
