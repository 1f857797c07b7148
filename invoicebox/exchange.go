package invoicebox

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// An Operation is one of the calls that the client can make.
type Operation uint8

// The operations.
const (
	// Invite sends a shop its registration link by e-mail.
	Invite Operation = iota + 1
	// Activate trades an activation code for the shop's merchant id and token.
	Activate
	// Check asks whether a shop's token is good.
	Check
	// CheckOwn asks whether the partner's own token is good.
	CheckOwn
)

var operationNames = [...]string{"unknown", "invite", "activate", "check", "check_own"}

// String gives the operation's name, one of a closed set.
func (o Operation) String() string {
	if int(o) >= len(operationNames) {
		return operationNames[0]
	}
	return operationNames[o]
}

// CallOptions bound one call.
type CallOptions struct {
	// SendBy is the instant from which on the request must not be written any
	// more: a later call ends with ErrSendByPassed and has sent nothing. Its
	// monotonic reading is used where it has one. Zero means no such instant.
	SendBy time.Time
}

// An Exchange is what is known after a call. No byte of the response's body was
// parsed: an activation's response can be made durable first.
type Exchange struct {
	Operation Operation

	// Status is the response's status, also where its headers or body are broken.
	// 0 means that no status line came.
	Status int
	// Header holds the few headers that matter (see keptHeaders), bounded.
	Header http.Header
	// Body is what came of the body, at most Options.MaxResponseBytes of it.
	Body []byte
	// BodyComplete tells that Body is all of it.
	BodyComplete bool
	// TooLarge tells that the body was longer than is allowed.
	TooLarge bool
	// EchoesSecret tells that a response that is not a success may repeat a secret of the
	// request: no part of it may be shown, and Classify gives no Code from it.
	EchoesSecret bool

	// Written counts the bytes of the request that were handed to the network,
	// over all tries: inside TLS, without handshakes and proxies. 0 is proof
	// that nothing was sent.
	Written int64
	// Tries is how often a connection was asked for: 0 to 2.
	Tries int
	// RequestID is the response's X-Request-Id in printable ASCII, at most 128
	// bytes; what else there is, is left out. Empty where none came.
	RequestID string

	// Started is when the call began, Finished when its response was complete or
	// its connection closed: after it, nothing is on the wire that we still add to.
	Started, Finished time.Time

	// Err says why there is no complete response; nil where there is one,
	// whatever its status. It is an *Error.
	Err error
}

// Format implements fmt.Formatter: no verb prints the body, which may hold a
// token. (An Exchange in an unexported field of something that is printed is
// out of its reach.)
func (x Exchange) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s: status %d, failure %q, %d bytes written in %d tries, %d bytes of answer, request id %q",
		x.Operation, x.Status, string(x.reason()), x.Written, x.Tries, len(x.Body), x.RequestID)
}

// LogValue implements slog.LogValuer, with the same restraint.
func (x Exchange) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("operation", x.Operation.String()),
		slog.Int("status", x.Status),
		slog.String("failure", string(x.reason())),
		slog.String("detail", x.Detail()),
		slog.Int64("written", x.Written),
		slog.Int("tries", x.Tries),
		slog.Int("answer_bytes", len(x.Body)),
		slog.String("request_id", x.RequestID),
		slog.Duration("took", x.Finished.Sub(x.Started)))
}

// MarshalJSON implements json.Marshaler and always fails: see MarshalReceipt.
func (x Exchange) MarshalJSON() ([]byte, error) {
	return nil, errors.New("invoicebox: an exchange may hold a token and is not marshalled; use MarshalReceipt")
}

// HasStatus tells whether a status line came.
func (x Exchange) HasStatus() bool { return x.Status != 0 }

// Success tells whether the status is 2xx, without a look into the body: an
// activation for which it holds may carry a token in its body.
func (x Exchange) Success() bool { return x.Status >= 200 && x.Status <= 299 }

// reason gives the word of Err.
func (x Exchange) reason() Reason {
	if e, ok := errors.AsType[*Error](x.Err); ok {
		return e.Reason
	}
	return ReasonNone
}

// keptHeaders are the headers that an Exchange keeps: what support asks for,
// what says how to read the body, and what says how long to wait.
var keptHeaders = [...]string{
	"Content-Encoding",
	"Content-Type",
	"Date",
	"Ratelimit",
	"Ratelimit-Limit",
	"Ratelimit-Remaining",
	"Ratelimit-Reset",
	"Retry-After",
	"X-Ratelimit-Limit",
	"X-Ratelimit-Remaining",
	"X-Ratelimit-Reset",
	"X-Request-Id",
}

// maxHeaderValue bounds a kept header's value in bytes.
const maxHeaderValue = 256

// keepHeaders copies what matters; a value that is too long is left out,
// because a part of it could mean something else.
func keepHeaders(from http.Header) http.Header {
	kept := make(http.Header, 4)
	for _, name := range keptHeaders {
		if v := from[name]; len(v) > 0 && len(v[0]) <= maxHeaderValue {
			kept[name] = v[:1:1]
		}
	}
	return kept
}

// maxRequestID bounds RequestID in bytes.
const maxRequestID = 128

// cleanRequestID keeps the printable ASCII of an id that goes into logs.
func cleanRequestID(id string) string {
	clean := true
	for i := 0; i < len(id); i++ {
		if id[i] <= ' ' || id[i] > '~' {
			clean = false
			break
		}
	}
	if clean && len(id) <= maxRequestID {
		return id
	}
	out := make([]byte, 0, min(len(id), maxRequestID))
	for i := 0; i < len(id) && len(out) < maxRequestID; i++ {
		if id[i] > ' ' && id[i] <= '~' {
			out = append(out, id[i])
		}
	}
	return string(out)
}
