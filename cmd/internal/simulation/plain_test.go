//go:build !race

package simulation

import "time"

// What a plain `go test` does.
const (
	seedsInCI   = 24
	away        = 24 * time.Hour
	awayHanging = time.Hour
	away429     = time.Hour
)
