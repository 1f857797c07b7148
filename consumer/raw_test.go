package consumer_test

import (
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func addPartitions(t *testing.T, c *kafkatest.Cluster, topic string, n int) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers()...), Transport: transport}
	answer, err := client.CreatePartitions(t.Context(), &kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: int32(n)}}})
	if err != nil || answer.Errors[topic] != nil {
		t.Fatal(err, answer)
	}
}
