package app

import (
	"testing"
	"time"
)

func TestInDays(t *testing.T) {
	for d, want := range map[time.Duration]string{
		720 * time.Hour: "30 days", 337 * time.Hour: "14 days and 1h", 48 * time.Hour: "2 days", 47 * time.Hour: "47h",
		time.Hour + 20*time.Minute: "1h20m", 10 * time.Second: "10s", 72*time.Hour + 30*time.Second: "3 days and 30s",
	} {
		if got := formatDays(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
