package stored

import (
	"fmt"

	"invoicebox-worker/internal/journal"
)

// CheckPermit refuses a permit whose rule no ledger can count by.
func CheckPermit(p journal.Permit) error {
	if p.Ledger == "" || p.Window <= 0 || p.Slack < 0 {
		return fmt.Errorf("journal: a ledger %q with window %v and slack %v makes no sense", p.Ledger, p.Window, p.Slack)
	}
	return nil
}
