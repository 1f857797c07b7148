//go:build race

package simulation

import "time"

// What is done under the race detector, which makes all of it slower.
const (
	seedsInCI = 8
	dayOf429  = 2 * time.Hour
)
