package consumer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestRecordIterator(t *testing.T) {
	t.Run("BaseOffset", testRecordIteratorBaseOffset)
}

// A base offset is not part of a batch's checksum. One that cannot be right is
// damage, and the position does not follow it.
func testRecordIteratorBaseOffset(t *testing.T) {
	for name, c := range map[string]struct {
		bases   []int64
		damaged bool
		next    int64
	}{
		"in order":           {[]int64{100, 103, 200}, false, 203},
		"behind the end":     {[]int64{100, 900}, false, 903}, // the end was read before
		"twice the same":     {[]int64{100, 100}, true, 103},
		"back":               {[]int64{100, 50}, true, 103},
		"far behind the end": {[]int64{100, 1 << 43}, true, 103},
		"the first":          {[]int64{1 << 43, 103}, true, 100},
	} {
		for _, largest := range []int{1 << 20, 61} { // held, or too large to be held
			t.Run(fmt.Sprintf("%s/%d", name, largest), func(t *testing.T) {
				var wire bytes.Buffer
				for _, base := range c.bases {
					wire.Write(kafkatest.Batch{Count: 3, Base: base, Write: kafkatest.Messages(kafkago.Message{Value: []byte("a")}, kafkago.Message{Value: []byte("b")}, kafkago.Message{Value: []byte("c")})}.Bytes())
				}
				size := int64(wire.Len())
				r := &responseReader{in: bufio.NewReader(&wire), left: size, maxBatch: largest}
				p := partResponse{highWatermark: 203, lastStable: 203}
				if r.batches(&p, size); r.err != nil {
					t.Fatal(r.err)
				}
				f := &fetcher{decompressor: recordbatch.NewDecompressor(recordbatch.Limits{Decompressed: 1 << 20, Buffer: 1 << 20, Records: 10, Record: 1 << 10, Headers: 10})}
				got, err := f.newFetchResult(p, 100)
				for err == nil {
					_, err = got.records.read()
				}
				if errors.Is(err, recordbatch.ErrDamaged) != c.damaged || got.records.next != c.next {
					t.Errorf("%v, next %d; want %d", err, got.records.next, c.next)
				}
			})
		}
	}
}
