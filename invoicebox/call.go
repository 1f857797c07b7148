package invoicebox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// A call is what one call of the client knows about itself while it runs. Only
// the goroutine of the call touches it.
type call struct {
	op      Operation
	sendBy  time.Time
	maxBody int
	maxIdle time.Duration
	request []byte // its bytes

	exchange       Exchange
	reason         Reason // why the last try has no complete response
	detail         string
	connectFailure ConnectFailure // why the last try has no connection
	proxy          bool           // it is the proxy's
	cause          error
	final          bool // another try cannot do better
}

// errTry is what the layers above wire get to see of a failed try.
var errTry = errors.New("invoicebox: the try failed")

// sendByPassed tells whether the send-by instant is there, by either clock: the monotonic
// one stands still while a machine is suspended, the wall's can be set back.
func (k *call) sendByPassed() bool { return !k.sendBy.IsZero() && passed(k.sendBy, time.Now()) }

func passed(by, now time.Time) bool {
	return !now.Before(by) || !now.Round(0).Before(by.Round(0))
}

// fail notes why the try ended.
func (k *call) fail(reason Reason, detail string, cause error) error {
	k.reason, k.detail, k.cause = reason, detail, cause
	return errTry
}

// retryable tells whether a second try is allowed: nothing was written, the
// send-by instant is still to come, and what failed may go better.
func (k *call) retryable() bool {
	return k.exchange.Written == 0 && k.exchange.Status == 0 && !k.final && !k.sendByPassed()
}

// failContext names the end of the call's time. It is called where ctx is done.
func (k *call) failContext(ctx context.Context) error {
	k.final = true
	if errors.Is(ctx.Err(), context.Canceled) {
		return k.fail(ReasonCanceled, "", context.Canceled)
	}
	return k.fail(ReasonDeadline, "", context.DeadlineExceeded)
}

// failSendBy names the passing of the send-by instant.
func (k *call) failSendBy() error {
	k.final = true
	return k.fail(ReasonSendBy, "", nil)
}

// failDial names why there is no connection.
func (k *call) failDial(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return k.failContext(ctx)
	}
	if k.sendByPassed() {
		return k.failSendBy()
	}
	var phase *dialError
	if !errors.As(err, &phase) {
		return k.fail(ReasonConnect, "", safeCause(err))
	}
	k.final, k.connectFailure, k.proxy = phase.final, phase.connectFailure, phase.proxy
	return k.fail(phase.reason, phase.detail, safeCause(phase.err))
}

// failIO names why a connection that was written to gave no whole response.
func (k *call) failIO(ctx context.Context, err error) error {
	var headers *headerError
	switch {
	case ctx.Err() != nil:
		return k.failContext(ctx)
	case errors.As(err, &headers):
		return k.fail(headers.reason, "", nil)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return k.fail(ReasonReset, "", safeCause(err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return k.fail(ReasonLost, "", nil)
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return k.fail(ReasonLost, "", safeCause(err))
	}
	return k.fail(ReasonNotHTTP, "", nil)
}

// finish closes the exchange: from here on it does not change.
func (k *call) finish(ctx context.Context) Exchange {
	x := &k.exchange
	if x.Finished.IsZero() {
		x.Finished = time.Now()
	}
	if k.reason == ReasonNone && x.Status == 0 {
		// The layers above gave up before they asked for a connection.
		if ctx.Err() != nil {
			_ = k.failContext(ctx)
		} else {
			k.reason = ReasonInternal
		}
	}
	if k.reason != ReasonNone {
		x.Err = &Error{Operation: k.op, Reason: k.reason, detail: k.detail, cause: k.cause, connectFailure: k.connectFailure, proxy: k.proxy}
	}
	return *x
}

// answered notes a response's head.
func (k *call) answered(resp *http.Response) {
	k.exchange.Status = resp.StatusCode
	k.exchange.Header = keepHeaders(resp.Header)
	k.exchange.RequestID = cleanRequestID(resp.Header.Get("X-Request-Id"))
}

// safeCause gives the part of an error that may be shown: a system error number.
func safeCause(err error) error {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number
	}
	return nil
}

// A dialError says in which phase a connection failed to come about.
type dialError struct {
	reason Reason
	detail string
	err    error
	final  bool // a second try within milliseconds gives the same

	connectFailure ConnectFailure
	proxy          bool // the connection to the proxy
}

func (e *dialError) Error() string { return string(e.reason) }

// connectError names a failure below TLS. The texts are the resolver's and the
// kernel's: nobody on the other side can write into them.
func connectError(err error, reason Reason) *dialError {
	proxy := reason == ReasonProxy
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return &dialError{reason: ReasonDNS, detail: "the name cannot be resolved", err: err, connectFailure: classifyConnectError(err), proxy: proxy}
	}
	out := &dialError{reason: reason, err: err, connectFailure: classifyConnectError(err), proxy: proxy}
	if number := safeCause(err); number != nil {
		out.detail = number.Error()
	}
	return out
}

// tlsError names a failed handshake in our own words: a certificate's text is
// written by whoever answers.
func tlsError(err error) *dialError {
	out := &dialError{reason: ReasonTLS, err: err, connectFailure: ConnectHandshake}
	var (
		verify    *tls.CertificateVerificationError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &host):
		out.detail, out.final, out.connectFailure = "the certificate is for another host", true, ConnectHostName
	case errors.As(err, &authority):
		out.detail, out.final, out.connectFailure = "the certificate is signed by an unknown authority", true, ConnectAuthority
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		out.detail, out.final, out.connectFailure = "the certificate has expired or is not valid yet", true, ConnectExpired
	case errors.As(err, &invalid), errors.As(err, &verify):
		out.detail, out.final, out.connectFailure = "the certificate is not valid", true, ConnectCertificate
	case errors.As(err, &header):
		out.detail, out.final, out.connectFailure = "the other side does not speak TLS", true, ConnectNoTLS
	case errors.As(err, &alert):
		out.detail, out.final = alert.Error(), true
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		out.detail = "the connection ended during the handshake"
	}
	return out
}
