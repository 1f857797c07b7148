package invoicebox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The receipt's form: a version, then numbers as varints and texts with their
// length before them. Nothing may follow.
const (
	receiptVersion = 1

	flagComplete = 1 << 0
	flagLarge    = 1 << 1
	flagEcho     = 1 << 2
	flagsKnown   = flagComplete | flagLarge | flagEcho

	maxReceiptHeaders = 32
	maxReceiptText    = 1 << 10
)

// ErrReceipt says that bytes are not a receipt of ours, or of a version that this
// program does not know.
var ErrReceipt = errors.New("invoicebox: not a receipt that can be read")

// MarshalReceipt gives the exchange for the journal: everything but the texts
// of Err. The bytes may hold a shop's token: they must be sealed.
func (x Exchange) MarshalReceipt() ([]byte, error) {
	if len(x.Body) > maxResponseBytes {
		return nil, fmt.Errorf("invoicebox: an answer of %d bytes is too large for a receipt", len(x.Body))
	}
	if x.Status < 0 || x.Written < 0 || x.Tries < 0 {
		return nil, errors.New("invoicebox: an exchange with negative numbers has no receipt")
	}
	var flags byte
	if x.BodyComplete {
		flags |= flagComplete
	}
	if x.TooLarge {
		flags |= flagLarge
	}
	if x.EchoesSecret {
		flags |= flagEcho
	}
	out := make([]byte, 0, 256+len(x.Body))
	out = append(out, receiptVersion, byte(x.Operation), flags)
	out = binary.AppendUvarint(out, uint64(x.Status))
	out = binary.AppendUvarint(out, uint64(x.Written))
	out = binary.AppendUvarint(out, uint64(x.Tries))
	out = binary.AppendVarint(out, unixNano(x.Started))
	out = binary.AppendVarint(out, unixNano(x.Finished))
	out = appendText(out, string(x.reason()))
	out = appendText(out, cleanRequestID(x.RequestID))
	names := make([]string, 0, len(x.Header))
	for _, name := range keptHeaders {
		if v := x.Header[name]; len(v) > 0 && len(v[0]) <= maxHeaderValue {
			names = append(names, name)
		}
	}
	out = binary.AppendUvarint(out, uint64(len(names)))
	for _, name := range names {
		out = appendText(appendText(out, name), x.Header[name][0])
	}
	return appendText(out, string(x.Body)), nil
}

// UnmarshalReceipt reads what MarshalReceipt gave. Err has the reason, and the
// same sentinel for errors.Is. Any other bytes are ErrReceipt.
func UnmarshalReceipt(data []byte) (Exchange, error) {
	if len(data) < 3 || data[0] != receiptVersion {
		return Exchange{}, ErrReceipt
	}
	x := Exchange{Operation: Operation(data[1])}
	if x.Operation < Invite || x.Operation > CheckOwn || data[2]&^flagsKnown != 0 {
		return Exchange{}, ErrReceipt
	}
	x.BodyComplete, x.TooLarge, x.EchoesSecret = data[2]&flagComplete != 0, data[2]&flagLarge != 0, data[2]&flagEcho != 0
	r := receiptReader{rest: data[3:]}
	x.Status = int(r.number(999))
	x.Written = int64(r.number(1 << 40))
	x.Tries = int(r.number(1 << 10))
	x.Started, x.Finished = r.time(), r.time()
	reason := Reason(r.text(maxReceiptText))
	x.RequestID = r.text(maxRequestID)
	if n := r.number(maxReceiptHeaders); n > 0 {
		x.Header = make(http.Header, n)
		for range n {
			name, value := r.text(maxReceiptText), r.text(maxReceiptText)
			if !slices.Contains(keptHeaders[:], name) || x.Header[name] != nil {
				r.bad = true
				break
			}
			x.Header[name] = []string{value}
		}
	}
	if body := r.text(maxResponseBytes); body != "" {
		x.Body = []byte(body)
	}
	if reason != ReasonNone {
		if sentinels[reason] == nil {
			r.bad = true
		}
		x.Err = &Error{Operation: x.Operation, Reason: reason}
	}
	if r.bad || len(r.rest) != 0 || x.RequestID != cleanRequestID(x.RequestID) {
		return Exchange{}, ErrReceipt
	}
	return x, nil
}

// unixNano gives 0 for the zero time, which has no nanoseconds since 1970.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

// A receiptReader reads until something is wrong, and then nothing more.
type receiptReader struct {
	rest []byte
	bad  bool
}

func (r *receiptReader) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *receiptReader) time() time.Time {
	v, n := binary.Varint(r.rest)
	if r.bad || n <= 0 {
		r.bad = true
		return time.Time{}
	}
	r.rest = r.rest[n:]
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v)
}

func (r *receiptReader) text(limit uint64) string {
	n := r.number(limit)
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	out := string(r.rest[:n])
	r.rest = r.rest[n:]
	return out
}
