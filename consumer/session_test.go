package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/kafka"
)

func TestFetcher(t *testing.T) {
	t.Run("SessionExpires", testFetcherSessionExpires)
}

// A session that the broker ends unless it authenticates again is replaced
// before, so that its end is no fault.
func testFetcherSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{}
		if f.sessionExpiring(&kafka.Session{}) {
			t.Error("a session without an end expires")
		}
		s := &kafka.Session{Expires: time.Now().Add(time.Hour), Lifetime: time.Hour}
		<-time.After(53 * time.Minute)
		if f.sessionExpiring(s) {
			t.Error("the session is replaced too early")
		}
		<-time.After(2 * time.Minute)
		if !f.sessionExpiring(s) {
			t.Error("the session is not replaced in time")
		}
	})
}
