package steps

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// MadeQueries are those that are put together at run time, by name.
func MadeQueries() map[string]Query {
	made := make(map[string]Query)
	for _, c := range journal.KeyColumns() {
		made[fmt.Sprintf("rowsByKey %s.%s", c.Table, c.Column)] = rowsByKey(c)
	}
	for name, f := range map[string]journal.OperationFilter{
		"all": {}, "account": {Account: "a"}, "shop": {Account: "a", Shop: "s"}, "open": {OpenOnly: true}, "attention": {State: journal.Attention},
		"planned": {State: journal.Planned}, "done": {State: journal.Done}, "kind": {Kind: journal.Invite, Before: 5},
	} {
		made["filtered "+name], _ = filtered(f)
	}
	for name, f := range map[string]journal.IntentFilter{
		"all": {}, "one": {UUID: uuid.Max}, "operation": {Operation: uuid.Max, Before: 5}, "account": {Account: "a"}, "shop": {Shop: journal.ShopKey{Account: "a", Shop: "s"}},
	} {
		made["filteredIntents "+name], _ = filteredIntents(f)
	}
	for name, f := range map[string]journal.DeadLetterFilter{
		"all": {}, "one": {ID: 1}, "no records": {NoRecords: true}, "shop": {Shop: journal.ShopKey{Account: "a", Shop: "s"}, Before: 5}, "reason": {Reason: "r", Topic: "t", Since: time.Now(), Until: time.Now()},
	} {
		made["filteredLetters "+name], _ = filteredLetters(f)
	}
	return made
}
