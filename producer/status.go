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

// warnAfter is how long a coordinator may be loading, moving or missing before that is
// logged as a warning: a cluster that has just started returns this error at first. The
// journal may fail for as long before Ready reports it.
const warnAfter = 10 * time.Second

// maxWaiting is how long a partition's results may wait for their broker before Ready
// reports it.
const maxWaiting = time.Minute

// maxListed bounds the partitions that Ready lists.
const maxListed = 5

// status is what Ready reports, and what was last logged of each fault.
type status struct {
	mu      sync.Mutex
	logged  map[string]loggedFault // by place of the fault
	blocked map[string]string      // class of the error, by topic
	waiting map[string]time.Time   // since when a partition's batch, or a topic's description, waits
	phase   phase
	// unauthentic is how many rows of the outbox are held back as not authentic.
	unauthentic int
}

// A loggedFault is what was logged of a fault.
type loggedFault struct {
	text     string
	class    kafka.ErrorClass
	expected bool      // it may pass, and was logged at debug level only
	since    time.Time // of the first expected fault in a row
	first    time.Time // fault of the place in a row
}

// kind returns the fault's class, for people.
func (s loggedFault) kind() string {
	if s.class == "" {
		return "no answer"
	}
	return string(s.class)
}

// outboxFaults are the places of faults that hold back the results of all topics, with
// the text of Ready.
var outboxFaults = map[string]string{
	"outbox":  "results held back: the outbox cannot be read",
	"marking": "what was published cannot be marked in the journal, and would be published again",
}

// report logs a fault once, until it changes or ends.
func (s *status) report(log *slog.Logger, place, op string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, before := time.Now(), s.logged[place]
	next := loggedFault{text: err.Error(), class: kafka.ClassOf(err), first: before.first}
	if next.first.IsZero() {
		next.first = now
	}
	level := slog.LevelWarn
	if kafka.ClassOf(err) == kafka.Coordinator {
		next.since = before.since
		if next.since.IsZero() {
			next.since = now
		}
		if next.expected = now.Sub(next.since) <= warnAfter; next.expected {
			level = slog.LevelDebug
		}
	}
	if before.text == next.text && before.expected == next.expected {
		return
	}
	if s.logged == nil {
		s.logged = map[string]loggedFault{}
	}
	s.logged[place] = next
	log.Log(context.Background(), level, "publishing is delayed; retrying", "op", op, "err", err)
}

func (s *status) clear(place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logged, place)
	delete(s.waiting, place)
}

// startWaiting notes that results wait for a place since a time; clear ends that.
func (s *status) startWaiting(place string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[string]time.Time{}
	}
	if _, waits := s.waiting[place]; !waits {
		s.waiting[place] = since
	}
}

func (s *status) block(topic, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked == nil {
		s.blocked = map[string]string{}
	}
	s.blocked[topic] = word
}

func (s *status) unblock(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocked, topic)
}

// reset is for a relay that has stepped down.
func (s *status) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.logged)
	clear(s.blocked)
	clear(s.waiting)
}

func (s *status) setPhase(p phase) {
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
	case leaderUnknown:
		return false, "whether this replica publishes is not known: the journal does not answer"
	}
	for _, place := range slices.Sorted(maps.Keys(outboxFaults)) {
		if fault, is := s.logged[place]; is && time.Since(fault.first) > warnAfter {
			return false, outboxFaults[place]
		}
	}
	var list []string
	for topic, word := range s.blocked {
		list = append(list, topic+" ("+word+")")
	}
	for place, since := range s.waiting {
		if topic, _, _ := strings.Cut(place, "/"); s.blocked[topic] == "" && time.Since(since) >= maxWaiting {
			list = append(list, place+" ("+s.logged[place].kind()+")")
		}
	}
	if len(list) == 0 {
		return true, "publishing" + s.unauthenticText()
	}
	slices.Sort(list)
	if more := len(list) - maxListed; more > 0 {
		list = append(list[:maxListed], fmt.Sprintf("and %d more", more))
	}
	return false, "results held back: " + strings.Join(list, ", ") + s.unauthenticText()
}

func (s *status) setUnauthentic(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unauthentic = n
}

func (s *status) unauthenticText() string {
	if s.unauthentic == 0 {
		return ""
	}
	return fmt.Sprintf("; %d outbox rows are not authentic and are not published: see the log", s.unauthentic)
}
