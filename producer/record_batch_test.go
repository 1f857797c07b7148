package producer

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// check reads a batch with the client library's decoder, which also compares
// the checksum.
func check(t *testing.T, rows []journal.OutboxRow, who identity, at time.Time) {
	t.Helper()
	b := encodeBatch(rows, who, at)
	var set protocol.RecordSet
	if n, err := set.ReadFrom(bytes.NewReader(b)); err != nil || n != int64(len(b)) {
		t.Fatalf("%d of %d bytes are read: %v", n, len(b), err)
	}
	stream, ok := set.Records.(*protocol.RecordStream)
	if !ok || len(stream.Records) != 1 {
		t.Fatalf("records: %T", set.Records)
	}
	batch := stream.Records[0].(*protocol.RecordBatch)
	if who.known && (batch.ProducerID != who.id || batch.ProducerEpoch != who.epoch || batch.BaseSequence != who.sequence) {
		t.Fatalf("producer %d, epoch %d, sequence %d", batch.ProducerID, batch.ProducerEpoch, batch.BaseSequence)
	}
	if !who.known && (batch.ProducerID != -1 || batch.ProducerEpoch != -1 || batch.BaseSequence != -1) {
		t.Fatal("a batch without identity has one")
	}
	for i := range rows {
		r, err := set.Records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		key, _ := protocol.ReadAll(r.Key)
		value, _ := protocol.ReadAll(r.Value)
		m := rows[i].Message
		if !same(key, m.Key) || !same(value, m.Value) || len(r.Headers) != len(m.Headers) || r.Offset != int64(i) || r.Time.UnixMilli() != at.UnixMilli() {
			t.Fatalf("record %d: %q %q %v at %d, %v", i, key, value, r.Headers, r.Offset, r.Time)
		}
		for h := range m.Headers {
			if r.Headers[h].Key != m.Headers[h].Key || !bytes.Equal(r.Headers[h].Value, m.Headers[h].Value) {
				t.Fatalf("header %d: %v", h, r.Headers[h])
			}
		}
	}
	size := batchHeaderLen
	for i := range rows {
		size += recordSize(&rows[i].Message)
	}
	if len(b) > size {
		t.Fatalf("%d bytes, estimated at most %d", len(b), size)
	}
	if got := int(binary.BigEndian.Uint32(b)); got != len(b)-4 {
		t.Fatalf("the size before the batch is %d of %d", got, len(b))
	}
}

func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func TestEncodeBatch(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_123)
	row := func(key, value []byte, headers ...schemas.Header) journal.OutboxRow {
		return journal.OutboxRow{Message: schemas.Message{Key: key, Value: value, Headers: headers}}
	}
	for _, who := range []identity{{}, {known: true, id: 1 << 40, epoch: 7, sequence: 1<<31 - 1}, {known: true}} {
		check(t, []journal.OutboxRow{row([]byte("k"), []byte("v"))}, who, at)
		check(t, []journal.OutboxRow{
			row(nil, nil), row([]byte{}, []byte{}), row([]byte("k"), bytes.Repeat([]byte("v"), 16<<10), schemas.Header{Key: "a", Value: []byte("b")}, schemas.Header{Key: "", Value: []byte{}}),
		}, who, at)
		many := make([]journal.OutboxRow, 500)
		for i := range many {
			many[i] = row([]byte{byte(i)}, []byte{byte(i >> 8)})
		}
		check(t, many, who, at)
	}
}

func TestIdentity(t *testing.T) {
	t.Run("SequenceWraps", testIdentitySequenceWraps)
}

func testIdentitySequenceWraps(t *testing.T) {
	i := identity{known: true, sequence: 1<<31 - 2}
	if got := i.next(3).sequence; got != 1 {
		t.Errorf("the sequence after the last is %d", got)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), "h", []byte("x"), int64(1), int16(0), int32(0))
	f.Fuzz(func(t *testing.T, key, value []byte, header string, headerValue []byte, id int64, epoch int16, sequence int32) {
		row := journal.OutboxRow{Message: schemas.Message{Key: key, Value: value, Headers: []schemas.Header{{Key: header, Value: headerValue}}}}
		check(t, []journal.OutboxRow{row, row}, identity{known: true, id: id, epoch: epoch, sequence: sequence}, time.UnixMilli(1_790_000_000_123))
	})
}
