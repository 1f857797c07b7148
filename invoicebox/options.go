package invoicebox

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the documented default of the vendor's signature
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"invoicebox-worker/internal/loopback"
	"invoicebox-worker/internal/secret"
)

// Options describe one account of the partner. One Client serves one account.
type Options struct {
	// BaseURL is where the API lives; it may have a path of its own. https
	// only, except on a loopback address. Required.
	BaseURL string
	// PartnerID is the partner's (integrator's) id, a UUID. 1 to 36 visible
	// ASCII characters. Required.
	PartnerID string
	// Token gives the partner's token. It is called once for every call that
	// needs it, from many goroutines. Required.
	Token func() secret.String
	// Signing, where requests have to be signed; nil where not.
	Signing *Signing
	// UserAgent is sent with every request. Default: invoicebox-worker/<version> (Go).
	UserAgent string
	// Deadline bounds a call from its beginning to the last byte of its response,
	// the connect included. 10 ms to 10 min, default 30 s.
	Deadline time.Duration
	// Transport holds the connections; clients of several accounts share one.
	// nil makes one that Close closes.
	Transport *Transport
	// Logger gets one line for each call, at level Debug, without secrets.
	// nil logs nothing.
	Logger *slog.Logger
	// MaxResponseBytes bounds a response's body. 1 KiB to 1 MiB, default 64 KiB.
	MaxResponseBytes int
}

// Signing says how X-Signature is made: an HMAC over the raw body.
type Signing struct {
	// Key gives the agreed key; called for every signed call. Required.
	Key func() secret.String
	// Algorithm is "hmac-sha1" (default), "hmac-sha256" or "hmac-sha512".
	Algorithm string
	// Encoding is "hex" (default) or "base64".
	Encoding string
}

// Defaults and bounds of Options.
const (
	DefaultDeadline         = 30 * time.Second
	DefaultMaxResponseBytes = 64 << 10

	minDeadline, maxDeadline           = 10 * time.Millisecond, 10 * time.Minute
	minResponseBytes, maxResponseBytes = 1 << 10, 1 << 20
	maxPartnerID                       = 36
	maxUserAgent                       = 256
)

// withDefaults checks the options and fills in what was left out.
func (o Options) withDefaults() (Options, *url.URL, error) {
	var errs []error
	base, err := parseBaseURL(o.BaseURL)
	if err != nil {
		errs = append(errs, err)
	}
	if !visible(o.PartnerID) || len(o.PartnerID) > maxPartnerID {
		errs = append(errs, fmt.Errorf("invoicebox: PartnerID must be 1 to %d visible ASCII characters, for example a UUID", maxPartnerID))
	}
	if o.Token == nil {
		errs = append(errs, errors.New("invoicebox: Token must be set"))
	}
	if o.Signing != nil {
		if _, err := newSigner(*o.Signing); err != nil {
			errs = append(errs, err)
		}
	}
	if o.UserAgent == "" {
		o.UserAgent = "invoicebox-worker/" + version() + " (Go)"
	}
	if !headerSafe(o.UserAgent) || len(o.UserAgent) > maxUserAgent {
		errs = append(errs, fmt.Errorf("invoicebox: UserAgent must be at most %d printable ASCII characters", maxUserAgent))
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Deadline < minDeadline || o.Deadline > maxDeadline {
		errs = append(errs, fmt.Errorf("invoicebox: Deadline %s must be %s to %s", o.Deadline, minDeadline, maxDeadline))
	}
	if o.MaxResponseBytes == 0 {
		o.MaxResponseBytes = DefaultMaxResponseBytes
	}
	if o.MaxResponseBytes < minResponseBytes || o.MaxResponseBytes > maxResponseBytes {
		errs = append(errs, fmt.Errorf("invoicebox: MaxAnswerBytes %d must be %d to %d", o.MaxResponseBytes, minResponseBytes, maxResponseBytes))
	}
	return o, base, errors.Join(errs...)
}

// parseBaseURL reads the address of the API. Its errors never repeat the
// address: a password may be in it.
func parseBaseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("invoicebox: BaseURL must be set, for example https://api.invoicebox.ru")
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" {
		return nil, errors.New("invoicebox: BaseURL is not an absolute URL such as https://api.invoicebox.ru")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("invoicebox: BaseURL must not contain a user or password")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("invoicebox: BaseURL must not contain a query (?…)")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("invoicebox: BaseURL must not contain a fragment (#…)")
	case u.Scheme == "http" && !loopback.IsHost(u.Hostname()):
		return nil, fmt.Errorf("invoicebox: BaseURL must begin with https:// (http:// is for loopback addresses only, not for %q)", u.Hostname())
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("invoicebox: BaseURL must begin with https://")
	}
	if u.Path == "" {
		// JoinPath would make a path without its first slash.
		u.Path = "/"
	}
	return u, nil
}

// visible tells whether text is one or more visible ASCII characters.
func visible(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// headerSafe tells whether text is printable ASCII.
func headerSafe(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// sendable tells whether text can be a value of a request's body.
func sendable(text string) bool {
	return text != "" && len(text) <= maxValueBytes && utf8.ValidString(text)
}

// version gives the main module's version for the User-Agent.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && visible(info.Main.Version) && !strings.HasPrefix(info.Main.Version, "(") {
		return info.Main.Version
	}
	return "dev"
}

// A signer makes X-Signature.
type signer struct {
	key    func() secret.String
	hash   func() hash.Hash
	encode func([]byte) string
}

func newSigner(s Signing) (*signer, error) {
	out := &signer{key: s.Key}
	if s.Key == nil {
		return nil, errors.New("invoicebox: Signing.Key must be set")
	}
	switch s.Algorithm {
	case "", "hmac-sha1":
		out.hash = sha1.New
	case "hmac-sha256":
		out.hash = sha256.New
	case "hmac-sha512":
		out.hash = sha512.New
	default:
		return nil, fmt.Errorf("invoicebox: Signing.Algorithm %q must be hmac-sha1, hmac-sha256 or hmac-sha512", s.Algorithm)
	}
	switch s.Encoding {
	case "", "hex":
		out.encode = hex.EncodeToString
	case "base64":
		out.encode = base64.StdEncoding.EncodeToString
	default:
		return nil, fmt.Errorf("invoicebox: Signing.Encoding %q must be hex or base64", s.Encoding)
	}
	return out, nil
}

// sign gives the signature of body; false where there is no key.
func (s *signer) sign(body []byte) (string, bool) {
	key := s.key()
	if key.IsZero() {
		return "", false
	}
	mac := hmac.New(s.hash, []byte(key.Reveal()))
	mac.Write(body)
	return s.encode(mac.Sum(nil)), true
}
