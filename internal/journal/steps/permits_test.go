package steps

import (
	"fmt"
	"strings"
	"testing"
)

func FuzzLedgerIDs(f *testing.F) {
	f.Add("1 2 3")
	f.Fuzz(func(t *testing.T, s string) {
		for n := range LedgerIDs(s) {
			if !strings.Contains(s, strings.TrimPrefix(fmt.Sprint(n), "-")) {
				t.Fatalf("%d out of %q", n, s)
			}
			break
		}
	})
}
