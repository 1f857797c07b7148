package consumer

import (
	"sync"
	"time"
)

// A silence is how long a broker has given a reader nothing though it was the
// reader's turn and there may be something. The zero value is none.
type silence struct {
	mu      sync.Mutex
	since   time.Time // zero: none
	excused time.Time // when it was last excused
}

// begin notes that the reader waits for the broker.
func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

// suspend ends a silence that may be resumed, and returns since when it lasted.
func (s *silence) suspend() (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, s.since = s.since, time.Time{}
	return since
}

// resume goes on with a suspended silence.
func (s *silence) resume(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = since
}

// end notes that there is nothing to give, that the broker said what is wrong, or
// that the reader does not wait for it.
func (s *silence) end() { s.suspend() }

// excuse notes that the reader was not served because it has to wait: for its
// turn, for memory, or because the broker said so.
func (s *silence) excuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.excused = time.Time{}, time.Now()
}

// lasts tells since when the silence lasts; ok is false when there is none.
func (s *silence) lasts() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero()
}

// waited tells when the reader last had to wait for another reason than the
// broker's silence.
func (s *silence) waited() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.excused
}
