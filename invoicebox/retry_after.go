package invoicebox

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds what a response can ask for: whoever asks for more is
// asked again after this long.
const MaxRetryAfter = time.Hour

// retryAfter gives how long a response asks to wait.
func retryAfter(x Exchange) time.Duration {
	if x.Header == nil {
		return 0
	}
	if d, ok := parseRetryAfter(x.Header.Get("Retry-After"), x); ok {
		return d
	}
	if x.Status != http.StatusTooManyRequests {
		return 0
	}
	return limitReset(x)
}

// rateLimitReset gives how long the rate limit headers say that nothing is left.
func rateLimitReset(x Exchange) time.Duration {
	if x.Header == nil || !nothingLeft(x.Header) {
		return 0
	}
	return limitReset(x)
}

// parseRetryAfter reads seconds or an HTTP date. A date is compared with the
// answer's own Date, so that no clock but the server's matters.
func parseRetryAfter(value string, x Exchange) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if d, ok := parseSeconds(value); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return bounded(at.Sub(answerTime(x))), true
}

// answerTime is when the response was made, by the server's clock if it tells.
func answerTime(x Exchange) time.Time {
	if at, err := http.ParseTime(x.Header.Get("Date")); err == nil {
		return at
	}
	return x.Finished
}

// limitReset gives how long it is until the rate limit headers promise new requests; 0 where they do not.
func limitReset(x Exchange) time.Duration {
	for _, name := range [...]string{"Ratelimit-Reset", "X-Ratelimit-Reset"} {
		if d, ok := parseReset(strings.TrimSpace(x.Header.Get(name)), x); ok {
			return d
		}
	}
	for _, name := range [...]string{"t", "reset"} {
		if v, ok := parameter(x.Header.Get("Ratelimit"), name); ok {
			d, _ := parseReset(v, x)
			return d
		}
	}
	return 0
}

// nothingLeft tells whether the rate limit headers say that no request is left.
func nothingLeft(h http.Header) bool {
	for _, name := range [...]string{"Ratelimit-Remaining", "X-Ratelimit-Remaining"} {
		if strings.TrimSpace(h.Get(name)) == "0" {
			return true
		}
	}
	for _, name := range [...]string{"r", "remaining"} {
		if v, ok := parameter(h.Get("Ratelimit"), name); ok && v == "0" {
			return true
		}
	}
	return false
}

// parameter finds name=value in a header of the forms a;b=1;c=2 and a=1, b=2.
func parameter(header, name string) (string, bool) {
	for part := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ';' || r == ',' }) {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// parseReset reads seconds from now on or, as some servers send them, seconds
// or milliseconds since 1970.
func parseReset(value string, x Exchange) (time.Duration, bool) {
	const (
		epochSeconds = 1_000_000_000
		epochMillis  = 1_000_000_000_000
	)
	whole, _, _ := strings.Cut(value, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	switch {
	case err != nil || n < epochSeconds:
		return parseSeconds(value)
	case n < epochMillis:
		return bounded(time.Unix(n, 0).Sub(answerTime(x))), true
	case n < 1000*epochMillis:
		return bounded(time.UnixMilli(n).Sub(answerTime(x))), true
	default:
		return 0, false
	}
}

// parseSeconds reads a number of seconds, a fraction rounded up. Huge ones are
// the bound; negative ones and what is no number are nothing.
func parseSeconds(value string) (time.Duration, bool) {
	whole, fraction, dotted := strings.Cut(value, ".")
	if whole == "" || !digits(whole) || (dotted && (fraction == "" || !digits(fraction))) {
		return 0, false
	}
	n, err := strconv.ParseInt(whole, 10, 32)
	if err != nil {
		return MaxRetryAfter, true
	}
	if dotted && strings.Trim(fraction, "0") != "" {
		n++
	}
	return bounded(time.Duration(n) * time.Second), true
}

func digits(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

func bounded(d time.Duration) time.Duration { return max(0, min(d, MaxRetryAfter)) }
