package kafkatest_test

import (
	"errors"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

// keepsThreeCopies: three copies of everything, and two before a record is
// acknowledged, also of what consumer groups commit.
func keepsThreeCopies(t *testing.T, c *kafkatest.Cluster) {
	t.Helper()
	commit(t, c, "group", "t", map[int]int64{0: 0}) // makes the internal topic
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Timeout: 10 * time.Second, Transport: transport}
	metadata, err := client.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{"t", "__consumer_offsets"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range metadata.Topics {
		for _, p := range topic.Partitions {
			if len(p.Replicas) != 3 {
				t.Errorf("%s/%d has %d replicas", topic.Name, p.ID, len(p.Replicas))
			}
		}
	}
	settings, err := client.DescribeConfigs(t.Context(), &kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{
		{ResourceType: kafkago.ResourceTypeTopic, ResourceName: "t", ConfigNames: []string{"min.insync.replicas"}},
		{ResourceType: kafkago.ResourceTypeTopic, ResourceName: "__consumer_offsets", ConfigNames: []string{"min.insync.replicas"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range settings.Resources {
		if len(r.ConfigEntries) != 1 || r.ConfigEntries[0].ConfigValue != "2" {
			t.Errorf("%s: %+v", r.ResourceName, r.ConfigEntries)
		}
	}
}

func testEmbeddedHasNoTLS(t *testing.T) {
	v := &refused{TB: t}
	func() {
		defer func() { _ = recover() }()
		kafkatest.Embedded(v, kafkatest.WithTLS())
	}()
	if !errors.Is(v.err, errors.ErrUnsupported) {
		t.Errorf("%v", v.err)
	}
}

// refused is a testing.TB that keeps why it was ended.
type refused struct {
	testing.TB
	err error
}

func (r *refused) Helper() {}
func (r *refused) Fatal(args ...any) {
	r.err, _ = args[0].(error)
	panic("ended")
}
