package producer_test

import (
	"fmt"
	"slices"
	"testing"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// A real broker is killed under load and comes back: every row is there once
// and in order.
func TestABrokerIsKilledUnderLoad(t *testing.T) {
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

func TestTopicsAreEnsured(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		there := c.NewTopic(t, "there", 2)
		fresh := there + "-fresh"
		specs := []producer.TopicSpec{{Name: there, Partitions: 5}, {Name: fresh, Partitions: 3, Retention: -1}, {Name: "refused", Partitions: 1, Replicas: 9}}
		before, err := producer.DescribeTopics(t.Context(), conn, fresh, there)
		if err != nil || !slices.Equal(before, []producer.TopicState{{Name: fresh}, {Name: there, Partitions: 2, Replicas: 1}}) {
			t.Fatalf("before: %+v, %v", before, err)
		}
		states, err := producer.CreateTopics(t.Context(), conn, specs)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []producer.TopicState{{Name: there, Partitions: 2, Replicas: 1}, {Name: fresh, Created: true, Partitions: 3, Replicas: 1}} {
			if states[i] != want {
				t.Errorf("%+v, want %+v", states[i], want)
			}
		}
		if states[2].Err == nil {
			t.Error("nine replicas on one broker")
		}
		again, err := producer.CreateTopics(t.Context(), conn, specs[:2])
		if err != nil || again[1].Created || again[1].Err != nil {
			t.Errorf("again: %+v, %v", again, err)
		}
		specs = producer.ContractTopics(map[string]string{schemas.TypeInvited: "renamed"}, 6, 0, 0)
		if len(specs) != len(schemas.InputTypes())+len(schemas.OutputTypes()) || !slices.ContainsFunc(specs, func(s producer.TopicSpec) bool { return s.Name == "renamed" && s.Partitions == 6 }) {
			t.Errorf("%+v", specs)
		}
	})
}
