package kafkatest_test

import (
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestEmbedded(t *testing.T) {
	t.Run("HasManyBrokers", testEmbeddedHasManyBrokers)
	t.Run("HasNoTLS", testEmbeddedHasNoTLS)
	t.Run("RunsInVirtualTime", testEmbeddedRunsInVirtualTime)
}

func testEmbeddedRunsInVirtualTime(t *testing.T) {
	t.Parallel()
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Embedded(t, kafkatest.WithNetwork(&kfake.VirtualNetwork{}), kafkatest.WithTopic("t", 2))
		c.Produce(t, "t", []kafkago.Message{{Value: []byte("1")}})
		time.Sleep(24 * time.Hour)
		c.Produce(t, "t", []kafkago.Message{{Value: []byte("2")}})
		if n := len(c.ReadAll(t, "t")); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	})
	if took := time.Since(began); took > time.Minute {
		t.Errorf("a virtual day took %s", took)
	}
}
