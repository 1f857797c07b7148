package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/schemas"
)

// Replicas that look at the same moment remind each shop once.
func testReminders(b *bed) {
	const shops = 60
	all := []*Journal{b.open(), b.open(), b.open()}
	batch := journal.Batch{Topic: topic, Next: shops}
	for i := range shops {
		e := journaltest.MakeEvent(b, b.keys, journal.Invite, journal.ShopKey{Account: "default", Shop: fmt.Sprint("shop-", i)}, fmt.Sprint("e", i), fmt.Sprint(i, "@x.test"), time.Now())
		e.Offset = int64(i)
		batch.Events = append(batch.Events, e)
	}
	_, err := all[0].Ingest(b.Context(), batch)
	b.ok(err)
	got, err := all[0].Claim(b.Context(), journal.ClaimRequest{Account: "default", Kind: journal.Invite, Stage: journal.Call, Limit: shops, Lease: time.Minute})
	b.ok(err)
	for _, o := range got {
		id, err := send(all[0], o, permit(1000, time.Second))
		b.ok(err)
		b.ok(all[0].Apply(b.Context(), journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Reason: "sent", Attempt: id, End: &journal.AttemptEnd{Answered: true, At: time.Now()},
			Invited: &journal.InvitedUpdate{At: time.Now(), Remind: time.Now()},
		}))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for _, j := range all {
		wg.Go(func() {
			for asked := 1; asked > 0; {
				var queued []journal.Invitation
				var err error
				asked, queued, err = j.Remind(context.Background(), 7, time.Hour, func(x journal.Invitation) journal.ReminderPlan {
					return journal.ReminderPlan{Publish: []journal.Draft{journaltest.MakeDraft(schemas.EventID(x.Operation, x.Run, "1"), schemas.TypeUnanswered, x.Shop)}}
				})
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				for _, x := range queued {
					seen[x.Shop.Shop]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	rows, err := all[0].Pending(b.Context(), 0, 1000, 1<<20)
	b.ok(err)
	if len(seen) != shops || len(rows) != shops {
		b.Fatalf("%d shops of %d were reminded, with %d events", len(seen), shops, len(rows))
	}
	for shop, n := range seen {
		if n != 1 {
			b.Errorf("%s was reminded %d times", shop, n)
		}
	}
}
