package producer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
)

func TestStatus(t *testing.T) {
	t.Run("WarnsWhenFaultLasts", testStatusWarnsWhenFaultLasts)
	t.Run("ReportsFailingJournal", testStatusReportsFailingJournal)
}

// A coordinator that is loading is worth a warning only when it lasts; every
// other fault is at once.
func testStatusWarnsWhenFaultLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		var s status
		lines := func() (debug, warn int) {
			return strings.Count(out.String(), "level=DEBUG"), strings.Count(out.String(), "level=WARN")
		}
		expect := func(when string, debug, warn int) {
			t.Helper()
			if d, w := lines(); d != debug || w != warn {
				t.Errorf("%s: %d lines for debugging and %d warnings, want %d and %d\n%s", when, d, w, debug, warn, &out)
			}
			out.Reset()
		}
		loading := kafka.Wrap(kafkago.GroupLoadInProgress)
		moved := fmt.Errorf("t/0: %w", kafka.Wrap(kafkago.NotCoordinatorForGroup))

		s.report(log, "t", "w", loading)
		s.report(log, "t", "w", loading)
		expect("at first sight", 1, 0)
		<-time.After(warnAfter)
		s.report(log, "t", "w", moved)
		expect("another one of the kind", 1, 0)
		<-time.After(time.Millisecond)
		s.report(log, "t", "w", moved)
		s.report(log, "t", "w", moved)
		expect("when it lasts", 0, 1)
		s.clear("t")
		s.report(log, "t", "w", moved)
		expect("after it was over", 1, 0)
		s.report(log, "t", "w", errors.New("another fault"))
		expect("another kind", 0, 1)
	})
}

// A journal that fails for long is no relay that publishes.
func testStatusReportsFailingJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		for place, word := range outboxFaults {
			var s status
			s.setPhase(leader)
			expect := func(when string, want bool, words string) {
				t.Helper()
				if ready, said := s.ready(); ready != want || said != words {
					t.Errorf("%s, %s: %v, %q", place, when, ready, said)
				}
			}
			s.report(log, place, "w", errors.New("a fault"))
			<-time.After(warnAfter)
			expect("for a while", true, "publishing")
			s.report(log, place, "w", errors.New("another"))
			<-time.After(time.Millisecond)
			expect("for long", false, word)
			s.clear(place)
			expect("when it is over", true, "publishing")
			s.report(log, place, "w", errors.New("a fault"))
			expect("new fault", true, "publishing")
		}
	})
}
