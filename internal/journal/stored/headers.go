package stored

import (
	"encoding/binary"
	"errors"

	"invoicebox-worker/schemas"
)

// PackHeaders encodes headers as one value, so that columns do not bound their number.
func PackHeaders(hs []schemas.Header) []byte {
	size := 0
	for _, h := range hs {
		size += len(h.Key) + len(h.Value) + 2*binary.MaxVarintLen16
	}
	b := make([]byte, 0, size)
	for _, h := range hs {
		b = binary.AppendUvarint(b, uint64(len(h.Key)))
		b = append(b, h.Key...)
		b = binary.AppendUvarint(b, uint64(len(h.Value)))
		b = append(b, h.Value...)
	}
	return b
}

var errHeaders = errors.New("journal: damaged headers in the outbox")

// UnpackHeaders decodes the result of PackHeaders.
func UnpackHeaders(b []byte) ([]schemas.Header, error) {
	var hs []schemas.Header
	part := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		p := b[k : k+int(n)] // #nosec G115 -- bounded by the line above
		b = b[k+int(n):]     // #nosec G115
		return p, true
	}
	for len(b) > 0 {
		name, ok := part()
		if !ok {
			return nil, errHeaders
		}
		value, ok := part()
		if !ok {
			return nil, errHeaders
		}
		hs = append(hs, schemas.Header{Key: string(name), Value: value})
	}
	return hs, nil
}
