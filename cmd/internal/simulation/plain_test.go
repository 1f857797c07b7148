//go:build !race

package simulation

import "time"

// What a plain `go test` does.
const (
	seedsInCI = 24
	dayOf429  = 24 * time.Hour
)
