package kafkatest_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/kafkatest"
)

// placedByJava was printed by the producer's own partitioning (murmur2, made
// positive, modulo the number) of Kafka's Java client 4.3.1.
var placedByJava = map[string]struct{ of6, of12, of100 int }{
	"":                                     {3, 9, 81},
	"1":                                    {3, 3, 59},
	"42":                                   {4, 4, 72},
	"shop-1":                               {2, 2, 58},
	"shop-2":                               {1, 1, 73},
	"shop-1000000":                         {1, 7, 99},
	"a/b/../c":                             {3, 3, 59},
	"магазин":                              {1, 7, 19},
	"店":                                    {2, 8, 8},
	"🛒":                                    {3, 3, 75},
	"ffffffff-ffff-ffff-ffff-ffffffffffff": {0, 6, 26},
	"with space":                           {4, 10, 10},
	"abc":                                  {3, 3, 7},
	"abcd":                                 {2, 8, 0},
	"abcde":                                {1, 1, 41},
	"\xff\xfe\x80":                         {3, 3, 51},
}

func TestMurmur2(t *testing.T) {
	t.Run("AssignsKeysLikeJava", testMurmur2AssignsKeysLikeJava)
	t.Run("ProduceAssignsKeysLikeJava", testMurmur2ProduceAssignsKeysLikeJava)
}

func testMurmur2AssignsKeysLikeJava(t *testing.T) {
	t.Parallel()
	place := func(key string, n int) int {
		partitions := make([]int, n)
		for i := range partitions {
			partitions[i] = i
		}
		return kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: []byte(key)}, partitions...)
	}
	for key, want := range placedByJava {
		got := want
		got.of6, got.of12, got.of100 = place(key, 6), place(key, 12), place(key, 100)
		if got != want {
			t.Errorf("%q is placed at %+v, by Java at %+v", key, got, want)
		}
	}
}

func testMurmur2ProduceAssignsKeysLikeJava(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.NewTopic(t, "placed", 12)
		var messages []kafkago.Message
		want := map[string]int{}
		for _, key := range slices.Sorted(maps.Keys(placedByJava)) {
			messages = append(messages, kafkago.Message{Key: []byte(key), Value: []byte("v")})
			want[key] = placedByJava[key].of12
		}
		c.Produce(t, topic, messages)
		got := map[string]int{}
		for _, m := range c.ReadAll(t, topic) {
			got[string(m.Key)] = m.Partition
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("partitions (-Java +here):\n%s", d)
		}
	})
}
