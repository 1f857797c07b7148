package consumer_test

import (
	"testing"

	"github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafkatest"
)

func addPartitions(t *testing.T, c *kafkatest.Cluster, topic string, n int) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers()...), Transport: transport}
	answer, err := client.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(n)}}})
	if err != nil || answer.Errors[topic] != nil {
		t.Fatal(err, answer)
	}
}
