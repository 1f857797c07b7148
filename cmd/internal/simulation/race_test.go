//go:build race

package simulation

import "time"

// What is done under the race detector, which makes all of it slower; 0: nothing.
const (
	seedsInCI   = 5
	away        = time.Hour
	awayHanging = 0
	away429     = 0
)
