package producer_test

import (
	"fmt"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// A real broker is killed under load and comes back: every row is there once
// and in order.
func testRelaySurvivesBrokerRestart(t *testing.T) {
	c := kafkatest.Real(t, kafkatest.WithTopics(allTopics...))
	o := newOutbox()
	start(t, c, o, func(p *producer.Config) { p.BatchRows = 20 })
	const n = 3000
	want := map[string][]string{}
	for i := range n {
		shop := fmt.Sprint("shop-", i%10)
		o.add(schemas.TypeInvited, shop, fmt.Sprint(i))
		want[shop] = append(want[shop], fmt.Sprint(i))
		if i == n/2 {
			eventually(t, "some", func() bool { return o.left() < n/2-100 })
			if err := c.Kill(0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Start(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	if got := values(c.ReadAll(t, schemas.TypeInvited)); !equal(got, want) {
		t.Fatalf("not every row once and in order: %d keys", len(got))
	}
}
