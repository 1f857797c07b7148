package recordbatch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/recordbatch"
	"invoicebox-worker/internal/testutil/kafkatest"
)

var limits = recordbatch.Limits{Decompressed: 8 << 20, Buffer: 10 << 20, Records: 2000, Record: 1 << 20, Headers: 100}

var codecs = []string{"none", "gzip", "snappy", "snappy-java", "lz4", "zstd"}

// read reads a whole batch.
func read(u *recordbatch.Decompressor, wire []byte) (list []recordbatch.Record, err error) {
	b, err := recordbatch.Parse(wire)
	if err != nil {
		return nil, err
	}
	if err := b.Verify(); err != nil {
		return nil, err
	}
	r, err := u.Read(&b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, record)
	}
}

func messages(n int) []kafkago.Message {
	list := make([]kafkago.Message, n)
	for i := range list {
		list[i] = kafkago.Message{Key: fmt.Append(nil, "key-", i), Value: bytes.Repeat([]byte{byte(i)}, 500), Headers: []kafkago.Header{
			{Key: "id", Value: fmt.Append(nil, i)}, {Key: "absent"},
		}}
	}
	return list
}

func TestReader(t *testing.T) {
	t.Run("Codecs", testReaderCodecs)
	t.Run("AbsentValue", testReaderAbsentValue)
	t.Run("Time", testReaderTime)
	t.Run("TooLarge", testReaderTooLarge)
	t.Run("LargeWindow", testReaderLargeWindow)
	t.Run("Malformed", testReaderMalformed)
}

func testReaderCodecs(t *testing.T) {
	u := recordbatch.NewDecompressor(limits)
	for _, codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			for range 3 { // decompressors are used again
				list, err := read(u, kafkatest.Batch{Codec: codec, Count: 1000, Base: 7, First: 5, Write: kafkatest.Messages(messages(1000)...)}.Bytes())
				if err != nil || len(list) != 1000 {
					t.Fatalf("%d records: %v", len(list), err)
				}
				for i, r := range list {
					if r.Offset != int64(7+i) || string(r.Key) != fmt.Sprint("key-", i) || len(r.Value) != 500 || r.Value[0] != byte(i) || r.Timestamp != 5 ||
						len(r.Headers) != 2 || string(r.Headers[0].Value) != fmt.Sprint(i) {
						t.Fatalf("record %d: %+v", i, r)
					}
				}
			}
		})
	}
}

// A tombstone and an empty value stay apart.
func testReaderAbsentValue(t *testing.T) {
	list, err := read(recordbatch.NewDecompressor(limits), kafkatest.Batch{Count: 2, Write: kafkatest.Messages(kafkago.Message{}, kafkago.Message{Key: []byte{}, Value: []byte{}})}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Value != nil || list[0].Key != nil || list[1].Value == nil || list[1].Key == nil {
		t.Errorf("%+v", list)
	}
}

func testReaderTime(t *testing.T) {
	for name, c := range map[string]struct {
		batch kafkatest.Batch
		want  int64
	}{
		"the producer's":     {kafkatest.Batch{First: 1000, Max: 9000}, 1000},
		"none":               {kafkatest.Batch{First: -1, Max: -1}, -1},
		"the broker's":       {kafkatest.Batch{First: 1000, Max: 9000, Attributes: 1 << 3}, 9000},
		"the broker's alone": {kafkatest.Batch{First: -1, Max: 9000, Attributes: 1 << 3}, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			c.batch.Count, c.batch.Write = 1, kafkatest.Messages(kafkago.Message{Value: []byte("a")})
			list, err := read(recordbatch.NewDecompressor(limits), c.batch.Bytes())
			if err != nil || list[0].Timestamp != c.want {
				t.Errorf("%+v, %v; want the time %d", list, err, c.want)
			}
		})
	}
}

// zeros writes a record of n zeros.
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

// What exceeds a limit is refused, whichever codec hides it, and costs no more
// memory than the limit allows.
func testReaderTooLarge(t *testing.T) {
	tiny := func(n int) func(io.Writer) {
		return func(w io.Writer) {
			for i := range n {
				kafkatest.WriteRecord(w, i, 0, func(io.Writer) {}, 0)
			}
		}
	}
	many := func(w io.Writer) {
		for i := range 40 {
			kafkatest.WriteRecord(w, i, 500_000, func(w io.Writer) { _, _ = w.Write(make([]byte, 500_000)) }, 0)
		}
	}
	headers := func(w io.Writer) {
		kafkatest.WriteRecord(w, 0, 1, func(w io.Writer) { _, _ = w.Write([]byte{1}) }, 101)
	}
	for name, c := range map[string]struct {
		batch   kafkatest.Batch
		records int  // that are read before
		alone   bool // only the record is refused
	}{
		"one huge record":     {kafkatest.Batch{Count: 1, Write: zeros(100 << 20)}, 0, false},
		"one large record":    {kafkatest.Batch{Count: 1, Write: zeros(2 << 20)}, 0, true},
		"many records":        {kafkatest.Batch{Count: 40, Write: many}, 16, false},
		"more records":        {kafkatest.Batch{Count: 2001, Write: tiny(2001)}, 0, false},
		"claims 100,000,000":  {kafkatest.Batch{Count: 100_000_000, Write: tiny(1)}, 0, false},
		"more headers":        {kafkatest.Batch{Count: 1, Write: headers}, 0, true},
		"a large zstd window": {kafkatest.Batch{Codec: "zstd", Level: zstd.SpeedBestCompression, Count: 1, Write: zeros(100 << 20)}, 0, false},
	} {
		for _, codec := range codecs {
			if c.batch.Codec != "" && codec != c.batch.Codec || testing.Short() && codec != "zstd" {
				continue
			}
			t.Run(name+"/"+codec, func(t *testing.T) {
				b := c.batch
				b.Codec = codec
				wire := b.Bytes()
				u := recordbatch.NewDecompressor(limits)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				list, err := read(u, wire)
				runtime.ReadMemStats(&after)
				if c.alone {
					if err != nil || len(list) != 1 || list[0].TooLarge == nil || list[0].Value != nil {
						t.Fatalf("%d records: %v", len(list), err)
					}
				} else if !errors.Is(err, recordbatch.ErrTooLarge) {
					t.Fatalf("%d records: %v", len(list), err)
				}
				// Raw snappy is one block: nothing of it is read.
				if codec != "snappy" && !c.alone && len(list) != c.records {
					t.Errorf("%d records are read before, want %d", len(list), c.records)
				}
				if took := after.TotalAlloc - before.TotalAlloc; took > 40<<20 {
					t.Errorf("%d MiB were allocated", took>>20)
				}
			})
		}
	}
}

// A frame with a window that no batch fills, as the highest levels of zstd
// write it, is read where its content is within the limits.
func testReaderLargeWindow(t *testing.T) {
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	kafkatest.Messages(messages(1000)...)(w)
	if err := w.Flush(); err != nil { // the size stays unknown
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wire := kafkatest.Batch{Attributes: 4, Count: 1000, Write: func(w io.Writer) { _, _ = w.Write(packed.Bytes()) }}.Bytes()
	list, err := read(recordbatch.NewDecompressor(limits), wire)
	if err != nil || len(list) != 1000 {
		t.Fatalf("%d records: %v", len(list), err)
	}
}

func TestBatch(t *testing.T) {
	t.Run("Verify", testBatchVerify)
}

func testBatchVerify(t *testing.T) {
	good := kafkatest.Batch{Count: 10, Codec: "gzip", Write: kafkatest.Messages(messages(10)...)}.Bytes()
	for at := 21; at < len(good); at += 7 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x20
		if _, err := read(recordbatch.NewDecompressor(limits), bad); !errors.Is(err, recordbatch.ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

// What has the right checksum and no sense is malformed, with every codec.
func testReaderMalformed(t *testing.T) {
	garbage := func(w io.Writer) { _, _ = io.WriteString(w, strings.Repeat("garbage", 30)) }
	record := func(change func([]byte)) func(io.Writer) {
		return func(w io.Writer) {
			var b bytes.Buffer
			kafkatest.WriteRecord(&b, 0, 3, func(w io.Writer) { _, _ = io.WriteString(w, "abc") }, 1)
			change(b.Bytes())
			_, _ = w.Write(b.Bytes())
		}
	}
	for name, b := range map[string]kafkatest.Batch{
		"fewer records":      {Count: 5, Write: kafkatest.Messages(messages(4)...)},
		"a negative length":  {Count: 1, Write: record(func(b []byte) { b[0] = 1 })},
		"a length too large": {Count: 1, Write: record(func(b []byte) { b[0] += 2 })},
		"a length too small": {Count: 1, Write: record(func(b []byte) { b[0] = 4 })},
		"a repeated offset":  {Count: 2, Write: func(w io.Writer) { record(func([]byte) {})(w); record(func([]byte) {})(w) }},
		"an offset behind":   {Count: 1, Write: record(func(b []byte) { b[3] = 4 })},
		"a value too long":   {Count: 1, Write: record(func(b []byte) { b[5] = 40 })},
		"too many headers":   {Count: 1, Write: record(func(b []byte) { b[9] = 60 })},
	} {
		for _, codec := range codecs {
			t.Run(name+"/"+codec, func(t *testing.T) {
				b.Codec = codec
				if list, err := read(recordbatch.NewDecompressor(limits), b.Bytes()); !errors.Is(err, recordbatch.ErrMalformed) {
					t.Fatalf("%d records: %v", len(list), err)
				}
			})
		}
	}
	for codec := range int16(8) {
		t.Run(fmt.Sprint("garbage/", codec), func(t *testing.T) {
			b := kafkatest.Batch{Attributes: codec, Count: 1, Write: garbage}
			if list, err := read(recordbatch.NewDecompressor(limits), b.Bytes()); !errors.Is(err, recordbatch.ErrMalformed) && !errors.Is(err, recordbatch.ErrTooLarge) {
				t.Fatalf("%d records: %v", len(list), err)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	for _, codec := range codecs {
		f.Add(kafkatest.Batch{Codec: codec, Count: 3, Write: kafkatest.Messages(messages(3)...)}.Bytes())
	}
	u := recordbatch.NewDecompressor(recordbatch.Limits{Decompressed: 1 << 20, Buffer: 2 << 20, Records: 100, Record: 64 << 10, Headers: 10})
	f.Fuzz(func(t *testing.T, wire []byte) {
		if len(wire) > 21 { // the checksum must not stand in the way
			binary.BigEndian.PutUint32(wire[17:], recordbatch.Checksum(0, wire[21:]))
		}
		list, err := read(u, wire)
		size, last := 0, int64(-1)
		for _, r := range list {
			if r.Offset <= last {
				t.Fatalf("offset %d follows %d", r.Offset, last)
			}
			last = r.Offset
			size += len(r.Key) + len(r.Value)
			if len(r.Headers) > 10 || len(r.Value) > 64<<10 {
				t.Fatalf("a record exceeds its limits")
			}
		}
		if size > 1<<20 || len(list) > 100 {
			t.Fatalf("%d records of %d bytes", len(list), size)
		}
		if err != nil && !errors.Is(err, recordbatch.ErrDamaged) && !errors.Is(err, recordbatch.ErrMalformed) && !errors.Is(err, recordbatch.ErrTooLarge) {
			t.Fatal(err)
		}
	})
}
