package journal

import (
	"slices"
	"testing"
)

func TestNumbers(t *testing.T) {
	for text, numbers := range map[string][]int64{"3": {3}, "3-4": {3, 4}, "1-3 5 7-8": {1, 2, 3, 5, 7, 8}} {
		if got := FormatNumbers(numbers); got != text {
			t.Errorf("%v is %q, want %q", numbers, got, text)
		}
		if got := ParseNumbers(text); !slices.Equal(got, numbers) {
			t.Errorf("%q is %v, want %v", text, got, numbers)
		}
	}
	for _, text := range []string{"", " ", "1 ", "x", "1-", "-1", "0", "3-2", "1-10002", "1-9223372036854775807", "99999999999999999999"} {
		if got := ParseNumbers(text); got != nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
