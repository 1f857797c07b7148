package secretfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"invoicebox-worker/internal/secret"
)

// A Form checks the form of a secret. Its error describes the fault, and never quotes the
// secret.
type Form func(text string) error

// The faults of the form of a secret.
var (
	ErrByteOrderMark = errors.New("begins with a byte order mark; save it as UTF-8 without one")
	ErrSpace         = errors.New("begins or ends with white space or an invisible character")
	ErrPrefix        = errors.New(`begins with the name of a scheme, such as "Bearer"; the file must hold the secret alone`)
	ErrNotHeader     = errors.New("holds spaces or other characters that no header may have")
)

const byteOrderMark = "\ufeff"

// Key is the form of keys and passwords: any text that does not begin or end with an
// invisible character.
func Key(text string) error {
	edge := func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }
	switch {
	case strings.HasPrefix(text, byteOrderMark):
		return ErrByteOrderMark
	case strings.TrimFunc(text, edge) != text:
		return ErrSpace
	}
	return nil
}

// Token is the form of a token that is sent in an Authorization header.
func Token(text string) error {
	if err := Key(text); err != nil {
		return err
	}
	if scheme, _, ok := strings.Cut(text, " "); ok {
		for _, known := range []string{"Bearer", "Bearer:", "Basic", "Token", "Authorization:"} {
			if strings.EqualFold(scheme, known) {
				return ErrPrefix
			}
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ErrNotHeader
	}
	return nil
}

// Read checks the bytes of a secret and removes its one trailing line break.
func Read(doc []byte, form Form) (secret.String, error) {
	value, err := Trim(doc)
	if err == nil {
		err = form(value.Reveal())
	}
	if err != nil {
		return secret.String{}, fmt.Errorf("%w", err)
	}
	return value, nil
}
