// Package visible escapes characters that turn, hide or imitate text where it
// is shown: bidirectional controls, zero-width and other invisible characters,
// control characters. Foreign text such as a shop's id may hold them.
package visible

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// hidden reports whether a character must not reach a terminal as it is. Line
// breaks, tabs and spaces are for the caller's layout.
func hidden(r rune) bool {
	switch r {
	case '\n', '\t', ' ':
		return false
	case '\u2800', '\u034f': // blank Braille; the joiner that joins nothing
		return true
	}
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Text shows hidden characters and bytes that are not UTF-8 as escapes such as
// \u202e; everything else stays.
func Text(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// JSON shows hidden characters of a JSON text as escapes of JSON, so that it
// stands for the same value.
func JSON(doc []byte) []byte {
	if !bytes.ContainsFunc(doc, hidden) {
		return doc
	}
	var b bytes.Buffer
	for _, r := range string(doc) {
		switch {
		case !hidden(r) || r < ' ': // JSON has no other control characters than its own layout
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}
