package onboarding

import "time"

// Exponential doubles base n times, up to limit.
func Exponential(base, limit time.Duration, n int) time.Duration {
	d := base
	for range n {
		if d >= limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, limit)
}
