package postgres

import (
	"context"

	"invoicebox-worker/internal/journal/steps"

	"github.com/jackc/pgx/v5"
)

// A commit that was given up is made by the server after later ones, as where
// its disk or one of its processes stood still: nothing is missing.
func testLateCommit(b *bed) {
	ctx := b.Context()
	j := b.open()
	server, err := pgx.Connect(ctx, b.url)
	b.ok(err)
	defer func() { _ = server.Close(context.Background()) }()
	_, err = server.Exec(ctx, pulseInterval, j.pulse.process[:], j.pulse.acked.Load()-1, j.clock.Now())
	b.ok(err)
	b.ok(j.examine(ctx, server, ""))
	if err := j.refusal(steps.Needs{}); err != nil {
		b.Fatal(err)
	}
	b.ok(j.EnsureAccount(ctx, "second", "partner-2"))
}
