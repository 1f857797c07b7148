package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
	"invoicebox-worker/schemas"
)

var codecs = []string{"none", "gzip", "snappy", "snappy-java", "lz4", "zstd"}

// zeros writes one record of n zeros.
func zeros(n int) func(io.Writer) {
	return func(w io.Writer) {
		kafkatest.WriteRecord(w, 0, n, func(w io.Writer) {
			chunk := make([]byte, 1<<20)
			for left := n; left > 0; left -= len(chunk) {
				_, _ = w.Write(chunk[:min(left, len(chunk))])
			}
		}, 0)
	}
}

// A heap measures the most memory in use, until it is stopped.
func heap(tb testing.TB) (stop func() uint64) {
	ctx, cancel := context.WithCancel(tb.Context())
	var most uint64
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			<-time.After(5 * time.Millisecond)
		}
	})
	return func() uint64 {
		cancel()
		work.Wait()
		return most
	}
}

func TestFetcher(t *testing.T) {
	t.Run("Connections", testFetcherConnections)
	t.Run("Latency", testFetcherLatency)
	t.Run("DecompressionBombs", testFetcherDecompressionBombs)
	t.Run("UnreadableBatches", testFetcherUnreadableBatches)
	t.Run("Codecs", testFetcherCodecs)
	t.Run("BacklogMemory", testFetcherBacklogMemory)
	t.Run("Throttled", testFetcherThrottled)
	t.Run("ThrottledByOldBroker", testFetcherThrottledByOldBroker)
	t.Run("ServesLeastRecentFirst", testFetcherServesLeastRecentFirst)
	t.Run("Times", testFetcherTimes)
	t.Run("DamagedBatch", testFetcherDamagedBatch)
}

// What decompresses to more than may be held is a dead letter by its position, with
// every codec. The records beside it are taken in, and memory stays bounded.
func testFetcherDecompressionBombs(t *testing.T) {
	tiny := func(w io.Writer) {
		for i := range 100_000 {
			kafkatest.WriteRecord(w, i, 0, func(io.Writer) {}, 0)
		}
	}
	value := []byte(`{"shopId":"s1","provider":"other","pad":"` + strings.Repeat("x", 200_000) + `"}`)
	many := func(w io.Writer) {
		for i := range 400 {
			kafkatest.WriteRecord(w, i, len(value), func(w io.Writer) { _, _ = w.Write(value) }, 0)
		}
	}
	for name, b := range map[string]kafkatest.Batch{
		"one record":      {Count: 1, Write: zeros(100 << 20)},
		"many records":    {Count: 400, Write: many},
		"tiny records":    {Count: 100_000, Write: tiny},
		"a false count":   {Count: 2_000_000_000, Write: zeros(1)},
		"a record's size": {Count: 1, Write: zeros(3 << 20)},
		"headers": {Count: 1, Write: func(w io.Writer) {
			kafkatest.WriteRecord(w, 0, 1, func(w io.Writer) { _, _ = w.Write([]byte("1")) }, 400_000)
		}},
	} {
		for _, codec := range codecs[1:] {
			if testing.Short() && codec != "zstd" {
				continue
			}
			t.Run(name+"/"+codec, func(t *testing.T) {
				b.Codec = codec
				c := kafkatest.Embedded(t, kafkatest.WithMaxMessageBytes(16<<20))
				topic, j := c.NewTopic(t, "in", 1), newInbox()
				c.Produce(t, topic, manyFrom(0, 1))
				c.ProduceBatch(t, topic, 0, b)
				c.Produce(t, topic, manyFrom(1, 1))
				debug.FreeOSMemory() // what made the batch is no matter
				stop := heap(t)
				r := start(t, c, group(), topic, j)
				eventually(t, "the event behind", func() bool { return j.taken() == 2 })
				if got := stop(); got > 140<<20 {
					t.Errorf("%d MiB of heap", got>>20)
				}
				r.stop()
				letters := metrictest.Sum(t, r.registry, "invoicebox_worker_dead_letters_total", "reason", "too_large")
				other := metrictest.Sum(t, r.registry, "invoicebox_worker_records_ignored_total")
				if end := c.Offsets(t, topic)[0].Next; letters+other != float64(end-2) || letters == 0 {
					t.Errorf("%v are too large and %v ignored, of %d records", letters, other, end)
				}
				if l := j.letters[0]; l.Reason != "too_large" || l.Offset < 1 || len(l.Digest) == 0 || l.Sealed != nil || l.Size == 0 {
					t.Errorf("dead letter %+v", l)
				}
			})
		}
	}
}

// manyFrom makes good events.
func manyFrom(first, n int) []kafkago.Message {
	list := make([]kafkago.Message, n)
	for i := range list {
		list[i] = selected(fmt.Sprint("e", first+i), fmt.Sprint("shop-", first+i))
	}
	return list
}

// A batch that is too large on the wire is not held, and one that can never be
// read is stepped over.
func testFetcherUnreadableBatches(t *testing.T) {
	for name, f := range map[string]struct {
		batch  kafkatest.Batch
		reason string
	}{
		"large on the wire": {kafkatest.Batch{Count: 1, Write: zeros(20 << 20)}, "too_large"},
		"malformed": {kafkatest.Batch{Count: 3, Write: func(w io.Writer) {
			kafkatest.WriteRecord(w, 0, 1, func(w io.Writer) { _, _ = w.Write([]byte("1")) }, 0)
			_, _ = io.WriteString(w, "\x7fgarbage")
		}}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithMaxMessageBytes(32<<20))
			topic, j := c.NewTopic(t, "in", 1), newInbox()
			c.ProduceBatch(t, topic, 0, f.batch)
			c.Produce(t, topic, manyFrom(0, 1))
			r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.FetchMemory = 24 << 20 })
			eventually(t, "the event behind", func() bool { return j.taken() == 1 })
			r.stop()
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_dead_letters_total", "reason", f.reason); n == 0 {
				t.Errorf("no dead letter is %s", f.reason)
			}
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_dead_letters_total"); n+1 != float64(c.Offsets(t, topic)[0].Next) {
				t.Errorf("%v dead letters", n)
			}
		})
	}
}

// All codecs are read, over many fetches.
func testFetcherCodecs(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			c := kafkatest.Embedded(t)
			topic, j := c.NewTopic(t, "in", 1), newInbox()
			for i := range 20 {
				c.ProduceBatch(t, topic, 0, kafkatest.Batch{Codec: codec, Count: 100, Write: kafkatest.Messages(manyFrom(i*100, 100)...)})
			}
			start(t, c, group(), topic, j)
			eventually(t, "all events", func() bool { return j.taken() == 2000 })
		})
	}
}

// A compressed backlog of many partitions is read within bounds.
func testFetcherBacklogMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it is for its figure")
	}
	const partitions, batches, records = 24, 6, 1500
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", partitions), newInbox()
	messages := make([]kafkago.Message, records)
	for i := range messages {
		messages[i] = event(schemas.TypeProviderSelected, fmt.Sprint("event-", i), fmt.Sprint("shop-", i), fmt.Sprintf(`{"shopId":"shop-%d","provider":"other","pad":%q}`, i, strings.Repeat("x", 400)))
	}
	batch := kafkatest.Batch{Codec: "zstd", Count: records, Write: kafkatest.Messages(messages...)}
	var work sync.WaitGroup
	for p := range int32(partitions) {
		work.Go(func() {
			for range batches {
				c.ProduceBatch(t, topic, p, batch)
			}
		})
	}
	work.Wait()
	debug.FreeOSMemory()
	stop := heap(t)
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.Logger = slog.New(slog.DiscardHandler) })
	eventually(t, "all records", func() bool {
		return metrictest.Sum(t, r.registry, "invoicebox_worker_records_total") == partitions*batches*records
	})
	// The embedded broker and what other tests have left are in it, and on a busy machine
	// what the collector has not reached yet: 89 MiB alone, 151 MiB beside other work.
	if got := stop(); got > 200<<20 {
		t.Errorf("%d MiB of heap", got>>20)
	} else {
		t.Logf("%d MiB of heap", got>>20)
	}
}

// throttle answers two of three fetches as a broker does whose quota is reached.
func throttle(c *kafkatest.Cluster, d time.Duration) *atomic.Int64 {
	var n atomic.Int64
	c.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		if n.Add(1)%3 == 0 {
			return nil, nil, false
		}
		answer := q.ResponseKind().(*kmsg.FetchResponse)
		answer.ThrottleMillis = int32(d.Milliseconds())
		return answer, nil, true
	})
	return &n
}

// A broker that throttles is waited for: it is no silence, no fault, and no end.
func testFetcherThrottled(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 6), newInbox()
	c.Produce(t, topic, manyFrom(0, 300))
	n := throttle(c, 600*time.Millisecond)
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.StallTimeout = 200 * time.Millisecond })
	eventually(t, "all events", func() bool { return j.taken() == 300 })
	eventually(t, "some more fetches", func() bool { return n.Load() > 8 })
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for name, want := range map[string]float64{
		"invoicebox_worker_consumer_reconnects_total": 0, "invoicebox_worker_consumer_generations_total": 1, "invoicebox_worker_consumer_faults_total": 0,
	} {
		if got := metrictest.Sum(t, r.registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := metrictest.Sum(t, r.registry, "invoicebox_worker_fetch_throttled_seconds_total"); got < 2 {
		t.Errorf("throttled for %v s", got)
	}
}

// A broker of before KIP-219 has waited before it answered.
func testFetcherThrottledByOldBroker(t *testing.T) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 7)
	c := kafkatest.Embedded(t, kafkatest.WithFake(kfake.MaxVersions(versions)))
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	c.Produce(t, topic, manyFrom(0, 3))
	throttle(c, time.Hour)
	r := start(t, c, group(), topic, j)
	eventually(t, "all events", func() bool { return j.taken() == 3 })
	if got := metrictest.Sum(t, r.registry, "invoicebox_worker_fetch_throttled_seconds_total"); got < 3600 {
		t.Errorf("throttled for %v s", got)
	}
}

// A partition that gets nothing because others are served before it is not stuck.
func testFetcherServesLeastRecentFirst(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 8), newInbox()
	for i := range 80 {
		c.ProduceBatch(t, topic, int32(i%8), kafkatest.Batch{Count: 5, Write: kafkatest.Messages(manyFrom(5*i, 5)...)})
	}
	// Only the first partition of a request is answered with records, and slowly.
	c.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		c.Fake().SleepControl(func() { <-time.After(40 * time.Millisecond) })
		request := q.(*kmsg.FetchRequest)
		first := true
		for _, t := range request.Topics {
			for i := range t.Partitions {
				if t.Partitions[i].PartitionMaxBytes = 1; first {
					t.Partitions[i].PartitionMaxBytes = 1 << 20
				}
				first = false
			}
		}
		request.MaxBytes = 1 // one batch
		return nil, nil, false
	})
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.StallTimeout = 240 * time.Millisecond })
	eventually(t, "all events", func() bool { return j.taken() == 400 })
	if got := metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_reconnects_total"); got != 0 {
		t.Errorf("%v rebuilds", got)
	}
}

// markServed answers fetches of partition 0 of a topic with batches, up to end.
func serve(c *kafkatest.Cluster, topic string, end int64, batches func(offset int64) []byte) {
	c.Fake().ControlKey(int16(kmsg.Fetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		offset := q.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset
		answer := q.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = topic
		rp := kmsg.NewFetchResponseTopicPartition()
		if rp.HighWatermark, rp.LastStableOffset = end, end; offset < end {
			rp.RecordBatches = batches(offset)
		} else {
			c.Fake().SleepControl(func() { <-time.After(20 * time.Millisecond) })
		}
		rt.Partitions = append(rt.Partitions, rp)
		answer.Topics = append(answer.Topics, rt)
		return answer, nil, true
	})
}

// Topics whose times the broker writes, and records without a time.
func testFetcherTimes(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, f := range map[string]struct {
		batch kafkatest.Batch
		want  time.Time
	}{
		"LogAppendTime": {kafkatest.Batch{Attributes: 1 << 3, First: 1, Max: at.UnixMilli()}, at},
		"LogAppendTime, no time from the producer": {kafkatest.Batch{Attributes: 1 << 3, First: -1, Max: at.UnixMilli()}, at},
		"CreateTime":          {kafkatest.Batch{First: at.UnixMilli(), Max: at.UnixMilli() + 1000}, at},
		"CreateTime, no time": {kafkatest.Batch{First: -1, Max: -1}, time.Time{}},
		"CreateTime, a time that cannot be written": {kafkatest.Batch{First: 1 << 60, Max: 1 << 60}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Embedded(t)
			topic, j := c.NewTopic(t, "in", 1), newInbox()
			f.batch.Count, f.batch.Write = 1, kafkatest.Messages(kafkago.Message{Value: []byte(`{"shopId":"a","provider":"invoicebox","email":"a@example.org"}`)})
			c.Produce(t, topic, manyFrom(0, 1))
			serve(c, topic, 1, func(int64) []byte { return f.batch.Bytes() })
			start(t, c, group(), topic, j)
			eventually(t, "the event", func() bool { return j.taken() == 1 })
			if got := j.events[0].Time; !got.Equal(f.want) {
				t.Errorf("the time is %v, want %v", got, f.want)
			}
		})
	}
}

// A damaged batch ends Run, with its cause, its place and what can be done; what
// lies before it is taken in.
func testFetcherDamagedBatch(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, j := c.NewTopic(t, "in", 1), newInbox()
	good := kafkatest.Batch{Count: 2, Write: kafkatest.Messages(manyFrom(0, 2)...)}.Bytes()
	bad := kafkatest.Batch{Count: 2, Base: 2, Write: kafkatest.Messages(manyFrom(2, 2)...)}.Bytes()
	bad[len(bad)-1] ^= 1
	c.Produce(t, topic, manyFrom(0, 4))
	serve(c, topic, 4, func(offset int64) []byte {
		if offset < 2 {
			return append(slices.Clip(good), bad...)
		}
		return bad
	})
	r := start(t, c, group(), topic, j, func(c *consumer.Config) { c.StallTimeout = 400 * time.Millisecond })
	err := r.ends(t, 30*time.Second)
	if !errors.Is(err, consumer.ErrPartitionStalled) {
		t.Fatalf("Run: %v", err)
	}
	for _, want := range []string{"CRC-32C", "offset 2", topic + "/0", "kafka-delete-records.sh"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if j.taken() != 2 || j.position(topic, 0) != 2 {
		t.Errorf("%d events, position %d", j.taken(), j.position(topic, 0))
	}
}
