package consumer

import (
	"encoding/binary"
	"errors"
	"time"

	"invoicebox-worker/schemas"
)

// payloadVersion is the first byte of a marshaled record. Stored dead letters have it.
const payloadVersion = 1

// errPayload says that the bytes were not made by MarshalRecord.
var errPayload = errors.New("consumer: not a marshaled record")

// MarshalRecord encodes what a dead letter stores of a record: time, key, value and
// headers, unchanged. An absent key or value stays different from an empty one. It is
// the plaintext of journal.DeadLetter.Sealed.
func MarshalRecord(m schemas.Message) []byte {
	size := 1 + 10 + 3*binary.MaxVarintLen64 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += 2*binary.MaxVarintLen64 + len(h.Key) + len(h.Value)
	}
	b := append(make([]byte, 0, size), payloadVersion)
	ms := int64(-1)
	if !m.Time.IsZero() {
		ms = m.Time.UnixMilli()
	}
	b = binary.AppendVarint(b, ms)
	b = appendBytes(b, m.Key)
	b = appendBytes(b, m.Value)
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		b = appendBytes(b, []byte(h.Key))
		b = appendBytes(b, h.Value)
	}
	return b
}

// UnmarshalRecord decodes what MarshalRecord encoded. Topic, partition and offset are
// not in it.
func UnmarshalRecord(b []byte) (schemas.Message, error) {
	if len(b) == 0 || b[0] != payloadVersion {
		return schemas.Message{}, errPayload
	}
	r := payloadReader{b: b[1:]}
	var m schemas.Message
	if ms := r.varint(); ms >= 0 {
		m.Time = time.UnixMilli(ms).UTC()
	}
	m.Key, m.Value = r.bytes(), r.bytes()
	n := r.uvarint()
	// A header takes at least two bytes, which bounds the count.
	if r.failed || n > uint64(len(r.b)/2) {
		return schemas.Message{}, errPayload
	}
	for range n {
		m.Headers = append(m.Headers, schemas.Header{Key: string(r.bytes()), Value: r.bytes()})
	}
	if r.failed || len(r.b) != 0 {
		return schemas.Message{}, errPayload
	}
	return m, nil
}

// appendBytes writes 0 for nil, else the length plus one and the bytes.
func appendBytes(to, b []byte) []byte {
	if b == nil {
		return append(to, 0)
	}
	return append(binary.AppendUvarint(to, uint64(len(b))+1), b...)
}

type payloadReader struct {
	b      []byte
	failed bool
}

func (r *payloadReader) varint() int64 {
	v, n := binary.Varint(r.b)
	return int64(r.took(uint64(v), n)) // #nosec G115 -- the same bits back
}

func (r *payloadReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return r.took(v, n)
}

func (r *payloadReader) took(v uint64, n int) uint64 {
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *payloadReader) bytes() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}
