package consumer

import (
	"sync"
	"time"
)

// A stall is how long a broker has given a reader nothing though it was the
// reader's turn and there may be something. The zero value is none.
type stallTimer struct {
	mu            sync.Mutex
	since         time.Time // zero: none
	deferredSince time.Time // when it was last excused
}

// initPositions notes that the reader waits for the broker.
func (s *stallTimer) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// suspend ends a silence that may be resumed, and returns since when it lasted.
func (s *stallTimer) suspend() (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, s.since = s.since, time.Time{}
	return since
}

// resume goes on with a suspended silence.
func (s *stallTimer) resume(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = since
}

// stop notes that there is nothing to give, that the broker said what is wrong, or
// that the reader does not wait for it.
func (s *stallTimer) stop() { s.suspend() }

// markDeferred notes that the reader was not served because it has to wait: for its
// pendingFetch, for memory, or because the broker said so.
func (s *stallTimer) markDeferred() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.deferredSince = time.Time{}, time.Now()
}

// running tells since when the silence lasts; ok is false when there is none.
func (s *stallTimer) running() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero()
}

// deferredAt tells when the reader last had to wait for another reason than the
// broker's silence.
func (s *stallTimer) deferredAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deferredSince
}
