package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
)

// A list that was cut says so and can be continued; a program gets all of it.
func TestListsAreContinued(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	const shops = tableRows + 5
	for i := range shops {
		r.selected(fmt.Sprintf("shop-%02d", i), "a@b.example")
	}
	r.results("shop.invoicebox_invited", shops)
	w.end()
	list := func(args ...string) (ids []string, errs string) {
		t.Helper()
		code, out, errs := r.command(append(append([]string{"operations", "list", "--all", "--output", "json"}, args...), r.beside()...)...)
		var rows []operationJSON
		if err := json.Unmarshal([]byte(out), &rows); err != nil || code != exitDone {
			t.Fatalf("exit status %d, %v, %s", code, err, errs)
		}
		for _, row := range rows {
			ids = append(ids, row.ID)
		}
		return ids, errs
	}
	all, errs := list()
	if len(all) != shops || errs != "" {
		t.Errorf("JSON has %d of %d operations, stderr %q", len(all), shops, errs)
	}
	first, errs := list("--limit", "40")
	if len(first) != 40 || !strings.Contains(errs, "cut after 40 rows; continue with --after "+first[39]) {
		t.Errorf("%d operations, stderr %q", len(first), errs)
	}
	rest, errs := list("--limit", "40", "--after", first[39])
	if fmt.Sprint(append(first, rest...)) != fmt.Sprint(all) || errs != "" {
		t.Errorf("the two parts are not the whole, stderr %q", errs)
	}
	code, out, errs := r.command(append([]string{"operations", "list", "--all"}, r.beside()...)...)
	if code != exitDone || strings.Count(out, "shop-") != tableRows || !strings.Contains(errs, "cut after 50 rows") {
		t.Errorf("the table has %d rows, stderr %q", strings.Count(out, "shop-"), errs)
	}
	if _, errs := list("--limit", fmt.Sprint(shops)); errs != "" {
		t.Errorf("a list that is whole says that it was cut: %q", errs)
	}
	for _, args := range [][]string{{"operations", "list", "--after", "x"}, {"dead-letters", "list", "--after", "x"}, {"dead-letters", "list", "--limit", "100001"}} {
		if code, _, _ := r.command(append(args, r.beside()...)...); code != exitUsage {
			t.Errorf("%v: exit status %d", args, code)
		}
	}
}
