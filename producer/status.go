package producer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"invoicebox-worker/internal/kafka"
)

// patience is how long a coordinator may be loading, moving or away before that
// is worth a warning: a cluster that has just started answers so at first. The
// journal may fail for as long before Ready tells.
const patience = 10 * time.Second

// heldTooLong is how long a partition's results may wait for their broker
// before Ready reports it.
const heldTooLong = time.Minute

// maxListed bounds the places that Ready names.
const maxListed = 5

// status is what Ready tells, and what was last logged of each fault.
type status struct {
	mu    sync.Mutex
	said  map[string]said      // by place of the fault
	words map[string]string    // of stopped topics
	held  map[string]time.Time // since when a partition's batch, or a topic's first look, waits
	phase phase
	// forged is how many rows of the outbox are held back as not authentic.
	forged int
}

// said is what was logged of a fault.
type said struct {
	text  string
	class kafka.Class
	mild  bool      // it may well pass, and was logged for debugging only
	since time.Time // of the first mild one in a row
	first time.Time // fault of the place in a row
}

// kind is the fault's class, for people.
func (s said) kind() string {
	if s.class == "" {
		return "no answer"
	}
	return string(s.class)
}

// outboxFaults are the places of faults that keep every topic's results, in the
// words of Ready.
var outboxFaults = map[string]string{
	"outbox":  "results held back: the outbox cannot be read",
	"marking": "what was published cannot be marked in the journal, and would be published again",
}

// note logs a fault once until it changes or is over.
func (s *status) note(log *slog.Logger, place, words string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, before := time.Now(), s.said[place]
	next := said{text: err.Error(), class: kafka.ClassOf(err), first: before.first}
	if next.first.IsZero() {
		next.first = now
	}
	level := slog.LevelWarn
	if kafka.ClassOf(err) == kafka.Coordinator {
		next.since = before.since
		if next.since.IsZero() {
			next.since = now
		}
		if next.mild = now.Sub(next.since) <= patience; next.mild {
			level = slog.LevelDebug
		}
	}
	if before.text == next.text && before.mild == next.mild {
		return
	}
	if s.said == nil {
		s.said = map[string]said{}
	}
	s.said[place] = next
	log.Log(context.Background(), level, "the relay has trouble", "with", words, "err", err)
}

func (s *status) clear(place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.said, place)
	delete(s.held, place)
}

// hold notes that results wait for a place since a time; clear ends that.
func (s *status) hold(place string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]time.Time{}
	}
	if _, waits := s.held[place]; !waits {
		s.held[place] = since
	}
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

// forget is for a relay that begins anew.
func (s *status) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.said)
	clear(s.words)
	clear(s.held)
}

func (s *status) enter(p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = p
}

func (s *status) ready() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case starting:
		return false, "whether this replica publishes is not known yet"
	case standby:
		return true, "another replica publishes"
	case unknown:
		return false, "whether this replica publishes is not known: the journal does not answer"
	}
	for _, place := range slices.Sorted(maps.Keys(outboxFaults)) {
		if fault, is := s.said[place]; is && time.Since(fault.first) > patience {
			return false, outboxFaults[place]
		}
	}
	var list []string
	for topic, word := range s.words {
		list = append(list, topic+" ("+word+")")
	}
	for place, since := range s.held {
		if topic, _, _ := strings.Cut(place, "/"); s.words[topic] == "" && time.Since(since) >= heldTooLong {
			list = append(list, place+" ("+s.said[place].kind()+")")
		}
	}
	if len(list) == 0 {
		return true, "publishing" + s.forgedWords()
	}
	slices.Sort(list)
	if more := len(list) - maxListed; more > 0 {
		list = append(list[:maxListed], fmt.Sprintf("and %d more", more))
	}
	return false, "results held back: " + strings.Join(list, ", ") + s.forgedWords()
}

func (s *status) forge(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forged = n
}

func (s *status) forgedWords() string {
	if s.forged == 0 {
		return ""
	}
	return fmt.Sprintf("; %d outbox rows are not authentic and are not published: see the log", s.forged)
}
