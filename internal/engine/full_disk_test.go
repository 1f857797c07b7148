package engine_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/schemas"
)

// The whole way over a disk that is really full, twice: what was sent is kept,
// no code is sent a second time, and when there is room all goes on.
func TestFullDisk_ServiceOnAFullDisk(t *testing.T) {
	journaltest.OnSmallDisk(t, 8<<20, func(t *testing.T, folder string) {
		o := calm()
		o.Latency = 100 * time.Millisecond
		s := newService(t, o)
		s.path = filepath.Join(folder, "journal.db")
		s.start()
		const shops = 400
		var events []journal.Event
		for i := range shops {
			events = append(events, s.event(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("a", i), fmt.Sprint("code-", i)))
		}
		s.ingest(events...)
		for range 2 {
			<-s.j.OutboxChanged() // in the middle of it
			drop := journaltest.Ballast(t, folder, 0)
			s.quietServer()
			drop()
		}
		s.settle(2 * time.Minute)
		for _, a := range s.box.Effects().Activations {
			if a.Requests != 1 || a.Effects != 1 {
				t.Errorf("code %+v", a)
			}
		}
		activated := 0
		for _, e := range s.published() {
			if a, ok := e.Data.(schemas.Activated); ok && s.resolves(a, "code-"+e.Subject[len("shop-"):]) {
				activated++
			}
		}
		if activated != shops {
			t.Errorf("%d of %d activations are announced and resolve", activated, shops)
		}
		s.finish()
	})
}

// quietServer waits until no call has begun for a second: the disk is full.
func (s *service) quietServer() {
	s.Helper()
	requests := func() int { return s.box.Effects().Requests }
	last, since := requests(), time.Now()
	for end := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		if n := requests(); n != last {
			last, since = n, time.Now()
		}
		switch {
		case time.Since(since) > time.Second:
			return
		case time.Now().After(end):
			s.Fatal("calls go on although the disk is full")
		}
	}
}
