package kafkatest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Batch is a record batch as no client library would make it: its records are
// written by a function, and its header can claim anything.
type Batch struct {
	Codec      string // none, gzip, snappy, snappy-java, lz4 or zstd
	Count      int    // of records, which the header claims
	Attributes int16  // beside the codec: 1<<3 for the broker's time
	First, Max int64  // times in milliseconds; 0: now
	Base       int64  // the offset
	Write      func(io.Writer)
	// Level of zstd; 0: the default.
	Level zstd.EncoderLevel
}

// Bytes encodes the batch, with its right length and checksum.
func (b Batch) Bytes() []byte {
	var packed bytes.Buffer
	codec := b.pack(&packed)
	now := time.Now().UnixMilli()
	first, last := b.First, b.Max
	if first == 0 {
		first = now
	}
	if last == 0 {
		last = now
	}
	out := make([]byte, 61, 61+packed.Len())
	be := binary.BigEndian
	be.PutUint64(out, uint64(b.Base)) // #nosec G115 -- a test's
	be.PutUint32(out[12:], 1<<32-1)
	out[16] = 2
	be.PutUint16(out[21:], uint16(b.Attributes|codec)) // #nosec G115 -- a test's
	be.PutUint32(out[23:], uint32(max(b.Count-1, 0)))  // #nosec G115 -- a test's
	be.PutUint64(out[27:], uint64(first))              // #nosec G115 -- a test's
	be.PutUint64(out[35:], uint64(last))               // #nosec G115 -- a test's
	copy(out[43:], bytes.Repeat([]byte{0xff}, 14))     // no producer
	be.PutUint32(out[57:], uint32(b.Count))            // #nosec G115 -- a test's
	out = append(out, packed.Bytes()...)
	be.PutUint32(out[8:], uint32(len(out)-12)) // #nosec G115 -- a test's
	be.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// pack writes the records and returns the codec's number.
func (b Batch) pack(to *bytes.Buffer) int16 {
	through := func(w io.WriteCloser, codec int16) int16 {
		b.Write(w)
		_ = w.Close()
		return codec
	}
	switch b.Codec {
	case "gzip":
		return through(gzip.NewWriter(to), 1)
	case "snappy", "snappy-java":
		var plain bytes.Buffer
		b.Write(&plain)
		if b.Codec == "snappy" {
			to.Write(s2.EncodeSnappy(nil, plain.Bytes()))
			return 2
		}
		to.WriteString("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
		for chunk := make([]byte, 32<<10); plain.Len() > 0; {
			n, _ := plain.Read(chunk)
			packed := s2.EncodeSnappy(nil, chunk[:n])
			to.Write(binary.BigEndian.AppendUint32(nil, uint32(len(packed)))) // #nosec G115 -- a test's
			to.Write(packed)
		}
		return 2
	case "lz4":
		return through(lz4.NewWriter(to), 3)
	case "zstd":
		w, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(max(b.Level, zstd.SpeedDefault)))
		if err != nil {
			panic(err)
		}
		return through(w, 4)
	}
	b.Write(to)
	return 0
}

// WriteRecord writes a record without a key, with empty headers.
func WriteRecord(w io.Writer, offset, size int, value func(io.Writer), headers int) {
	head := binary.AppendVarint([]byte{0}, 0) // attributes, age
	head = binary.AppendVarint(head, int64(offset))
	head = binary.AppendVarint(head, -1)
	head = binary.AppendVarint(head, int64(size))
	tail := binary.AppendVarint(nil, int64(headers))
	tail = append(tail, make([]byte, 2*headers)...)
	_, _ = w.Write(binary.AppendVarint(nil, int64(len(head)+size+len(tail))))
	_, _ = w.Write(head)
	value(w)
	_, _ = w.Write(tail)
}

// Messages writes messages as records.
func Messages(messages ...kafkago.Message) func(io.Writer) {
	return func(w io.Writer) {
		for i, m := range messages {
			r := kmsg.Record{OffsetDelta: int32(i), Key: m.Key, Value: m.Value} // #nosec G115 -- a test's
			for _, h := range m.Headers {
				r.Headers = append(r.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
			}
			r.Length = int32(len(r.AppendTo(nil)) - 1) // #nosec G115 -- a test's; the length 0 takes one byte
			_, _ = w.Write(r.AppendTo(nil))
		}
	}
}

// ProduceBatch appends a batch to a partition as it is.
func (c *Cluster) ProduceBatch(tb testing.TB, topic string, partition int32, b Batch) {
	tb.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ProducerBatchMaxBytes(64<<20))
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	meta := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	meta.Topics = append(meta.Topics, asked)
	known, err := meta.RequestWith(tb.Context(), client)
	if err != nil {
		tb.Fatal(err)
	}
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, known.Topics[0].TopicID
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, b.Bytes()
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	a, err := q.RequestWith(tb.Context(), client)
	if err != nil {
		tb.Fatal(err)
	}
	if code := a.Topics[0].Partitions[0].ErrorCode; code != 0 {
		tb.Fatalf("kafkatest: the broker refuses the batch: %v", kafkago.Error(code))
	}
}
