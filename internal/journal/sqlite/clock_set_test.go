package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
)

// What was sent before the machine's clock was set forward looks older than it
// is: the ledgers wait, once. A clock that was set back, or a machine that was
// started again, is another matter.
func TestAClockThatWasSetForward(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	wall, since, boot := time.Unix(1_800_000_000, 0), 500*time.Hour, "first"
	p := journal.Permit{RateLimit: "account/" + benchAccount, Limit: 5, Window: 30 * time.Second, Slack: time.Minute}
	for _, x := range []struct {
		what      string
		pass, set time.Duration
		boot      string
		want      int
	}{
		{"new", 0, 0, "first", 5},
		{"as it runs", time.Hour, 0, "first", 5},
		{"adjusted", time.Hour, 50 * time.Millisecond, "first", 5},
		{"set forward", time.Second, 10 * time.Minute, "first", 0},
		{"while it waits", 89 * time.Second, 0, "first", 0},
		{"when it has waited", time.Second, 0, "first", 5},
		{"set back", time.Hour, -time.Minute, "first", 5},
		{"started again", time.Second, 10 * time.Minute, "second", 5},
	} {
		wall, since = wall.Add(x.pass+x.set), since+x.pass
		if boot != x.boot {
			boot, since = x.boot, time.Minute
		}
		j := opened(t, Options{Path: path, Now: func() time.Time { return wall }, boot: func() (string, int64) { return boot, since.Microseconds() }})
		n, _, err := j.AvailablePermits(t.Context(), p)
		if err != nil || n != x.want {
			t.Errorf("%s: %d permits are free (%v), want %d", x.what, n, err, x.want)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSinceBoot(t *testing.T) {
	boot, first := sinceBoot()
	if boot == "" {
		t.Skip("this system has no such clock")
	}
	if again, second := sinceBoot(); again != boot || second < first || first <= 0 {
		t.Errorf("%q %d, then %q %d", boot, first, again, second)
	}
}
