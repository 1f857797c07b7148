package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// redacted replaces a printed secret.
const redacted = "[secret]"

// errMarshal refuses to write a secret into a document. Code that has to do that must call
// Reveal, which a review sees.
var errMarshal = errors.New("secret: a secret cannot be marshalled; use Reveal")

// A String is a text that must not be printed: a token, an activation code, an
// e-mail address, a key. The zero value is the empty secret.
type String struct {
	// A function value hides its text from %+v, %#v, %d and encoders with reflection; a
	// string field does not.
	reveal func() string
}

// New wraps text. The result for the empty text is the zero String.
func New(text string) String {
	if text == "" {
		return String{}
	}
	return String{reveal: func() string { return text }}
}

// Reveal returns the text. A review has to check each call of it.
func (s String) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the secret is empty.
func (s String) IsZero() bool { return s.reveal == nil }

// Equal compares in a time that depends only on the lengths.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements fmt.Stringer and never returns the text.
func (s String) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s String) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb reaches the function value.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (s String) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler and always fails.
func (s String) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalJSON implements json.Marshaler and always fails.
func (s String) MarshalJSON() ([]byte, error) { return nil, errMarshal }
