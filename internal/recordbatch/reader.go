package recordbatch

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A RecordHeader is a header of a record.
type RecordHeader struct {
	Key   string
	Value []byte // nil when absent
}

// A Record is a record of a batch. It owns its bytes.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds; the broker's where the topic says so; negative when there is none
	Key       []byte
	Value     []byte // nil when absent
	Headers   []RecordHeader
	// Size is the size of the record after decompression.
	Size int64
	// TooLarge says which limit the record exceeds. Key, value and headers are
	// then absent.
	TooLarge error
}

// A Reader reads the records of one batch.
type Reader struct {
	batch   *Batch
	limits  Limits
	limited *limited
	in      *bufio.Reader
	close   func()
	left    int32
	last    int64 // offset of the previous record
	err     error
}

// Read starts to read a batch, which must have been verified. The caller closes the
// reader.
func (dc *Decompressor) Read(b *Batch) (*Reader, error) {
	if b.Count < 0 {
		return nil, fmt.Errorf("%w: it claims %d records", ErrMalformed, b.Count)
	}
	if int64(b.Count) > int64(dc.limits.Records) {
		return nil, fmt.Errorf("%w: it claims %d records, the limit is %d", ErrTooLarge, b.Count, dc.limits.Records)
	}
	plain, done, err := dc.open(b)
	if err != nil {
		return nil, err
	}
	l := &limited{r: plain, left: dc.limits.Decompressed, limit: dc.limits.Decompressed}
	return &Reader{batch: b, limits: dc.limits, limited: l, in: bufio.NewReaderSize(l, 16<<10), close: done, left: b.Count, last: b.BaseOffset - 1}, nil
}

// Close returns the decompressor for reuse.
func (r *Reader) Close() {
	if r.close != nil {
		r.close()
		r.close = nil
	}
}

// Decompressed returns how many bytes were decompressed.
func (r *Reader) Decompressed() int64 { return r.limited.limit - r.limited.left }

// Next returns the next record, or io.EOF at the end. No record follows an error.
func (r *Reader) Next() (Record, error) {
	if r.err == nil && r.left == 0 {
		r.err = io.EOF
	}
	if r.err != nil {
		return Record{}, r.err
	}
	record, err := r.next()
	if err != nil {
		r.err = explain(err)
		return Record{}, r.err
	}
	r.left--
	return record, nil
}

// explain turns an error of reading into one of the batch.
func explain(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrMalformed):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends inside a record", ErrMalformed)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// next reads a record: its length, attributes, time and offset, then the rest.
func (r *Reader) next() (Record, error) {
	length, err := binary.ReadVarint(r.in)
	if err != nil {
		return Record{}, err
	}
	if length < 0 {
		return Record{}, fmt.Errorf("%w: a record's length is %d", ErrMalformed, length)
	}
	rest := countedReader{r.in, length}
	if _, err := rest.ReadByte(); err != nil { // attributes, unused
		return Record{}, err
	}
	age, err := binary.ReadVarint(&rest)
	if err != nil {
		return Record{}, err
	}
	delta, err := binary.ReadVarint(&rest)
	if err != nil {
		return Record{}, err
	}
	record := Record{Offset: r.batch.BaseOffset + delta, Timestamp: r.batch.FirstTimestamp + age, Size: length}
	if r.batch.LogAppendTime() {
		record.Timestamp = r.batch.MaxTimestamp
	}
	if delta < 0 || record.Offset <= r.last || record.Offset > r.batch.LastOffset() {
		return Record{}, fmt.Errorf("%w: offset %d follows %d, the batch ends at %d", ErrMalformed, record.Offset, r.last, r.batch.LastOffset())
	}
	r.last = record.Offset
	if length > int64(r.limits.Record) {
		record.TooLarge = fmt.Errorf("the record has %d bytes, the limit is %d", length, r.limits.Record)
		return record, discard(r.in, rest.left)
	}
	body := make([]byte, rest.left)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return Record{}, err
	}
	err = record.fill(body, r.limits.Headers)
	return record, err
}

// discard skips n bytes, which may be more than an int holds.
func discard(in *bufio.Reader, n int64) error {
	got, err := io.CopyN(io.Discard, in, n)
	if err == nil && got != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// fill sets key, value and headers from the rest of a record.
func (record *Record) fill(body []byte, headers int) error {
	f := fields{rest: body}
	record.Key, record.Value = f.bytes(), f.bytes()
	n := f.varint()
	switch {
	case f.failed || n < 0 || n > int64(len(f.rest)/2):
		return fmt.Errorf("%w: a record's fields exceed its length", ErrMalformed)
	case n > int64(headers):
		record.Key, record.Value = nil, nil
		record.TooLarge = fmt.Errorf("the record has %d headers, the limit is %d", n, headers)
		return nil
	case n > 0:
		record.Headers = make([]RecordHeader, n)
	}
	for i := range record.Headers {
		record.Headers[i] = RecordHeader{Key: string(f.bytes()), Value: f.bytes()}
	}
	if f.failed {
		return fmt.Errorf("%w: a record's headers exceed its length", ErrMalformed)
	}
	return nil
}

// fields reads the length-prefixed fields of a record.
type fields struct {
	rest   []byte
	failed bool
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.failed, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// bytes reads a field; -1 means absent.
func (f *fields) bytes() []byte {
	n := f.varint()
	if n < 0 || f.failed {
		return nil
	}
	if n > int64(len(f.rest)) {
		f.failed, f.rest = true, nil
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

// A countedReader reads single bytes of a record and never beyond it.
type countedReader struct {
	in   *bufio.Reader
	left int64
}

func (c *countedReader) ReadByte() (byte, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("%w: a record's fields exceed its length", ErrMalformed)
	}
	c.left--
	return c.in.ReadByte()
}

// A limited reader returns at most as many bytes as a batch may decompress to.
type limited struct {
	r     io.Reader
	left  int64
	limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, fmt.Errorf("%w: it decompresses to more than %d bytes", ErrTooLarge, l.limit)
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

// The types of control records.
const (
	Abort  = 0
	Commit = 1
)

// ControlType returns the type of a control record. ok is false for a record of another
// form, which is to be skipped.
func (record *Record) ControlType() (kind int16, ok bool) {
	if len(record.Key) < 4 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(record.Key[2:])), true // #nosec G115 -- the wire's signed number
}
