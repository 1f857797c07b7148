package golden_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/golden"
	"invoicebox-worker/schemas"
)

const eventsPage = "../../../docs/events.md"

// The tables of the page for platforms are those of the code.
func TestEventsPage(t *testing.T) {
	for heading, typ := range map[string]string{
		"## When an invitation fails": schemas.TypeInvitationFailed, "## When an activation fails": schemas.TypeActivationFailed,
	} {
		rows := [][]string{{"reason", "action", "final", "what it means", "what the shop should see", "what comes next"}}
		for _, reason := range schemas.FailureReasons(typ) {
			f, _ := schemas.LookupFailure(typ, reason)
			rows = append(rows, []string{"`" + string(reason) + "`", "`" + string(f.Action) + "`", fmt.Sprint(f.Final), f.Description, f.Shop, f.Next})
			if slices.Contains([]string{f.Description, f.Shop, f.Next}, "") {
				t.Errorf("%s: a text is missing", reason)
			}
			if f.Final && strings.Contains(f.Next, "A success can follow") || !f.Final && f.Next == "Nothing follows." {
				t.Errorf("%s: final is %v and %q", reason, f.Final, f.Next)
			}
		}
		golden.CompareMarkdown(t, eventsPage, heading, rows)
	}
	rows := [][]string{{"reason", "what is wrong", "what to change"}}
	for _, reason := range schemas.InvalidReasons() {
		meaning, remedy := schemas.DescribeInvalidReason(reason)
		rows = append(rows, []string{"`" + string(reason) + "`", meaning, remedy})
	}
	golden.CompareMarkdown(t, eventsPage, "## Dead letters", rows)
}
