package stored

import (
	"math"
	"strings"
	"testing"
)

// A damaged number is an error. If it counted as absent, permits would be given out at once.
func TestNumbers(t *testing.T) {
	for _, n := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
		if got, err := UnpackNumber("history", PackNumber(n)); err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
	}
	if got, err := UnpackNumber("history", nil); err != nil || got != 0 {
		t.Errorf("absent: %d, %v", got, err)
	}
	for _, value := range []string{"", "x", "1 ", "9223372036854775808"} {
		if _, err := UnpackNumber("history", []byte(value)); err == nil || !strings.Contains(err.Error(), `"history"`) {
			t.Errorf("%q: %v", value, err)
		}
	}
}
