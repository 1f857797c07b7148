package producer

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// status is what Ready tells, and what was last logged of each fault.
type status struct {
	mu    sync.Mutex
	said  map[string]string // by place of the fault
	words map[string]string // of stopped topics
}

// note logs a fault once until it changes or is over.
func (s *status) note(log *slog.Logger, place, words string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := err.Error()
	if s.said[place] == text {
		return
	}
	if s.said == nil {
		s.said = map[string]string{}
	}
	s.said[place] = text
	log.Warn("the relay has trouble", "with", words, "err", err)
}

func (s *status) clear(place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.said, place)
}

func (s *status) stop(topic, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.words == nil {
		s.words = map[string]string{}
	}
	s.words[topic] = word
}

func (s *status) open(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.words, topic)
}

func (s *status) ready() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.words) == 0 {
		return true, "publishing"
	}
	var list []string
	for topic, word := range s.words {
		list = append(list, topic+" ("+word+")")
	}
	slices.Sort(list)
	return false, "results held back: " + strings.Join(list, ", ")
}
