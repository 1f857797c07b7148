package openbao

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// A Fault is why a request failed. The set is closed: faults are metric labels.
type Fault string

// The faults.
const (
	FaultNone        Fault = "ok"
	FaultMismatch    Fault = "version_mismatch" // compare-and-set found another version
	FaultRefused     Fault = "refused"          // 400: the request is wrong
	FaultDenied      Fault = "denied"           // 403: the token or the policy
	FaultNotFound    Fault = "not_found"        // 404: no such mount, path or version
	FaultLimited     Fault = "limited"          // 429: a quota
	FaultBehind      Fault = "behind"           // 412: a replica lacks the latest writes
	FaultRedirect    Fault = "redirect"
	FaultUnavailable Fault = "unavailable" // 503: sealed, or a standby without a leader
	FaultServer      Fault = "server_error"
	FaultTimeout     Fault = "timeout"
	FaultUnreachable Fault = "unreachable"
	FaultCertificate Fault = "certificate"
	FaultAnswer      Fault = "unexpected_answer"
)

var faultWords = map[Fault]string{
	FaultMismatch:    "the path has another version than the expected one",
	FaultRefused:     "the server refuses the request: check --vault-mount and that it is KV version 2",
	FaultDenied:      "permission denied: the token has ended, or its policy does not permit it",
	FaultNotFound:    "not found: no such mount, path or version",
	FaultLimited:     "a quota of the server is used up",
	FaultBehind:      "this server does not have the latest state yet",
	FaultRedirect:    "the server redirects to another address, which is not followed: set --vault-address to the active server",
	FaultUnavailable: "the server is sealed, or a standby without an active server",
	FaultServer:      "the server reports an error of its own",
	FaultTimeout:     "no response in time",
	FaultUnreachable: "the server cannot be reached",
	FaultCertificate: "the server's certificate is not trusted, or TLS fails: check --vault-ca-file and the address",
	FaultAnswer:      "the response is not what this server should send",
}

// A RequestError is a failed request. It contains no text from the server: a gateway's
// response may repeat the request.
type RequestError struct {
	Operation string // as in metrics
	Path      string // in the server; "" if it is irrelevant
	Fault     Fault
	Status    int   // 0: no response
	Err       error // of the network; nil otherwise
}

// Error names the operation and the fault.
func (e *RequestError) Error() string {
	var b strings.Builder
	b.WriteString("credential store: " + e.Operation)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	b.WriteString(": " + faultWords[e.Fault])
	if e.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", e.Status)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the error of the network.
func (e *RequestError) Unwrap() error { return e.Err }

// faultOf returns the fault of a request's error.
func faultOf(err error) Fault {
	if err == nil {
		return FaultNone
	}
	if request, ok := errors.AsType[*RequestError](err); ok {
		return request.Fault
	}
	return FaultAnswer
}

var errRedirect = errors.New("redirect")

func refuseRedirect(*http.Request, []*http.Request) error { return errRedirect }

// mismatch is the message of KV version 2 for an unexpected version.
const mismatch = "check-and-set parameter did not match"

// explain converts an error of the library into a RequestError.
func explain(operation, path string, err error) error {
	if err == nil {
		return nil
	}
	out := &RequestError{Operation: operation, Path: path}
	if response, ok := errors.AsType[*api.ResponseError](err); ok {
		out.Status = response.StatusCode
		out.Fault = faultOfStatus(response)
		return out
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err // without the address, which the settings have
	}
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, isHost := errors.AsType[x509.HostnameError](err)
	_, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	network, isNetwork := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errRedirect):
		out.Fault = FaultRedirect
	case isUnknown || isHost || isInvalid || isRecord:
		out.Fault, out.Err = FaultCertificate, err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isNetwork && network.Timeout():
		// The cause is for errors.Is; its text says no more.
		out.Fault = FaultTimeout
	default:
		out.Fault = FaultUnreachable
		if op, ok := errors.AsType[*net.OpError](err); ok {
			out.Err = op
		}
	}
	return out
}

func faultOfStatus(r *api.ResponseError) Fault {
	switch code := r.StatusCode; {
	case code == 400:
		for _, text := range r.Errors {
			if strings.Contains(text, mismatch) {
				return FaultMismatch
			}
		}
		return FaultRefused
	case code == 403, code == 401:
		return FaultDenied
	case code == 404:
		return FaultNotFound
	case code == 412:
		return FaultBehind
	case code == 429:
		return FaultLimited
	case code == 473, code == 472, code == 503:
		return FaultUnavailable
	case code >= 300 && code < 400:
		return FaultRedirect
	case code >= 500:
		return FaultServer
	}
	return FaultAnswer
}
