package stored

import (
	"fmt"
	"testing"

	"invoicebox-worker/internal/journal"
)

// The numbers are in databases: they stay what they are.
func TestNumbersStayWhatTheyAre(t *testing.T) {
	exits := ""
	for n := int64(-1); n < 8; n++ {
		exits += Exit(n) + " "
	}
	if exits != "  planned joined rerun answered kept   " {
		t.Errorf("exits are %q", exits)
	}
	circuits := ""
	for n := int64(-1); n < 6; n++ {
		s := Circuit(n)
		circuits += string(s) + " "
		if s != "" && CircuitNumber(s) != n {
			t.Errorf("%s is number %d, not %d", s, CircuitNumber(s), n)
		}
	}
	if circuits != "  active throttled backing_off paused  " || CircuitNumber("ajar") != 0 || CircuitNumber("") != 0 {
		t.Errorf("circuit breakers are %q", circuits)
	}
}

// Every state has a lane if it is open, and none otherwise.
func TestLanes(t *testing.T) {
	for s := range journal.State(40) {
		want := any(nil)
		switch {
		case !s.Open():
		case s == journal.Queued:
			want = LaneQueued
		case s.HoldsLane():
			want = LaneHeld
		default:
			want = LaneBeside
		}
		if got := Lane(s); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("state %v: lane %v, want %v", s, got, want)
		}
		if Cancellable(s) && !s.Open() {
			t.Errorf("state %v has ended and can be cancelled", s)
		}
	}
}
