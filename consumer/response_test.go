package consumer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// message encodes a fetch response as a broker does.
func message(version int16, correlation int32, batches ...[]byte) []byte {
	r := kmsg.NewPtrFetchResponse()
	r.Version, r.ThrottleMillis = version, 1500
	for _, topic := range []string{"a", "b"} {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = topic
		for i, records := range batches {
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.HighWatermark, rp.LastStableOffset, rp.RecordBatches = int32(i), 100, 90, records
			at := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			at.ProducerID, at.FirstOffset = 7, 8
			rp.AbortedTransactions = append(rp.AbortedTransactions, at)
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	body := r.AppendTo(binary.BigEndian.AppendUint32(nil, uint32(correlation)))
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func readMessage(version int16, wire []byte, largest int) (fetchResponse, []partResponse, error) {
	var parts []partResponse
	r := &responseReader{in: bufio.NewReader(bytes.NewReader(wire)), version: version, maxBatch: largest}
	answer, err := r.read(3, func(p partResponse) { parts = append(parts, p) })
	return answer, parts, err
}

func batchOf(base int64, size int) []byte {
	return kafkatest.Batch{Count: 1, Base: base, Write: func(w io.Writer) {
		kafkatest.WriteRecord(w, 0, size, func(w io.Writer) { _, _ = w.Write(make([]byte, size)) }, 0)
	}}.Bytes()
}

func TestResponseReader(t *testing.T) {
	t.Run("Reads", testResponseReaderReads)
	t.Run("Cut", testResponseReaderCut)
}

func testResponseReaderReads(t *testing.T) {
	damaged := batchOf(3, 5000)
	damaged[100] ^= 1
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		cut := append(batchOf(0, 10), batchOf(1, 10)[:70]...)
		wire := message(version, 3, batchOf(0, 10), nil, cut, append(append(batchOf(1, 10), batchOf(2, 5000)...), damaged...))
		answer, parts, err := readMessage(version, wire, 4000)
		if err != nil || len(parts) != 8 {
			t.Fatalf("version %d: %d partitions, %v", version, len(parts), err)
		}
		if answer.throttle != 1500*time.Millisecond || answer.errorCode != 0 {
			t.Errorf("version %d: %+v", version, answer)
		}
		for i, want := range []int{1, 0, 1, 3, 1, 0, 1, 3} {
			p := parts[i]
			if p.partition != i%4 || p.topic != []string{"a", "b"}[i/4] || p.highWatermark != 100 || p.lastStable != 90 || len(p.aborted) != 1 || p.aborted[0] != (abortedTransaction{7, 8}) {
				t.Errorf("version %d: partition %d: %+v", version, i, p)
			}
			if len(p.batches) != want {
				t.Errorf("version %d: partition %d has %d batches, want %d", version, i, len(p.batches), want)
			}
		}
		if b := parts[3].batches; b[0].fault != nil || !errors.Is(b[1].fault, recordbatch.ErrTooLarge) || b[1].LastOffset() != 2 || !errors.Is(b[2].fault, recordbatch.ErrDamaged) {
			t.Errorf("version %d: %v, %v, %v", version, b[0].fault, b[1].fault, b[2].fault)
		}
	}
}

// A response that ends too early, or is another one's, is an error at every byte.
func testResponseReaderCut(t *testing.T) {
	wire := message(newestFetch, 3, batchOf(0, 10), batchOf(0, 10))
	for n := range wire {
		if _, _, err := readMessage(newestFetch, wire[:n], 4000); err == nil {
			t.Fatalf("%d bytes are a response", n)
		}
	}
	if _, _, err := readMessage(newestFetch, message(newestFetch, 4), 4000); !errors.Is(err, errResponse) {
		t.Errorf("another correlation id: %v", err)
	}
}

func FuzzResponseReader(f *testing.F) {
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		f.Add(version, message(version, 3, batchOf(0, 10), append(batchOf(0, 10), batchOf(1, 100)...)))
	}
	f.Fuzz(func(t *testing.T, version int16, wire []byte) {
		_, parts, _ := readMessage(version, wire, 4000)
		held := 0
		for _, p := range parts {
			held += p.bytes
			for _, b := range p.batches {
				if b.fault == nil && b.Size() > 4000 {
					t.Fatal("a batch that is too large is held")
				}
			}
		}
		if held > len(wire) {
			t.Fatalf("%d bytes are held of %d", held, len(wire))
		}
	})
}
