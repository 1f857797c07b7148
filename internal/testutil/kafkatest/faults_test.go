package kafkatest_test

import (
	"fmt"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestReal(t *testing.T) {
	t.Run("BrokerRestartsWithItsRecords", testRealBrokerRestartsWithItsRecords)
	t.Run("SurvivesLossOfOneBroker", testRealSurvivesLossOfOneBroker)
	t.Run("PausedBrokerResumes", testRealPausedBrokerResumes)
	t.Run("BrokersEndWithTestBinary", testRealBrokersEndWithTestBinary)
}

func testRealBrokerRestartsWithItsRecords(t *testing.T) {
	t.Parallel()
	c := kafkatest.Real(t, kafkatest.WithTopic("t", 1), kafkatest.WithProperty("broker.session.timeout.ms", "3000"))
	address := c.Brokers()[0]
	for i, end := range []func(int) error{c.Stop, c.Kill} {
		c.Produce(t, "t", []kafkago.Message{{Value: fmt.Appendf(nil, "%d", i)}})
		if err := end(0); err != nil {
			t.Fatal(err)
		}
		if err := c.Pause(0); err == nil {
			t.Fatal("a broker that is gone was paused")
		}
		if err := c.Start(0); err != nil {
			t.Fatal(err)
		}
		if c.Brokers()[0] != address {
			t.Fatalf("the broker moved from %s to %s", address, c.Brokers()[0])
		}
		if n := len(c.ReadAll(t, "t")); n != i+1 {
			t.Fatalf("%d records of %d are left", n, i+1)
		}
	}
	if err := c.Start(0); err == nil {
		t.Error("a running broker was started again")
	}
}

func testRealSurvivesLossOfOneBroker(t *testing.T) {
	t.Parallel()
	c := kafkatest.Real(t, kafkatest.WithBrokers(3), kafkatest.WithTopic("t", 6), kafkatest.WithProperty("broker.session.timeout.ms", "3000"))
	keepsThreeCopies(t, c)
	sent := 0
	produce := func() {
		t.Helper()
		var messages []kafkago.Message
		for i := range 60 {
			messages = append(messages, kafkago.Message{Key: fmt.Appendf(nil, "key-%d", i), Value: []byte("v")})
		}
		c.Produce(t, "t", messages)
		sent += len(messages)
	}
	produce()
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	produce()
	if err := c.Start(0); err != nil {
		t.Fatal(err)
	}
	produce()
	// The writer may repeat what a dying broker did not acknowledge.
	if n := len(c.ReadAll(t, "t")); n < sent {
		t.Errorf("%d records of %d are left", n, sent)
	}
}

func testRealPausedBrokerResumes(t *testing.T) {
	t.Parallel()
	c := kafkatest.Real(t, kafkatest.WithTopic("t", 1))
	if err := c.Pause(0); err != nil {
		t.Fatal(err)
	}
	if err := requestWithoutPassword(t, c); err == nil {
		t.Error("a paused broker answered")
	}
	if err := c.Resume(0); err != nil {
		t.Fatal(err)
	}
	if err := requestWithoutPassword(t, c); err != nil {
		t.Errorf("a resumed broker does not answer: %v", err)
	}
	c.Produce(t, "t", []kafkago.Message{{Value: []byte("1")}})
	if n := len(c.ReadAll(t, "t")); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}
