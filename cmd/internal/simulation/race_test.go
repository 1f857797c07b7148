//go:build race

package simulation

import "time"

// What is done under the race detector, which makes all of it slower.
const (
	seedsInCI   = 8
	away        = 3 * time.Hour
	awayHanging = time.Hour
	away429     = time.Hour
)
