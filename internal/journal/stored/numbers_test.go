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
	gates := ""
	for n := int64(-1); n < 6; n++ {
		s := Gate(n)
		gates += string(s) + " "
		if s != "" && GateNumber(s) != n {
			t.Errorf("%s is number %d, not %d", s, GateNumber(s), n)
		}
	}
	if gates != "  open limited resting paused  " || GateNumber("ajar") != 0 || GateNumber("") != 0 {
		t.Errorf("gates are %q", gates)
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
