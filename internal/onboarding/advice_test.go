package onboarding

import (
	"testing"

	"invoicebox-worker/invoicebox"
)

// Whatever blames our settings, or is kept for a person, has words for people.
func TestAdvice(t *testing.T) {
	for _, row := range invoicebox.OutcomeRules() {
		switch row.Outcome {
		case invoicebox.OurFault, invoicebox.Unauthorized, invoicebox.Unreadable:
			for _, reason := range append(row.Failures, row.Reason) {
				switch reason {
				case invoicebox.ReasonNone, invoicebox.ReasonLost, invoicebox.ReasonReset, invoicebox.ReasonDeadline, invoicebox.ReasonCanceled:
					continue // the row has a reason of its own
				}
				if a, ok := AdviceFor(reason); !ok || a.Means == "" || a.Do == "" && reason != invoicebox.ReasonValue {
					t.Errorf("%s: nothing is said of %s", row.Name, reason)
				}
			}
		}
	}
	seen := map[invoicebox.Reason]bool{}
	for _, row := range advice {
		if seen[row.Reason] {
			t.Errorf("%s is there twice", row.Reason)
		}
		seen[row.Reason] = true
	}
}
