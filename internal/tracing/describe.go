package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// status finds the status in an error of the exporter. The text behind it is the
// collector's.
var status = regexp.MustCompile(`: ([1-5][0-9][0-9]) `)

// Describe says why an export failed. It repeats no text of the collector, which might
// repeat a header of the request.
func Describe(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name of the collector cannot be resolved"
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the collector does not use TLS at this port"
	}
	if isTLS(err) {
		return "the TLS handshake failed, or the certificate is not trusted; see OTEL_EXPORTER_OTLP_CERTIFICATE"
	}
	before, _, _ := strings.Cut(err.Error(), "body: ")
	switch found := status.FindStringSubmatch(before); {
	case found != nil:
		return "the collector responds with HTTP status " + found[1]
	case strings.Contains(before, "partial success"):
		return "the collector rejected some of the spans"
	case strings.Contains(before, "retry-able"), strings.Contains(before, "max retry time"):
		return "the collector is not available (429, 502, 503 or 504)"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "the collector does not respond in time"
	}
	return "the collector does not respond as expected"
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// samplers are the values of OTEL_TRACES_SAMPLER that the SDK has.
var samplers = []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}

// checkEnvironment refuses variables that the SDK would print to standard error, values
// included, and ignore. It returns what those about the connection ask for: the time-out of a
// request, and the certificates; nil if there are none.
func checkEnvironment() (timeout time.Duration, trust *tls.Config, err error) {
	timeout = 10 * time.Second // as specified by OpenTelemetry
	set := func() *tls.Config {
		if trust == nil {
			trust = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		return trust
	}
	// The variables of traces come last and win.
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
		value := func(name string) string { return strings.TrimSpace(os.Getenv(prefix + name)) }
		if !validHeaders(value("HEADERS")) {
			return 0, nil, fmt.Errorf("%sHEADERS must be NAME=VALUE,… with percent-encoded values", prefix)
		}
		if path := value("CERTIFICATE"); path != "" {
			authorities := x509.NewCertPool()
			if pem, err := os.ReadFile(path); err != nil || !authorities.AppendCertsFromPEM(pem) {
				return 0, nil, fmt.Errorf("%sCERTIFICATE must be a PEM file with the certificate authorities for the collector", prefix)
			}
			set().RootCAs = authorities
		}
		if certificate, key := value("CLIENT_CERTIFICATE"), value("CLIENT_KEY"); certificate != "" || key != "" {
			pair, err := tls.LoadX509KeyPair(certificate, key)
			if err != nil {
				return 0, nil, fmt.Errorf("%[1]sCLIENT_CERTIFICATE and %[1]sCLIENT_KEY must be PEM files of a certificate and of its private key", prefix)
			}
			set().Certificates = []tls.Certificate{pair}
		}
		if text := value("TIMEOUT"); text != "" {
			ms, err := strconv.Atoi(text)
			if err != nil || ms < 1 || ms > maxTimeout {
				return 0, nil, fmt.Errorf("%sTIMEOUT must be a number of milliseconds from 1 to %d", prefix, maxTimeout)
			}
			timeout = time.Duration(ms) * time.Millisecond
		}
		if text := value("ENDPOINT"); text != "" { // --otlp-endpoint is used instead
			if _, err := url.Parse(text); err != nil {
				return 0, nil, fmt.Errorf("%sENDPOINT must be a URL", prefix)
			}
		}
	}
	if !validResource(os.Getenv("OTEL_RESOURCE_ATTRIBUTES")) {
		return 0, nil, errors.New("OTEL_RESOURCE_ATTRIBUTES must be NAME=VALUE,… with percent-encoded values in UTF-8")
	}
	if !utf8.ValidString(os.Getenv("OTEL_SERVICE_NAME")) {
		return 0, nil, errors.New("OTEL_SERVICE_NAME must be UTF-8")
	}
	sampler := strings.ToLower(strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER")))
	if sampler != "" && !slices.Contains(samplers, sampler) {
		return 0, nil, fmt.Errorf("OTEL_TRACES_SAMPLER must be one of %s", strings.Join(samplers, ", "))
	}
	if ratio := strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER_ARG")); ratio != "" && strings.HasSuffix(sampler, "traceidratio") {
		if v, err := strconv.ParseFloat(ratio, 64); err != nil || !(v >= 0 && v <= 1) {
			return 0, nil, errors.New("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")
		}
	}
	return timeout, trust, nil
}

// maxTimeout is the largest time-out of a request, in milliseconds.
const maxTimeout = 60_000

func validHeaders(text string) bool {
	if text == "" {
		return true
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		decoded, err := url.PathUnescape(value)
		if !found || name == "" || err != nil || strings.ContainsFunc(decoded, unprintable) || strings.ContainsFunc(name, notToken) {
			return false
		}
	}
	return true
}

// validResource refuses what the SDK would print, and text that is not UTF-8, with which no
// batch of spans can be encoded.
func validResource(text string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || strings.TrimSpace(name) == "" || err != nil || !utf8.ValidString(name) || !utf8.ValidString(decoded) {
			return false
		}
	}
	return true
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

func notToken(r rune) bool {
	return unprintable(r) || strings.ContainsRune(` "(),/:;<=>?@[\]{}`, r)
}
