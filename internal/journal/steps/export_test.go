package steps

import (
	"fmt"

	"invoicebox-worker/internal/journal"
)

// MadeQueries are those that are put together at run time, by name.
func MadeQueries() map[string]Query {
	made := make(map[string]Query)
	for _, c := range journal.KeyColumns() {
		made[fmt.Sprintf("rowsWithKey %s.%s", c.Table, c.Column)] = rowsWithKey(c)
	}
	for name, f := range map[string]journal.OperationFilter{
		"all": {}, "account": {Account: "a"}, "shop": {Account: "a", Shop: "s"}, "open": {OpenOnly: true}, "attention": {State: journal.Attention},
		"planned": {State: journal.Planned}, "done": {State: journal.Done}, "kind": {Kind: journal.Invite, Before: 5},
	} {
		made["filtered "+name], _ = filtered(f)
	}
	return made
}
