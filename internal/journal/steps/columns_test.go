package steps

import (
	"strings"
	"testing"

	"invoicebox-worker/internal/journal/rows"
)

// Rows are filled from what a query selects by position.
func TestColumnsAreThoseOfTheRows(t *testing.T) {
	for _, x := range []struct {
		table *rows.Table
		text  string
	}{
		{rows.TableOf[rows.Operation]("operation"), operationColumns},
		{rows.TableOf[rows.Shop]("shop"), shopColumns},
	} {
		if want, got := strings.Join(x.table.Names(), ", "), strings.Join(strings.Fields(x.text), " "); got != want {
			t.Errorf("columns of %s are %q, want %q", x.table.Name, got, want)
		}
	}
}
