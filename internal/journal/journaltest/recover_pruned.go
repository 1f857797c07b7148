package journaltest

import (
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// testRecoverPruned recovers a journal that has pruned rows that a recovery uses: events,
// requests and published results.
func testRecoverPruned(f *fixture) {
	shop := shopKey("s")
	for i := range 3 {
		f.ingest(f.code("s", fmt.Sprint("e", i), fmt.Sprint(i)))
		o := f.claimed(journal.Activate, journal.Call)
		f.finish(o, f.draft(o, schemas.TypeActivated))
	}
	out := f.pending()
	// In another order than that of the outbox: the rows that stay are not the last ones.
	f.ok(f.j.MarkPublished(f.ctx, []journal.Published{
		{Row: out[0].Row, Partition: 3, Offset: 50}, {Row: out[1].Row, Partition: 3, Offset: 51}, {Row: out[2].Row, Partition: 3, Offset: 40},
	}))
	f.age()
	f.prune()
	before, err := f.j.Shop(f.ctx, shop)
	f.ok(err)
	if len(before.Output) != 1 || len(before.Events) != 3 {
		f.Fatalf("%d events and %d results are left", len(before.Events), len(before.Output))
	}
	f.crash()
	f.recover(restorer)
	up, err := f.j.PublishedOffsets(f.ctx)
	f.ok(err)
	diff(f.T, []journal.Position{{Topic: schemas.TypeActivated, Partition: 3, Next: 52}}, up)
	// Of a run that the copy does not know, and of an operation whose event was pruned.
	lost, old := f.code("s", "lost", "9"), f.code("s", "e0", "0")
	diff(f.T, journal.ImportResult{Imported: 1}, f.takeOver(announced(lost, 9, 52)))
	f.ingest(lost, old)
	diff(f.T, map[string]int{"published": 1, "unknown": 1}, f.restore(true, 10))
	f.endRecovery()
	f.wantState(operationID(lost, 0), journal.Done)
	d := f.state(operationID(old, 0))
	if d.State != journal.Unknown || !d.Doubt || d.Run != 2 {
		f.Fatalf("a code that is read again after its event was pruned: %+v", d)
	}
	f.plan = func(journal.Event, journal.ShopView) journal.Plan {
		return journal.Plan{Publish: []journal.Draft{MakeDraft(uuid.New(), "new", shop)}}
	}
	f.ingest(f.code("s", "e4", "4"))
	h, err := f.j.Shop(f.ctx, shop)
	f.ok(err)
	if last := h.Output[len(h.Output)-1]; last.Sequence <= 9 {
		f.Fatalf("sequence %d is not above 9", last.Sequence)
	}
	if up, err = f.j.PublishedOffsets(f.ctx); err != nil || len(up) != 1 || up[0].Next != 53 {
		f.Fatalf("%+v, %v", up, err)
	}
}
