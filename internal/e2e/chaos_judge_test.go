package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/invoicebox/sandbox"
)

// judge looks at the end of a run from outside, and prints what came of it.
func (r *chaosRig) judge(story *scenario.Story, done *counter) {
	r.t.Helper()
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	keys, err := keyset.File{Path: r.path("keyset.json")}.Load(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	run := scenario.Run{
		Story: story, Cluster: r.cluster, Topics: r.topics, Group: r.group, Journal: j, Store: credentials.NewSealed(keys.Bind(j.Origin().String())),
		TokenOf: r.sandbox.TokenOf, Quiet: r.s.quiet, Around: r.around,
		Heard: func(q sandbox.Request) bool { return r.heard(q) != nil },
	}
	r.ask("/requests", &run.Requests)
	r.ask("/effects", &run.Effects)
	r.ask("/windows", &run.Windows)
	report := scenario.Judge(r.t, run)

	// What the command lists for an operator is what the operations say.
	got := map[string]int{}
	for _, op := range r.operations("--attention", "--limit", "100000") {
		got[op.Kind+" "+op.Reason]++
	}
	scenario.SameSet(r.t, "attention", report.Attention, got)

	var what strings.Builder
	for _, name := range slices.Sorted(maps.Keys(done.n)) {
		fmt.Fprintf(&what, ", %d %s", done.n[name], name)
	}
	r.t.Logf("seed %d: %d lives of the worker%s\n%s", r.s.seed, len(r.lives), what.String(), report.Ledger)
}
