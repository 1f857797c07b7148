package consumer

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPartition(t *testing.T) {
	t.Run("IsStalled", testPartitionIsStalled)
}

// An caughtUp partition in which a record has just arrived is no silent one: only a
// position that stays behind the end for the whole limit is suspect.
func testPartitionIsStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		p := &partition{}
		after := func(d time.Duration, position int64, want bool) {
			t.Helper()
			<-time.After(d)
			if got := p.isStalled(position, limit); got != want {
				t.Errorf("position %d: suspected %v, want %v", position, got, want)
			}
		}
		after(time.Hour, 5, false)
		after(limit/2, 5, false)
		after(limit/2, 6, false)
		after(limit/2, 6, false)
		after(limit/2, 6, true)
		p.caughtUp()
		after(time.Second, 6, false)
	})
}
