package invoicebox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	receiptVersion    = 1
	maxReceiptTries   = 1 << 10
	maxReceiptWritten = 1 << 40
)

// ErrReceipt says that bytes are not a receipt of ours, or of a version that this
// program does not know.
var ErrReceipt = errors.New("invoicebox: not a receipt that can be read")

// A receipt is an exchange as the journal keeps it. Values of headers and the body are
// bytes, because a server's need not be UTF-8.
type receipt struct {
	Version      int               `json:"version"`
	Operation    Operation         `json:"operation"`
	Status       int               `json:"status,omitzero"`
	Header       map[string][]byte `json:"header,omitempty"`
	Body         []byte            `json:"body,omitempty"`
	BodyComplete bool              `json:"bodyComplete,omitzero"`
	TooLarge     bool              `json:"tooLarge,omitzero"`
	EchoesSecret bool              `json:"echoesSecret,omitzero"`
	Written      int64             `json:"written,omitzero"`
	Tries        int               `json:"tries,omitzero"`
	RequestID    string            `json:"requestId,omitzero"`
	Started      time.Time         `json:"started,omitzero"`
	Finished     time.Time         `json:"finished,omitzero"`
	Reason       Reason            `json:"reason,omitzero"`
}

// MarshalReceipt gives the exchange for the journal: everything but the texts
// of Err. The bytes may hold a shop's token: they must be sealed.
func (x Exchange) MarshalReceipt() ([]byte, error) {
	if len(x.Body) > maxResponseBytes {
		return nil, fmt.Errorf("invoicebox: a response of %d bytes is too large for a receipt", len(x.Body))
	}
	r := receipt{
		Version: receiptVersion, Operation: x.Operation, Status: x.Status, Body: x.Body,
		BodyComplete: x.BodyComplete, TooLarge: x.TooLarge, EchoesSecret: x.EchoesSecret,
		Written: x.Written, Tries: x.Tries, RequestID: cleanRequestID(x.RequestID),
		Started: x.Started, Finished: x.Finished, Reason: x.reason(),
	}
	for _, name := range keptHeaders {
		if v := x.Header[name]; len(v) > 0 && len(v[0]) <= maxHeaderValue {
			if r.Header == nil {
				r.Header = map[string][]byte{}
			}
			r.Header[name] = []byte(v[0])
		}
	}
	if !r.valid() {
		return nil, errors.New("invoicebox: the exchange has no receipt: its numbers are out of bounds")
	}
	return json.Marshal(r, json.Deterministic(true))
}

// UnmarshalReceipt reads what MarshalReceipt gave. Err has the reason, and the
// same sentinel for errors.Is. Any other bytes are ErrReceipt.
func UnmarshalReceipt(data []byte) (Exchange, error) {
	var r receipt
	// The text of the error may quote the body.
	if err := json.Unmarshal(data, &r, json.RejectUnknownMembers(true)); err != nil || !r.valid() {
		return Exchange{}, ErrReceipt
	}
	x := Exchange{
		Operation: r.Operation, Status: r.Status, Body: r.Body,
		BodyComplete: r.BodyComplete, TooLarge: r.TooLarge, EchoesSecret: r.EchoesSecret,
		Written: r.Written, Tries: r.Tries, RequestID: r.RequestID, Started: r.Started, Finished: r.Finished,
	}
	if len(r.Header) > 0 {
		x.Header = make(http.Header, len(r.Header))
		for name, value := range r.Header {
			x.Header[name] = []string{string(value)}
		}
	}
	if r.Reason != ReasonNone {
		x.Err = &Error{Operation: x.Operation, Reason: r.Reason}
	}
	return x, nil
}

func (r receipt) valid() bool {
	for name, value := range r.Header {
		if !slices.Contains(keptHeaders[:], name) || len(value) > maxHeaderValue {
			return false
		}
	}
	return r.Version == receiptVersion && r.Operation >= Invite && r.Operation <= CheckOwn &&
		r.Status >= 0 && r.Status <= 999 && r.Written >= 0 && r.Written <= maxReceiptWritten && r.Tries >= 0 && r.Tries <= maxReceiptTries &&
		len(r.Body) <= maxResponseBytes && r.RequestID == cleanRequestID(r.RequestID) &&
		(r.Reason == ReasonNone || sentinels[r.Reason] != nil)
}
