package invoicebox

import (
	"errors"
	"strings"
)

// Errors of a call, for errors.Is. What they mean for the shop is told by
// [Classify], not by them.
var (
	// ErrSendByPassed: the attempt's send-by instant came before anything was
	// written. Nothing was sent.
	ErrSendByPassed = errors.New("the send-by instant passed before anything was written")
	// ErrDeadline: the request deadline (or an earlier one of the caller)
	// passed. Exchange.Written tells whether anything was sent.
	ErrDeadline = errors.New("the request deadline passed")
	// ErrCanceled: the caller gave up. Exchange.Written tells whether anything
	// was sent.
	ErrCanceled = errors.New("the call was cancelled")
	// ErrUnreachable: no connection could be made. Nothing was sent.
	ErrUnreachable = errors.New("no connection could be made")
	// ErrConnectionLost: the connection ended before the whole response was here.
	ErrConnectionLost = errors.New("the connection ended before the response was complete")
	// ErrNotHTTP: what came back is not an HTTP answer, or its headers are
	// larger than is allowed.
	ErrNotHTTP = errors.New("the response is not readable as HTTP")
	// ErrTooLarge: the response's body is larger than Options.MaxResponseBytes.
	ErrTooLarge = errors.New("the response is larger than is allowed")
	// ErrSetting: the token or the signing key cannot be used. Nothing was sent.
	ErrSetting = errors.New("a setting cannot be used")
	// ErrValue: the e-mail address, activation code or token given to the call
	// cannot be sent. Nothing was sent.
	ErrValue = errors.New("a value given to the call cannot be sent")
	// ErrClosed: the client was closed before the call. Nothing was sent.
	ErrClosed = errors.New("the client is closed")
	// ErrUnreadable: the response has the status of a success, but not what the
	// operation must have in it. Returned by the Parse functions.
	ErrUnreadable = errors.New("the response cannot be read")
)

// A Reason is one word of a closed set that says what happened. It is safe as
// a metric label, in a log and in an event.
type Reason string

// The reasons. The first group is of calls that ended without a status line,
// the second of responses.
const (
	ReasonNone        Reason = ""
	ReasonDNS         Reason = "dns"
	ReasonConnect     Reason = "connect"
	ReasonTLS         Reason = "tls"
	ReasonProxy       Reason = "proxy"
	ReasonSendBy      Reason = "send_by_passed"
	ReasonDeadline    Reason = "deadline"
	ReasonCanceled    Reason = "canceled"
	ReasonLost        Reason = "connection_lost"
	ReasonReset       Reason = "connection_reset"
	ReasonNotHTTP     Reason = "not_http"
	ReasonHeaderLarge Reason = "headers_too_large"
	ReasonSetting     Reason = "bad_setting"
	ReasonValue       Reason = "bad_value"
	ReasonClosed      Reason = "closed"
	ReasonInternal    Reason = "internal"

	ReasonOK             Reason = "ok"
	ReasonRefused        Reason = "refused"
	ReasonBodyCut        Reason = "body_cut"
	ReasonBodyLarge      Reason = "body_too_large"
	ReasonBodyUnusable   Reason = "body_unusable"
	ReasonTooEarly       Reason = "too_early"
	ReasonLimited        Reason = "limited"
	ReasonRequestTimeout Reason = "request_timeout"
	ReasonUnavailable    Reason = "unavailable"
	ReasonUnauthorized   Reason = "unauthorized"
	ReasonForbidden      Reason = "forbidden"
	ReasonAddress        Reason = "wrong_address"
	ReasonPartnerID      Reason = "partner_id_refused"
	ReasonRequest        Reason = "request_refused"
	ReasonServerError    Reason = "server_error"
	ReasonOddStatus      Reason = "odd_status"
)

// sentinels gives each reason of a failed call its error.
var sentinels = map[Reason]error{
	ReasonDNS:         ErrUnreachable,
	ReasonConnect:     ErrUnreachable,
	ReasonTLS:         ErrUnreachable,
	ReasonProxy:       ErrUnreachable,
	ReasonSendBy:      ErrSendByPassed,
	ReasonDeadline:    ErrDeadline,
	ReasonCanceled:    ErrCanceled,
	ReasonLost:        ErrConnectionLost,
	ReasonReset:       ErrConnectionLost,
	ReasonBodyCut:     ErrConnectionLost,
	ReasonNotHTTP:     ErrNotHTTP,
	ReasonHeaderLarge: ErrNotHTTP,
	ReasonBodyLarge:   ErrTooLarge,
	ReasonSetting:     ErrSetting,
	ReasonValue:       ErrValue,
	ReasonClosed:      ErrClosed,
	ReasonInternal:    ErrNotHTTP,
}

// An Error says why a call has no complete response. Its text is made of our own
// words and of what the resolver and the kernel say about an address; no byte
// of a response, and nothing of the request, is in it.
type Error struct {
	Operation      Operation
	Reason         Reason
	detail         string
	cause          error
	connectFailure ConnectFailure
	proxy          bool
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("invoicebox: ")
	b.WriteString(e.Operation.String())
	b.WriteString(": ")
	if s := sentinels[e.Reason]; s != nil {
		b.WriteString(s.Error())
	} else {
		b.WriteString("failed")
	}
	b.WriteString(" (")
	b.WriteString(string(e.Reason))
	if e.detail != "" {
		b.WriteString(": ")
		b.WriteString(e.detail)
	}
	b.WriteString(")")
	return b.String()
}

// Unwrap gives the sentinel of the reason and, where there is one that is safe
// to show, the cause: a context's error or a system error number.
func (e *Error) Unwrap() []error {
	out := make([]error, 0, 2)
	if s := sentinels[e.Reason]; s != nil {
		out = append(out, s)
	}
	if e.cause != nil {
		out = append(out, e.cause)
	}
	return out
}
