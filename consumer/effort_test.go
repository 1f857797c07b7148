package consumer

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process that was frozen during a try has not tried for all that time.
func TestAFrozenTryCountsForLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEffort(15 * time.Second)
		for _, try := range []struct{ took, spent time.Duration }{
			{2 * time.Second, 2 * time.Second},
			{time.Hour, 17 * time.Second},
			{250 * time.Millisecond, 17250 * time.Millisecond},
			{15 * time.Second, 32250 * time.Millisecond},
		} {
			<-time.After(try.took)
			if got := e.spent(); got != try.spent {
				t.Errorf("after a try of %v: %v, want %v", try.took, got, try.spent)
			}
		}
	})
}
